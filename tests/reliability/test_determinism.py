"""The same seed on the same machine gives the same weights and predictions, bit for bit, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

PAPERS = ("khalifa2020", "nemati2022", "rahimzadeh2020", "ragab2022", "yin2020")
SINGLE = (sys.executable, "-m", "covidcxr")
MIRRORED = (sys.executable, str(Path(__file__).with_name("two_cpus.py")))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def train(program, key, folder, *more):
    command = [
        *program,
        "train",
        key,
        "--preset",
        "smoke",
        "--protocol",
        "sound",
        "--out",
        str(folder),
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def arrays(path):
    """Return every array of a model's file by its name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    assert found
    return found


def results(folder):
    """Return tables and weights of each model of a run, by their place in it."""
    found = {}
    for path in sorted(folder.rglob("predictions.csv")):
        model = path.parent
        found[model.relative_to(folder).as_posix()] = (
            path.read_bytes(),
            (model / "split.csv").read_bytes(),
            arrays(model / "model.h5"),
        )
    assert found
    return found


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, (predictions, split, weights) in first.items():
        others = second[name]
        assert split == others[1], name
        assert weights.keys() == others[2].keys()
        for key, values in weights.items():
            assert values.tobytes() == others[2][key].tobytes(), (name, key)
        assert predictions == others[0], name


@pytest.mark.parametrize("key", PAPERS)
def test_two_runs_on_one_device_are_equal_bit_for_bit(key, tmp_path):
    first, second = (results(train(SINGLE, key, tmp_path / name)) for name in ("first", "second"))
    assert_same(first, second)


def test_two_runs_on_two_devices_are_equal_bit_for_bit(tmp_path):
    words = ("ragab2022", tmp_path / "first", "--strategy", "mirrored")
    first = results(train(MIRRORED, *words))
    placement = json.loads((tmp_path / "first" / "config.json").read_text())["placement"]
    assert (placement["strategy"], placement["replicas"]) == ("mirrored", 2)
    second = results(train(MIRRORED, "ragab2022", tmp_path / "second", "--strategy", "mirrored"))
    assert_same(first, second)


def test_another_seed_gives_another_result(tmp_path):
    first, second = (
        results(train(SINGLE, "ragab2022", tmp_path / seed, "--seed", seed, "--epochs", "1"))
        for seed in ("1", "2")
    )
    ((predictions, split, weights),) = first.values()
    ((others, other_split, other_weights),) = second.values()
    assert predictions != others
    assert split != other_split
    assert any(not np.array_equal(values, other_weights[name]) for name, values in weights.items())
