"""A clock that is set back, or was wrong: caches give the images that are there, and no duration is negative."""

import itertools
import os
import runpy
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.data import decoded_stores
from covidcxr.data.decoded import Decoded, fingerprint
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.models import features
from covidcxr.papers import ragab2022

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
FUTURE, PAST = (2**33, 2**33), (86400, 86400)


@pytest.fixture
def files(tmp_path):
    """Images in a format without compression, so that another has the same length."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "data" / label / f"{n:02d}.bmp" for label in ("covid19", "normal") for n in range(12)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 24), dtype=np.uint8)).save(path)
        os.utime(path, FUTURE)
    return paths


def blacken(path, times):
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(path)
    os.utime(path, times)


@pytest.mark.parametrize("times", [FUTURE, PAST], ids=["the same", "set back"])
def test_a_changed_image_is_decoded_anew_whatever_its_time(times, files, tmp_path):
    preprocessing = Preprocessing((24, 24))
    before = fingerprint(files, preprocessing)
    first = Decoded.open(files, preprocessing, tmp_path / "cache").load(files[0])
    for path in (tmp_path / "cache").iterdir():
        os.utime(path, FUTURE)
    blacken(files[0], times)
    assert first.any()
    assert not Decoded.open(files, preprocessing, tmp_path / "cache").load(files[0]).any()
    assert fingerprint(files, preprocessing) != before


@pytest.mark.parametrize("times", [FUTURE, PAST], ids=["the same", "set back"])
def test_features_of_a_changed_image_are_computed_anew(times, files, tmp_path):
    def extract():
        same = {"full": lambda grey, row: grey}
        return features.extract(features.pixels(), files, same, cache=tmp_path / "cache")["full"]

    before = extract()
    blacken(files[0], times)
    after = extract()
    assert before[0].any()
    assert not after[0].any()
    np.testing.assert_array_equal(after[1:], before[1:])


@pytest.mark.parametrize("what", ["layout", "version"])
def test_a_cache_of_an_older_version_is_not_believed(what, files, tmp_path, monkeypatch):
    """What that version decoded may be otherwise: here it is all black."""
    preprocessing = Preprocessing((24, 24))
    expected = np.stack([preprocessing.load(path) for path in files])
    with monkeypatch.context() as older:
        name, value = {"layout": ("_LAYOUT", 0), "version": ("__version__", "0.0.1")}[what]
        older.setattr(decoded_stores, name, value)
        older.setattr(Preprocessing, "load", lambda self, path: np.zeros((24, 24), np.uint8))
        assert not Decoded.open(files, preprocessing, tmp_path / "cache").stack(files).any()
    kept = Decoded.open(files, preprocessing, tmp_path / "cache")
    np.testing.assert_array_equal(kept.stack(files), expected)
    assert len(list((tmp_path / "cache").iterdir())) == 2, "the older version may be at work still"


def test_features_of_an_older_version_are_not_believed(files, tmp_path, monkeypatch):
    black = {"full": lambda grey, row: np.zeros_like(grey)}
    with monkeypatch.context() as older:
        older.setattr(features, "__version__", "0.0.1")
        features.extract(features.pixels(), files, black, cache=tmp_path / "cache")
    same = {"full": lambda grey, row: grey}
    assert features.extract(features.pixels(), files, same, cache=tmp_path / "cache")["full"].any()


def test_a_run_whose_clock_goes_backwards_has_no_negative_duration(files, tmp_path, monkeypatch):
    recipe = runpy.run_path(TINY)["recipe"](12)
    monkeypatch.setattr(ragab2022, "RECIPE", recipe)
    seconds = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(seconds)))
    words = [
        "train",
        "ragab2022",
        "--model",
        "tiny",
        "--weights",
        "none",
        "--batch-size",
        "8",
        "--epochs",
        "3",
    ]
    words += ["--data", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert (history["seconds"] >= 0).all()
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, FUTURE)
    (tmp_path / "run" / "report.html").unlink()
    assert main(["train", "ragab2022", "--resume", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "history.csv"), history)
