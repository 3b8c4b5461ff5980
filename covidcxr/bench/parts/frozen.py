"""Frozen layers run once: a whole sweep of nemati2022 and yin2020's steps, each against Keras' `fit`."""

import contextlib
import io
import statistics
from dataclasses import replace

import numpy as np

from covidcxr.bench.measuring import Fact, Race, race, timed

KEY = "frozen"
TITLE = "Frozen layers run once"

_FOLDS, _EPOCHS, _CLASS = 5, 120, 180
_SWEPT = ("mobilenet", "mobilenetv2", "densenet121")
_STEPPED = ("mobilenet", "densenet121", "inceptionv3", "vgg19")
_QUICK_SIDE, _QUICK_CLASS = 96, 60
_BATCH = 32
# A step of the largest networks is long, and long runs spread little.
_STEP_REPEATS = 3


def measure(bench):
    """Give the races of the sweep and of the steps, each as it is measured.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Yields
    ------
    Race or Fact
    """
    for key in _SWEPT[:1] if bench.quick else _SWEPT:
        yield _sweep(bench, key)
    for key in _STEPPED[:1] if bench.quick else _STEPPED:
        yield from _steps(bench, key)


def _sweep(bench, key):
    """Time a study of one backbone whole, and epochs of Keras' fit on one fold."""
    from covidcxr.papers import nemati2022
    from covidcxr.papers.running.frozen_feeds import DEFAULT_DRAWS

    network = nemati2022.NETWORKS[key]
    side, folds = network.input_size[0], _FOLDS
    images = 2 * _CLASS
    if bench.quick:
        folds, images = 1, 2 * _QUICK_CLASS
    recipe = replace(
        nemati2022.RECIPE,
        networks={key: replace(network, input_size=(side, side))},
        data_sets=_data_sets(nemati2022.DATA_SETS, images // 2),
    )
    weights = _weights(bench, network.backbone, side)
    bench.say(f"{network.title}: {folds} x {_EPOCHS} epochs on frozen features")
    ours = timed(lambda: _study(bench, recipe, key, folds, weights))
    bench.say(f"{network.title}: epochs of Keras' fit")
    epoch = _stock_epoch(network.backbone, side, images, bench.seed)
    epoch()
    peer = [timed(epoch) for _ in range(1 if bench.quick else 2)]
    return Race(
        f"sweep-{key}",
        f"nemati2022, {key}: {folds} fold{'s' if folds > 1 else ''} x {_EPOCHS} epochs, {images} images at {side} px",
        f"covidcxr train, {DEFAULT_DRAWS} draws an image",
        "Keras fit, frozen backbone, ImageDataGenerator on arrays",
        folds * _EPOCHS,
        "epochs",
        (ours,) * len(peer),
        tuple(peer),
        None if bench.quick else 50.0,
        peer_amount=1,
        note="ours whole and once, from image files to reports; the peer's epochs cost alike, so one of a fold, "
        "validation included, is timed after another to warm up, its images decoded before"
        + (
            "" if weights == bench.weights else "; its weights are not at hand: random ones, at the same cost"
        ),
    )


def _weights(bench, backbone, side):
    """Return the weights to start from: a file of random ones where this network's are not at hand.

    Without a file, a run would fit batch normalisation to its images first, which a pretrained network needs not.
    """
    from covidcxr.errors import CovidcxrError
    from covidcxr.models import backbones
    from covidcxr.models.pretrained import find_weights

    with contextlib.suppress(CovidcxrError):
        if bench.weights != "none":
            find_weights(backbone, bench.weights, input_size=side)
            return bench.weights
    path = bench.folder / f"{backbone}.h5"
    backbones.build(backbone, (side, side, 3)).save(path)
    return str(path)


def _data_sets(sets, number):
    return {key: replace(each, counts=dict.fromkeys(each.counts, number)) for key, each in sets.items()}


def _study(bench, recipe, key, folds, weights):
    from covidcxr.papers.running.runner import Paper

    chosen = {"data": str(bench.data)} if bench.data else {}
    out = bench.folder / f"sweep-{key}"
    with contextlib.redirect_stderr(io.StringIO()):
        Paper(recipe).run(
            model=key,
            fold=",".join(map(str, range(1, folds + 1))),
            weights=weights,
            out=str(out),
            seed=bench.seed,
            overwrite=out.exists(),
            **chosen,
        )


def _stock_epoch(backbone, side, images, seed):
    """Return a function that trains one epoch as Keras' own documentation would have it."""
    import keras
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    from covidcxr.models import backbones

    keras.utils.set_random_seed(seed)
    base = backbones.build(backbone, (side, side, 3), pooling="avg")
    base.trainable = False
    hidden = keras.layers.Dense(64, activation="relu")(base.output)
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.5)(hidden))
    model = keras.Model(base.input, outputs)
    model.compile(keras.optimizers.Adam(0.002), "categorical_crossentropy", metrics=["accuracy"])
    generator = np.random.default_rng(seed)
    arrays = generator.integers(0, 256, (images, side, side, 3)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[np.arange(images) % 2]
    cut = images * 4 // 5
    changed = ImageDataGenerator(rotation_range=45, rescale=1 / 255)
    plain = ImageDataGenerator(rescale=1 / 255)
    train = changed.flow(arrays[:cut], targets[:cut], batch_size=64, seed=seed)
    scored = plain.flow(arrays[cut:], targets[cut:], batch_size=64, shuffle=False)
    return lambda: model.fit(train, validation_data=scored, epochs=1, verbose=0)


def _steps(bench, key):
    """Race steps of yin2020's block freeze on the prefix's features against steps of `fit`."""
    from covidcxr.papers import yin2020

    network = yin2020.NETWORKS[key]
    side = _QUICK_SIDE if bench.quick else network.input_size[0]
    bench.say(f"yin2020, {key} at {side} px: steps on frozen features and of fit")
    steps = 4 if bench.quick else 2
    images = np.random.default_rng(bench.seed).normal(size=(steps * _BATCH, side, side, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[np.arange(len(images)) % 3]
    models = [_compiled(network, side, bench.seed) for _ in range(2)]
    filling, quick = _on_features(models[0], images, targets)
    raced = race(
        f"steps-{key}",
        f"yin2020, {key}: training steps of {_BATCH} images at {side} px, first layers frozen",
        ours=("covidcxr, prefix run once", quick),
        peer=("Keras fit", lambda: models[1].fit(images, targets, batch_size=_BATCH, epochs=1, verbose=0)),
        amount=steps,
        unit="steps",
        repeats=_STEP_REPEATS,
        goal=None if bench.quick else 3.0,
        note="images in memory, one epoch a run; the prefix's one pass is not in it",
    )
    saved = statistics.median(raced.peer_seconds) - statistics.median(raced.ours_seconds)
    pays = Fact(
        f"pays-{key}",
        f"yin2020, {key}: epochs after which the prefix's one pass has paid",
        (filling / saved if saved > 0 else float("inf"),),
        "epochs",
    )
    return [raced, pays]


def _compiled(network, side, seed):
    import keras

    keras.utils.set_random_seed(seed)
    model = network.build(classes=3, dropout=0.0, input_size=side)
    model.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    return model


def _on_features(model, images, targets):
    """Return the seconds of the prefix's pass, and a function that trains an epoch."""
    from covidcxr.models.cutting import cut
    from covidcxr.training.bank import compiled
    from covidcxr.training.frozen import FrozenFeeds, Pass, Steps

    halves = cut(model)
    prefix = compiled(halves.prefix)

    def fill():
        parts = [prefix(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    features = fill()
    filling = timed(fill)
    reading = Pass(features, np.arange(len(images)), targets)
    steps = Steps(model, FrozenFeeds(halves.suffix, None, None, _BATCH))
    return filling, lambda: steps.train(reading)
