import pytest

from covidcxr.data.records import read_csv
from covidcxr.data.sources import table
from covidcxr.errors import DataError


def made(tmp_path, *lines, files=("a.png", "sub/b.png")):
    folder = tmp_path / "clinic"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_other_spellings_and_what_is_known(tmp_path):
    path = made(
        tmp_path,
        "FileName,Class,patientId,Sex,age,split,scanner",
        "a.png,COVID-19,7,F,61,Validation,X1",
        r"sub\b.png,other:Lipoid,,,,train,X2",
    )
    rows = table.read(path).table
    assert rows["path"].tolist() == ["a.png", "sub/b.png"]
    assert rows["label"].tolist() == ["covid19", "other:Lipoid"]
    assert rows["patient_id"].tolist() == ["clinic-7", ""]
    assert rows["given_split"].tolist() == ["val", "train"]
    assert rows["age"].iloc[0] == 61
    assert rows["scanner"].tolist() == ["X1", "X2"]
    assert set(rows["source"]) == {"clinic"}


def test_written_records_come_back(tmp_path):
    path = made(
        tmp_path, "path,label,patient_id,source", "a.png,covid19,rsna-1,rsna", "sub/b.png,normal,,rsna"
    )
    records = table.read(path)
    records.write_csv(path)
    again = table.read(path)
    assert again.table.equals(records.table)
    assert again.table["patient_id"].tolist() == ["rsna-1", ""]
    assert read_csv(path).table["path"].tolist() == again.table["path"].tolist()


def test_missing_files_are_exclusions(tmp_path):
    records = table.read(made(tmp_path, "path,label", "a.png,covid", "gone.png,normal"))
    assert len(records) == 1
    assert [(item.path, item.source, item.reason) for item in records.exclusions] == [
        ("gone.png", "clinic", "file missing")
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path,label", "x.png,covid"), "none of its 1 files"),
        (("path,label", "../a.png,covid"), "leaves the CSV's folder"),
        (("path,label", "/a.png,covid"), "leaves the CSV's folder"),
        (("path,label", r"C:\a.png,covid"), "leaves the CSV's folder"),
        (("path,label", ",covid"), "has no path"),
        (("path,label", "a.png,"), "has no label"),
        (("path,label", "a.png,covid", "./a.png,covid"), "listed twice"),
        (("path,label,split", "a.png,covid,holdout"), "'holdout' is none of train, val, test"),
        (("path,diagnoses", "a.png,covid"), r"lacks the column\(s\) label"),
        (("path,filename,label", "a.png,a.png,covid"), "both mean path"),
    ],
)
def test_what_cannot_be_read(tmp_path, lines, message):
    with pytest.raises(DataError, match=message) as error:
        table.read(made(tmp_path, *lines))
    assert "\n" not in str(error.value)
