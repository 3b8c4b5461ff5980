"""Random transforms of images in memory: engine fast against Keras' ImageDataGenerator and albumentations."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict

import cv2
import numpy as np

from covidcxr.bench import images
from covidcxr.bench.measuring import race
from covidcxr.data.augmentation import make_engine
from covidcxr.data.memory import Buffers
from covidcxr.data.standardizing import Standardizer
from covidcxr.papers.rahimzadeh2020 import AUGMENTATION

KEY = "augmentation"
TITLE = "Augmentation engine"

SIDES = (224, 300)
BATCH = 30
_COUNT, _COUNT_QUICK = 600, 240
_OURS = "engine fast: uint8 grey to float32, three channels, rescaled"
_KERAS_NAMES = (
    "rescale",
    "horizontal_flip",
    "vertical_flip",
    "zoom_range",
    "rotation_range",
    "width_shift_range",
    "height_shift_range",
    "shear_range",
)


def measure(bench):
    """Race batches of rahimzadeh2020's transforms, with one thread and with one a core, at 224 and 300 pixels.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Returns
    -------
    list of covidcxr.bench.measuring.Race
    """
    races = []
    for side in SIDES:
        bench.say(f"augmentation: {side} x {side}")
        greys = images.greys(bench, _COUNT_QUICK if bench.quick else _COUNT, side)
        with _one_thread_a_call():
            races += [_against_keras(bench, greys, threads) for threads in sorted({1, os.cpu_count()})]
            races += _against_albumentations(bench, greys)
    return races


def _against_keras(bench, greys, threads):
    name = "one thread" if threads == 1 else f"{threads} threads"
    # A run of Keras takes seconds; ours of so few images would be too short to time.
    few = greys[: max(BATCH * threads, len(greys) // 4)]
    return race(
        f"augment-{greys.shape[1]}" + ("-cores" if threads > 1 else ""),
        _title(greys, name),
        ours=(_OURS, _epoch(fast_batches(greys, bench.seed), greys, threads)),
        peer=("Keras' ImageDataGenerator.flow", _epoch(keras_batches(few, bench.seed), few, threads)),
        amount=len(greys),
        unit="images",
        repeats=bench.repeats,
        goal=30,
        peer_amount=len(few),
        note=f"Keras' batches are made by {name}, as fit makes them with workers={threads}; timed on {len(few)} images"
        + (
            ""
            if threads == 1
            else "; ours take turns at Python's lock between OpenCV's calls, Keras' seldom must"
        ),
    )


def _against_albumentations(bench, greys):
    try:
        theirs = albumentations_batches(greys, bench.seed)
    except ImportError:
        bench.say("augmentation: no race against albumentations; pip install 'covidcxr[bench]' brings it")
        return []
    return [
        race(
            f"augment-{greys.shape[1]}-albumentations",
            _title(greys, "one thread"),
            ours=(_OURS, _epoch(fast_batches(greys, bench.seed), greys, 1)),
            peer=("albumentations: Affine and flips of the uint8 grey image", _epoch(theirs, greys, 1)),
            amount=len(greys),
            unit="images",
            repeats=bench.repeats,
            goal=1,
            note="rescaled and given three channels on both sides by the same calls",
        )
    ]


def _title(greys, threads):
    size = f"{greys.shape[2]} x {greys.shape[1]}"
    return f"augment {size} images in memory with rahimzadeh2020's parameters, {threads} on each side"


@contextmanager
def _one_thread_a_call():
    """Leave OpenCV no threads of its own: both sides have as many as the race gives them."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _epoch(batch, greys, threads):
    """Return what makes every batch once and drops it, as training does: its memory serves the next ones."""
    numbers = range(-(-len(greys) // BATCH))

    def epoch():
        if threads == 1:
            return sum(len(batch(number)) for number in numbers)
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(lambda number: len(batch(number)), numbers))

    return epoch


def fast_batches(greys, seed):
    """Return what makes batch number i of :data:`BATCH` images, each image by a seed of its own.

    Parameters
    ----------
    greys : numpy.ndarray of uint8, shape (n, side, side)
    seed : int

    Returns
    -------
    callable
        From a number to float32 (batch, side, side, 3).
    """
    size = greys.shape[1:]
    engine = make_engine("fast", AUGMENTATION, (*size, 1))
    standardize = Standardizer(AUGMENTATION.preprocessing(size))
    buffers = Buffers()

    def batch(number):
        some = greys[number * BATCH : (number + 1) * BATCH]
        draws = [engine.draw(seed + number * BATCH + place) for place in range(len(some))]
        moved = engine.each(some, draws)
        return standardize(moved, buffers.take((len(some), *size, 3)), overwrite=True)

    return batch


def keras_batches(greys, seed):
    """Return Keras' own: its generator's `flow` over the images in memory, with three channels, in order.

    Parameters
    ----------
    greys, seed
        As for :func:`fast_batches`.

    Returns
    -------
    callable
        As of :func:`fast_batches`.
    """
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    asked = asdict(AUGMENTATION)
    generator = ImageDataGenerator(**{name: asked[name] for name in _KERAS_NAMES})
    stack = np.repeat(greys[..., np.newaxis], 3, axis=-1)
    return generator.flow(stack, batch_size=BATCH, shuffle=False, seed=seed).__getitem__


def albumentations_batches(greys, seed):
    """Return what makes batches by albumentations, with transforms of the same amounts.

    Parameters
    ----------
    greys, seed
        As for :func:`fast_batches`.

    Returns
    -------
    callable
        As of :func:`fast_batches`.

    Raises
    ------
    ImportError
        If albumentations is not installed.
    """
    # It would ask for a newer version over the network while it is imported.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    zoom, turn = AUGMENTATION.zoom_bounds, AUGMENTATION.rotation_range
    shift, shear = AUGMENTATION.width_shift_range, AUGMENTATION.shear_range
    affine = albumentations.Affine(
        # It scales the image, Keras the coordinates that are read.
        scale=(1 / zoom[1], 1 / zoom[0]),
        translate_percent=(-shift, shift),
        rotate=(-turn, turn),
        shear={"x": (-shear, shear), "y": (0, 0)},
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_REPLICATE,
        p=1,
    )
    flips = [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
    transform = albumentations.Compose([affine, *flips], seed=seed)
    standardize = Standardizer(AUGMENTATION.preprocessing(greys.shape[1:]))
    buffers = Buffers()

    def batch(number):
        some = greys[number * BATCH : (number + 1) * BATCH]
        moved = (transform(image=grey)["image"] for grey in some)
        return standardize(moved, buffers.take((*some.shape, 3)))

    return batch
