"""Peak memory of a command must not follow the number of images: sets of radiographs are larger than memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = Path(__file__).with_name("tiny.py")
# A process is born with the peak of the one that starts it, so a small one stands between us and the command.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""

FEW, MANY = 300, 3000
# Large enough that a command that keeps the pictures breaks the bound: 2,700 x 256 x 256 bytes are 169 MiB.
SIDE = 256
# Above what the bootstrap of a larger held-out part takes, which stays at this however large that becomes.
BOUND = 150 * 2**20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the peak memory of a child process (wait4)"),
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    for number in (FEW, MANY):
        for label in ("covid19", "normal"):
            (root / str(number) / label).mkdir(parents=True)
            for index in range(number // 2):
                # Coarse noise: no two alike, and small on disk.
                pixels = Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).resize((SIDE, SIDE))
                pixels.save(root / str(number) / label / f"{index:04d}.png", compress_level=1)
    return root


def peak(*arguments):
    """Run a command and return its peak resident memory in bytes."""
    launched = [sys.executable, "-c", LAUNCHER, sys.executable, *map(str, arguments)]
    done = subprocess.run(launched, stdout=subprocess.PIPE, text=True, check=True)
    # Linux counts in KiB, macOS in bytes.
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def inspect(data, out):
    return ["data", "inspect", data]


def predict(data, out):
    return ["predict", out.parent / "model.h5", data, "--out", out / "p.csv"]


def train(data, out, protocol="published"):
    options = ["--weights", "none", "--model", "tiny", "--batch-size", "32", "--epochs", "1"]
    return ["train", "ragab2022", "--data", data, *options, "--protocol", protocol, "--out", out / protocol]


def train_soundly(data, out):
    return train(data, out, "sound")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import keras

    from covidcxr.data.preprocessing import Preprocessing
    from covidcxr.models.files import ModelInfo, save_model

    layers = [
        keras.Input((32, 32, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, "softmax"),
    ]
    preprocessing = Preprocessing((32, 32), rescale=1 / 255).to_dict()
    info = ModelInfo("ragab2022", "tiny", "published", ("covid19", "normal"), preprocessing, 0, {})
    path = tmp_path_factory.mktemp("model") / "model.h5"
    return save_model(keras.Sequential(layers), path, info)


@pytest.mark.parametrize("command", [inspect, predict, train, train_soundly], ids=lambda f: f.__name__)
def test_ten_times_the_images_take_hardly_more_memory(command, sets, model, record_property):
    peaks = {}
    for number in (FEW, MANY):
        out = model.parent / f"{command.__name__}-{number}"
        out.mkdir()
        peaks[number] = peak(TINY, "--images", number // 2, *command(sets / str(number), out))
        record_property(f"{command.__name__}-{number}-MiB", peaks[number] // 2**20)
    print({number: f"{value / 2**20:.0f} MiB" for number, value in peaks.items()})
    assert peaks[MANY] - peaks[FEW] < BOUND
