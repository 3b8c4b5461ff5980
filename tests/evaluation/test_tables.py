"""What a reader sees of results and counts."""

import io

import pandas as pd
from rich.console import Console

from covidcxr.data.records import Records
from covidcxr.evaluation import tables
from covidcxr.evaluation.intervals import summarise
from covidcxr.evaluation.predictions import Predictions


def summary_of_32(wrong=1):
    """8 COVID-19 and 24 normal images of 32 patients; the first `wrong` COVID-19 ones are missed."""
    labels = ["covid19"] * 8 + ["normal"] * 24
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(32)], "label": labels})
    scores = [[0.1, 0.9]] * wrong + [[0.9, 0.1]] * (8 - wrong) + [[0.2, 0.8]] * 24
    return summarise(Predictions.from_arrays(table, ("covid19", "normal"), scores), seed=1, resamples=100)


def printed(table):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_rows_join_paper_and_run():
    rows = tables.result_rows(summary_of_32(), {"accuracy": "95.08 %", "per_class.covid19.roc_auc": 0.95})
    by_name = {row["measure"]: row for row in rows}
    measure, paper, run, note = tables.result_cells(by_name["accuracy"])
    assert (measure, paper, note) == ("accuracy", "95.08 %", "")
    assert run.startswith("96.88 % [")
    assert tables.result_cells(by_name["ROC area, covid19"])[1] == "0.950"
    assert tables.result_cells(by_name["sensitivity, covid19"])[2].startswith("87.50 % [")
    assert len({row["measure"] for row in rows}) == len(rows)


def test_a_claim_that_the_run_lacks_keeps_its_row():
    rows = tables.result_rows(summary_of_32(), {"per_class.sars.f1": "100 %"})
    assert tables.result_cells(rows[-1]) == ("F1, sars", "100 %", "—", "")


def test_the_note_says_why_there_is_no_interval():
    rows = {row["measure"]: row for row in tables.result_rows(summary_of_32(wrong=0), notes={"mcc": "mine"})}
    correlation = tables.result_cells(rows["Matthews correlation"])
    assert correlation[2:] == ("1.000", "every resample of the patients gives this value; mine")
    assert rows["sensitivity, covid19"]["note"] == "interval: Wilson, 8 patients"


def test_counts_cross_split_with_class():
    rows = [("train", "normal")] * 1200 + [("test", "normal")] * 2 + [("test", "covid19")]
    table = pd.DataFrame(rows, columns=["split", "label"]).assign(path=[f"{i}.png" for i in range(1203)])
    counts = Records.from_rows(table, ".").counts("split", "label")
    header, cells = tables.count_cells(counts)
    assert header == ["split", "covid19", "normal", "all"]
    assert cells == [
        ["train", "0", "1,200", "1,200"],
        ["test", "1", "2", "3"],
        ["all", "1", "1,202", "1,203"],
    ]
    assert "1,202" in printed(tables.counts_table(counts, "images"))


def test_terminal_prints_brackets_as_they_stand():
    row = {"measure": "[bold]accuracy[/bold]", "paper": "[red]1", "value": 0.5, "low": 0.25, "high": 0.75}
    text = printed(tables.results_table([row], title="[i]run"))
    for expected in (
        "[bold]accuracy[/bold]",
        "[red]1",
        "50.00 % [25.00, 75.00]",
        "[i]run",
        "paper",
        "this run",
    ):
        assert expected in text


def test_terminal_leaves_out_columns_that_are_empty_throughout():
    rows = [{"measure": "accuracy", "value": 0.5}, {"measure": "F1", "value": 0.25}]
    assert "paper" not in printed(tables.results_table(rows))
    assert "note" not in printed(tables.results_table(rows))
    assert "paper" in printed(tables.results_table([*rows, {"measure": "loss", "paper": 0.1}]))
