"""How long a command takes to answer, and to reach its first training step."""

import subprocess
import sys
import time

from covidcxr.bench import first_step
from covidcxr.bench.measuring import Fact, timed
from covidcxr.errors import ModelError

KEY = "start"
TITLE = "Start-up"

# Lines that a run says as it goes, and what has passed before each.
_PHASES = (
    (first_step.IMPORTED, "TensorFlow and Keras"),
    (("rendering", "reading", "drawing"), "the package's other imports"),
    ("building", "images"),
    ("training", "network and weights"),
    (first_step.DONE, "first graph and step"),
)


def measure(bench):
    """Time `--help`, an import of TensorFlow alone, and a smoke run of ragab2022 up to its first step.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Returns
    -------
    list of covidcxr.bench.measuring.Fact
    """
    bench.say("start-up: --help, TensorFlow alone, a smoke run up to its first step")
    heavy = 1 if bench.quick else bench.repeats
    runs = [time_to_first_step(bench.folder / f"start-{number}") for number in range(heavy)]
    split = ", ".join(f"{name} {runs[-1][name]:.1f}" for _, name in _PHASES)
    return [
        Fact("start-help", "covidcxr --help", _calls(_help("--help"), bench.repeats), "s", "below 0.3 s"),
        Fact(
            "start-train-help",
            "covidcxr-train --help",
            _calls(_help("train", "--help"), bench.repeats),
            "s",
            "below 0.3 s",
        ),
        Fact("start-tensorflow", "import tensorflow alone", _calls(["-c", "import tensorflow"], heavy), "s"),
        Fact(
            "start-first-step",
            "covidcxr-train ragab2022 --preset smoke, from the command to the first training step",
            tuple(sum(run.values()) for run in runs),
            "s",
            note=f"seconds of the last run: {split}",
        ),
    ]


def time_to_first_step(out):
    """Start a smoke run of ragab2022 and wait for its first training step.

    Parameters
    ----------
    out : path-like
        Its run folder.

    Returns
    -------
    dict of str to float
        Seconds of each phase, in order; their sum is the whole.

    Raises
    ------
    ModelError
        If the run ends without a step.
    """
    command = [sys.executable, "-m", "covidcxr.bench.first_step", "train", "ragab2022", "--preset", "smoke"]
    phases, waiting = {}, list(_PHASES)
    last = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        [*command, "--weights", "none", "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as run:
        for line in run.stderr:
            if waiting and line.startswith(waiting[0][0]):
                now = time.perf_counter()
                phases[waiting.pop(0)[1]], last = now - last, now
    if waiting:
        raise ModelError(f"{out}: the smoke run ended before its first step; run covidcxr train to see why")
    return phases


def _help(*words):
    return ["-m", "covidcxr", *words]


def _calls(arguments, repeats):
    def call():
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603

    call()
    return tuple(timed(call) for _ in range(repeats))
