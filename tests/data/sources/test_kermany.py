import pytest

from covidcxr.data.sources import kermany
from covidcxr.errors import OptionError


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def test_counts_and_patients_of_the_data_readme(shared):
    table = kermany.read(shared / "data" / "chest_xray").table
    patients = table.groupby("label")["patient_id"].nunique().to_dict()
    assert patients == {"normal": 481, "bacterial_pneumonia": 260, "viral_pneumonia": 427}
    sizes = table.groupby(["given_split", "label"]).size().unstack(fill_value=0)
    assert sizes.loc["test"].to_dict() == {"bacterial_pneumonia": 242, "normal": 234, "viral_pneumonia": 148}
    assert sizes.loc["val"].to_dict() == {"bacterial_pneumonia": 8, "normal": 8, "viral_pneumonia": 0}
    splits = table[table["label"] != "normal"].groupby("patient_id")["given_split"].agg(set)
    assert sum({"train", "test"} <= found for found in splits) == 35


@pytest.mark.parametrize(
    ("name", "label", "patient"),
    [
        ("PNEUMONIA/person445_virus_918.jpeg", "viral_pneumonia", "kermany-person445"),
        ("PNEUMONIA/BACTERIA-1351146-0002.jpeg", "bacterial_pneumonia", "kermany-1351146"),
        ("NORMAL/NORMAL-1049278-0001.jpeg", "normal", "kermany-1049278"),
        ("NORMAL/NORMAL2-IM-1427-0001-0002.jpeg", "normal", "kermany-NORMAL2-IM-1427"),
        ("PNEUMONIA/scan7.jpeg", "pneumonia", ""),
    ],
)
def test_file_names(tmp_path, name, label, patient):
    touch(tmp_path, f"train/{name}")
    row = kermany.read(tmp_path).table.iloc[0]
    assert (row["label"], row["patient_id"], row["given_split"]) == (label, patient, "train")


def test_names_that_tell_nothing_are_noted(tmp_path):
    touch(tmp_path, "train/PNEUMONIA/scan7.jpeg")
    notes = kermany.read(tmp_path).notes
    assert any("1 file names tell no patient" in note for note in notes)
    assert any("1 pneumonia file names tell neither" in note for note in notes)


def test_another_data_set_of_the_same_layout_is_not_taken_for_it(tmp_path):
    touch(tmp_path, "train/NORMAL/a.png", "train/PNEUMONIA/b.png")
    assert not kermany.detect(tmp_path)


def test_an_unknown_reading(tmp_path):
    with pytest.raises(OptionError, match="detailed, binary"):
        kermany.read(tmp_path, labels="three")
