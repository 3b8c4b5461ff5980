"""All sources together, against the manifest that describes the real files row by row."""

import pandas as pd
import pytest

from covidcxr.data import sources
from covidcxr.data.sources import phantom
from covidcxr.errors import DataError, OptionError

SOURCE_NAMES = {
    "ieee8023/covid-chestxray-dataset": "covid-chestxray-dataset",
    "Kermany/Guangzhou": "kermany",
    "RSNA 2018 via COVID-19 Radiography Database": "rsna",
    "RSNA 2018 via NIH ChestX-ray": "rsna",
}


@pytest.fixture(scope="module")
def manifest(shared):
    table = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    return table.assign(source=table["source"].map(SOURCE_NAMES)).set_index("path")


@pytest.fixture(scope="module")
def everything(shared):
    return sources.read(shared / "data", views=None)


@pytest.mark.parametrize("column", ["label", "source", "patient_id", "view"])
def test_every_row_is_the_manifests(everything, manifest, column):
    table = everything.table.set_index("path")
    assert table[column].to_dict() == manifest.loc[table.index, column].to_dict()


def test_only_ct_slices_are_left_out_when_every_view_is_asked_for(everything, manifest):
    ct = manifest.index[manifest["view"].isin(["Axial", "Coronal"])]
    assert {item.path for item in everything.exclusions} == set(ct)
    assert {item.reason for item in everything.exclusions} == {"CT"}
    assert set(everything.table["path"]) == set(manifest.index) - set(ct)


def test_the_default_takes_frontal_images_and_names_the_others(shared, manifest):
    records = sources.read(shared / "data")
    frontal = manifest["view"].isin(["PA", "AP", "AP Supine"]) | (manifest["source"] == "rsna")
    assert set(records.table["path"]) == set(manifest.index[frontal])
    expected = manifest["view"][~frontal].map(
        {"L": "lateral view", "Axial": "CT", "Coronal": "CT", "": "view unknown", "?": "view unknown"}
    )
    assert {item.path: item.reason for item in records.exclusions} == expected.to_dict()


def test_every_file_is_there(everything):
    assert all(path.is_file() for path in everything.files())


def test_find_names_the_data_sets(shared):
    found = sources.find(shared / "data")
    assert [(source.key, path.name) for source, path in found] == [
        ("kermany", "chest_xray"),
        ("covid-chestxray-dataset", "covid-chestxray-dataset"),
        ("rsna", "rsna-like"),
    ]


def test_find_takes_the_path_itself_before_its_sub_folders(shared):
    folder = shared / "data" / "rsna-like"
    assert [(source.key, path) for source, path in sources.find(folder)] == [("rsna", folder)]


def test_the_manifest_itself_reads_as_a_table(shared, manifest):
    records = sources.read(shared / "data" / "manifest.csv")
    assert records.table.set_index("path")["label"].to_dict() == manifest["label"].to_dict()


def test_text_that_only_one_source_has_is_empty_for_the_others(everything):
    kermany = everything.table["source"] == "kermany"
    assert set(everything.table.loc[~kermany, "given_split"]) == {""}
    assert everything.table.loc[kermany, "given_split"].value_counts().to_dict() == {
        "train": 860,
        "test": 624,
        "val": 16,
    }


def test_a_phantom_beside_class_folders(tmp_path):
    phantom.write(tmp_path / "made", {"covid19": 1, "normal": 1}, size=64)
    touch(tmp_path, "mine/covid/a.png", "mine/normal/b.png")
    records = sources.read(tmp_path)
    assert records.counts("source")["images"].tolist() == [2, 2]
    assert [source.key for source, _ in sources.find(tmp_path / "made")] == ["phantom"]
    # Numbers that only one source has stay unknown for the others; text becomes empty.
    mine = records.table[records.table["source"] == "mine"]
    assert mine["severity"].isna().all()
    assert set(mine["pattern"]) == {""}


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def test_public_data_sets_and_own_folders_side_by_side(tmp_path):
    touch(tmp_path, "mine/covid/a.png", "mine/normal/b.png", "loose/c.png")
    touch(tmp_path, "chest_xray/train/NORMAL/IM-0001-0001.jpeg")
    touch(tmp_path, "chest_xray/train/PNEUMONIA/person1_virus_1.jpeg")
    records = sources.read(tmp_path)
    assert records.counts("source")["images"].to_dict() == {0: 2, 1: 2}
    assert [note for note in records.notes if "loose" in note and "not read" in note]


def test_two_own_folders_are_not_two_classes(tmp_path):
    touch(tmp_path, *(f"{site}/{label}/{site}{label}.png" for site in "ab" for label in ("covid", "normal")))
    records = sources.read(tmp_path)
    assert records.counts("source", "label").to_numpy().tolist() == [
        ["a", "covid19", 1],
        ["a", "normal", 1],
        ["b", "covid19", 1],
        ["b", "normal", 1],
    ]


def test_nothing_recognised_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv.*stage_2.*phantom\.csv") as error:
        sources.read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        sources.read(tmp_path / "nowhere")


def test_a_file_that_is_no_table(tmp_path):
    touch(tmp_path, "x.png")
    with pytest.raises(DataError, match="not a CSV table"):
        sources.read(tmp_path / "x.png")


def test_a_recognised_data_set_without_any_image(tmp_path):
    (tmp_path / "stage_2_detailed_class_info.csv").write_text("patientId,class\nabc,Normal\n")
    with pytest.raises(DataError, match=r"all 1 images are left out \(most: file missing\)"):
        sources.read(tmp_path)


def test_a_recognised_data_set_that_names_no_image(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "metadata.csv").write_text("patientid,finding,view,filename\n")
    with pytest.raises(DataError, match="there is no image"):
        sources.read(tmp_path)


def test_an_option_that_no_source_knows(tmp_path):
    with pytest.raises(OptionError, match=r"'view'.*views"):
        sources.read(tmp_path, view="PA")


def test_an_option_reaches_its_source_only(shared):
    records = sources.read(shared / "data", labels="binary", views=("PA",))
    kermany = records.table[records.table["source"] == "kermany"]
    covid = records.table[records.table["source"] == "covid-chestxray-dataset"]
    assert kermany["label"].value_counts().to_dict() == {"pneumonia": 1000, "normal": 500}
    assert len(covid) == 302
