"""What more images, larger images, more folds and larger batches cost, and that memory does not follow them."""

import cv2
import numpy as np

from covidcxr import atomic
from covidcxr.bench import images, scaling_jobs
from covidcxr.bench.measuring import Fact
from covidcxr.bench.scaling_figure import exponent

KEY = "scaling"
TITLE = "Scaling: cost against the amount of work"

_SIDE = 256
_TIMES = (1, 4, 16)
_IMAGES, _IMAGES_QUICK = 64, 32
_BATCH = 32
_BATCHES = (8, 16, 32, 64)
_SIDES = (96, 128, 192, 256)
_STEP_BATCH, _STEP_SIDE = 16, 128
_FOLDS, _FOLDED_IMAGES = (1, 2, 4), 64
# Smaller than any paper's: how cost grows with the number of images does not depend on it.
_PREDICT_SIDE, _PREDICT_SIDE_QUICK = 128, 96
_REPEATS = 2
_MIB = 2**20


def measure(bench):
    """Measure how cost grows.

    Parameters
    ----------
    bench : Bench
        Quick: training input and prediction alone, 1 and 4 times the images.

    Yields
    ------
    Fact
        Seconds of each amount, keys ``"<curve>@<amount>"``; the exponent of each curve; peak memory against images.
    """
    times = _TIMES[:2] if bench.quick else _TIMES
    counts = [times_more * (_IMAGES_QUICK if bench.quick else _IMAGES) for times_more in times]
    paths = [str(path) for path in images.radiographs(bench, counts[-1], _SIDE)]
    side = _PREDICT_SIDE_QUICK if bench.quick else _PREDICT_SIDE
    curves = [
        ("training_input", "training input", {c: {"paths": paths[:c], "batch": _BATCH} for c in counts}),
        ("predict", "predict", {c: {"paths": paths[:c], "batch": _BATCH, "side": side} for c in counts}),
    ]
    if not bench.quick:
        folder = str(noise(bench, counts[-1]))
        curves.append(("audit", "audit for leaks", {c: {"folder": folder, "count": c} for c in counts}))
    for name, title, amounts in curves:
        yield from _curve(bench, name, name, title, "images", amounts, memory=True)
    if not bench.quick:
        yield from _others(bench)


def noise(bench, count, name="noise"):
    """Write pictures of coarse noise, half of them in each of two classes; no two are alike, as patients are not.

    Parameters
    ----------
    bench : Bench
    count : int
    name : str
        Of the folder.

    Returns
    -------
    pathlib.Path
        The folder above the classes.
    """
    root = bench.folder / name
    rng = np.random.default_rng(bench.seed)
    for number in range(count):
        folder = atomic.make_folder(root / ("covid19", "normal")[number % 2])
        coarse = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.png"), cv2.resize(coarse, (_SIDE, _SIDE)))
    return root


def _others(bench):
    batches = {batch: {"batch": batch, "side": _STEP_SIDE} for batch in _BATCHES}
    sides = {side: {"batch": _STEP_BATCH, "side": side} for side in _SIDES}
    yield from _curve(
        bench, "batch", "training_step", "training step of MobileNetV2", "images a batch", batches
    )
    yield from _curve(bench, "side", "training_step", "training step by image size", "pixels a side", sides)
    few = str(noise(bench, _FOLDED_IMAGES, "few"))
    folds = {count: {"folder": few, "count": count, "out": str(bench.folder / "folds")} for count in _FOLDS}
    yield from _curve(bench, "folds", "folds", "nemati2022 in small", "folds", folds)


def _curve(bench, key, job, title, unit, amounts, memory=False):
    """Measure one curve; `amounts` has the job's options of each."""
    points, peaks = [], []
    for amount, options in amounts.items():
        bench.say(f"{title}, {amount} {unit}")
        seconds, peak = scaling_jobs.run(job, repeats=_REPEATS, **options)
        points.append(Fact(f"{key}@{amount}", f"{title}: {amount} {unit}", seconds, "s"))
        peaks.append(peak)
    fitted = exponent([(amount, fact.value) for amount, fact in zip(amounts, points, strict=True)])
    facts = [*points, Fact(f"{key}-exponent", f"{title}: exponent of the cost", (fitted,), "")]
    if memory:
        grown = (max(peaks) - peaks[0]) / _MIB
        note = f"{peaks[0] / _MIB:.0f} MiB at {min(amounts)}, with TensorFlow where the work needs it"
        more = f"{title}: memory that {max(amounts) // min(amounts)} times the images take more"
        facts.append(Fact(f"{key}-memory", more, (grown,), "MiB", "below 150 MiB", note))
    return facts
