"""SIGKILL at random moments of real commands, again and again, until each has ended as if nothing had been."""

import collections
import contextlib
import csv
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_spec = importlib.util.spec_from_file_location("kill_opening", Path(__file__).with_name("kill_opening.py"))
opening = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(opening)

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ("ragab2022", "khalifa2020", "rahimzadeh2020", "yin2020", "nemati2022")
# Then it is let end, so that ends are compared too.
MOST_KILLS_A_RUN = 4
# Far beyond what any command takes: one that hangs fails.
LONGEST_SECONDS = 900
# Columns that measure time.
_TIMES = {"seconds"}
# What a run has written last tells how far it was; the first of these that is there.
STAGES = (
    ("report", "**/report.html"),
    ("scores", "**/metrics.json"),
    ("predictions", "**/predictions.csv"),
    ("model.h5", "**/model.h5"),
    ("checkpoint", "**/checkpoint/state.json"),
    ("decoded images", "**/decoded-*.npy"),
    ("generated images", "**/generated/**/manifest.json"),
    ("generating network", "**/generated/**/gan/*/state.json"),
    ("config.json", "**/config.json"),
    ("other files", "**/*.*"),
)


@dataclass(frozen=True)
class Job:
    """A command, and how it is gone on with.

    Attributes
    ----------
    name : str
    words : callable
        ``words(folder)``: the arguments of `covidcxr`, which write below `folder`.
    again : callable
        ``again(folder)``: those after a kill; None where all is there already.
    """

    name: str
    words: object
    again: object


@dataclass
class Summary:
    """What was found.

    Attributes
    ----------
    kills : collections.Counter
        By (command, what had been written).
    resumed, ended, opened, hidden : int
        Kills after which the command was given again; ends that were compared with the uninterrupted one;
        files opened after kills; files under hidden names found after kills.
    """

    kills: collections.Counter = field(default_factory=collections.Counter)
    resumed: int = 0
    ended: int = 0
    opened: int = 0
    hidden: int = 0

    def lines(self):
        """Return it as lines of text."""
        total = sum(self.kills.values())
        yield f"{total} kills, {self.resumed} gone on with, {self.ended} ends equal to the uninterrupted ones"
        yield f"{self.opened} files opened after the kills, {self.hidden} unfinished ones under hidden names"
        for title, place in (("command", 0), ("written so far", 1)):
            counts = collections.Counter()
            for key, number in self.kills.items():
                counts[key[place]] += number
            listed = ", ".join(f"{name} {number}" for name, number in counts.most_common())
            yield f"by {title}: {listed}"


def training(key):
    """Train all that a paper's smoke run trains, with a cache on the disk."""

    def words(folder):
        return ["train", key, "--preset", "smoke", "--cache", folder / "cache", "--out", folder / "run"]

    def again(folder):
        if not (folder / "run" / "config.json").is_file():
            return words(folder)
        return ["train", key, "--resume", "--out", folder / "run"]

    return Job(f"train {key}", words, again)


def repeated(name, words):
    """Return a command that is simply given again."""
    return Job(name, words, words)


def written_once(name, words, target):
    """Return a command that refuses to write its last file twice."""
    return Job(name, words, lambda folder: None if (folder / target).exists() else words(folder))


def jobs(run):
    """Return the commands; `run` is a finished run of one model."""
    model = run / "model.h5"
    phantom = ["data", "prepare", "phantom", "--count", "covid19=24", "--count", "normal=24", "--size", "128"]
    return [
        *(training(key) for key in PAPERS),
        repeated("report", lambda folder: ["report", run, "--out", folder / "report"]),
        repeated(
            "export h5-keras2",
            lambda folder: ["export", model, "--format", "h5-keras2", "--out", folder / "m.h5"],
        ),
        repeated(
            "export h5-float16",
            lambda folder: ["export", model, "--format", "h5-float16", "--out", folder / "half.h5"],
        ),
        written_once(
            "export saved_model",
            lambda folder: ["export", model, "--format", "saved_model", "--out", folder / "m"],
            "m.json",
        ),
        repeated(
            "data prepare phantom",
            lambda folder: [*phantom, "--masks", "--contact-sheet", "--out", folder / "phantom"],
        ),
        repeated(
            "data inspect",
            lambda folder: [
                "data",
                "inspect",
                run / "phantom",
                "--json",
                folder / "i.json",
                "--csv",
                folder / "csv",
            ],
        ),
    ]


