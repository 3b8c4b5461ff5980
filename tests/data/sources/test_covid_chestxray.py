import pandas as pd
import pytest

from covidcxr.data.sources import covid_chestxray
from covidcxr.errors import DataError, OptionError

HEADER = "patientid,offset,sex,age,finding,view,modality,folder,filename,license"


@pytest.fixture
def folder(shared):
    return shared / "data" / "covid-chestxray-dataset"


def made(tmp_path, *rows, header=HEADER, files=("a.jpg",)):
    (tmp_path / "images").mkdir()
    for name in files:
        (tmp_path / "images" / name).write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return tmp_path


def test_patients_and_images_of_covid_as_the_data_readme_counts_them(folder):
    records = covid_chestxray.read(folder)
    covid = records.table[records.table["label"] == "covid19"]
    assert len(covid) == 427
    assert covid["patient_id"].nunique() == 264
    assert covid["view"].value_counts().to_dict() == {"PA": 212, "AP Supine": 121, "AP": 94}


def test_numbers_and_text_beside_the_label(folder):
    row = covid_chestxray.read(folder).table.iloc[1]
    assert (row["sex"], row["age"], row["offset"], row["finding"]) == ("M", 65.0, 3.0, "COVID-19")


def test_rahimzadeh_reading(folder):
    records = covid_chestxray.read(folder, findings="rahimzadeh2020")
    # FACTS of the authors' notebook: Pneumocystis 13, SARS 16 and Streptococcus 12 frontal images are here.
    assert records.counts()["images"].tolist() == [427, 13 + 16 + 12]
    assert records.classes() == ["covid19", "pneumonia"]
    assert sum(item.reason == "finding not used: Klebsiella" for item in records.exclusions) == 7


def test_missing_files_of_the_full_table_are_exclusions(folder, tmp_path):
    (tmp_path / "images").symlink_to(folder / "images")
    (tmp_path / "metadata.csv").write_bytes((folder / "metadata-upstream.csv").read_bytes())
    reasons = pd.Series([item.reason for item in covid_chestxray.read(tmp_path).exclusions])
    # 84 of the 758 rows are CT; of the X-rays 57 are lateral and 35 + 4 of no known view; 3 frontal ones
    # are not to be had.
    assert reasons.value_counts().to_dict() == {
        "CT": 84,
        "lateral view": 57,
        "view unknown": 39,
        "file missing": 3,
    }


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("Pneumonia/Viral/COVID-19", "covid19"),
        ("COVID-19, ARDS", "covid19"),
        ("Pneumonia/Viral/SARS", "sars"),
        ("Pneumonia/Viral/Influenza/H1N1", "viral_pneumonia"),
        ("Pneumonia/Viral", "viral_pneumonia"),
        ("Pneumonia/Bacterial/Streptococcus", "bacterial_pneumonia"),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", "bacterial_pneumonia"),
        ("Pneumonia", "pneumonia"),
        ("Pneumonia/Fungal/Pneumocystis", "other:Pneumocystis"),
        ("Pneumonia/Lipoid", "other:Lipoid"),
        ("No Finding", "normal"),
        ("Tuberculosis", "other:Tuberculosis"),
    ],
)
def test_later_finding_names(finding, label):
    assert covid_chestxray.detailed_label(finding) == label


@pytest.mark.parametrize(
    ("finding", "label"),
    [("Pneumonia/Viral/COVID-19", "covid19"), ("Pneumonia/Fungal/Pneumocystis", "pneumonia"), ("ARDS", None)],
)
def test_rahimzadeh_reading_of_later_names(finding, label):
    assert covid_chestxray.rahimzadeh_label(finding) == label


def test_the_first_states_of_the_table(tmp_path):
    header = "Patientid,offset,sex,age,finding,survival,view,date,location,filename,doi, url,license,notes"
    rows = ("1,4,M,60,COVID-19,Y,PA,2020,,a.jpg,,,,", "1,4,M,60,COVID-19,Y,CT,2020,,b.jpg,,,,")
    records = covid_chestxray.read(made(tmp_path, *rows, header=header, files=("a.jpg", "b.jpg")))
    assert records.table["patient_id"].tolist() == ["ieee8023-1"]
    assert [(item.path, item.reason) for item in records.exclusions] == [("images/b.jpg", "CT")]


def test_every_reason_to_leave_out(tmp_path):
    rows = (
        "1,0,M,60,COVID-19,PA,X-ray,images,a.jpg ,",
        "1,0,M,60,COVID-19,PA,X-ray,images,a.jpg,",
        "1,0,M,60,COVID-19,Oblique,X-ray,images,b.jpg,",
        "1,0,M,60,COVID-19,PA,X-ray,../images,a.jpg,",
        "1,0,M,60,COVID-19,PA,X-ray,images,gone.jpg,",
        ",?,,,COVID-19,ap supine,X-ray,images,c.jpg,",
    )
    records = covid_chestxray.read(made(tmp_path, *rows, files=("a.jpg", "b.jpg", "c.jpg", "unlisted.png")))
    assert records.table["path"].tolist() == ["images/a.jpg", "images/c.jpg"]
    assert records.table["patient_id"].tolist() == ["ieee8023-1", ""]
    assert {(item.path, item.reason) for item in records.exclusions} == {
        ("images/a.jpg", "listed twice"),
        ("images/b.jpg", "view not asked for: Oblique"),
        ("../images/a.jpg", "file missing"),
        ("images/gone.jpg", "file missing"),
        ("images/unlisted.png", "no row in metadata.csv"),
    }


def test_a_table_that_lacks_a_column(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv: lacks the column\(s\) view"):
        covid_chestxray.read(made(tmp_path, "1,COVID-19,a.jpg", header="patientid,finding,filename"))


def test_a_table_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv: not a readable CSV"):
        covid_chestxray.read(made(tmp_path, header='"'))


def test_an_unknown_reading(folder):
    with pytest.raises(OptionError, match="detailed, rahimzadeh2020"):
        covid_chestxray.read(folder, findings="rough")
