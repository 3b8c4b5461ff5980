"""SIGKILL at random moments: training of the five papers, caching, generating, report, export and data.

``COVIDCXR_KILLS=100 COVIDCXR_SEED=0 pytest -m slow -n 0 -s tests/reliability/test_kills.py`` is the long form.
"""

import importlib.util
import json
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "saved_models" / "yin2020-a-mobilenet" / "model.h5"


def load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


matrix = load("kill_matrix")
opening = matrix.opening


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(os.name != "posix", reason="kills process groups as POSIX does")
def test_whatever_is_killed_leaves_whole_files_and_ends_as_the_uninterrupted(tmp_path, record_property):
    kills = int(os.environ.get("COVIDCXR_KILLS", 11))
    seed = int(os.environ.get("COVIDCXR_SEED", 0))
    summary = matrix.Matrix(tmp_path, seed).run(kills)
    for number, line in enumerate(summary.lines()):
        print(line)
        record_property(f"kills_{number}", line)
    assert sum(summary.kills.values()) == kills


# What the matrix would not see, it could not find.


def whole_keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        with h5py.File(path.with_name("w.h5"), "w") as weights:
            weights["kernel"] = np.ones(9)
        archive.write(path.with_name("w.h5"), "model.weights.h5")


WRITERS = {
    "a.keras": whole_keras,
    "a.csv": lambda path: path.write_text("path,label\na.png,normal\nb.png,covid19\n"),
    "a.json": lambda path: path.write_text(json.dumps({"epochs": [1, 2]})),
    "a.npy": lambda path: np.save(path, np.arange(99)),
    "a.npz": lambda path: np.savez(path, features=np.arange(99)),
    "a.png": lambda path: Image.fromarray(np.eye(64, dtype=np.uint8)).save(path),
    "a.svg": lambda path: path.write_text("<svg></svg>\n"),
    "a.html": lambda path: path.write_text("<html></html>\n"),
}


@pytest.mark.parametrize("name", [*WRITERS, pytest.param("a.h5", marks=pytest.mark.slow)])
def test_a_file_that_is_cut_is_seen(name, tmp_path):
    path = tmp_path / name
    if name == "a.h5":
        if not SHIPPED.is_file():
            pytest.skip("no shipped model")
        path.write_bytes(SHIPPED.read_bytes())
    else:
        WRITERS[name](path)
    opening.check(path)
    size = path.stat().st_size
    for left in (size - 2, size // 2, 0):
        os.truncate(path, left)
        with pytest.raises(AssertionError, match="opens wrong"):
            opening.check(path)


def test_hidden_names_and_the_lock_are_told_from_results(tmp_path):
    for name in ("run.lock", ".a-writing-abcdefgh.json", ".m-x/saved_model.pb", "b/.c.png", "b/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert opening.left_in(tmp_path) == ([tmp_path / "b" / "d.png"], 3)


def test_another_end_is_seen(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / f"events.out.tfevents.{folder.name}").touch()
        (folder / "history.csv").write_text(f"loss,seconds\n0.5,{folder.name}\n")
        with h5py.File(folder / "model.h5", "w") as file:
            file["kernel"] = np.ones(3)
    assert matrix._difference(first, second) is None
    with h5py.File(second / "model.h5", "a") as file:
        file["kernel"][0] = np.nextafter(1, 2)
    assert "model.h5" in matrix._difference(first, second)
    (second / "model.h5").write_bytes((first / "model.h5").read_bytes())
    (second / "history.csv").write_text("loss,seconds\n0.6,b\n")
    assert "history.csv" in matrix._difference(first, second)
    (second / "history.csv").unlink()
    assert "other files" in matrix._difference(first, second)


def test_the_moments_follow_the_seed(tmp_path):
    draws = [matrix.Matrix(tmp_path, seed).random.uniform(0, 9, 3).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