def start(words, log):
    """Start `covidcxr` at the head of a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(log, "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "covidcxr", *map(str, words)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


class Matrix:
    """Runs commands whole, then kills them.

    Parameters
    ----------
    place : pathlib.Path
        An empty folder.
    seed : int
        Of the moments.
    say : callable
        ``say(text)`` after every kill and end.
    """

    def __init__(self, place, seed, say=print):
        self.place = place
        self.random = np.random.default_rng(seed)
        self.say = say
        self.summary = Summary()
        self._whole = {}

    def run(self, kills):
        """Kill so often, the commands in turn; return the summary."""
        _, ragab = self.whole(training(PAPERS[0]))
        every = jobs(ragab / "run")
        turn = 0
        while sum(self.summary.kills.values()) < kills:
            left = kills - sum(self.summary.kills.values())
            # Few kills are spread over all commands.
            self.cut(every[turn % len(every)], min(left, MOST_KILLS_A_RUN, -(-kills // len(every))))
            turn += 1
        return self.summary

    def whole(self, job):
        """Return how long a command takes from its start to its end, and its folder, made once."""
        if job.name not in self._whole:
            folder = self._folder(f"whole-{job.name}")
            began = time.monotonic()
            self._finish(job, job.words(folder), folder)
            self._whole[job.name] = time.monotonic() - began, folder
            self.say(f"{job.name}: {self._whole[job.name][0]:.1f} s uninterrupted")
        return self._whole[job.name]

    def cut(self, job, most):
        """Kill one run of a command at up to so many moments, then let it end and compare."""
        duration, expected = self.whole(job)
        folder = self._folder(f"cut-{job.name}")
        words, seen = job.words(folder), {}
        for _ in range(most):
            if not self._killed(job, words, folder, self.random.uniform(0, duration)):
                break
            self._look(folder, seen)
            words = job.again(folder)
            if words is None:
                break
            self.summary.resumed += 1
        else:
            self._finish(job, words, folder)
        _, hidden = opening.left_in(folder / "run")
        assert not hidden, f"{job.name}: a run that has ended holds {hidden} unfinished files"
        difference = _difference(expected, folder)
        assert not difference, f"{job.name}: not as the uninterrupted one: {difference}"
        self.summary.ended += 1
        self.say(f"{job.name}: ended as the uninterrupted one")
        shutil.rmtree(folder)

    def _folder(self, name):
        folder = self.place / name.replace(" ", "-")
        folder.mkdir()
        return folder

    def _finish(self, job, words, folder):
        log = folder.with_suffix(".log")
        process = start(words, log)
        process.wait(LONGEST_SECONDS)
        assert process.returncode == 0, f"{job.name}: {log.read_text(errors='replace')[-3000:]}"

    def _killed(self, job, words, folder, seconds):
        """Kill a command so long after its start; return whether it had not ended by then."""
        log = folder.with_suffix(".log")
        process = start(words, log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            assert process.returncode == 0, f"{job.name}: {log.read_text(errors='replace')[-3000:]}"
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stage = next((name for name, pattern in STAGES if any(folder.glob(pattern))), "nothing")
        self.summary.kills[job.name, stage] += 1
        self.say(f"{job.name}: killed after {seconds:.1f} s, written so far: {stage}")
        return True

    def _look(self, folder, seen):
        """Open every file that is new or changed since the last look."""
        files, hidden = opening.left_in(folder)
        self.summary.hidden += hidden
        for path in files:
            status = path.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen.get(path) != state:
                opening.check(path)
                self.summary.opened += 1
                seen[path] = state


def _difference(expected, found):
    """Return the first file that is missing, too many or another; None where all are alike."""
    names = [{_named(path, folder) for path in opening.left_in(folder)[0]} for folder in (expected, found)]
    if names[0] != names[1]:
        return f"other files: {sorted(names[0] ^ names[1], key=str)[:3]}"
    for path in opening.left_in(expected)[0]:
        other = found / path.relative_to(expected)
        if ".tfevents." not in path.name and _content(path) != _content(other):
            return f"other content: {other}"
    return None


def _named(path, folder):
    """Name a file by its place; event files, whose names are moments, by their folder."""
    place = path.relative_to(folder)
    return place.parent / "tfevents" if ".tfevents." in path.name else place


def _content(path):
    """Return what must be the same: numbers and pictures to the bit, without moments, durations and places."""
    if path.suffix == ".h5":
        return _datasets(path)
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return [{**row, **dict.fromkeys(_TIMES & set(row))} for row in csv.DictReader(file)]
    if path.suffix in (".png", ".npy"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def _datasets(path):
    import h5py

    found = {}

    def take(name, each):
        if isinstance(each, h5py.Dataset):
            found[name] = each.dtype.str, each.shape, hashlib.sha256(each[()].tobytes()).hexdigest()

    with h5py.File(path) as file:
        file.visititems(take)
    return found
