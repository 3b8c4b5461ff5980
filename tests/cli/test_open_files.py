"""A process that may open no more files: the limit is told in a line, and no image is left out for it."""

import contextlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr import handles
from covidcxr.cli import main
from covidcxr.data.images import read_grey
from covidcxr.errors import LimitError
from covidcxr.papers import ragab2022

resource = pytest.importorskip("resource")
TINY = Path(__file__).with_name("tiny.py")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Images, and a run on them; all that the commands import has been imported by then."""
    root = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(0)
    for label in ("covid19", "normal"):
        (root / "data" / label).mkdir(parents=True)
        for number in range(16):
            pixels = rng.integers(0, 255, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "data" / label / f"{number:02d}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"]())
        assert main(training(root / "data", root / "run")) == 0
        assert main(["data", "inspect", str(root / "data")]) == 0
    return root


def training(data, out):
    options = ["--weights", "none", "--model", "tiny", "--batch-size", "8", "--epochs", "1"]
    return ["train", "ragab2022", "--data", str(data), *options, "--out", str(out)]


@contextlib.contextmanager
def no_more_files():
    """Take every file handle that is left under a low limit."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 16, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield taken[0] + 16
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for handle in taken:
            os.close(handle)


COMMANDS = {
    "train": lambda shelf, out: training(shelf / "data", out),
    "predict": lambda shelf, out: ["predict", shelf / "run" / "model.h5", shelf / "data", "--out", out],
    "inspect": lambda shelf, out: ["data", "inspect", shelf / "data", "--json", out],
    "evaluate": lambda shelf, out: [
        "evaluate",
        shelf / "run" / "model.h5",
        "--data",
        shelf / "data",
        "--out",
        out,
    ],
    "report": lambda shelf, out: ["report", shelf / "run", "--out", out],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_limit_is_told_and_nothing_written(name, shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"]())
    words = [str(word) for word in COMMANDS[name](shelf, tmp_path / "out")]
    capsys.readouterr()
    with no_more_files() as limit:
        assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if ": error: " in line]
    assert len(lines) == 1
    assert f"too many files are open at once (`ulimit -n` is {limit}); raise it" in lines[0]
    assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_opened_now_is_not_called_unreadable(shelf):
    image = shelf / "data" / "normal" / "00.png"
    with no_more_files(), pytest.raises(LimitError, match="ulimit -n"):
        read_grey(image)
    assert read_grey(image).shape == (24, 24)


def test_other_errors_are_not_taken_for_it():
    assert not handles.spent(OSError(2, "No such file or directory"))
    assert not handles.spent(ValueError("open files"))
    one, two = ValueError("a"), ValueError("b")
    one.__cause__, two.__cause__ = two, one
    assert not handles.spent(one), "a circle of errors"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [12, 24, 32, 40, 48, 64])
def test_whatever_the_limit_a_training_is_whole_or_told(limit, shelf, tmp_path):
    done = subprocess.run(
        [sys.executable, str(TINY), *training(shelf / "data", tmp_path / "run")],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    if done.returncode:
        assert done.returncode == 2
        assert f"(`ulimit -n` is {limit})" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    else:
        assert (tmp_path / "run" / "report.html").is_file()
    exclusions = tmp_path / "run" / "exclusions.csv"
    assert not exclusions.exists() or exclusions.read_text().count("\n") == 1
