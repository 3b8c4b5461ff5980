"""Every paper under both protocols, small, through the real command: the whole road from images to a report."""

import json

import pandas as pd
import pytest

import covidcxr
from covidcxr import papers
from covidcxr.cli import main

PAPERS = ("khalifa2020", "nemati2022", "rahimzadeh2020", "ragab2022", "yin2020")


def finished_models(folder):
    """List the run folders of all models that a command trained."""
    several = folder / "models"
    return sorted(several.iterdir()) if several.is_dir() else [folder]


def test_there_are_five_papers_with_two_protocols_each():
    assert papers.keys() == tuple(sorted(PAPERS))
    for key in PAPERS:
        assert list(papers.get(key).recipe.protocols) == ["published", "sound"]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["published", "sound"])
@pytest.mark.parametrize("key", PAPERS)
def test_the_paper_runs_from_images_to_report(key, protocol, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", key, "--protocol", protocol, "--preset", "smoke", "--out", "run"]) == 0
    assert "Not a medical device" in capsys.readouterr().out
    folder = tmp_path / "run"
    assert "Not a medical device" in (folder / "report.html").read_text()
    recipe = papers.get(key).recipe
    for run in finished_models(folder):
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["headline_split"] == recipe.protocols[protocol].headline
        split = pd.read_csv(run / "split.csv", keep_default_na=False)
        predictions = pd.read_csv(run / "predictions.csv")
        assert set(predictions["path"]) == set(split.loc[split["split"] != "train", "path"])
        if protocol == "sound":
            by_patient = split[split["patient_id"] != ""].groupby("patient_id")["split"]
            assert by_patient.nunique().max() == 1
        model = covidcxr.load_model(run / "model.h5")
        assert model.output_shape[-1] == len(metrics["splits"][metrics["headline_split"]]["classes"])
    if (folder / "models").is_dir():
        assert {path.stem for path in (folder / "tables").glob("*.csv")} == set(recipe.tables)
        assert set(pd.read_csv(folder / "models.csv")["state"]) == {"done"}
