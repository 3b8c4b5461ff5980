"""Runs the parts one after another, each in a process of its own.

TensorFlow's settings, thread pools and memory of one part do not colour another's, and a part that crashes takes
nothing with it but itself.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import tempfile
import time
import traceback
from dataclasses import fields
from pathlib import Path

from covidcxr.bench.measuring import Bench
from covidcxr.bench.results import FAILED, MEASURED, REFUSED, PartResult, item_from_dict, item_to_dict
from covidcxr.errors import CovidcxrError, OptionError

PACKAGE = "covidcxr.bench.parts"
PARTS = (
    "augmentation",
    "input",
    "frozen",
    "training",
    "inference",
    "dcgan",
    "start",
    "scaling",
    "roofline",
)

_PATIENCE_SECONDS = 10


def choose(only, parts=PARTS):
    """Return the parts that `--only` names, in the benchmark's order.

    Parameters
    ----------
    only : str or None
        Names with commas; None for all.
    parts : sequence of str

    Returns
    -------
    tuple of str

    Raises
    ------
    OptionError
        If a name is unknown.
    """
    if only is None:
        return tuple(parts)
    asked = [name.strip() for name in only.split(",")]
    unknown = [name for name in asked if name not in parts]
    if unknown:
        raise OptionError(f"--only {only}: there is no part {unknown[0]!r}; choose from {','.join(parts)}")
    return tuple(name for name in parts if name in asked)


def title_of(name, package=PACKAGE):
    """Return a part's title, or, of one that cannot be loaded, its name with the reason."""
    try:
        return importlib.import_module(f"{package}.{name}").TITLE
    except Exception as error:
        return f"{name}: cannot be loaded ({_reason(error)})"


def run_part(name, bench, package=PACKAGE):
    """Measure one part in a new process.

    Parameters
    ----------
    name : str
        Of the module in `package`.
    bench : Bench
        Its `folder` is the parent of the part's own.
    package : str

    Returns
    -------
    PartResult
        Whatever happens in the part: a `CovidcxrError` there is ``"refused"``, anything else ``"failed"``. Items that
        the part gave before are kept; its process dying loses them.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(
        prefix=f"{name}-", dir=bench.folder, ignore_cleanup_errors=True
    ) as folder:
        settings = _settings(bench) | {"folder": folder}
        # The part's own printing, and TensorFlow's, would tear the table apart.
        log = Path(folder).with_suffix(".log")
        process = context.Process(target=_child, args=(package, name, settings, str(log), theirs))
        process.start()
        theirs.close()
        try:
            answer = _answer(ours, bench.say)
            process.join(_PATIENCE_SECONDS)
        finally:
            _end(process)
    seconds = time.perf_counter() - began
    answer = answer or {"state": FAILED, "problem": _crash(process.exitcode, log)}
    items = tuple(item_from_dict(item) for item in answer.get("items", ()))
    return PartResult(
        name, answer.get("title") or name, answer["state"], items, answer.get("problem", ""), seconds
    )


def _settings(bench):
    """Return what a bench is as JSON: paths as text, and without `say`, which only this process has."""
    values = {field.name: getattr(bench, field.name) for field in fields(bench) if field.name != "say"}
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _answer(connection, say):
    """Pass on what the child says until it ends; return its result, or None if it died before."""
    with contextlib.suppress(EOFError):
        while True:
            message = json.loads(connection.recv_bytes())
            if "say" not in message:
                return message
            say(message["say"])
    return None


def _end(process):
    if process.is_alive():
        process.terminate()
        process.join(_PATIENCE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _crash(code, log):
    how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
    try:
        lines = [
            line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
    except OSError:
        lines = []
    return f"its process ended {how}" + (f": {lines[-1].strip()}" if lines else "")


def _child(package, name, settings, log, connection):
    """Measure in the child process and send the result as JSON."""
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

    # Parts measure with NumPy, whose numbers JSON does not know.
    def send(message):
        connection.send_bytes(json.dumps(message, default=float).encode())

    settings["folder"] = Path(settings["folder"])
    settings["data"] = settings["data"] and Path(settings["data"])
    bench = Bench(**settings, say=lambda text: send({"say": str(text)}))
    send(_measured(package, name, bench))
    connection.close()


def _measured(package, name, bench):
    answer = {"state": MEASURED, "title": name, "items": []}
    try:
        part = importlib.import_module(f"{package}.{name}")
        answer["title"] = part.TITLE
        # What a part gave before it broke was measured none the less.
        for item in part.measure(bench):
            answer["items"].append(item_to_dict(item))
    except CovidcxrError as error:
        answer |= {"state": REFUSED, "problem": str(error)}
    except Exception as error:
        traceback.print_exc()
        answer |= {"state": FAILED, "problem": _reason(error)}
    return answer


def _reason(error):
    """Return an unforeseen error as one line that says where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
