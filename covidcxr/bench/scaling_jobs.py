"""One piece of work in a process of its own, whose seconds and peak memory are then its alone.

Run as ``python -m covidcxr.bench.scaling_jobs`` with the job as JSON on standard input; the result is the last line of
standard output.
"""

import json
import subprocess
import sys
from pathlib import Path

from covidcxr.bench.measuring import timed
from covidcxr.errors import CovidcxrError

_SIDE = 224


def run(name, **options):
    """Run a job in a new process.

    Parameters
    ----------
    name : str
        A key of :data:`JOBS`.
    **options
        Of the job; JSON.

    Returns
    -------
    seconds : tuple of float
        Of each timed run, after one to warm up.
    peak : int
        Bytes of memory at most, the interpreter and TensorFlow included.

    Raises
    ------
    CovidcxrError
        If the process ends without a result; the message has its last words.
    """
    command = [sys.executable, "-m", "covidcxr.bench.scaling_jobs"]
    job = json.dumps({"name": name, **options})
    done = subprocess.run(command, input=job, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise CovidcxrError(f"{name}: its process failed: {words[0]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return tuple(found["seconds"]), found["peak"]


def peak_memory():
    """Return the most memory that this process has held, in bytes."""
    try:
        # Unlike getrusage, this forgets what the process that started this one held.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def training_input(paths, batch):
    """Return an epoch of training batches: decoded, resized to 224 pixels, augmented, standardised."""
    from covidcxr.data.batches import training_batches
    from covidcxr.papers.rahimzadeh2020 import AUGMENTATION

    preprocessing = AUGMENTATION.preprocessing((_SIDE, _SIDE))
    targets = [[1.0, 0.0]] * len(paths)
    stream = training_batches(paths, targets, preprocessing, batch, augmentation=AUGMENTATION, engine="fast")

    def epoch():
        for _ in stream.dataset.take(stream.steps):
            pass

    return epoch


def predict(paths, batch, side):
    """Return a prediction of image files by MobileNetV2."""
    from covidcxr import inference
    from covidcxr.data.preprocessing import Preprocessing
    from covidcxr.models.files import ModelInfo, attach_info

    model = _mobilenet(side)
    preprocessing = Preprocessing((side, side), rescale=1 / 255).to_dict()
    classes = ("covid19", "normal")
    attach_info(model, ModelInfo("ragab2022", "mobilenet_v2", "published", classes, preprocessing, 0, {}))
    return lambda: inference.predict_files(model, paths, batch_size=batch)


def audit(folder, count):
    """Return the audit for leaks of the first `count` images below a folder."""
    from covidcxr.data import sources
    from covidcxr.evaluation.audits import leaks

    records = sources.read(folder)
    records = records.where([place < count for place in range(len(records))])
    return lambda: leaks.audit(records)


def training_step(batch, side):
    """Return a training step of MobileNetV2, every layer."""
    import numpy as np

    model = _mobilenet(side)
    model.compile("adam", "categorical_crossentropy")
    images = np.random.default_rng(0).random((batch, side, side, 3), dtype=np.float32)
    targets = np.eye(2, dtype=np.float32)[np.arange(batch) % 2]
    return lambda: model.train_on_batch(images, targets)


def folds(folder, count, out):
    """Return a run of nemati2022 over some of its folds, two epochs each; each call into a folder of its own."""
    from itertools import count as numbers

    from covidcxr import papers

    paper, calls = papers.get("nemati2022"), numbers()
    fold = ",".join(str(number) for number in range(1, count + 1))

    def sweep():
        place = Path(out) / f"{count}-{next(calls)}"
        paper.run(
            data=folder,
            model="mobilenetv2",
            fold=fold,
            weights="none",
            epochs=2,
            draws="2",
            batch_size=16,
            out=str(place),
        )

    return sweep


def _mobilenet(side):
    import keras

    from covidcxr.models import backbones

    keras.utils.set_random_seed(0)
    backbone = backbones.build("mobilenet_v2", (side, side, 3), pooling="avg")
    return keras.Model(backbone.input, keras.layers.Dense(2, "softmax")(backbone.output))


JOBS = {job.__name__: job for job in (training_input, predict, audit, training_step, folds)}


def main():
    """Do the job that standard input names."""
    job = json.load(sys.stdin)
    repeats = job.pop("repeats")
    work = JOBS[job.pop("name")](**job)
    work()
    seconds = [timed(work) for _ in range(repeats)]
    print(f"\n{json.dumps({'seconds': seconds, 'peak': peak_memory()})}")


if __name__ == "__main__":
    main()
