"""Give damaged files to every reader of the package: a value or one line is right, all else is a finding.

    python tests/reliability/fuzz.py [--inputs 10000] [--seed 0] [--only TARGET,...] [--again TARGET NUMBER]

A finding is an exception other than `CovidcxrError`, a message of more than one line, the end of the process by a
signal, more than ten seconds, or more than 1 GiB above what the process held before. The inputs of a target are
numbered; seed, target and number make the same input again (``--again``). They are drawn by NumPy and not by
hypothesis, whose examples hang together: none could be made alone, and a crash of the reader would end them all.
"""

import argparse
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from fuzz_child import kept_name

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 10.0
# To import TensorFlow and make the valid files.
_START_SECONDS = 300.0


@dataclass
class Tally:
    """What became of a target's inputs."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    findings: list = field(default_factory=list)
    slowest: float = 0.0
    peak: float = 0.0


class HarnessError(Exception):
    """The harness itself failed: its target is named, and what the process printed last."""


def run(
    inputs, seed, folder, *, module="fuzz_targets", groups=None, only=None, limit=LIMIT_SECONDS, say=None
):
    """Fuzz.

    Parameters
    ----------
    inputs : int
        In all; shared out over the targets.
    seed : int
    folder : path-like
        New; damaged files that were findings are kept in ``findings/``.
    module : str
        That has the targets.
    groups, only : sequence of str, optional
        The groups of targets, or the targets; default all.
    limit : float
        Seconds an input may take.
    say : callable, optional
        Called with the tallies of each group as soon as it is done.

    Returns
    -------
    dict of str to Tally
    """
    targets = _targets(module, groups, only)
    whole = sum(target.share for target in targets.values())
    jobs = {name: max(1, round(inputs * target.share / whole)) for name, target in targets.items()}
    tallies = {name: Tally() for name in targets}
    for group in dict.fromkeys(target.group for target in targets.values()):
        left = [[name, 0, jobs[name]] for name, target in targets.items() if target.group == group]
        while left:
            left = _Watch(module, seed, Path(folder), left, tallies, limit).watch()
        if say:
            say({name: tally for name, tally in tallies.items() if targets[name].group == group})
    return tallies


def _targets(module, groups, only):
    every = importlib.import_module(module).TARGETS
    unknown = sorted(set(only or ()) - set(every))
    if unknown:
        raise SystemExit(f"no target {unknown[0]!r}; there are {', '.join(every)}")
    return {
        name: target
        for name, target in every.items()
        if (not only or name in only) and (not groups or target.group in groups)
    }


class _Watch:
    """One process and what it says."""

    def __init__(self, module, seed, folder, jobs, tallies, limit):
        self.seed, self.folder, self.jobs, self.tallies, self.limit = seed, folder, jobs, tallies, limit
        self.folder.mkdir(parents=True, exist_ok=True)
        task = {"module": module, "seed": seed, "folder": str(self.folder.resolve()), "jobs": jobs}
        words = [sys.executable, str(HERE / "fuzz_child.py"), json.dumps(task)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment
        )
        # The input that is being read, and the last of which the end is known.
        self.current, self.last, self.rest = None, None, b""

    def watch(self):
        """Follow the process to its end; return the jobs that are left to another."""
        try:
            return self._follow()
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def _follow(self):
        while True:
            step = self._step()
            if isinstance(step, str):
                return self._ended(step)
            if "done" in step:
                return []
            if "begin" in step:
                self.current = step
            else:
                self._count(step)

    def _step(self):
        """Return the next step, or what became of a process that says nothing more."""
        while b"\n" not in self.rest:
            wait = self.limit if self.current else _START_SECONDS
            if not select.select([self.process.stdout], [], [], wait)[0]:
                return f"took more than {wait:g} s"
            piece = os.read(self.process.stdout.fileno(), 65_536)
            if not piece:
                code = self.process.wait()
                return (
                    f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                )
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def _count(self, step):
        tally = self.tallies[self.current["target"]]
        tally.inputs += 1
        tally.slowest = max(tally.slowest, step["milliseconds"])
        tally.peak = max(tally.peak, step["mib"])
        if step["outcome"] == "finding":
            self._found(**step["what"])
        else:
            setattr(tally, step["outcome"], getattr(tally, step["outcome"]) + 1)
        self.current, self.last = None, self.current

    def _found(self, what, file):
        target, number = self.current["target"], self.current["begin"]
        finding = {"target": target, "seed": self.seed, "number": number, "what": what, "file": file}
        self.tallies[target].findings.append(finding)

    def _ended(self, what):
        if self.current is None and (self.last is None or what != "ended with exit code 0"):
            noise = (self.folder / "noise.txt").read_text(errors="replace")
            raise HarnessError(f"{self.jobs[0][0]} or a later target: {what}\n{noise[-3000:]}")
        if self.current is not None:
            self.tallies[self.current["target"]].inputs += 1
            self._found(what, self._kept())
            self.last = self.current
        return self._left()

    def _kept(self):
        """Keep the file that its reader did not survive."""
        target, number, place = (self.current[name] for name in ("target", "begin", "place"))
        path = self.folder / "findings" / kept_name(target, self.seed, number, place)
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(place, path)
        return str(path)

    def _left(self):
        name, number = self.last["target"], self.last["begin"]
        place = [job[0] for job in self.jobs].index(name)
        last = self.jobs[place][2]
        begun = [[name, number + 1, last]] if number + 1 < last else []
        return begun + self.jobs[place + 1 :]


def table(tallies):
    """Return the tallies as text."""
    head = f"{'target':<16}{'inputs':>8}{'read':>8}{'refused':>9}{'findings':>10}{'slowest ms':>12}{'peak MiB':>10}"
    lines = [
        f"{name:<16}{tally.inputs:>8}{tally.read:>8}{tally.refused:>9}{len(tally.findings):>10}"
        f"{tally.slowest:>12.0f}{tally.peak:>10.0f}"
        for name, tally in tallies.items()
    ]
    return "\n".join([head, *lines])


def in_all(tallies):
    """Return one tally of all."""
    every = list(tallies.values())
    return Tally(
        sum(tally.inputs for tally in every),
        sum(tally.read for tally in every),
        sum(tally.refused for tally in every),
        [finding for tally in every for finding in tally.findings],
        max(tally.slowest for tally in every),
        max(tally.peak for tally in every),
    )


def main():
    """Fuzz and print the table; exit code 1 with findings."""
    parser = argparse.ArgumentParser(description="Give damaged files to every reader of covidcxr.")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="targets, with commas")
    parser.add_argument("--again", nargs=2, metavar=("TARGET", "NUMBER"), help="one input, by its number")
    parser.add_argument("--out", help="folder for the findings (default: a temporary one)")
    args = parser.parse_args()
    folder = Path(args.out or tempfile.mkdtemp(prefix="covidcxr-fuzz-"))
    if args.again:
        name, number = args.again[0], int(args.again[1])
        tallies = {name: Tally()}
        _Watch(
            "fuzz_targets", args.seed, folder, [[name, number, number + 1]], tallies, LIMIT_SECONDS
        ).watch()
    else:
        only = args.only.split(",") if args.only else None
        tallies = run(
            args.inputs, args.seed, folder, only=only, say=lambda part: print(table(part), flush=True)
        )
    print(table({"in all": in_all(tallies)}))
    for finding in in_all(tallies).findings:
        print(json.dumps(finding))
    sys.exit(1 if in_all(tallies).findings else 0)


if __name__ == "__main__":
    main()
