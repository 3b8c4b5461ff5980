import pydicom
import pytest
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from covidcxr.data.sources import rsna
from covidcxr.errors import DataError

IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(5)]


def dicom(path, age="58", view="PA", sex="F"):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    data.ViewPosition, data.PatientSex = view, sex
    # As the challenge writes it: pydicom refuses "58" for an age string unless told not to look.
    with pydicom.config.disable_value_validation():
        data.PatientAge = age
        data.save_as(path, enforce_file_format=True)


@pytest.fixture
def challenge(tmp_path):
    """Kaggle's layout: one image a class, one row without a file, one file without a row."""
    classes = ["Normal", "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"]
    rows = [f"{name},{label}" for name, label in zip(IDS, classes, strict=False)]
    (tmp_path / rsna.CLASS_TABLE).write_text("\n".join(["patientId,class", *rows, rows[1]]) + "\n")
    boxes = [f"{IDS[0]},,,,,0", f"{IDS[1]},1.0,2.0,3.0,4.0,1", f"{IDS[1]},5.0,6.0,7.0,8.0,1"]
    (tmp_path / rsna.BOX_TABLE).write_text("\n".join(["patientId,x,y,width,height,Target", *boxes]) + "\n")
    images = tmp_path / rsna.IMAGE_FOLDER
    images.mkdir()
    for number in (0, 1, 2, 4):
        dicom(images / f"{IDS[number]}.dcm", age=["58", "058Y", "006M", "", ""][number])
    return tmp_path


def test_the_challenge_as_downloaded(challenge):
    records = rsna.read(challenge)
    assert rsna.detect(challenge)
    assert records.table["label"].tolist() == ["normal", "pneumonia", "other:No Lung Opacity / Not Normal"]
    assert records.table["patient_id"].tolist() == [f"rsna-{name}" for name in IDS[:3]]
    assert {(item.path, item.reason) for item in records.exclusions} == {
        (IDS[3], "file missing"),
        (f"stage_2_train_images/{IDS[4]}.dcm", "class unknown"),
    }
    assert any("3 images have an id of their own" in note for note in records.notes)


def test_headers_are_read_when_asked_for(challenge):
    calls = []
    records = rsna.read(challenge, headers=True, progress=lambda *step: calls.append(step))
    assert records.table["view"].tolist() == ["PA"] * 3
    assert records.table["sex"].tolist() == ["F"] * 3
    assert records.table["age"].tolist() == [58.0, 58.0, 0.5]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert set(rsna.read(challenge).table["view"]) == {""}


def test_a_file_that_is_no_dicom(challenge):
    path = f"{rsna.IMAGE_FOLDER}/{IDS[0]}.dcm"
    (challenge / path).write_bytes(b"not DICOM")
    records = rsna.read(challenge, headers=True)
    assert (path, "not readable as DICOM") in {(item.path, item.reason) for item in records.exclusions}
    assert len(records) == 2


@pytest.mark.parametrize(
    "error", [KeyError("x"), NotImplementedError(), AttributeError("x"), RecursionError()]
)
def test_whatever_pydicom_raises_the_file_is_left_out(error, challenge, monkeypatch):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(pydicom, "dcmread", fail)
    reasons = [item.reason for item in rsna.read(challenge, headers=True).exclusions]
    assert reasons.count("not readable as DICOM") == 3


def test_without_the_class_table_target_0_has_no_class(challenge):
    (challenge / rsna.CLASS_TABLE).unlink()
    records = rsna.read(challenge)
    assert records.table["label"].tolist() == ["pneumonia"]
    assert sum(item.reason == "class unknown" for item in records.exclusions) == 3


def test_the_same_image_as_dicom_and_as_picture_counts_once(challenge):
    (challenge / "Normal").mkdir()
    (challenge / "Normal" / f"{IDS[0]}.png").write_bytes(b"")
    reasons = {item.path: item.reason for item in rsna.read(challenge).exclusions}
    assert reasons[f"Normal/{IDS[0]}.png"] == f"same image as stage_2_train_images/{IDS[0]}.dcm"


def test_the_tables_count_where_a_folder_says_otherwise(challenge):
    (challenge / "Normal").mkdir()
    (challenge / "Normal" / f"{IDS[3]}.png").write_bytes(b"")
    (challenge / rsna.CLASS_TABLE).write_text(f"patientId,class\n{IDS[3]},Lung Opacity\n")
    records = rsna.read(challenge)
    assert records.table.set_index("path").loc[f"Normal/{IDS[3]}.png", "label"] == "pneumonia"
    assert any("1 images lie in another folder" in note for note in records.notes)


def test_facts_of_the_source_map(shared):
    table = rsna.read(shared / "data" / "rsna-like").table
    known = table[table["patient_id"].str.startswith("nih-")]
    assert (len(known), known["patient_id"].nunique()) == (245, 209)
    assert known["age"].lt(18).sum() == 13
    row = table.set_index("path").loc["Lung_Opacity/03cd7a5b-d5d7-40a1-81b1-c4264920530a.jpg"]
    assert (row["patient_id"], row["view"], row["sex"], row["age"]) == ("nih-00001836", "AP", "F", 49)


def test_a_box_table_with_an_unknown_class(tmp_path):
    (tmp_path / rsna.CLASS_TABLE).write_text("patientId,class\nx,Odd\n")
    with pytest.raises(DataError, match="unknown class 'Odd'"):
        rsna.read(tmp_path)


def test_images_without_any_table(tmp_path):
    (tmp_path / rsna.IMAGE_FOLDER).mkdir()
    with pytest.raises(DataError, match="lacks stage_2_detailed_class_info"):
        rsna.read(tmp_path)
