"""Memory that does not suffice: every command says so in one line, with the setting that helps where it has one."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.papers import ragab2022

TINY = Path(__file__).with_name("tiny.py")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Images, and a run of one epoch on them."""
    root = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(0)
    for label in ("covid19", "normal"):
        (root / "data" / label).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "data" / label / f"{number:02d}.png")
    options = [
        "--weights",
        "none",
        "--model",
        "tiny",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--protocol",
        "sound",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](20))
        words = ["train", "ragab2022", "--data", str(root / "data"), *options, "--out", str(root / "run")]
        assert main(words) == 0
    return root


def of_tensorflow():
    import tensorflow as tf

    text = "OOM when allocating tensor with shape[32,224,224,64]\n\t [[node conv/Conv2D]]"
    return tf.errors.ResourceExhaustedError(None, None, text)


def of_python():
    return MemoryError("Unable to allocate 12.0 GiB for an array")


# The command, where memory runs out, and what helps.
COMMANDS = {
    "predict": (["predict", "MODEL", "DATA", "--out", "OUT.csv"], "frozen graph", "--batch-size"),
    "evaluate": (["evaluate", "MODEL", "--data", "DATA", "--out", "OUT"], "frozen graph", "--batch-size"),
    "audit": (["audit", "RUN", "--only", "robustness", "--out", "OUT"], "predict_on_batch", "more memory"),
    "export": (["export", "MODEL", "--format", "saved_model", "--out", "OUT"], "export", "more memory"),
}


@pytest.mark.parametrize("fault", [of_tensorflow, of_python])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_batch_that_does_not_fit_is_one_line_with_what_helps(
    name, fault, shelf, tmp_path, monkeypatch, capsys
):
    import keras

    from covidcxr.inference import runtimes

    words, where, helps = COMMANDS[name]
    places = {"MODEL": shelf / "run" / "model.h5", "DATA": shelf / "data", "RUN": shelf / "run"}
    places |= {"OUT": tmp_path / "out", "OUT.csv": tmp_path / "out.csv"}

    def fail(*_arguments, **_options):
        raise fault()

    if where == "frozen graph":
        monkeypatch.setattr(runtimes, "prepare", lambda *_arguments: runtimes.Forward(fail, 8))
    else:
        monkeypatch.setattr(keras.Model, where, fail)
    assert main([str(places.get(word, word)) for word in words]) == 2
    error = capsys.readouterr().err
    last = error.splitlines()[-1]
    assert "Traceback" not in error
    assert last.startswith("covidcxr: error: ")
    assert "not enough memory" in last
    assert helps in last
    assert ("--batch-size" in last) == (helps == "--batch-size")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("fault", [of_tensorflow, of_python])
def test_a_model_that_does_not_fit_is_not_called_damaged(fault, shelf, tmp_path, monkeypatch, capsys):
    import keras

    def fail(*_arguments, **_options):
        raise fault()

    monkeypatch.setattr(keras.saving, "load_model", fail)
    model, data = str(shelf / "run" / "model.h5"), str(shelf / "data")
    assert main(["predict", model, data, "--out", str(tmp_path / "p.csv")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "not enough memory" in last
    assert "rebuild" not in last


@pytest.mark.parametrize("fault", [of_tensorflow, of_python])
def test_a_checkpoint_that_does_not_fit_is_not_called_damaged(fault, shelf, tmp_path, monkeypatch, capsys):
    import shutil

    from covidcxr.training import checkpoints

    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](20))
    shutil.copytree(shelf / "run", tmp_path / "run")

    def fail(*_arguments, **_options):
        raise fault()

    monkeypatch.setattr(checkpoints, "_load", fail)
    assert main(["train", "ragab2022", "--resume", "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "lower --batch-size" in last
    assert "--overwrite" not in last
