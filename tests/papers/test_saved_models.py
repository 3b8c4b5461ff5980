"""Each shipped model scores what its card says, on the split that lies beside it."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from covidcxr.models import shipped
from covidcxr.models.weights_report import sha256
from covidcxr.papers.shipping import index, rules, split

SHELF = Path(__file__).resolve().parents[2] / shipped.FOLDER
PLACES = index.places(SHELF)
each = pytest.mark.parametrize(
    "place",
    PLACES or [pytest.param(None, marks=pytest.mark.skip("no model is shipped yet"))],
    ids=lambda place: place.name if place else "none",
)


def test_the_index_is_what_the_models_make():
    with open(SHELF / shipped.INDEX, encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == index.made(SHELF)


def test_nothing_else_lies_there():
    names = {path.name for path in SHELF.iterdir() if not path.name.startswith(".")}
    assert names == {"README.md", shipped.INDEX, *(place.name for place in PLACES)}
    for place in PLACES:
        assert {path.name for path in place.iterdir()} == set(shipped.FILES)


def test_together_they_are_small():
    sizes = [(place / shipped.MODEL).stat().st_size for place in PLACES]
    assert max(sizes, default=0) <= rules.LARGEST_FILE
    assert sum(sizes) <= rules.LARGEST_SHELF


@each
def test_card_scores_and_file_belong_together(place):
    scores = json.loads((place / shipped.METRICS).read_text(encoding="utf-8"))
    card = (place / shipped.CARD).read_text(encoding="utf-8")
    assert sha256(place / shipped.MODEL) == scores["model"]["sha256"]
    assert scores["model"]["sha256"] in card
    assert "Not a medical device" in card
    assert scores["model"]["largest_change"] <= rules.LARGEST_CHANGE
    listing = pd.read_csv(place / shipped.SPLIT, dtype=str)
    assert tuple(listing.columns) == split.COLUMNS
    assert (listing["split"] == scores["split"]).sum() == scores["images"]


@pytest.mark.slow
@each
def test_it_scores_what_its_card_says_on_its_split(place, shared):
    from covidcxr.evaluation.external import evaluate, labelled_images
    from covidcxr.models.files import load_model, read_info

    told = json.loads((place / shipped.METRICS).read_text(encoding="utf-8"))
    records = labelled_images(
        shared / "data",
        read_info(place / shipped.MODEL).class_names,
        mapping=told["model"]["label_mapping"],
        split_file=place / shipped.SPLIT,
        split=told["split"],
    )
    listing = pd.read_csv(place / shipped.SPLIT, dtype=str).set_index("path")
    hashes = [sha256(file) for file in records.files()]
    assert hashes == list(listing["sha256"].reindex(records.table["path"]))
    found = evaluate(load_model(place / shipped.MODEL), records, seed=told["intervals"]["seed"]).metrics
    for name in ("images", "patients", "classes", "confusion_matrix"):
        assert found[name] == told[name]
    for name in ("accuracy", "balanced_accuracy"):
        assert found[name] == pytest.approx(told[name], abs=1e-12)
    assert found["macro"]["roc_auc"] == pytest.approx(told["macro"]["roc_auc"], abs=1e-3)
    for label, measures in told["per_class"].items():
        for name in ("sensitivity", "specificity"):
            assert found["per_class"][label][name] == pytest.approx(measures[name], abs=1e-12)
