import pandas as pd
import pytest

from covidcxr.data.labels import LABELS, canonical
from covidcxr.data.records import COLUMNS, Records, concat, read_csv
from covidcxr.errors import DataError


def some(root, prefix="a", n=3):
    return Records.from_rows(
        [{"path": f"{prefix}/{i}.png", "label": "normal", "patient_id": f"p{i}", "age": i} for i in range(n)],
        root,
    )


def test_missing_columns_are_filled_as_unknown(tmp_path):
    table = some(tmp_path).table
    assert list(table.columns) == list(COLUMNS)
    assert table["view"].eq("").all()
    assert table["offset"].isna().all()


def test_csv_round_trip_keeps_every_value(tmp_path):
    records = some(tmp_path).with_columns(finding=["None", "NA", ""])
    records.write_csv(tmp_path / "records.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "records.csv").table, records.table)


def test_concat_rebases_paths_to_the_common_folder(tmp_path):
    first, second = tmp_path / "x" / "one", tmp_path / "x" / "two"
    first.mkdir(parents=True)
    second.mkdir()
    joined = concat([some(first), some(second)])
    assert joined.root == tmp_path / "x"
    assert joined.files()[0] == first / "a/0.png"
    assert joined.files()[-1] == second / "a/2.png"


def test_where_names_what_it_drops(tmp_path):
    kept = some(tmp_path).where(pd.Series([True, False, True]), reason="lateral view")
    assert len(kept) == 2
    assert [(item.path, item.reason) for item in kept.exclusions] == [("a/1.png", "lateral view")]


def test_a_path_listed_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: listed twice"):
        Records.from_rows([{"path": "a.png", "label": "x"}] * 2, tmp_path)


@pytest.mark.parametrize(
    "text", ["", "path\n", "a,b\n1,2\n", "path,label\nx,a.png,covid19\ny,b.png,normal\n"]
)
def test_a_table_without_paths_and_labels_is_refused(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=r"t\.csv"):
        read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("spelling", "label"),
    [
        ("COVID-19", "covid19"),
        (" Covid_19 ", "covid19"),
        ("NORMAL", "normal"),
        ("Viral Pneumonia", "viral_pneumonia"),
        ("Lung Opacity", "pneumonia"),
        ("Pleural effusion", "pleural_effusion"),
        *[(label.upper(), label) for label in LABELS],
    ],
)
def test_spellings_found_on_disk_become_the_settled_labels(spelling, label):
    assert canonical(spelling) == label
