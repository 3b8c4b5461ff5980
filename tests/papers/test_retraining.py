"""A run trained again on parts of its images, which is what the audit of shortcuts asks for with --retrain."""

import runpy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr.cli import main
from covidcxr.data.images import read_grey
from covidcxr.data.sources import phantom
from covidcxr.errors import OptionError
from covidcxr.evaluation.audits import inputs, transforms
from covidcxr.evaluation.predictions import read_csv
from covidcxr.papers import ragab2022
from covidcxr.papers.recipe import Arm
from covidcxr.papers.running.retraining import Retrainer

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
SURGERIES = {surgery.name: surgery for surgery in transforms.SURGERIES}


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"]())


@pytest.fixture
def run(recipe, tmp_path):
    phantom.write(
        tmp_path / "data",
        {"covid19": 40, "normal": 40},
        size=64,
        seed=3,
        images_per_patient=(1, 1),
        masks=True,
    )
    options = ["--weights", "none", "--model", "tiny", "--batch-size", "8", "--epochs", "2"]
    where = ["--data", str(tmp_path / "data"), "--protocol", "sound", "--out", str(tmp_path / "run")]
    assert main(["train", "ragab2022", *options, *where]) == 0
    return tmp_path / "run"


def test_the_same_run_is_trained_on_what_is_left_of_every_image(run):
    records = inputs.run_records(run)
    split = records.table["split"]
    scored = records.where(split == "test")
    border = SURGERIES["border"]
    values = Retrainer(run)(border, records.where(split == "train"), scored)
    again = run / "audit" / "retrained" / "border"
    for file, name in zip(records.files(), records.table["path"], strict=True):
        written = cv2.imread(str(again / "images" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(written, border.cut(read_grey(file), None))
    written = read_csv(again / "run" / "predictions.csv").subset("test")
    by_path = pd.Series(written.probabilities[:, 0], written.table["path"])
    expected = [by_path[f"images/{path}.png"] for path in scored.table["path"]]
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-6)
    before = (run / "split.csv", again / "run" / "split.csv")
    old, new = (pd.read_csv(path)["split"].value_counts().to_dict() for path in before)
    assert old == new


@pytest.mark.slow
def test_lungs_are_cut_by_their_masks(run, tmp_path):
    records = inputs.run_records(run)
    split = records.table["split"]
    masked = Retrainer(run, masks=tmp_path / "data" / "masks")
    masked(SURGERIES["lungs_removed"], records.where(split == "train"), records.where(split == "test"))
    name, file = records.table["path"].iloc[0], records.files()[0]
    cut = cv2.imread(str(run / "audit/retrained/lungs_removed/images" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    assert (cut != read_grey(file)).mean() > 0.1


@pytest.mark.slow
def test_generated_images_are_refused(run, monkeypatch):
    arms = {"gan": Arm("with", generated=True)}
    monkeypatch.setattr(ragab2022, "RECIPE", replace(ragab2022.RECIPE, arms=arms))
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace('"arm": null', '"arm": "gan"'))
    with pytest.raises(OptionError, match="retrain the arm without them"):
        Retrainer(run)


@pytest.mark.slow
def test_the_command_retrains_every_probe(run, capsys):
    assert main(["audit", str(run), "--only", "shortcuts", "--backbone", "pixels", "--retrain"]) == 0
    retrained = {path.name for path in (run / "audit" / "retrained").iterdir()}
    assert {"full", "border", "corners"} <= retrained
    assert "border" in capsys.readouterr().out
    assert main(["audit", str(run.parent / "data"), "--retrain"]) == 2
