"""A hostile user: every wrong word, file or folder is one line on stderr, exit code 2, and nothing is written."""

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.models.files import ModelInfo, read_info, save_model
from covidcxr.papers import ragab2022

TINY = Path(__file__).with_name("tiny.py")
COMMAND = [sys.executable, "-m", "covidcxr"]
NO_ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read and write everything (root)"
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, pipes or names")


def class_folders(root, count=20, labels=("covid19", "normal"), name="{:02d}.png"):
    rng = np.random.default_rng(0)
    for label in labels:
        (root / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / name.format(number))
    return root


def network(classes=2, side=32):
    import keras

    layers = [
        keras.Input((side, side, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(classes, "softmax"),
    ]
    return keras.Sequential(layers)


def info(classes=("covid19", "normal"), side=32, channels=3):
    preprocessing = Preprocessing((side, side), channels=channels, rescale=1 / 255).to_dict()
    return ModelInfo("ragab2022", "tiny", "published", classes, preprocessing, 0, {})


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Good images, a good model as .h5 and .keras, a good run; tests only read them."""
    root = tmp_path_factory.mktemp("shelf")
    class_folders(root / "data")
    model = network()
    for suffix in ("h5", "keras"):
        save_model(model, root / f"model.{suffix}", info())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"]())
        assert main(training(root / "data", root / "run")) == 0
    return root


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch):
    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"]())


def training(data, out, *more):
    options = ["--weights", "none", "--model", "tiny", "--batch-size", "8", "--epochs", "1"]
    return ["train", "ragab2022", "--data", str(data), *options, "--out", str(out), *map(str, more)]


def files_in(root):
    """Every file's digest, every folder and every link, by path."""
    found = {}
    for parent, folders, files in os.walk(root):
        found[parent] = "folder"
        for name in [*folders, *files]:
            path = os.path.join(parent, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path):
                found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            else:
                found.setdefault(path, "folder or device")
    return found


def run(arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code


@pytest.fixture
def refused(tmp_path, capsys):
    """Run a command that must be refused: code 2, one line at the end that names the culprit, no file touched."""

    def call(culprit, *arguments, kept=()):
        before = [files_in(root) for root in (tmp_path, *kept)]
        capsys.readouterr()
        assert run(arguments) == 2
        error = capsys.readouterr().err
        lines = error.splitlines()
        assert "Traceback" not in error
        assert [line for line in lines if ": error: " in line] == lines[-1:]
        assert culprit in lines[-1]
        assert [files_in(root) for root in (tmp_path, *kept)] == before
        return lines[-1]

    return call


# Words


@pytest.mark.parametrize(
    ("culprit", "words"),
    [
        ("--epochs", ["--epochs", "9" * 5000]),
        ("--epochs", ["--epochs", "9" * 30]),
        ("--epochs 0", ["--epochs", "0"]),
        ("--epochs", ["--epochs", "ten"]),
        ("--seed", ["--seed", "-1"]),
        ("--seed", ["--seed", str(2**32)]),
        ("--seed", ["--seed", "²"]),
        ("--dropout nan", ["--dropout", "nan"]),
        ("--dropout inf", ["--dropout", "inf"]),
        ("--dropout 1.0", ["--dropout", "1"]),
        ("--batch-size -3", ["--batch-size", "-3"]),
        ("--batch-size", ["--batch-size", "1000"]),
        ("'Z'", ["--case", "Z"]),
        ("'vgg'", ["--model", "vgg"]),
        ("'quick'", ["--schedule", "quick"]),
        ("'fair'", ["--protocol", "fair"]),
        ("case is empty", ["--case", ""]),
        ("weights is empty", ["--weights", ""]),
        ("data is empty", ["--data", ""]),
        ("out is empty", ["--out", ""]),
        ("--source normal=rsna", ["--source", "normal=rsna"]),
        ("--source sars", ["--source", "sars=rsna"]),
        ("--nonsense", ["--nonsense"]),
        ("--resume goes on", ["--resume", "--overwrite"]),
        ("no run to resume", ["--resume"]),
    ],
    ids=lambda value: " ".join(value)[:24] if isinstance(value, list) else "",
)
def test_train_refuses_words_without_meaning(culprit, words, shelf, tmp_path, refused):
    out = tmp_path / "run"
    if words == ["--resume", "--overwrite"]:
        out = shelf / "run"
    line = refused(culprit, *training(shelf / "data", out), *words, kept=[shelf])
    assert len(line) < 1500


@pytest.mark.parametrize(
    ("culprit", "words"),
    [
        ("'nosuch'", ["train", "nosuch"]),
        ("'nosuch'", ["papers", "nosuch"]),
        ("'nosuch'", ["data", "download", "nosuch", "--out", "x"]),
        ("needs an account", ["data", "download", "rsna", "--out", "x"]),
        ("images is empty", ["predict", "model.h5", ""]),
        ("--count covid19=²", ["data", "prepare", "phantom", "--out", "p", "--count", "covid19=²"]),
        ("at most 1,000,000", ["data", "prepare", "phantom", "--out", "p", "--count", f"sars={10**20}"]),
        ("'a/b'", ["data", "prepare", "phantom", "--out", "p", "--count", "a/b=2"]),
        ("size=1", ["data", "prepare", "phantom", "--out", "p", "--size", "1"]),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else "",
)
def test_other_commands_refuse_words_without_meaning(culprit, words, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    refused(culprit, *words)


@pytest.mark.parametrize(
    ("culprit", "words"),
    [
        ("--map covid19", ["--map", "covid19"]),
        ("covid19, normal", ["--map", "covid19=sars"]),
        ("--map flu", ["--map", "flu=covid19"]),
        ("--split val", ["--split", "val"]),
        ("nowhere.csv", ["--split-file", "nowhere.csv"]),
        ("--split test", ["--split-file", "SPLIT", "--split", "test"]),
        ("--source sars", ["--source", "sars=rsna"]),
        ("--source normal=rsna", ["--source", "normal=rsna"]),
        ("--seed", ["--seed", "-1"]),
        ("--batch-size 0", ["--batch-size", "0"]),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else "",
)
def test_evaluate_refuses_words_without_meaning(culprit, words, shelf, refused):
    words = [str(shelf / "run" / "split.csv") if word == "SPLIT" else word for word in words]
    refused(culprit, "evaluate", shelf / "model.h5", "--data", shelf / "data", *words, kept=[shelf])


def test_a_batch_larger_than_the_set_is_none_for_predict(shelf, tmp_path):
    arguments = ["predict", shelf / "model.h5", shelf / "data", "--batch-size", 10**30]
    assert run([*arguments, "--out", tmp_path / "p.csv"]) == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == 40


# What --data may be


COMMANDS = {
    "inspect": lambda shelf, data, out: ["data", "inspect", data],
    "prepare": lambda shelf, data, out: ["data", "prepare", data, "--out", out / "made.csv"],
    "train": lambda shelf, data, out: training(data, out / "run"),
    "evaluate": lambda shelf, data, out: ["evaluate", shelf / "model.h5", "--data", data, "--out", out / "e"],
}
EVERY_COMMAND = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@EVERY_COMMAND
@pytest.mark.parametrize(
    "name", ["notes.txt", "model.h5", "empty", "nowhere", "no\nwhere\x1b[31m", "x" * 300]
)
def test_what_is_no_data_is_named(command, name, shelf, tmp_path, refused):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    shutil.copy(shelf / "model.h5", tmp_path)
    culprit = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    line = refused(culprit, *command(shelf, tmp_path / name, tmp_path))
    assert line.isprintable()


TABLES = {
    "latin1": "path,label\nö.png,covid19\n".encode("latin-1"),
    "utf16": "path,label\nx.png,covid19\n".encode("utf-16"),
    "binary": bytes(range(128, 256)) * 20,
    "empty": b"",
    "header": b"path,label\n",
    "columns": b"name,kind\nx.png,covid19\n",
    "semicolons": b"path;label\nx.png;covid19\n",
    "quotes": b'path,label\n"x.png,covid19\n',
    "ragged": b"path,label\nx.png,covid19,1,2,3\ny.png\n",
    "missing": b"path,label\nx.png,covid19\ny.png,normal\n",
    "twice": b"path,label\ncovid19/00.png,covid19\ncovid19/00.png,covid19\n",
    "outside": b"path,label\n../x.png,covid19\n",
    "unlabelled": b"path,label\ncovid19/00.png,\n",
    "split": b"path,label,split\ncovid19/00.png,covid19,holdout\n",
}


@EVERY_COMMAND
@pytest.mark.parametrize("name", TABLES)
def test_tables_that_cannot_be_read_are_named(command, name, shelf, tmp_path, refused):
    shutil.copytree(shelf / "data", tmp_path / "data")
    table = tmp_path / "data" / f"{name}.csv"
    table.write_bytes(TABLES[name])
    refused(f"{name}.csv", *command(shelf, table, tmp_path))


def test_tables_that_can_be_read_are(shelf, tmp_path, capsys):
    """A byte-order mark; a formula, a path of 5,000 letters and a folder where an image should be."""
    data = tmp_path / "data"
    shutil.copytree(shelf / "data", data)
    rows = [
        f"{path.relative_to(data).as_posix()},{path.parent.name}" for path in sorted(data.glob("*/*.png"))
    ]
    odd = ['"=HYPERLINK(""x"")",covid19', f"{'x' * 5000},normal", "covid19,covid19"]
    (data / "list.csv").write_text("\n".join(["path,label", *rows, *odd]), encoding="utf-8-sig")
    assert run(training(data / "list.csv", tmp_path / "run")) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "run" / "split.csv")) == 40
    left_out = pd.read_csv(tmp_path / "run" / "exclusions.csv")
    # With the apostrophe that keeps a spreadsheet from running it.
    assert list(left_out["path"].str[:8]) == ["'=HYPERL", "x" * 8, "covid19"]


@POSIX
def test_odd_things_among_the_images_are_left_out(shelf, tmp_path, capsys):
    """A link to itself, one back up, a broken one, a pipe, and a name that is not UTF-8."""
    data = tmp_path / "data"
    shutil.copytree(shelf / "data", data)
    (data / "round").symlink_to("round")
    (data / "covid19" / "up").symlink_to(data)
    (data / "covid19" / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(data / "covid19" / "pipe.png")
    shutil.copy(data / "covid19" / "00.png", os.fsencode(data / "covid19") + b"/\xff.png")
    assert run(["data", "inspect", data, "--json", tmp_path / "found.json"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {row["label"]: row["images"] for row in found["counts"]} == {"covid19": 22, "normal": 20}
    assert run(["predict", shelf / "model.h5", data, "--out", tmp_path / "p.csv"]) == 0
    errors = pd.read_csv(tmp_path / "p.csv", keep_default_na=False).set_index("path")["error"]
    assert {Path(path).name for path in errors.index[errors != ""]} == {"broken.png", "pipe.png"}
    table = tmp_path / "evaluation"
    assert run(["evaluate", shelf / "model.h5", "--data", data, "--out", table]) == 0
    left_out = pd.read_csv(table / "exclusions.csv")
    assert {Path(path).name for path in left_out["path"]} == {"broken.png", "pipe.png", "\\udcff.png"}
    assert "Traceback" not in capsys.readouterr().err


@POSIX
@pytest.mark.parametrize(
    "name", ["with space", "quo'te\"s", "ünï-日本", "new\nline", "a[/b]:warning:", "-=%s{0}"]
)
def test_names_are_taken_as_they_are(name, shelf, tmp_path, capsys):
    data, out = tmp_path / name / "data", tmp_path / f"{name} out"
    data.parent.mkdir(parents=True)
    shutil.copytree(shelf / "data", data)
    (data / "covid19" / f"{name.replace('/', '')}.png").write_bytes(b"")
    model = tmp_path / f"{name.replace('/', '')}.h5"
    shutil.copy(shelf / "model.h5", model)
    assert run(["evaluate", model, "--data", data, "--out", out]) == 0
    (out.parent / name).mkdir(parents=True, exist_ok=True)
    assert run(["predict", model, data, "--out", out / "table.csv"]) == 0
    assert run(["data", "prepare", data, "--out", data.parent / "made.csv"]) == 0
    assert len(pd.read_csv(data.parent / "made.csv")) == len(pd.read_csv(out / "table.csv")) == 41
    assert "Traceback" not in capsys.readouterr().err


@NO_ROOT
def test_folders_without_permission_are_named(shelf, tmp_path, refused):
    (tmp_path / "locked").mkdir(mode=0)
    refused("locked", "data", "inspect", tmp_path / "locked")
    refused("locked", *training(shelf / "data", tmp_path / "locked" / "run"))
    refused("locked", "predict", shelf / "model.h5", shelf / "data", "--out", tmp_path / "locked" / "p.csv")


# Where results may go


@pytest.mark.parametrize(
    ("culprit", "place"),
    [
        ("a part of the path is a file", "file/run"),
        ("a part of the path is a file", "file"),
        ("holds other files", "data"),
        ("lies among the images", "data/covid19/run"),
        ("too long", "x" * 300),
    ],
)
def test_train_writes_only_into_a_folder_of_its_own(culprit, place, shelf, tmp_path, refused):
    (tmp_path / "file").write_text("")
    shutil.copytree(shelf / "data", tmp_path / "data")
    refused(culprit, *training(tmp_path / "data", tmp_path / place))


@pytest.mark.parametrize(
    ("culprit", "out"),
    [
        ("one of the files that are read", "model.h5"),
        ("one of the files that are read", "00.png"),
        ("one of the files that are read", "link.csv"),
        ("it is a folder", "folder"),
        ("there is no such folder", "nowhere/p.csv"),
        ("a part of the path is a file", "00.png/p.csv"),
        ("too long", "x" * 300 + ".csv"),
        pytest.param("it is a device or pipe", "pipe", marks=POSIX),
    ],
)
def test_predict_writes_only_a_file_of_its_own(culprit, out, shelf, tmp_path, refused):
    shutil.copy(shelf / "model.h5", tmp_path)
    shutil.copy(shelf / "data" / "covid19" / "00.png", tmp_path)
    (tmp_path / "link.csv").symlink_to(tmp_path / "00.png")
    (tmp_path / "folder").mkdir()
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")
    refused(culprit, "predict", tmp_path / "model.h5", tmp_path / "00.png", "--out", tmp_path / out)


def test_no_result_replaces_another_programs(shelf, tmp_path, refused):
    """A run's own scores have the names of an evaluation's; a data set's table may have that of ours."""
    shutil.copytree(shelf / "data", tmp_path / "data")
    (tmp_path / "data" / "metadata.csv").write_text("precious")
    (tmp_path / "data" / "made.png").write_text("precious")
    for out in (shelf / "run", tmp_path / "data"):
        arguments = ["evaluate", shelf / "model.h5", "--data", shelf / "data", "--out", out]
        refused(f"{out}: holds other files", *arguments, kept=[shelf])
    prepare = ["data", "prepare", tmp_path / "data", "--out"]
    refused("metadata.csv: is there already", *prepare, tmp_path / "data" / "metadata.csv")
    refused("made.png: is there already", *prepare, tmp_path / "data" / "made.csv", "--contact-sheet")
    refused("it is a folder", "data", "inspect", shelf / "data", "--json", tmp_path / "data")


def test_export_does_not_replace_its_model(shelf, tmp_path, refused):
    shutil.copy(shelf / "model.h5", tmp_path)
    model = tmp_path / "model.h5"
    refused("one of the files that are read", "export", model, "--format", "h5-keras2", "--out", model)


def test_an_evaluation_may_be_done_again(shelf, tmp_path):
    arguments = ["evaluate", shelf / "model.h5", "--data", shelf / "data", "--out", tmp_path / "e"]
    assert run(arguments) == run(arguments) == 0


@contextlib.contextmanager
def small_disk(place, size):
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@POSIX
def test_a_full_disk_is_named_and_only_whole_files_stay(shelf, tmp_path, capsys):
    with small_disk(tmp_path / "disk", "256k") as disk:
        assert run(training(shelf / "data", disk / "run")) == 2
        output = capsys.readouterr().err.splitlines()
        assert "the disk is full" in output[-1]
        assert sum(": error: " in line for line in output) == 1
        assert not list(disk.rglob(".*"))
        json.loads((disk / "run" / "config.json").read_text())
        read_info(disk / "run" / "model.h5")
        shutil.rmtree(disk / "run")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(bytes(free))
        assert run(["predict", shelf / "model.h5", shelf / "data", "--out", disk / "p.csv"]) == 2
        assert "p.csv: the disk is full" in capsys.readouterr().err
        assert [path.name for path in disk.iterdir()] == ["filler"]


@POSIX
def test_a_read_only_disk_is_named_and_nothing_is_touched(shelf, tmp_path, refused):
    with small_disk(tmp_path / "disk", "16m") as disk:
        shutil.copytree(shelf / "run", disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for words in (
            training(shelf / "data", disk / "new"),
            training(shelf / "data", disk / "run", "--overwrite"),
            ["train", "ragab2022", "--resume", "--out", disk / "run"],
            ["predict", shelf / "model.h5", shelf / "data", "--out", disk / "p.csv"],
            ["export", shelf / "model.h5", "--format", "h5-float16", "--out", disk / "m.h5"],
            ["report", shelf / "run", "--out", disk / "report"],
            ["data", "prepare", "phantom", "--out", disk / "phantom"],
        ):
            refused("the file system is read-only", *words)


def test_tensorflows_word_for_a_full_disk_is_one_line_too(shelf, tmp_path, monkeypatch, capsys):
    """TensorBoard's writer, below Python, has an error of its own; memory that runs out has the same."""
    import tensorflow as tf

    from covidcxr.training import stages

    for text, told in (("No space left on device", "the disk is full"), ("OOM", "--batch-size")):

        def fail(*_args, text=text, **_options):
            raise tf.errors.ResourceExhaustedError(None, None, f"CreateSummaryFileWriter: {text}\nmore")

        monkeypatch.setattr(stages, "_run_stage", fail)
        assert run(training(shelf / "data", tmp_path / told)) == 2
        assert told in capsys.readouterr().err.splitlines()[-1]


# --resume and --overwrite


CONFIGS = {
    "text": lambda config: "no JSON",
    "list": lambda config: [],
    "another program's": lambda config: {"name": "other"},
    "another paper": lambda config: {**config, "paper": "yin2020"},
    "no options": lambda config: {**config, "options": 3},
    "unknown option": lambda config: {**config, "options": {**config["options"], "speed": 9}},
    "words for epochs": lambda config: {**config, "options": {**config["options"], "epochs": "many"}},
    "no seed": lambda config: {**config, "options": {**config["options"], "seed": None}},
    "lost data": lambda config: {**config, "options": {**config["options"], "data": "config.json-nowhere"}},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_damaged_configuration_is_named(name, shelf, tmp_path, refused):
    shutil.copytree(shelf / "run", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    made = CONFIGS[name](json.loads(path.read_text()))
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    culprit = "holds a run of yin2020" if name == "another paper" else "config.json"
    refused(culprit, "train", "ragab2022", "--resume", "--out", tmp_path / "run")


def _state(**values):
    return lambda place: (place / "state.json").write_text(json.dumps(values))


ROW = {"epoch": 1, "stage": "head", "loss": 1.0}
CHECKPOINTS = {
    "text": lambda place: (place / "state.json").write_text("no JSON"),
    "nothing": _state(),
    "no history": _state(model="epoch-0001.keras", history=3),
    "a number for a model": _state(model=3, history=[ROW]),
    "too many epochs": _state(model="epoch-0001.keras", history=[ROW] * 50),
    "no model": lambda place: (place / "epoch-0001.keras").unlink(),
    "half a model": lambda place: os.truncate(place / "epoch-0001.keras", 2000),
    "another model": lambda place: network(side=64).save(place / "epoch-0001.keras"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_damaged_checkpoint_is_named(name, shelf, tmp_path, refused):
    shutil.copytree(shelf / "run", tmp_path / "run")
    CHECKPOINTS[name](tmp_path / "run" / "checkpoint")
    refused("checkpoint: cannot resume", "train", "ragab2022", "--resume", "--out", tmp_path / "run")


@pytest.mark.parametrize("words", [["--epochs", "2"], ["--data", "elsewhere"], ["--seed", "3"]])
def test_resuming_with_other_options_is_refused(words, shelf, tmp_path, refused):
    shutil.copytree(shelf / "run", tmp_path / "run")
    refused(words[0], "train", "ragab2022", "--resume", "--out", tmp_path / "run", *words)


def test_a_run_resumes_from_what_was_left(shelf, tmp_path):
    """Killed between its first files: no split, no checkpoint, a file half written; and a user's notes."""
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    shutil.copy(shelf / "run" / "config.json", run_folder)
    (run_folder / ".split-abc123.csv").write_text("pa")
    (run_folder / "notes.txt").write_text("mine")
    assert run(["train", "ragab2022", "--resume", "--out", run_folder]) == 0
    names = {path.name for path in run_folder.iterdir()}
    assert names == {path.name for path in (shelf / "run").iterdir()} | {"notes.txt"}


@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    ("name", "content"), [("config.json", '{"name": "other"}'), ("model.h5", "mine"), ("logs/notes", "mine")]
)
def test_what_is_no_run_is_not_overwritten(flag, name, content, shelf, tmp_path, refused):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    refused("holds other files", *training(shelf / "data", tmp_path / "run"), *flag)


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(shelf, tmp_path):
    run_folder = tmp_path / "run"
    shutil.copytree(shelf / "run", run_folder)
    mine = [run_folder / part / "mine.png" for part in ("figures", "logs", "checkpoint")]
    for path in mine:
        path.write_text("mine")
    old = {path for path in run_folder.rglob("*") if path.is_file()} - set(mine)
    stale = [path for path in old if "tfevents" in path.name]
    assert run(training(shelf / "data", run_folder, "--overwrite", "--protocol", "sound")) == 0
    assert all(path.read_text() == "mine" for path in mine)
    assert not [path for path in stale if path.exists()]
    # The sound protocol draws no matrix of one batch.
    assert not (run_folder / "figures" / "confusion_one_batch.png").exists()


def test_overwriting_that_fails_leaves_the_old_run(shelf, tmp_path, refused):
    shutil.copytree(shelf / "run", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    arguments = training(shelf / "data", tmp_path / "run", "--overwrite")
    refused("nowhere.h5", *arguments, "--weights", tmp_path / "nowhere.h5")
    refused("empty", *training(tmp_path / "empty", tmp_path / "run", "--overwrite"))


# Weights and models


def test_weights_that_cannot_start_the_network_are_named(shelf, tmp_path, refused, monkeypatch, request):
    (tmp_path / "cut.h5").write_bytes((shelf / "model.h5").read_bytes()[:3000])
    (tmp_path / "zip.keras").write_bytes(b"PK\x05\x06" + bytes(18))
    arguments = training(shelf / "data", tmp_path / "run")
    for name in ("cut.h5", "zip.keras", "x" * 300 + ".h5"):
        refused(name, *arguments, "--weights", tmp_path / name)


def test_imagenet_weights_without_a_network_end_at_once(
    shelf, tmp_path_factory, refused, monkeypatch, tmp_path
):
    def no_network(*_args, **_options):
        raise socket.gaierror(errno.ENOENT, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    begun = time.monotonic()
    line = refused("cannot be fetched", *training(shelf / "data", tmp_path / "run", "--weights", "imagenet"))
    assert time.monotonic() - begun < 15
    assert "--weights none" in line


def foreign_zip(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.json", text)


def with_lambda(path):
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Lambda(lambda x: x), *network().layers]
    keras.Sequential(layers).save(path)
    with h5py.File(path, "a") as file:
        file.attrs["covidcxr"] = json.dumps(dataclasses.asdict(info()))


MODELS = {
    "cut.h5": lambda path, shelf: path.write_bytes((shelf / "model.h5").read_bytes()[:9000]),
    "cut.keras": lambda path, shelf: path.write_bytes((shelf / "model.keras").read_bytes()[:9000]),
    "foreign.keras": lambda path, shelf: foreign_zip(path, readme="{}"),
    "hollow.keras": lambda path, shelf: foreign_zip(path, config="{}", covidcxr="{}"),
    "code.h5": lambda path, shelf: with_lambda(path),
    "picture.h5": lambda path, shelf: shutil.copy(shelf / "data" / "covid19" / "00.png", path),
    "folder.h5": lambda path, shelf: path.mkdir(),
    "other size": lambda path, shelf: save_model(network(side=64), f"{path}.h5", info(side=32)),
    "grey": lambda path, shelf: save_model(network(), f"{path}.h5", info(channels=1)),
    "three classes": lambda path, shelf: save_model(network(3), f"{path}.h5", info()),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_cannot_be_used_are_named(name, shelf, tmp_path, refused):
    MODELS[name](tmp_path / name, shelf)
    path = tmp_path / (name if "." in name else f"{name}.h5")
    # The network of a model in memory has no file; its key is named.
    culprit = path.name if "." in name else "get the file again"
    refused(culprit, "predict", path, shelf / "data", "--out", tmp_path / "p.csv")
    refused(culprit, "evaluate", path, "--data", shelf / "data", "--out", tmp_path / "e")


def test_predict_refuses_what_holds_no_image(shelf, tmp_path, refused):
    (tmp_path / "empty").mkdir()
    for images in (tmp_path / "empty", tmp_path / "nowhere", shelf / "model.h5"):
        refused(images.name, "predict", shelf / "model.h5", images, "--out", tmp_path / "p.csv")


def test_predict_says_so_where_no_image_can_be_read(shelf, tmp_path, refused):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"")
    line = refused("0.png", "predict", shelf / "model.h5", tmp_path, "--out", tmp_path / "p.csv")
    assert "none of the 3 images" in line


def test_predict_names_ten_faults_and_counts_the_rest(shelf, tmp_path, capsys):
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes(b"")
    assert run(["predict", shelf / "model.h5", shelf / "data", tmp_path, "--out", tmp_path / "p.csv"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert "30 of 70 images could not be read" in lines[-1]
    errors = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)["error"]
    assert (errors != "").sum() == 30


# Terminals, pipes and signals


def interrupt_after(calls, function):
    """Return the function, with Ctrl-C pressed during its n-th call."""
    left = iter(range(calls))

    def wrapped(*arguments, **options):
        if next(left, None) is None:
            signal.raise_signal(signal.SIGINT)
        return function(*arguments, **options)

    return wrapped


def test_ctrl_c_while_predicting_leaves_nothing(shelf, tmp_path, monkeypatch, capsys):
    from covidcxr import inference

    monkeypatch.setattr(inference, "_padded", interrupt_after(2, inference._padded))
    arguments = ["predict", shelf / "model.h5", shelf / "data", "--batch-size", "8"]
    assert run([*arguments, "--out", tmp_path / "p.csv"]) == 130
    assert capsys.readouterr().err == "covidcxr: interrupted\n"
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_a_file_is_written_leaves_the_old_one(shelf, tmp_path, monkeypatch, capsys):
    from covidcxr import atomic

    (tmp_path / "p.csv").write_text("old")
    monkeypatch.setattr(atomic, "_sync", interrupt_after(0, atomic._sync))
    assert run(["predict", shelf / "model.h5", shelf / "data", "--out", tmp_path / "p.csv"]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    assert (tmp_path / "p.csv").read_text() == "old"


@POSIX
def test_ctrl_c_while_training_is_one_line_and_the_run_resumes(shelf, tmp_path):
    out = tmp_path / "run"
    arguments = [sys.executable, str(TINY), *training(shelf / "data", out), "--epochs", "5000"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    while not (out / "checkpoint" / "state.json").is_file():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("covidcxr: interrupted; ")
    assert not list(out.rglob(".*"))
    state = json.loads((out / "checkpoint" / "state.json").read_text())
    assert [path.name for path in (out / "checkpoint").glob("*.keras")][-1:] == [state["model"]]


@POSIX
def test_a_reader_that_goes_away_ends_the_command_in_silence():
    with subprocess.Popen(
        [*COMMAND, "papers", "ragab2022"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@POSIX
@pytest.mark.parametrize(
    ("target", "told"), [("&-", "standard output is closed"), ("/dev/full", "No space left on device")]
)
def test_a_standard_output_that_takes_nothing_is_named(target, told, shelf):
    if target == "/dev/full" and not os.path.exists(target):
        pytest.skip("needs /dev/full")
    words = ["predict", str(shelf / "model.h5"), str(shelf / "data")]
    words = words if target == "&-" else ["data", "list"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" >{target}', "sh", *COMMAND, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", [["papers", "ragab2022"], ["evaluate"], ["inspect"]], ids=lambda w: w[0])
def test_terminals_without_our_characters_show_all_else(encoding, words, shelf, tmp_path, monkeypatch):
    if words != ["papers", "ragab2022"]:
        words = COMMANDS[words[0]](shelf, shelf / "data", tmp_path)
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(words) == 0
    shown = streams["stdout"].buffer.getvalue()
    assert len(shown) > 500
    assert b"\x1b" not in shown
