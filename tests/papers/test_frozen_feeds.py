"""A paper's run on frozen features against the same run on images."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr import papers
from covidcxr.data.sources import phantom
from covidcxr.errors import ModelError
from covidcxr.papers import nemati2022, ragab2022, yin2020
from covidcxr.papers.plan import RunOptions, settle
from covidcxr.papers.running import feeding, frozen_feeds, networks
from covidcxr.papers.running.images import Gatherer
from covidcxr.training.bank import Banks
from covidcxr.training.stages import run_stages
from covidcxr.training.strategy import place

RECIPES = {"nemati2022": nemati2022.RECIPE, "ragab2022": ragab2022.RECIPE, "yin2020": yin2020.RECIPE}
EPOCHS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    counts = dict.fromkeys(("bacterial_pneumonia", "covid19", "normal", "viral_pneumonia"), 14)
    phantom.write(folder, counts, size=64, seed=5)
    return str(folder)


class Run:
    """One model of a paper, up to its training."""

    def __init__(self, key, data, folder, **options):
        options = {"preset": "smoke", "epochs": EPOCHS, "data": data, "out": str(folder), **options}
        self.plan = settle(RECIPES[key], RunOptions(**options))[0]
        self.records = Gatherer(folder).gather(self.plan)
        self.loader = networks.preprocessing(self.plan, self.records)
        self.folder = folder
        self.placement = place("single")
        self.model, _ = networks.build(self.plan, self.records, self.loader, self.placement)
        self.frozen = frozen_feeds.choose(self.plan, self.model)

    def feeds(self, banks):
        return frozen_feeds.feeds(
            self.plan, self.records, self.loader, self.model, self.frozen, banks, self.folder
        )

    def train(self, banks=None):
        """On features with banks, else on images."""
        return run_stages(
            self.model,
            self.plan.stages,
            feeding.feeds(self.plan, self.records, self.loader),
            self.folder,
            seed=self.plan.seed,
            frozen=self.feeds(banks) if banks else None,
            draws=self.frozen and self.frozen.draws,
        )


NEMATI = {"model": "mobilenet", "fold": "1"}
RAGAB = {"model": "prose-mobilenetv2"}
YIN = {"model": "mobilenet", "case": "A"}


@pytest.mark.slow
@pytest.mark.parametrize(("key", "choice"), [("nemati2022", NEMATI), ("ragab2022", RAGAB), ("yin2020", YIN)])
def test_all_draws_are_the_stock_run(key, choice, data, tmp_path):
    with Banks() as banks:
        quick, fast = Run(key, data, tmp_path / "quick", draws="all", **choice).train(banks)
    plain, rows = Run(key, data, tmp_path / "plain", draws="off", **choice).train()
    for mine, theirs in zip(quick.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5)
    names = ["loss", "accuracy", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(fast[names], rows[names], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_folds_share_what_they_have_in_common_to_the_last_bit(data, tmp_path, monkeypatch):
    """The second fold finds most of its features there; they are those that it would compute by itself."""
    # As with pretrained weights, which no fold changes.
    monkeypatch.setattr(networks, "_has_frozen_statistics", lambda model: False)
    second = {**NEMATI, "fold": "2", "draws": "2"}
    with Banks() as banks:
        Run("nemati2022", data, tmp_path / "first", **{**second, "fold": "1"}).train(banks)
        held = set(banks._banks)
        keras.backend.clear_session()
        shared, _ = Run("nemati2022", data, tmp_path / "shared", **second).train(banks)
        assert set(banks._banks) == held
        weights = shared.get_weights()
    keras.backend.clear_session()
    with Banks() as banks:
        alone, _ = Run("nemati2022", data, tmp_path / "alone", **second).train(banks)
    for mine, theirs in zip(weights, alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_draws_are_chosen_by_what_is_frozen_and_drawn(data, tmp_path):
    run = Run("nemati2022", data, tmp_path, epochs=20, **NEMATI)
    assert run.frozen.draws == frozen_feeds.DEFAULT_DRAWS
    assert run.frozen.note == "frozen features of 16 draws an image"

    def draws(**changes):
        plan = replace(run.plan, **changes)
        return frozen_feeds.choose(plan, run.model)

    def options(value):
        return replace(run.plan.options, draws=value)

    assert draws(options=options("all")).draws == 20
    assert draws(options=options("3")).draws == 3
    assert draws(options=options("300")).draws == 20
    assert draws(options=options("off")) is None
    (stage,) = run.plan.stages
    assert draws(stages=(replace(stage, trainable="all"),)) is None
    assert draws(stages=(stage, replace(stage, trainable="all")), options=options("all")).draws == 20
    still = replace(run.plan.recipe, augmentation=yin2020.RECIPE.augmentation)
    assert draws(recipe=still, options=options("all")).draws == 1

    class Full(Banks):
        def __init__(self):
            super().__init__(room=0)

    run.frozen = replace(run.frozen, draws=10**12)
    assert run.feeds(Full()) is None, "left to us: the whole network runs"
    run.plan = replace(run.plan, options=options("all"))
    with pytest.raises(ModelError, match="lower --draws"):
        run.feeds(Full())


@pytest.mark.slow
def test_the_run_says_what_it_trained_on_and_resumes_with_it(data, tmp_path):
    paper = papers.get("nemati2022")
    options = {"preset": "smoke", "model": "mobilenet", "fold": "1", "data": data}
    result = paper.run(out=str(tmp_path / "run"), **options)
    assert "frozen features of 2 draws an image" in result.config["notes"]
    assert result.config["options"]["draws"] == "auto"
    assert not list(tmp_path.glob("run/*bank*"))
