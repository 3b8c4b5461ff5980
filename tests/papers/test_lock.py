"""One run at a time in a folder: the second is refused in a line; a lock whose holder was killed stops nobody."""

import errno
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from covidcxr import atomic
from covidcxr.cli import main
from covidcxr.errors import OutputError
from covidcxr.papers import ragab2022
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.running import lock

fcntl = pytest.importorskip("fcntl")
TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
HOLDER = """
import sys, time
from covidcxr.papers.running import lock
with lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is at work in tmp_path/run."""
    environment = {**os.environ, "PYTHONPATH": str(Path(lock.__file__).parents[3])}
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(lock, "_PAUSE_SECONDS", 0.01)


def content(root):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--resume"]])
def test_the_second_run_is_refused_in_a_line_and_touches_nothing(more, holder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](12))
    run = tmp_path / "run"
    config = '{"paper": "ragab2022", "options": {"model": "tiny", "weights": "none"}, "command": "", "environment": {}}'
    (run / "config.json").write_text(config)
    before = content(tmp_path)
    assert main(["train", "ragab2022", "--model", "tiny", "--weights", "none", "--out", str(run), *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert re.fullmatch(
        rf"covidcxr: error: {re.escape(str(run))}: a run is at work there \(process {holder.pid} on \S+ since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00\); wait, or choose another --out",
        line,
    )
    assert content(tmp_path) == before


def test_what_a_killed_run_leaves_blocks_nobody(holder, tmp_path):
    with pytest.raises(OutputError, match="at work"):
        lock.refuse_busy(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / lock.LOCK).is_file()
    lock.refuse_busy(tmp_path / "run")
    with lock.held(tmp_path / "run"):
        assert f"process {os.getpid()} on " in (tmp_path / "run" / lock.LOCK).read_text()
    # What was not made by the run stays.
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_in_which_nothing_was_begun_goes_again(tmp_path):
    with lock.held(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / lock.LOCK).is_file()
    assert list(tmp_path.iterdir()) == []
    with lock.held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.json").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["config.json"]


def test_a_run_and_its_models_are_one_place(tmp_path):
    study, model = tmp_path / "study", tmp_path / "study" / "models" / "a"
    for first, second in ((study, model), (model, study)):
        model.mkdir(parents=True, exist_ok=True)
        with (
            lock.held(first),
            pytest.raises(OutputError, match=f"^{re.escape(str(first))}: a run is at work"),
        ):
            lock.refuse_busy(second)
        lock.refuse_busy(second)
    with lock.held(model):
        lock.refuse_busy(study.parent)
        lock.refuse_busy(study / "models" / "b")


def test_who_opened_a_lock_that_went_takes_the_new_one(tmp_path, monkeypatch):
    """Between opening and locking, its holder removes the file and another run makes a new one."""
    real, turns = lock._lock, []

    def slow(handle, shared):
        if not turns:
            turns.append(1)
            (tmp_path / lock.LOCK).unlink()
            (tmp_path / lock.LOCK).write_text("another's")
        return real(handle, shared)

    monkeypatch.setattr(lock, "_lock", slow)
    with lock.held(tmp_path):
        monkeypatch.undo()
        with pytest.raises(OutputError, match="at work"), lock.held(tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_a_run_goes_on_with_a_note(number, tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    notes = []
    lock.refuse_busy(tmp_path)
    with lock.held(tmp_path, say=notes.append):
        assert list(tmp_path.iterdir()) == []
    assert len(notes) == 1
    assert "no locks on this file system" in notes[0]


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / lock.LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match=r"run\.lock"), lock.held(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_no_room_for_a_name_is_no_reason_to_refuse(tmp_path, monkeypatch):
    def full(handle, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with lock.held(tmp_path), pytest.raises(OutputError, match="a run is at work there; wait"):
        lock.refuse_busy(tmp_path)


def test_a_lock_is_a_runs_own_and_no_foreign_file(tmp_path):
    (tmp_path / lock.LOCK).touch()
    run_folder.check(tmp_path, overwrite=False, resume=False)


def test_what_killed_runs_were_writing_is_removed_where_only_runs_write(tmp_path):
    mine = [
        tmp_path / name
        for name in ("figures/.notes", "audit/.audit-writing-abcdefg1.json", "figures/.a-b.png")
    ]
    ours = [
        tmp_path / name
        for name in (
            ".config-writing-abcdefg1.json",
            "figures/.roc-writing-abcdefg1.png",
            "models/a/figures/.roc-writing-a_cdefg1.svg",
            "phantom/covid19/.patient-0001-01-writing-abcdefg1.png",
            "generated/draw/gan/covid19/.epoch-0001-writing-abcdefg1.keras",
        )
    ]
    for path in (*mine, *ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run_folder.prepare(tmp_path, overwrite=False)
    assert [path.is_file() for path in mine] == [True] * 3
    assert [path.is_file() for path in ours] == [False] * 5


def test_names_of_unfinished_files_are_known_again(tmp_path):
    for name in ("a.json", "a.b.csv", "noending", "x" * 60 + ".png", ".hidden.csv"):
        with atomic.whole_file(tmp_path / name) as temporary:
            assert atomic.is_leftover(temporary.name)
        assert not atomic.is_leftover(name)
