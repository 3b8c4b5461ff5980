import pytest

from covidcxr.data.sources import folders
from covidcxr.errors import DataError


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def test_a_folder_a_class(tmp_path):
    root = tmp_path / "hospital"
    touch(root, "COVID-19/a.PNG", "Normal /b.jpg", "Viral Pneumonia/c.dcm", "Normal /notes.txt", ".git/x.png")
    records = folders.read(root)
    assert records.table[["path", "label", "source"]].to_numpy().tolist() == [
        ["COVID-19/a.PNG", "covid19", "hospital"],
        ["Normal /b.jpg", "normal", "hospital"],
        ["Viral Pneumonia/c.dcm", "viral_pneumonia", "hospital"],
    ]
    assert "given_split" not in records.table


def test_split_folders_of_every_name(tmp_path):
    touch(
        tmp_path, "Training/covid/a.png", "validation/covid/b.png", "TEST/covid/c.png", "train/normal/d.png"
    )
    table = folders.read(tmp_path).table.set_index("path")
    assert table["given_split"].to_dict() == {
        "Training/covid/a.png": "train",
        "validation/covid/b.png": "val",
        "TEST/covid/c.png": "test",
        "train/normal/d.png": "train",
    }


def test_images_beside_masks(tmp_path):
    touch(tmp_path, *(f"{name}/{kind}/1.png" for name in ("COVID", "Normal") for kind in ("images", "masks")))
    assert folders.detect(tmp_path)
    records = folders.read(tmp_path)
    assert records.table["path"].tolist() == ["COVID/images/1.png", "Normal/images/1.png"]
    assert {item.reason for item in records.exclusions} == {"mask"}


def test_a_folder_a_patient_inside_the_classes(tmp_path):
    touch(tmp_path, "covid/p1/a.png", "normal/p2/b.png")
    assert folders.detect(tmp_path)
    assert folders.read(tmp_path).table["path"].tolist() == ["covid/p1/a.png", "normal/p2/b.png"]


def test_equal_names_and_merged_classes_are_noted(tmp_path):
    touch(tmp_path, "covid/1.png", "COVID-19/1.png", "normal/1.png")
    records = folders.read(tmp_path)
    assert records.counts()["images"].tolist() == [2, 1]
    assert any("1 file names stand in more than one folder (1.png)" in note for note in records.notes)
    assert any("2 folder names are read as one class, covid19" in note for note in records.notes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a.png",), "images lie directly in it"),
        (("covid/a.txt",), "no image in its sub-folders"),
        (("covid/a.png",), r"only one class \(covid\)"),
        (("train/covid/a.png", "test/COVID-19/b.png"), "only one class"),
        (("covid/a.png", "normal/b.txt"), "class folder normal has no image"),
    ],
)
def test_what_cannot_be_read(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message) as error:
        folders.read(tmp_path)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)
