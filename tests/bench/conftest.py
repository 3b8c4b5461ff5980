"""Parts that measure nothing, in a package that a child process can import, and a report of such."""

import sys

import pytest

from covidcxr.bench.measuring import Fact, Race
from covidcxr.bench.results import PartResult, Report

SOUND = """
from covidcxr.bench.measuring import Fact, Race
KEY, TITLE = "sound", "A sound part"
def measure(bench):
    bench.say("warming up")
    assert bench.folder.is_dir() and not any(bench.folder.iterdir())
    race = Race("r", "a race", "us", "them", 10, "images", (1.0, 2.0, 4.0), (2.0, 6.0, 4.0), goal=3.0, note="why")
    share = Race("s", "a share", "us", "them", 10, "images", (1.0,), (1.0,), goal=3.0, peer_amount=2)
    return [race, share, Fact("f", "a fact", (1.0, 3.0, 2.0), "%", "below 5 %")]
"""
REFUSING = """
from covidcxr.errors import OptionError
TITLE = "A part without its peer"
def measure(bench):
    raise OptionError("albumentations is not installed; install the extra bench")
"""
RAISING = """
TITLE = "A part with a bug"
def measure(bench):
    print("torn table")
    raise ZeroDivisionError("oh\\nno")
"""
HALTING = """
from covidcxr.bench.measuring import Fact
TITLE = "A part that breaks in its middle"
def measure(bench):
    yield Fact("f", "a fact", (1.0, 3.0, 2.0), "%", "below 5 %")
    raise KeyError("second")
"""
CRASHING = """
import os, sys
TITLE = "A part that crashes"
def measure(bench):
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)
"""
BROKEN = "import a_module_that_is_not_there\n"
# The process may be left holding numbers of NumPy's types.
NUMPY = """
import numpy as np
from covidcxr.bench.measuring import Fact
TITLE = "NumPy's numbers"
def measure(bench):
    return [Fact("f", "a fact", (np.float32(0.5), np.int64(2)), "s")]
"""


PARTS = {
    "sound": SOUND,
    "refusing": REFUSING,
    "raising": RAISING,
    "halting": HALTING,
    "crashing": CRASHING,
    "broken": BROKEN,
    "numbers": NUMPY,
}


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "fake_parts").mkdir()
    for name, text in {"__init__": "", **PARTS}.items():
        (folder / "fake_parts" / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    yield "fake_parts"
    sys.path.remove(str(folder))


RACE = Race(
    "r", "a | race", "us", "them", 10, "images", (1.0, 2.0, 4.0), (2.0, 6.0, 4.0), goal=3.0, note="why so"
)
SHARE = Race("s", "a share", "us", "them", 10, "images", (1.0,), (1.0,), goal=3.0, peer_amount=2)
FACT = Fact("f", "a fact", (1.0, 3.0, 2.0), "%", "below 5 %")


@pytest.fixture
def report():
    parts = (
        PartResult("one", "Part one", "measured", (RACE, SHARE, FACT), "", 12.5),
        PartResult("two", "Part two", "failed", (), "ZeroDivisionError: oh", 1.0),
        PartResult("three", "Part three", "failed", (SHARE,), "KeyError: second", 1.0),
    )
    about = {
        "date": "2026-01-02T03:04:05+00:00",
        "command": "covidcxr bench",
        "quick": False,
        "images": "real",
        "weights": "none",
        "seed": 0,
        "hardware": {
            "cpu": "a processor",
            "cores": 2,
            "flags": ["avx2"],
            "memory": 2**33,
            "gpus": [],
            "system": "Linux",
        },
        "versions": {"python": "3.11.0", "keras": "3.15.0"},
        "load": {"start": 0.1, "end": 1.9},
        "warnings": ["the machine was busy"],
    }
    return Report(about, parts)
