"""Two ways of doing the same work, timed in turns; ratios are the result, seconds only their source."""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_BOUND = re.compile(r"(?P<side>below|above) (?P<number>\d+(\.\d+)?)")


@dataclass(frozen=True)
class Bench:
    """What every part of the benchmark is given.

    Attributes
    ----------
    folder : pathlib.Path
        For files; empty at first and removed afterwards.
    quick : bool
        All parts together in minutes: fewer images, small networks or few steps, three repeats.
    data : pathlib.Path or None
        Folder with real images; phantoms are rendered where there is none.
    weights : str
        ``"none"``, ``"imagenet"`` or a folder, as for training.
    seed : int
    say : callable
        ``say(text)`` before each step that takes a while.
    """

    folder: Path
    quick: bool = False
    data: Path | None = None
    weights: str = "none"
    seed: int = 0
    say: Callable = field(default=lambda text: None, repr=False)

    @property
    def repeats(self):
        """Times that each side is timed, after one run to warm up."""
        return 3 if self.quick else 5


@dataclass(frozen=True)
class Race:
    """Two sides that did the same work in turns.

    Attributes
    ----------
    key : str
        Short and unique, such as ``"augment-224"``.
    title : str
        What was done, in a line: "augment 224 x 224 images with rahimzadeh2020's parameters".
    ours, peer : str
        What each side is, such as "covidcxr, engine fast" and "Keras' ImageDataGenerator".
    amount : float
        Work of one timed run, in `unit`.
    unit : str
        Such as ``"images"``, ``"steps"`` or ``"epochs"``.
    ours_seconds, peer_seconds : tuple of float
        Of each timed run, in the order they were made.
    goal : float or None
        The ratio that is aimed at.
    peer_amount : float or None
        Where the peer is timed on a smaller share of the work, how much that was; said in `note`.
    note : str
    """

    key: str
    title: str
    ours: str
    peer: str
    amount: float
    unit: str
    ours_seconds: tuple
    peer_seconds: tuple
    goal: float | None = None
    peer_amount: float | None = None
    note: str = ""

    @property
    def ratios(self):
        """Peer's seconds over ours for the same work, of each pair of runs."""
        share = self.amount / (self.peer_amount or self.amount)
        pairs = zip(self.peer_seconds, self.ours_seconds, strict=True)
        return tuple(peer * share / ours for peer, ours in pairs)

    @property
    def ratio(self):
        """How many times faster ours is: the median over the pairs."""
        return statistics.median(self.ratios)

    @property
    def rates(self):
        """Median units a second: ours, peer's."""
        ours = self.amount / statistics.median(self.ours_seconds)
        return ours, (self.peer_amount or self.amount) / statistics.median(self.peer_seconds)

    @property
    def met(self):
        """Whether the median ratio reaches the goal; None without a goal."""
        return None if self.goal is None else self.ratio >= self.goal


@dataclass(frozen=True)
class Fact:
    """One measured number that is no ratio of two sides, such as the share of a step that waits on input.

    Attributes
    ----------
    key, title : str
    values : tuple of float
        Of each repeat.
    unit : str
        Such as ``"s"``, ``"%"``, ``"GFLOP/s"`` or ``"MiB"``.
    goal : str
        In words, such as ``"below 5 %"``; empty where there is none. What begins with "below" or "above" and a number
        in `unit` is judged.
    note : str
    """

    key: str
    title: str
    values: tuple
    unit: str
    goal: str = ""
    note: str = ""

    @property
    def value(self):
        """Median over the repeats."""
        return statistics.median(self.values)

    @property
    def met(self):
        """Whether the median keeps a goal of the form "below 5 %" or "above 3"; None for any other."""
        found = _BOUND.match(self.goal)
        if found is None:
            return None
        bound = float(found["number"])
        return self.value < bound if found["side"] == "below" else self.value > bound


def race(key, title, *, ours, peer, amount, unit, repeats, goal=None, peer_amount=None, note=""):
    """Time two sides in turns, after one run of each to warm up.

    Parameters
    ----------
    key, title, amount, unit, goal, peer_amount, note
        As in :class:`Race`.
    ours, peer : (str, callable)
        What the side is, and the work; called without arguments.
    repeats : int

    Returns
    -------
    Race
    """
    sides = {"ours": ours, "peer": peer}
    for _, work in sides.values():
        work()
    seconds = {name: [] for name in sides}
    for turn in range(repeats):
        # Who goes first changes, so that neither always finds the caches warm.
        for name in sorted(sides, reverse=bool(turn % 2)):
            seconds[name].append(timed(sides[name][1]))
    return Race(
        key,
        title,
        ours[0],
        peer[0],
        amount,
        unit,
        tuple(seconds["ours"]),
        tuple(seconds["peer"]),
        goal,
        peer_amount,
        note,
    )


def timed(work):
    """Return the wall-clock seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
