"""The authors' lists against what their paper prints (section 2.2 and Table 1)."""

import pytest

from covidcxr.data import sources, splits
from covidcxr.data.records import Records
from covidcxr.data.sources import rahimzadeh
from covidcxr.errors import DataError, OptionError


@pytest.fixture(scope="module")
def lists(shared):
    return rahimzadeh.read_lists(shared / "data" / "rahimzadeh2020-splits")


@pytest.fixture(scope="module")
def records(shared):
    return sources.read(shared / "data", views=None)


@pytest.mark.parametrize("fold", rahimzadeh.FOLDS)
def test_printed_counts(lists, fold):
    counts = rahimzadeh.counts(lists, fold)
    covid = 150 if fold == 3 else 149
    for phase in rahimzadeh.PHASES:
        assert counts.loc[f"phase {phase}"].tolist() == [covid, 250, 234, covid + 484]
    assert counts.loc["every phase"].tolist() == [covid, 0, 34, covid + 34]
    assert counts.loc["train"].tolist() == [covid, 8 * 250, 34 + 8 * 200, covid + 3634]
    assert counts.loc["test"].tolist() == [180 - covid, 6851, 4420, 11451 - covid]
    assert counts.loc["all"].tolist() == [180, 8851, 6054, 15085]


def test_the_paper_trains_on_3783_images_633_a_phase_and_tests_on_11302(lists):
    images = rahimzadeh.counts(lists, 1)["images"]
    assert (images["train"], images["phase 1"], images["test"]) == (3783, 633, 11302)


def test_the_real_images_get_the_authors_split(lists, records):
    result = rahimzadeh.assign(records, lists, 1)
    # As the data's readme counts them: 180 COVID-19, 170 pneumonia, 76 normal have their picture here.
    assert result.counts()["images"].tolist() == [180, 76, 170]
    found = result.counts("label", "split").set_index(["label", "split"])["images"]
    assert (found["covid19", "train"], found["covid19", "test"]) == (149, 31)
    reasons = [item.reason for item in result.exclusions if item.source == rahimzadeh.SOURCE]
    assert reasons == ["file missing"] * (15085 - 426)


@pytest.mark.parametrize("phase", [1, 8])
def test_a_phase_trains_on_what_its_list_names(shared, lists, records, phase):
    trained = splits.in_phase(rahimzadeh.assign(records, lists, 2), phase)
    listed = (shared / "data" / "rahimzadeh2020-splits" / "fold2" / f"train{phase}.csv").read_text()
    stems = {line.split(",")[0].rsplit(".", 1)[0] for line in listed.splitlines()[1:]}
    here = {path.stem for path in records.files()}
    assert {path.stem for path in trained.files()} == stems & here


def test_labels_are_the_lists(lists, records):
    result = rahimzadeh.assign(records, lists, 1)
    assert result.classes() == ["covid19", "normal", "pneumonia"]
    assert any("41 images have another label" in note for note in result.notes)


def test_one_file_a_name_the_very_name_first(lists):
    name = lists.images["name"].iloc[0]
    stem = name.rsplit(".", 1)[0]
    paths = [f"a/{stem}.jpg", f"b/{name}", f"c/{name}"]
    given = Records.from_rows([{"path": path, "label": "normal"} for path in paths], "x")
    result = rahimzadeh.assign(given, lists, 1)
    assert result.table["path"].tolist() == [f"b/{name}"]
    assert [item.path for item in result.exclusions if item.reason == "another file of a listed image"] == [
        f"a/{stem}.jpg",
        f"c/{name}",
    ]


def test_none_of_the_images_is_listed(lists):
    with pytest.raises(DataError, match="none of 1 images is on the lists"):
        rahimzadeh.assign(Records.from_rows([{"path": "x.png", "label": "normal"}], "x"), lists, 1)


def test_a_fold_that_is_not(lists, records):
    with pytest.raises(OptionError, match="fold 6"):
        rahimzadeh.assign(records, lists, 6)


def test_a_missing_list(tmp_path):
    (tmp_path / "All.csv").write_text("filename,class\na.png,normal\n")
    with pytest.raises(DataError, match=r"fold1/train1\.csv: not a readable CSV"):
        rahimzadeh.read_lists(tmp_path)
