"""SIGKILL while a paper trains, through the real command; what it resumes to is what would have been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="kills a process as POSIX does"),
]
COMMAND = [sys.executable, "-m", "covidcxr", "train"]
# What each paper is killed at: after the first of two epochs of its first model, so inside the second, which is
# another phase for rahimzadeh2020; and khalifa2020 also while its first network generates images.
MOMENTS = {
    "ragab2022": "history.csv",
    "rahimzadeh2020": "history.csv",
    "nemati2022": "history.csv",
    "yin2020": "history.csv",
    "khalifa2020": "history.csv",
    "khalifa2020 while generating": "generated/**/*.keras",
}


def start(key, folder, *more):
    return subprocess.Popen(
        [*COMMAND, key, "--preset", "smoke", "--out", str(folder), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(pattern, folder, process):
    """Wait until a file of that name lies in the run folder, and the process still runs."""
    while process.poll() is None:
        if any(Path(folder).glob(f"**/{pattern}")):
            return
        time.sleep(0.02)
    raise AssertionError(f"it ended before there was {pattern}: {process.stderr.read()[-2000:]}")


def predictions(folder):
    found = {
        path.parent.relative_to(folder).as_posix(): pd.read_csv(path)
        for path in folder.glob("**/predictions.csv")
    }
    assert found
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Predictions of the uninterrupted run of each paper, made once."""
    done = {}

    def get(key):
        if key not in done:
            folder = tmp_path_factory.mktemp("whole") / key
            process = start(key, folder)
            _, error = process.communicate()
            assert process.returncode == 0, error.decode()[-2000:]
            done[key] = predictions(folder)
        return done[key]

    return get


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_as_the_uninterrupted_one(moment, whole, tmp_path):
    key = moment.split()[0]
    folder = tmp_path / "cut"
    process = start(key, folder)
    wait_for(MOMENTS[moment], folder, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(folder.glob("report.html"))
    resumed = subprocess.run(
        [*COMMAND, key, "--out", str(folder), "--resume"], capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    expected, found = whole(key), predictions(folder)
    assert expected.keys() == found.keys()
    for name, table in expected.items():
        columns = [column for column in table if column.startswith("prob_")]
        assert list(table["path"]) == list(found[name]["path"])
        np.testing.assert_array_equal(table[columns], found[name][columns])
