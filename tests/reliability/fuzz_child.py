"""The process that reads: it says which input comes next before it reads it, so that whoever watches can name it.

    python tests/reliability/fuzz_child.py JOBS

JOBS is JSON: ``{"module": ..., "seed": ..., "folder": ..., "jobs": [[target, first, last], ...]}``. One line of JSON a
step goes to the standard output; whatever the libraries print goes to the file noise.txt.
"""

import faulthandler
import importlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
import zlib
from pathlib import Path

import numpy as np

MIB = 2**20
# What an input may take above what the process held before the first one.
MOST_BYTES = 1024 * MIB
# An allocation of more fails, as it would fill the machine; less is measured.
_AT_ONCE = 4 * MOST_BYTES


def main(text):
    """Carry out the jobs."""
    task = json.loads(text)
    folder = Path(task["folder"])
    say = _speaker(folder)
    targets = importlib.import_module(task["module"]).TARGETS
    for name, first, last in task["jobs"]:
        place = folder / "work" / name.replace(" ", "-")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        os.chdir(place)
        _Reader(name, targets[name], task, say).run(first, last)
    say(done=True)


def _speaker(folder):
    """Keep the standard output to ourselves."""
    spoken = os.fdopen(os.dup(1), "w", buffering=1)
    noise = os.open(folder / "noise.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(noise, stream)
    faulthandler.enable()
    return lambda **step: print(json.dumps(step), file=spoken, flush=True)


class _Reader:
    def __init__(self, name, target, task, say):
        self.name, self.target, self.seed, self.say = name, target, task["seed"], say
        self.kept = Path(task["folder"]) / "findings"
        # The current folder: what holds paths is then the same in every run.
        self.folder = Path()
        self.seeds = target.seeds(self.folder)
        for place, data in self.seeds:
            self._put(place, data)
        for place, _ in self.seeds:
            # What is valid must be read: a reader that refuses everything would pass.
            target.read(self.folder, place)
        self.before = _status("VmRSS")
        _limit_memory()

    def run(self, first, last):
        """Read the inputs of these numbers; end the process after one that took too much memory, and may keep it."""
        for number in range(first, last):
            place, data = self.input(number)
            self._put(place, data)
            self.say(begin=number, target=self.name, place=os.path.abspath(place))
            outcome, what, seconds, above = self._read(place)
            if outcome == "finding":
                what = {"what": what, "file": self._keep(number, place, data)}
            if len(self.seeds) > 1:
                self._put(place, dict(self.seeds)[place])
            self.say(end=number, outcome=outcome, what=what, milliseconds=1000 * seconds, mib=above / MIB)
            if above > MOST_BYTES:
                sys.exit()

    def input(self, number):
        """Make an input: decided by seed, target and number alone."""
        rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), number])
        place, data = self.seeds[int(rng.integers(len(self.seeds)))]
        return place, self.target.damage(rng, data, [other for _, other in self.seeds])

    def _read(self, place):
        _forget_peak()
        began = time.perf_counter()
        outcome, what = _outcome(self.target, self.folder, place)
        seconds = time.perf_counter() - began
        above = max(0, _status("VmHWM") - self.before)
        return (
            *(("finding", f"took {above // MIB} MiB") if above > MOST_BYTES else (outcome, what)),
            seconds,
            above,
        )

    def _put(self, place, data):
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _keep(self, number, place, data):
        self.kept.mkdir(exist_ok=True)
        path = self.kept / kept_name(self.name, self.seed, number, place)
        path.write_bytes(data)
        return str(path)


def kept_name(target, seed, number, place):
    """Return the name that an input is kept under."""
    return f"{target.replace(' ', '-')}-{seed}-{number}{Path(place).suffix}"


def _outcome(target, folder, place):
    from covidcxr.errors import CovidcxrError

    try:
        target.read(folder, place)
    except CovidcxrError as error:
        line = str(error)
        if _out_of_memory(error):
            return "finding", f"asks for more than {_AT_ONCE // MIB} MiB ({line[:200]})"
        if not line.isprintable() or not line:
            return "finding", f"not one line: {line[:200]!a}"
        return "refused", line
    except BaseException as error:
        return "finding", f"{type(error).__name__}: {str(error)[:200]!a} at {_where(error)}"
    return "read", ""


def _out_of_memory(error):
    """Tell whether memory that ran out lies behind an error."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _where(error):
    """Return the innermost line of the package."""
    package = Path(sys.modules["covidcxr"].__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if package in Path(frame.filename).parents]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else "no line of the package"


def _limit_memory():
    if sys.platform == "linux":
        most = _status("VmSize") + _AT_ONCE
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _status(name):
    """Return a figure of this process' memory in bytes."""
    if sys.platform != "linux":
        # macOS counts in bytes, and knows the peak only.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}")


def _forget_peak():
    """Let the peak of resident memory begin anew, so that each input is measured alone."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            # Some sandboxes forbid it: then a peak is that of all inputs so far.
            return


if __name__ == "__main__":
    main(sys.argv[1])
