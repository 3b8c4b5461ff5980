"""The augmentation races: the same work on both sides."""

import numpy as np
import pytest

from covidcxr.bench.measuring import Bench
from covidcxr.bench.parts import augmentation as part
from covidcxr.data.augmentation import make_engine
from covidcxr.papers.rahimzadeh2020 import AUGMENTATION


@pytest.fixture
def greys():
    return np.random.default_rng(1).integers(0, 256, (part.BATCH + 2, 16, 16)).astype(np.uint8)


def test_ours_gives_what_batches_deliver(greys):
    batch = part.fast_batches(greys, seed=4)
    engine = make_engine("fast", AUGMENTATION, (16, 16, 1))
    preprocessing = AUGMENTATION.preprocessing((16, 16))
    moved = engine.apply_batch(greys, [engine.draw(4 + number) for number in range(len(greys))])
    wanted = preprocessing.standardize(preprocessing.expand(moved))
    np.testing.assert_array_equal(np.concatenate([batch(0), batch(1)]), wanted)


def test_keras_makes_the_same_image_of_the_same_seed(greys):
    theirs, ours = (make(greys, seed=4)(0) for make in (part.keras_batches, part.fast_batches))
    assert theirs.shape == ours.shape == (30, 16, 16, 3)
    # Keras seeds once a batch, so the first image alone has our draw.
    np.testing.assert_allclose(theirs[0], ours[0], atol=1e-3)
    assert np.abs(theirs[1] - ours[1]).max() > 0.1


@pytest.mark.slow
def test_albumentations_transforms_each_image(greys):
    pytest.importorskip("albumentations")
    batch = part.albumentations_batches(greys, seed=3)(0)
    assert batch.shape == (30, 16, 16, 3)
    assert batch.dtype == np.float32
    assert 0 <= batch.min() < batch.max() <= 1
    still = greys[:30] / np.float32(255)
    assert (np.abs(batch[..., 0] - still).max(axis=(1, 2)) > 0.1).all()


@pytest.mark.parametrize("installed", [True, False])
def test_the_part_races_what_is_installed(installed, tmp_path, monkeypatch):
    def albumentations_batches(greys, seed):
        if not installed:
            raise ImportError("albumentations")
        return part.fast_batches(greys, seed)

    monkeypatch.setattr(part, "albumentations_batches", albumentations_batches)
    monkeypatch.setattr(part, "SIDES", (12,))
    monkeypatch.setattr(part, "_COUNT_QUICK", 60)
    monkeypatch.setattr(part.os, "cpu_count", lambda: 2)
    noise = np.zeros((60, 12, 12), np.uint8)
    monkeypatch.setattr(part.images, "greys", lambda bench, count, side: noise[:count])
    said = []
    races = {race.key: race for race in part.measure(Bench(tmp_path, quick=True, say=said.append))}
    wanted = ["augment-12", "augment-12-cores", *["augment-12-albumentations"] * installed]
    assert list(races) == wanted
    assert races["augment-12"].goal == 30
    assert len(races["augment-12"].ours_seconds) == 3
    assert any("pip install" in text for text in said) is not installed
