"""Peak memory of a command must not follow the number of images: sets of radiographs are larger than memory.

pytest -m slow -n 0 -s tests/cli/test_memory.py
"""

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

FEW, MANY = 2000, 20_000
# Large enough that a command that keeps the pictures breaks the bound: 18,000 x 128 x 128 bytes are 281 MiB.
SIDE = 128
# What may follow the images is a row of each table, and grey bytes at the network's size where training keeps them in
# memory (by design, up to a quarter of it: 18,000 x 32 x 32 bytes are 18 MiB). The bootstrap of a larger held-out
# part takes more, and stays at that however large the part becomes.
BOUND = 150 * 2**20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
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
                coarse = Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8))
                pixels = coarse.resize((SIDE, SIDE), Image.Resampling.NEAREST)
                pixels.save(root / str(number) / label / f"{index:05d}.png", compress_level=1)
    return root


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
    return save_model(keras.Sequential(layers), tmp_path_factory.mktemp("model") / "model.h5", info)


@pytest.fixture(scope="module")
def bench(sets, model, tmp_path_factory):
    return Bench(sets, model, tmp_path_factory.mktemp("out"))


class Bench:
    """Runs commands, each once for a number of images, and knows what they took."""

    def __init__(self, sets, model, folder):
        self.sets, self.model, self.folder = sets, model, folder
        self.peaks = {}

    def peak(self, name, number):
        """Return the peak resident memory of a command in bytes."""
        if (name, number) not in self.peaks:
            self.peaks[name, number] = self._run(number, COMMANDS[name](self, number))
        return self.peaks[name, number]

    def out(self, name, number):
        """Return where a command writes, once it has run."""
        self.peak(name, number)
        return self.folder / f"{name}-{number}"

    def _run(self, number, words):
        command = [sys.executable, TINY, "--images", number // 2, *words]
        launched = [sys.executable, "-c", LAUNCHER, *map(str, command)]
        done = subprocess.run(launched, stdout=subprocess.PIPE, text=True, check=False)
        # 3: an audit found a leak.
        assert done.returncode in ((0, 3) if "audit" in words else (0,))
        # Linux counts in KiB, macOS in bytes.
        return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def inspect(bench, number):
    return ["data", "inspect", bench.sets / str(number)]


def predict(bench, number):
    return ["predict", bench.model, bench.sets / str(number), "--out", bench.folder / f"predict-{number}.csv"]


def evaluate(bench, number):
    return [
        "evaluate",
        bench.model,
        "--data",
        bench.sets / str(number),
        "--out",
        bench.folder / f"evaluate-{number}",
    ]


def train(bench, number, protocol="published", name="train"):
    options = [
        "--weights",
        "none",
        "--model",
        "tiny",
        "--batch-size",
        "32",
        "--epochs",
        "1",
        "--protocol",
        protocol,
    ]
    out = bench.folder / f"{name}-{number}"
    return ["train", "ragab2022", "--data", bench.sets / str(number), *options, "--out", out]


def train_soundly(bench, number):
    return train(bench, number, "sound", "train soundly")


def audit(bench, number):
    # The shortcuts are looked for in 2,000 images, however many there are.
    words = ["--only", "leaks,confounding,robustness", "--out", bench.folder / f"audit-{number}"]
    return ["audit", bench.out("train soundly", number), *words]


def report(bench, number):
    runs = [bench.out(name, number) for name in ("train", "train soundly")]
    return ["report", *runs, "--out", bench.folder / f"report-{number}"]


COMMANDS = {
    "inspect": inspect,
    "predict": predict,
    "evaluate": evaluate,
    "train": train,
    "train soundly": train_soundly,
    "audit": audit,
    "report": report,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_ten_times_the_images_take_hardly_more_memory(name, bench, record_property, capsys):
    few, many = (bench.peak(name, number) for number in (FEW, MANY))
    record_property(f"{name}-MiB", (few // 2**20, many // 2**20))
    with capsys.disabled():
        print(f"\n{name}: {FEW:,} images {few / 2**20:.0f} MiB, {MANY:,} images {many / 2**20:.0f} MiB")
    assert many - few < BOUND
