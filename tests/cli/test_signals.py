"""SIGINT and SIGTERM: an orderly end, one line, the command that goes on; also twice, and where nothing may raise."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr import interruption
from covidcxr.cli import main
from covidcxr.cli import papers as command
from covidcxr.papers.running.kept import Progress
from covidcxr.training import workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
TINY = Path(__file__).with_name("tiny.py")
SIGNALS = [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label in ("covid19", "normal"):
        (root / label).mkdir()
        for number in range(16):
            pixels = rng.integers(0, 255, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def start(*words, **options):
    # In the foreground's manner: what starts the tests in the background makes them deaf to Ctrl-C.
    words = [sys.executable, str(TINY), *map(str, words)]
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", **options
    )


def training(data, out, epochs):
    options = ["--weights", "none", "--model", "tiny", "--batch-size", "8", "--epochs", epochs]
    return ["train", "ragab2022", "--data", data, *options, "--out", out]


def wait_for(path, process):
    while not path.is_file():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def wait_for_word(word, process):
    while word not in process.stderr.readline():
        assert process.poll() is None


def ended(process, timeout=60):
    _, error = process.communicate(timeout=timeout)
    assert "Traceback" not in error
    return process.returncode, error.splitlines()


@pytest.mark.parametrize(("number", "word", "code"), SIGNALS)
def test_a_command_says_so_in_one_line(number, word, code, monkeypatch, capsys):
    before = [signal.getsignal(each) for each, _, _ in SIGNALS]
    monkeypatch.setattr(command, "run", lambda args: signal.raise_signal(number))
    assert main(["papers"]) == code
    assert capsys.readouterr() == ("", f"covidcxr: {word}\n")
    assert [signal.getsignal(each) for each, _, _ in SIGNALS] == before


def test_an_error_that_a_signal_led_to_is_not_told(monkeypatch, capsys):
    def run(args):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("Unknown: KeyboardInterrupt in a node of a graph") from None

    monkeypatch.setattr(command, "run", run)
    assert main(["papers"]) == 143
    assert capsys.readouterr().err == "covidcxr: terminated\n"


def test_the_same_wish_again_changes_nothing(monkeypatch, capsys):
    def run(args):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command, "run", run)
    assert main(["papers"]) == 143
    assert capsys.readouterr().err == "covidcxr: terminated\n"


class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_within_a_destructor_is_not_lost(monkeypatch, capsys):
    def run(args):
        Destroyed()
        time.sleep(30)
        return 0

    monkeypatch.setattr(command, "run", run)
    assert main(["papers"]) == 143
    assert capsys.readouterr().err == "covidcxr: terminated\n"


def test_what_is_ignored_stays_so(monkeypatch):
    """As `nohup` and a script's `&` want it."""
    monkeypatch.setattr(command, "run", lambda args: signal.raise_signal(signal.SIGINT) or 0)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(["papers"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_are_taken_back_from_a_library():
    with interruption.orderly(own_process=False) as signals:
        # As TensorFlow does it: behind Python's back, which goes on believing in its own handler.
        libc = __import__("ctypes").CDLL(None)
        libc.signal(int(signal.SIGTERM), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        assert signals.number is None, "the library's"
        interruption.rearm()
        with pytest.raises(interruption.Interrupted):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("number", "word", "code"), SIGNALS)
def test_a_training_tells_how_to_go_on_and_that_goes_on(number, word, code, data, tmp_path):
    out = tmp_path / "a run's"
    process = start(*training(data, out, 5000))
    wait_for(out / "checkpoint" / "state.json", process)
    process.send_signal(number)
    found, lines = ended(process)
    assert found == code
    said, kept, resume = lines[-1].split("; ")
    kept_epochs = len(json.loads((out / "checkpoint" / "state.json").read_text())["history"])
    assert said == f"covidcxr: {word}"
    assert kept == f"{kept_epochs} of 5000 epochs kept in {out}"
    assert not list(out.rglob(".*"))
    assert not (out / "run.lock").exists()
    words = shlex.split(resume.removeprefix("resume with: "))
    assert words == ["covidcxr", "train", "ragab2022", "--out", str(out), "--resume"]
    process = start(*words[1:])
    while len(json.loads((out / "checkpoint" / "state.json").read_text())["history"]) == kept_epochs:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    assert ended(process)[0] == code


def test_before_there_is_a_run_nothing_is_to_be_resumed(data, tmp_path):
    process = start(*training(data, tmp_path / "run", 5))
    wait_for_word("drawing", process)
    assert (tmp_path / "run" / "run.lock").is_file()
    process.send_signal(signal.SIGTERM)
    code, lines = ended(process)
    assert (code, lines[-1]) == (143, "covidcxr: terminated")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_signals_that_come_in_swarms_change_nothing(data, tmp_path):
    """As `timeout` sends them, to the process and to its group, at any moment to the end."""
    out = tmp_path / "run"
    for round_ in range(4):
        process = start(
            *(training(data, out, 5000) if not round_ else ["train", "ragab2022", "--resume", "--out", out])
        )
        wait_for_word("training", process)
        wait_for(out / "checkpoint" / "state.json", process)
        time.sleep(round_ / 3)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.003)
        code, lines = ended(process)
        assert code == 143
        assert "; resume with: " in lines[-1]


@pytest.mark.slow
def test_the_moment_does_not_matter(data, tmp_path):
    """From the start to the end of a command, drawn at random: one line, the right code, nothing half."""
    rng = np.random.default_rng(0)
    environment = {**os.environ, "PYTHONPATH": str(Path(interruption.__file__).parents[1])}
    for round_ in range(8):
        out = tmp_path / str(round_)
        words = [
            sys.executable,
            "-m",
            "covidcxr",
            "train",
            "ragab2022",
            "--preset",
            "smoke",
            "--out",
            str(out),
        ]
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        time.sleep(rng.uniform(0.6, 12))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        code, lines = ended(process)
        told = sum("covidcxr: terminated" in line for line in lines)
        # On a busy machine the interpreter may not have come to our first line.
        assert (code, told) in ((143, 1), (0, 0)) or (code, lines) == (-signal.SIGTERM, [])
        assert not list(out.rglob(".*"))


@pytest.mark.slow
def test_workers_of_a_cluster_end_too(data, tmp_path):
    """TensorFlow takes SIGTERM from them: for a notice that the machine will be wanted."""
    addresses = [f"127.0.0.1:{port}" for port in workers._free_ports(2)]
    crew = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        words = [*training(data, tmp_path / "run", 5000), "--strategy", "multiworker"]
        crew.append(
            start(*words, env={**os.environ, "TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": "-1"})
        )
    wait_for(tmp_path / "run" / "checkpoint" / "state.json", crew[0])
    for process in crew:
        process.send_signal(signal.SIGTERM)
    (chief, lines), (other, _) = [ended(process, timeout=120) for process in crew]
    assert (chief, other) == (143, 143)
    assert lines[-1].startswith("covidcxr: terminated; ")


def test_several_models_are_counted(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name, epochs, files in (("a", 5, ["report.html"]), ("b", 3, []), ("c", 0, [])):
        place = tmp_path / "models" / name
        (place / "checkpoint").mkdir(parents=True)
        for file in files:
            (place / file).touch()
        if epochs:
            (place / "checkpoint" / "state.json").write_text(json.dumps({"history": [{}] * epochs}))
    line = Progress("yin2020", tmp_path, resumed=True).line()
    assert line.startswith(f"1 finished model and 3 epochs of the next kept in {tmp_path}; resume with: ")
    assert Progress("yin2020", tmp_path, resumed=False).line() == "", "the run that was to be overwritten"


def test_workers_are_resumed_as_workers(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"stages": [{"epochs": 2}, {"epochs": 3}]}')
    monkeypatch.setenv("COVIDCXR_WORKERS", "2")
    line = Progress("yin2020", tmp_path, resumed=True).line()
    assert line.startswith("0 of 5 epochs kept in ")
    assert line.endswith(" --workers 2 --resume")
