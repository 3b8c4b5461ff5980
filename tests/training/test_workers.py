"""The launcher, with real processes; in place of the package they run the few lines of `WORKER`."""

import json
import os
import signal
import socket
import threading
import time

import pytest

from covidcxr.errors import OptionError
from covidcxr.training import workers
from covidcxr.training.workers import launch

# What `python -m covidcxr train ...` finds in the current folder: obeys the plan given for its index.
WORKER = """
import json, os, sys, time

config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
record = {"pid": os.getpid(), "argv": sys.argv[1:], "config": config, "environment": dict(os.environ)}
with open(f"record-{index}.tmp", "w") as file:
    json.dump(record, file)
os.rename(f"record-{index}.tmp", f"record-{index}.json")
print(f"output of {index}", flush=True)
# None ends before all have begun.
for other in range(len(config["cluster"]["worker"])):
    while not os.path.exists(f"record-{other}.json"):
        time.sleep(0.01)
try:
    exec(sys.argv[2 + index])
except KeyboardInterrupt:
    sys.exit(130)
"""
SLEEP = "time.sleep(60)"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    package = tmp_path / "covidcxr"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(WORKER)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers.tempfile, "tempdir", str(temporary))
    return tmp_path


def records(place, count):
    return [json.loads((place / f"record-{index}.json").read_text()) for index in range(count)]


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_find_each_other_and_the_chief_is_heard(place, capfd, monkeypatch):
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (place / "run" / "logs").mkdir(parents=True)
    assert launch(["pass", "pass", "print('error: none')", "--out", "run"], 3, place / "run") == 0
    assert capfd.readouterr() == ("output of 0\n", "")
    seen = records(place, 3)
    addresses = seen[0]["config"]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    for index, record in enumerate(seen):
        assert record["config"] == {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
        assert record["argv"][0] == "train"
        assert record["argv"][-4:] == ["--out", "run", "--strategy", "multiworker"]
        environment = record["environment"]
        assert environment["OMP_NUM_THREADS"] == str(max(1, os.cpu_count() // 3))
        assert environment["no_proxy"] == "example.org,127.0.0.1"
        assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert (place / "run/logs/worker-1.log").read_text() == "output of 1\n"
    assert sorted(path.name for path in (place / "run/logs").iterdir()) == ["worker-1.log", "worker-2.log"]
    assert not list((place / "temporary").iterdir())


def test_when_one_worker_fails_the_others_end_and_one_line_says_all(place, capfd):
    fails = "print('covidcxr: error: a.png: no image', file=sys.stderr); print(); sys.exit(7)"
    assert launch([SLEEP, fails, SLEEP, "--overwrite", "--seed=1"], 3) == 7
    assert not any(running(record["pid"]) for record in records(place, 3))
    (line,) = capfd.readouterr().err.splitlines()
    (folder,) = (place / "temporary").iterdir()
    assert line.startswith(
        f"covidcxr: error: worker 1 ended with exit code 7 (a.png: no image; log: {folder}/"
    )
    assert line.endswith("--seed=1 --out RUN-FOLDER --workers 3 --resume")
    assert "--overwrite" not in line
    assert "a.png" in (folder / "worker-1.log").read_text()


def test_a_killed_worker_is_named_with_its_signal_and_its_log_in_the_run_folder(place, capfd):
    (place / "run" / "logs").mkdir(parents=True)
    killed = "os.kill(os.getpid(), 9)"
    assert launch([SLEEP, killed, "--out", "run"], 2, place / "run") == 128 + 9
    line = capfd.readouterr().err
    assert "worker 1 ended with signal SIGKILL (its last line: output of 1; log: " in line
    assert str(place / "run/logs/worker-1.log") in line
    assert not list((place / "temporary").iterdir())


def test_the_chief_that_fails_has_said_why(place, capfd):
    assert launch(["sys.exit('the reason')", SLEEP], 2) == 1
    first, second = capfd.readouterr().err.splitlines()
    assert first == "the reason"
    assert second.startswith("covidcxr: error: worker 0 ended with exit code 1 (see above); ")


def test_a_mistake_that_the_chief_has_named_is_not_named_again(place, capfd):
    assert launch(["sys.exit(print('covidcxr: error: no data', file=sys.stderr) or 2)", SLEEP], 2) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["covidcxr: error: no data"]


@pytest.mark.parametrize("begun", [False, True])
def test_going_on_is_proposed_where_there_is_something_to_go_on_with(begun, place, capfd):
    if begun:
        (place / "run" / "checkpoint").mkdir(parents=True)
    assert launch([SLEEP, "sys.exit(2)", "--out", "run"], 2, place / "run") == 2
    assert ("--out run --workers 2 --resume" in capfd.readouterr().err) == begun


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_and_leaves_no_process(number, code, place, capfd):
    def send():
        while not all((place / f"record-{index}.json").exists() for index in (0, 1)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    # What stands around a worker's training is left in order, as by Ctrl-C.
    tidy = f"import contextlib; s = contextlib.ExitStack(); s.callback(open, 'tidied', 'w')\nwith s: {SLEEP}"
    threading.Thread(target=send, daemon=True).start()
    assert launch([tidy, SLEEP], 2) == code
    assert (place / "tidied").exists()
    assert not any(running(record["pid"]) for record in records(place, 2))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_worker_that_does_not_listen_is_killed(place, monkeypatch, capfd):
    monkeypatch.setattr(workers, "_GRACE_SECONDS", 0.3)
    deaf = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); open('deaf', 'w').close(); {SLEEP}"
    fails = "[time.sleep(0.01) for _ in iter(lambda: os.path.exists('deaf'), True)]; sys.exit(3)"
    assert launch([deaf, fails], 2) == 3
    assert not any(running(record["pid"]) for record in records(place, 2))


def test_ports_in_use_are_passed_over(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(workers, "_PORTS", [port])
        with pytest.raises(workers.CovidcxrError, match="free ports"):
            workers._free_ports(1)


def test_no_workers_are_refused():
    with pytest.raises(OptionError, match="--workers 0"):
        launch([], 0)
