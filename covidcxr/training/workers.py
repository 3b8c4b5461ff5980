"""Several workers on this one machine, to try a distributed run out before it goes to a cluster."""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from covidcxr.atomic import whole_file
from covidcxr.errors import CovidcxrError, OptionError

_HOST = "127.0.0.1"
# Below what systems hand out to outgoing connections, so that a port found free is still free a second later.
_PORTS = range(20000, 30000)
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
COUNT = "COVIDCXR_WORKERS"
"""Environment variable that tells a worker how many this launcher has started."""
_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 10
# Of a log's end, where a worker's last words stand.
_TAIL_BYTES = 65536
_LONGEST_LINE = 300


def launch(arguments, count, folder=None):
    """Run `covidcxr train` as several workers on the loopback interface, and wait for them.

    The first is the chief: its output goes where this process's goes. What the others print is kept in a log
    each. They share the machine's cores evenly and leave its GPUs alone: several workers on one machine are no
    faster than one, and for its GPUs there is the strategy `mirrored`. When one worker fails, or this process
    is interrupted or terminated, all are ended, and one line on standard error says why.

    Parameters
    ----------
    arguments : sequence of str
        As after `covidcxr train`.
    count : int
        Workers.
    folder : path-like, optional
        The run folder: the logs come to lie in its `logs/`, as `worker-1.log` and so on. Without one, or where
        the run did not get so far, those of a failed run stay in a temporary folder, which is named.

    Returns
    -------
    int
        0; the exit code of the worker that failed first, 128 + n where signal n ended it; 128 + n where signal n
        reached this process.

    Raises
    ------
    OptionError
        If `count` is below 1.
    CovidcxrError
        If no ports are free.
    """
    if count < 1:
        raise OptionError(f"--workers {count}: give a whole number of at least 1")
    place = Path(tempfile.mkdtemp(prefix="covidcxr-workers-"))
    with _signals() as received:
        crew = []
        try:
            for number, environment in enumerate(_environments(count)):
                crew.append(_start(arguments, number, environment, place))
            failed = _wait(crew, received)
        finally:
            _end(crew)
    logs = _keep_logs(crew, place, folder, failed is not None)
    if received:
        return _tell_end(crew, received[0], arguments, folder)
    if failed is None:
        return 0
    # A user's mistake leaves nothing to go on with, but where training had begun.
    begun = folder is not None and (Path(folder) / "checkpoint").is_dir()
    hint = (
        f"; to go on: {_resume_command(arguments, count)}" if failed.process.returncode != 2 or begun else ""
    )
    return _report(failed, logs, hint)


@dataclass(frozen=True)
class _Worker:
    number: int
    process: subprocess.Popen
    log: Path | None


def _environments(count):
    """Give each worker its TF_CONFIG and its share of the cores."""
    addresses = [f"{_HOST}:{port}" for port in _free_ports(count)]
    threads = str(max(1, _cores() // count))
    shared = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)
    # What a user has set stands, but for these: a log that is written late is no help, and a proxy cannot
    # reach this machine's own loopback interface.
    forced = {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONUNBUFFERED": "1",
        COUNT: str(count),
        **{name: ",".join(filter(None, [os.environ.get(name), _HOST])) for name in ("no_proxy", "NO_PROXY")},
    }
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        yield {**shared, **os.environ, **forced, "TF_CONFIG": json.dumps(config)}


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_ports(count):
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(100 * count):
            if len(ports) == count:
                return ports
            # All are held until the last is found, or one might be found twice.
            each = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                each.bind((_HOST, secrets.choice(_PORTS)))
                ports.append(each.getsockname()[1])
    raise CovidcxrError(f"no {count} free ports between {_PORTS[0]} and {_PORTS[-1]}; end other programs")


def _start(arguments, number, environment, place):
    command = [sys.executable, "-m", "covidcxr", "train", *arguments, "--strategy", "multiworker"]
    log = place / f"worker-{number}.log" if number else None
    with log.open("wb") if log else contextlib.nullcontext() as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            # Ctrl-C at a terminal reaches this process alone, which passes it on once.
            start_new_session=True,
        )
    return _Worker(number, process, log)


@contextlib.contextmanager
def _signals():
    """Collect the signals that would end this process, instead of being ended by them."""
    received = []
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(crew, received):
    """Return the first worker that failed; None when all are done or a signal came."""
    while not received:
        codes = [worker.process.poll() for worker in crew]
        failed = [worker for worker in crew if worker.process.returncode not in (None, 0)]
        if failed:
            # One that a signal ended took others with it, not the other way round.
            return min(failed, key=lambda worker: worker.process.returncode > 0)
        if all(code == 0 for code in codes):
            return None
        time.sleep(_LOOK_SECONDS)
    return None


def _end(crew):
    """End the workers that still run; leave none behind."""
    for worker in crew:
        # Not SIGTERM: TensorFlow's workers take it for a notice that their machine will be wanted, and go on.
        _send(worker.process, signal.SIGINT)
    deadline = time.monotonic() + _GRACE_SECONDS
    for worker in crew:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0, deadline - time.monotonic()))
    for worker in crew:
        _send(worker.process, signal.SIGKILL)
        worker.process.wait()


def _send(process, number):
    if process.poll() is None:
        # Its own session, so whatever it has started gets it too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _keep_logs(crew, place, folder, failed):
    """Put the logs into the run folder, and return the folder that they are in, if any."""
    home = Path(folder) / "logs" if folder is not None else None
    if home is not None and home.is_dir():
        for worker in crew[1:]:
            with whole_file(home / worker.log.name) as temporary:
                shutil.copyfile(worker.log, temporary)
    elif failed:
        return place
    shutil.rmtree(place, ignore_errors=True)
    return home


def _tell_end(crew, number, arguments, folder):
    """Say that a signal ended the run, where the chief has not said so, and return the exit code."""
    if not crew or crew[0].process.returncode != 128 + signal.SIGINT:
        begun = folder is not None and (Path(folder) / "config.json").is_file()
        hint = f"; resume with: {_resume_command(arguments, len(crew))}" if begun else ""
        print(f"covidcxr: ended by {signal.Signals(number).name}{hint}", file=sys.stderr, flush=True)
    return 128 + number


def _report(failed, logs, hint):
    code = failed.process.returncode
    if code == 2 and failed.log is None:
        # The chief has said in a line of its own what is to be mended.
        return code
    how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
    words = "see above"
    if failed.log is not None:
        log = logs / failed.log.name
        words = f"{_last_words(log)}; log: {log}"
    print(
        f"covidcxr: error: worker {failed.number} ended with {how} ({words}); the others were ended{hint}",
        file=sys.stderr,
        flush=True,
    )
    return code if code > 0 else 128 - code


def _last_words(log):
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    rest = [f"its last line: {line}" for line in lines] or ["it printed nothing"]
    words = (errors or rest)[-1].removeprefix("covidcxr: error: ")
    return "".join(c if c.isprintable() else " " for c in words)[:_LONGEST_LINE]


def _resume_command(arguments, count):
    kept = [word for word in arguments if word not in ("--resume", "--overwrite")]
    named = any(word == "--out" or word.startswith("--out=") for word in kept)
    out = [] if named else ["--out", "RUN-FOLDER"]
    return shlex.join(["covidcxr", "train", *kept, *out, "--workers", str(count), "--resume"])
