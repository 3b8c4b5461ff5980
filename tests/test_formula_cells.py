"""No cell of a CSV that is written begins a spreadsheet's formula, and every text comes back as it was."""

import csv
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr import atomic, formula_cells
from covidcxr.data.records import Records, read_csv
from covidcxr.evaluation import predictions
from covidcxr.evaluation.audits import report as audits

FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NAMES = [
    "=cmd.png",
    "@x.png",
    "-1.png",
    "+1.png",
    "'=x.png",
    "''-x.png",
    "\tx.png",
    "\rx.png",
    "a\rb.png",
    "it's.png",
]
BEGINNINGS = st.text("'=+-@\t\r\n＝ax1.e", max_size=6)


def cells(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def is_formula(cell):
    try:
        float(cell)
    except ValueError:
        return bool(FORMULA.match(cell))
    return False


@settings(max_examples=2000, deadline=None)
@given(BEGINNINGS, BEGINNINGS)
def test_the_rule_can_be_undone_and_leaves_no_formula(one, other):
    assert formula_cells.plain(formula_cells.escaped(one)) == one
    assert not is_formula(formula_cells.escaped(one))
    assert (formula_cells.escaped(one) == formula_cells.escaped(other)) == (one == other)


@pytest.mark.parametrize("number", ["-1", "+1", "-1.5", "-.5", "-1e-05", "+2.", "-0"])
def test_numbers_stay(number):
    assert formula_cells.escaped(number) == number


@pytest.mark.parametrize("text", ["-1-1", "-1 2", "--1", "-", "+", "-inf", "-1,5", "-٣", "=1", "-1e"])
def test_what_only_looks_like_a_number_is_marked(text):
    assert formula_cells.escaped(text) == f"'{text}"


def test_a_table_is_written_without_formulas_and_reads_the_same(tmp_path):
    table = pd.DataFrame(
        {"=name": NAMES, "number": -np.arange(10.0) / 3, "label": ["-1", "=2"] * 5, "@gap": None}
    )
    atomic.write_csv(tmp_path / "t.csv", table)
    written = cells(tmp_path / "t.csv")
    assert not [cell for row in written for cell in row if is_formula(cell)]
    assert len(written) == 11
    assert written[0] == ["'=name", "number", "label", "'@gap"]
    again = formula_cells.plain_table(
        pd.read_csv(tmp_path / "t.csv", keep_default_na=False, dtype={"label": str})
    )
    assert list(again.columns) == list(table.columns)
    assert again["=name"].tolist() == NAMES
    assert again["label"].tolist() == table["label"].tolist()
    assert again["number"].tolist() == table["number"].tolist()


def test_ordinary_tables_are_written_as_pandas_writes_them(tmp_path):
    table = pd.DataFrame(
        {"path": ["a,b.png", 'c"d.png'], "value": [-1.5, None], "kind": pd.Categorical(["x", "y"])}
    )
    atomic.write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == table.to_csv(index=False, lineterminator="\n")


def test_records_and_predictions_come_back(tmp_path):
    rows = [{"path": name, "label": "=a" if number % 2 else "-b"} for number, name in enumerate(NAMES)]
    records = Records.from_rows(rows, tmp_path)
    records.write_csv(tmp_path / "records.csv")
    assert read_csv(tmp_path / "records.csv").table.equals(records.table)
    chances = np.tile([0.25, 0.75], (len(NAMES), 1))
    made = predictions.Predictions.from_arrays(records.table, ("=a", "-b"), chances)
    made.write_csv(tmp_path / "predictions.csv")
    again = predictions.read_csv(tmp_path / "predictions.csv")
    assert again.class_names == ("=a", "-b")
    assert again.table.equals(made.table)
    for name in ("records.csv", "predictions.csv"):
        assert not [cell for row in cells(tmp_path / name) for cell in row if is_formula(cell)]


def test_the_tables_of_an_audit_come_back(tmp_path):
    pairs = pd.DataFrame({"a": ["=1.png", "@2.png"], "distance": [-1, 3]})
    audits.write([audits.Audit("leaks", "Leaks", {"pairs": pairs})], tmp_path)
    assert "'=1.png" in (tmp_path / "audit-leaks-pairs.csv").read_text()
    (audit,) = audits.read(tmp_path)
    assert audit.tables["pairs"].equals(pairs)


def test_a_users_own_table_of_a_public_set_is_read_as_it_is(tmp_path):
    from covidcxr.data.sources import covid_chestxray

    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "'=a.png").write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("patientid,finding,view,filename\n1,COVID-19,PA,'=a.png\n")
    assert covid_chestxray.read(tmp_path).table["path"].tolist() == ["images/'=a.png"]
