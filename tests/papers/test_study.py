"""A run of several models: rows one by one, interruptions, models that cannot be trained."""

import runpy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from covidcxr.cli import main
from covidcxr.papers import ragab2022
from covidcxr.papers.recipe import Table
from covidcxr.papers.tables import headline, layout

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
MODELS = ("tiny", "second", "third")


def made(results, models):
    return layout(headline(results), ["model"], {"Accuracy": "accuracy"})


class Build:
    """The tiny network; the first times of one of the models something happens instead."""

    def __init__(self, real):
        self.real = real
        self.faults = []
        self.calls = 0

    def __call__(self, **options):
        self.calls += 1
        if self.faults:
            raise self.faults.pop()
        return self.real(**options)


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """Three networks of one paper, and a table of their accuracies."""
    tiny = runpy.run_path(TINY)
    recipe = tiny["recipe"](12)
    builds = {key: Build(tiny["build"]) for key in MODELS}
    networks = {key: replace(recipe.networks["tiny"], build=build) for key, build in builds.items()}
    recipe = replace(recipe, networks=networks, tables={"table1": Table("Table 1", made)})
    monkeypatch.setattr(ragab2022, "RECIPE", recipe)
    monkeypatch.chdir(tmp_path)
    return builds


def train(*more):
    options = ["--model", "all", "--weights", "none", "--batch-size", "8", "--epochs", "2"]
    return main(["train", "ragab2022", *options, *more])


def measured(folder):
    return pd.read_csv(f"{folder}/results.csv")


def test_every_model_has_its_row_and_its_folder(builds, capsys):
    assert train("--out", "run") == 0
    models = pd.read_csv("run/models.csv")
    assert list(models["model"]) == list(MODELS)
    assert set(models["state"]) == {"done"}
    assert set(models["parameters"]) == {4 * 4 * 3 * 2 + 2}
    table = pd.read_csv("run/tables/table1.csv")
    assert list(table["model"]) == list(MODELS)
    accuracy = pd.read_json("run/models/B10-second/metrics.json", typ="series")["splits"]["val"]["accuracy"]
    assert table["Accuracy"][1] == pytest.approx(accuracy)
    page = Path("run/report.html").read_text()
    assert "Table 1" in page
    assert "B10-third" in page
    assert "95.08 %" not in capsys.readouterr().out, "a claim of another case has no place here"


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_rows_and_goes_on(builds):
    assert train("--out", "whole") == 0
    builds["second"].faults.append(KeyboardInterrupt())
    assert train("--out", "cut") == 130
    assert list(pd.read_csv("cut/models.csv")["model"]) == ["tiny"]
    assert set(measured("cut")["model"]) == {"tiny"}
    before = builds["tiny"].calls
    assert main(["train", "ragab2022", "--resume", "--out", "cut"]) == 0
    assert builds["tiny"].calls == before, "what is done is not done again"
    pd.testing.assert_frame_equal(measured("cut"), measured("whole"))


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_reported_and_the_others_go_on(builds, capsys):
    builds["second"].faults.append(MemoryError())
    assert train("--out", "run") == 0
    models = pd.read_csv("run/models.csv").set_index("model")
    assert "lower --batch-size" in models.loc["second", "state"]
    assert list(models.loc[["tiny", "third"], "state"]) == ["done", "done"]
    assert "left out: B10-second" in capsys.readouterr().out
    assert main(["train", "ragab2022", "--resume", "--out", "run"]) == 0
    assert set(pd.read_csv("run/models.csv")["state"]) == {"done"}


@pytest.mark.slow
def test_a_run_of_which_nothing_comes_is_an_error(builds, tmp_path, capsys):
    (tmp_path / "weights").mkdir()
    arguments = ["train", "ragab2022", "--model", "all", "--weights", "weights", "--out", "run"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "no model could be trained" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_overwriting_clears_a_run_of_several_models_and_nothing_else(builds):
    assert train("--out", "run") == 0
    assert train("--out", "run") == 2
    Path("run/models/mine.txt").write_text("kept")
    assert train("--out", "run", "--overwrite", "--model", "tiny,second") == 0
    assert {path.name for path in Path("run/models").iterdir()} == {"B10-tiny", "B10-second", "mine.txt"}


@pytest.mark.slow
def test_in_python_a_run_of_several_gives_them_together(builds):
    from covidcxr import papers

    options = {"model": "tiny,third", "weights": "none", "batch_size": 8, "epochs": 1, "out": "run"}
    result = papers.get("ragab2022").run(**options)
    assert set(result.history["name"]) == {"B10-tiny", "B10-third"}
    assert set(result.predictions["name"]) == {"B10-tiny", "B10-third"}
    assert set(result.metrics) == {"B10-tiny", "B10-third"}
    assert result.model("B10-third").count_params() == 98
    assert "Table 1" in result._repr_html_()


@pytest.mark.slow
def test_a_finished_model_whose_file_was_damaged_since_is_named(builds, capsys):
    assert train("--out", "run") == 0
    for name, content in (
        ("history.csv", ""),
        ("metrics.json", "[" * 900 + "]" * 900),
        ("metrics.json", "[]"),
    ):
        path = Path("run/models/B10-second") / name
        whole = path.read_bytes()
        path.write_text(content)
        assert main(["train", "ragab2022", "--resume", "--out", "run"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "B10-second: a file of this finished model is damaged" in error
        path.write_bytes(whole)
    assert main(["train", "ragab2022", "--resume", "--out", "run"]) == 0
