"""Where a run's images are kept changes no number of it; several models decode them once."""

import json
import os
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr.cli import main
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.data.sources import phantom
from covidcxr.models import memory
from covidcxr.papers import ragab2022
from covidcxr.papers.plan import options_from

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
COUNTS = {"covid19": 15, "normal": 25}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    phantom.write(folder, COUNTS, size=64, seed=5)
    return folder


@pytest.fixture
def recipe(monkeypatch):
    """Two tiny networks of one paper."""
    tiny = runpy.run_path(TINY)["recipe"]()
    networks = {**tiny.networks, "second": tiny.networks["tiny"]}
    monkeypatch.setattr(ragab2022, "RECIPE", replace(tiny, networks=networks))


@pytest.fixture
def loaded(monkeypatch):
    """Names of the files that were decoded at a network's size."""
    names, load = [], Preprocessing.load

    def noted(self, path):
        names.append(os.fspath(path))
        return load(self, path)

    monkeypatch.setattr(Preprocessing, "load", noted)
    return names


def train(data, out, *more, model="tiny"):
    words = ["--data", str(data), "--weights", "none", "--batch-size", "8", "--epochs", "3", "--model", model]
    return main(["train", "ragab2022", *words, "--out", str(out), *map(str, more)])


def numbers(folder):
    predictions = pd.read_csv(folder / "predictions.csv")
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    return predictions, history


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fast", "keras"])
def test_no_number_hangs_on_the_cache(engine, data, tmp_path, recipe, monkeypatch):
    choices = {
        "off": "off",
        "auto": "auto",
        "memory": "memory",
        "folder": tmp_path / "kept",
        "again": tmp_path / "kept",
    }
    for name, choice in choices.items():
        assert train(data, tmp_path / name, "--engine", engine, "--cache", choice) == 0
    monkeypatch.setattr(memory, "available", lambda: 40_000)
    monkeypatch.setattr("covidcxr.papers.running.networks._check_memory", lambda model, plan: None)
    assert train(data, tmp_path / "file", "--engine", engine) == 0
    expected = numbers(tmp_path / "off")
    for name in ("auto", "memory", "folder", "again", "file"):
        for one, other in zip(expected, numbers(tmp_path / name), strict=True):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            path.name for path in (tmp_path / "off").iterdir()
        }
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.slow
def test_images_are_decoded_once_for_all_epochs_and_models(data, tmp_path, recipe, loaded):
    def trained_on(out):
        splits = [pd.read_csv(path) for path in out.glob("**/split.csv")]
        return {str(data / path) for split in splits for path in split["path"]}

    assert train(data, tmp_path / "run", model="tiny,second") == 0
    counts = pd.Series(loaded).value_counts()
    held_out = 2  # Scoring reads them itself, for each of the two models.
    assert set(counts.index) == trained_on(tmp_path / "run")
    assert set(counts) == {1, 1 + held_out}
    loaded.clear()
    assert train(data, tmp_path / "every", "--cache", "off") == 0
    assert pd.Series(loaded).value_counts().min() >= 3


def test_the_run_says_how_its_images_were_read(data, tmp_path, recipe):
    assert train(data, tmp_path / "run") == 0
    options = json.loads((tmp_path / "run" / "config.json").read_text())["options"]
    assert (options["engine"], options["cache"]) == ("fast", "auto")


@pytest.mark.slow
def test_a_run_goes_on_with_its_engine_and_any_cache(data, tmp_path, recipe, capsys):
    out = tmp_path / "run"
    assert train(data, out, "--cache", "off") == 0
    expected = numbers(out)
    (out / "predictions.csv").unlink()
    resume = ["train", "ragab2022", "--resume", "--out", str(out)]
    assert main([*resume, "--engine", "keras"]) == 2
    assert "--engine keras: the run" in capsys.readouterr().err
    assert main([*resume, "--cache", "memory"]) == 0
    np.testing.assert_array_equal(expected[0]["prob_normal"], numbers(out)[0]["prob_normal"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "slow"], "unknown --engine 'slow' (choose from fast, keras)"),
        (["--cache", ""], "cache is empty"),
        (["--cache", "{data}/phantom.csv"], "phantom.csv"),
        (["--cache", "{data}/phantom.csv/below"], "a part of the path is a file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(words, message, data, tmp_path, recipe, capsys):
    assert train(data, tmp_path / "run", *[word.format(data=data) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_too_many_images_for_memory_are_refused(data, tmp_path, recipe, monkeypatch, capsys):
    monkeypatch.setattr(memory, "available", lambda: 20_000)
    monkeypatch.setattr("covidcxr.papers.running.networks._check_memory", lambda model, plan: None)
    assert train(data, tmp_path / "run", "--cache", "memory") == 2
    assert "--cache memory: the decoded images take" in capsys.readouterr().err


def test_a_run_from_before_there_were_engines_goes_on_with_keras():
    assert options_from({"data": "phantom"}, "config.json").engine == "keras"
    assert options_from({"engine": "fast"}, "config.json").engine == "fast"
