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
from covidcxr.data.standardizing import Standardizer
from covidcxr.papers.rahimzadeh2020 import AUGMENTATION

KEY = "augmentation"
TITLE = "Augmentation engine"

SIDES = (224, 300)
BATCH = 30
_COUNT, _COUNT_QUICK = 240, 60
_OURS = "engine fast: uint8 grey to float32, three channels, rescaled"


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
        for threads in sorted({1, os.cpu_count()}):
            races.append(_against_keras(bench, greys, threads))
        races += _against_albumentations(bench, greys)
    return races


def _against_keras(bench, greys, threads):
    side = greys.shape[1]
    name = "one thread" if threads == 1 else f"{threads} threads"
    # Keras is given fewer images: it needs seconds for what takes us hundredths, which are too short to time.
    few = greys[: max(BATCH, len(greys) // 4)]
    with _one_thread_a_call():
        return race(
            f"augment-{side}" if threads == 1 else f"augment-{side}-cores",
            f"augment {side} x {side} images in memory with rahimzadeh2020's parameters, {name} on each side",
            ours=(_OURS, lambda: run_fast(greys, threads, bench.seed)),
            peer=("Keras' ImageDataGenerator.flow, batches of 30", flow_reader(few, threads, bench.seed)),
            amount=len(greys),
            unit="images",
            repeats=bench.repeats,
            goal=30,
            peer_amount=len(few),
            note=f"Keras' batches are taken by {name}, as fit(workers={threads}) takes them; timed on {len(few)} images",
        )


def _against_albumentations(bench, greys):
    side = greys.shape[1]
    try:
        transform = albumentations_pipeline(bench.seed)
    except ImportError:
        bench.say(
            "augmentation: albumentations is not installed, its race is left out (pip install covidcxr[bench])"
        )
        return []
    with _one_thread_a_call():
        return [
            race(
                f"augment-{side}-albumentations",
                f"augment {side} x {side} images in memory with rahimzadeh2020's parameters, one thread on each side",
                ours=(_OURS, lambda: run_fast(greys, 1, bench.seed)),
                peer=(
                    "albumentations, grey image, channels after",
                    lambda: run_albumentations(transform, greys),
                ),
                amount=len(greys),
                unit="images",
                repeats=bench.repeats,
                goal=1,
                note="albumentations: HorizontalFlip, VerticalFlip, Affine; its transform of the grey uint8 image is "
                "rescaled and given its channels as ours is",
            )
        ]


@contextmanager
def _one_thread_a_call():
    """Leave OpenCV no threads of its own: both sides have as many as the race gives them."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def run_fast(greys, threads, seed):
    """Transform, rescale and expand all images, batch after batch, each image by a seed of its own.

    Parameters
    ----------
    greys : numpy.ndarray of uint8, shape (n, side, side)
    threads : int
        Batches made at the same time.
    seed : int

    Returns
    -------
    list of numpy.ndarray of float32, shape (batch, side, side, 3)
    """
    engine = make_engine("fast", AUGMENTATION, (*greys.shape[1:], 1))
    standardize = Standardizer(AUGMENTATION.preprocessing(greys.shape[1:]))

    def batch(start):
        some = greys[start : start + BATCH]
        draws = [engine.draw(seed + start + number) for number in range(len(some))]
        return expand(standardize(engine.apply_batch(some, draws)))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(batch, range(0, len(greys), BATCH)))


def expand(images_of_one_channel):
    """Give images, float32 (n, height, width, 1), three equal channels."""
    result = np.empty((*images_of_one_channel.shape[:3], 3), np.float32)
    for image, one in zip(result, images_of_one_channel, strict=True):
        cv2.cvtColor(one, cv2.COLOR_GRAY2BGR, dst=image)
    return result


def flow_reader(greys, threads, seed):
    """Return a function that takes one epoch from Keras' generator, set up as a user would.

    Parameters
    ----------
    greys : numpy.ndarray of uint8, shape (n, side, side)
    threads : int
        What take batches at the same time, as Keras' `fit` does for its `workers`.
    seed : int

    Returns
    -------
    callable
    """
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    asked = asdict(AUGMENTATION)
    kept = ("rescale", "horizontal_flip", "vertical_flip", "zoom_range", "rotation_range", "shear_range")
    shifts = ("width_shift_range", "height_shift_range")
    generator = ImageDataGenerator(**{name: asked[name] for name in (*kept, *shifts)})
    stack = np.repeat(greys[..., np.newaxis], 3, axis=-1).astype(np.float32)
    flow = generator.flow(stack, batch_size=BATCH, shuffle=False, seed=seed)

    def epoch():
        if threads == 1:
            return [flow[number] for number in range(len(flow))]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(flow.__getitem__, range(len(flow))))

    return epoch


def albumentations_pipeline(seed):
    """Build albumentations' transforms of the same amounts.

    Raises
    ------
    ImportError
        If albumentations is not installed.
    """
    # It would ask its servers for news while it is imported.
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
    return albumentations.Compose([affine, *flips], seed=seed)


def run_albumentations(transform, greys):
    """Transform, rescale and expand all images one after another.

    Parameters
    ----------
    transform : callable
        From :func:`albumentations_pipeline`.
    greys : numpy.ndarray of uint8, shape (n, side, side)

    Returns
    -------
    list of numpy.ndarray of float32, shape (batch, side, side, 3)
    """
    rescale, batches = np.float32(AUGMENTATION.rescale), []
    for start in range(0, len(greys), BATCH):
        moved = [transform(image=grey)["image"] for grey in greys[start : start + BATCH]]
        batches.append(expand(np.stack(moved).astype(np.float32)[..., np.newaxis] * rescale))
    return batches
