"""Training every layer: stock Keras in float32 against the best setting of the device, on one batch in memory."""

from dataclasses import dataclass

import numpy as np

from covidcxr.bench.images import greys
from covidcxr.bench.measuring import race

KEY = "training"
TITLE = "Full fine-tuning"

_STOCK = "Keras' fit, float32"
# Stock float32 over ours: what is aimed at for the concatenated network.
_CPU_GOAL, _GPU_GOAL = 1.3, 2.0


@dataclass(frozen=True)
class _Network:
    key: str
    title: str
    side: int
    batch: int
    goal: bool = False


# Stacked at the paper's 300 pixels; its batch of 30 takes more memory on both sides than small machines have.
_NETWORKS = (
    _Network("concatenated", "the concatenated network", 300, 8, goal=True),
    _Network("resnet50_v2", "ResNet50V2", 224, 16),
    _Network("mobilenet_v2", "MobileNetV2", 224, 16),
)
_NETWORKS_QUICK = (_Network("resnet18", "ResNet18", 96, 8),)


def measure(bench):
    """Race each network in the settings that this device has, giving each race as it is measured.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Yields
    ------
    covidcxr.bench.measuring.Race
    """
    import keras

    networks = _NETWORKS_QUICK if bench.quick else _NETWORKS
    for network in networks:
        stock = _fit(bench, network, "float32")
        for precision in _precisions(network):
            bench.say(f"{network.title}: {precision} against {_STOCK}")
            yield _race(bench, network, precision, stock)
        # Each network's compiled steps hold its activations.
        del stock
        keras.backend.clear_session()


def _precisions(network):
    """Return the settings to hold against stock float32; on a GPU, where none is chosen yet, all."""
    from covidcxr.training.tuning import precision_for

    if _has_gpu():
        return ("mixed_bfloat16", "mixed_float16")
    return tuple(dict.fromkeys(("float32", precision_for(network.key))))


def _race(bench, network, precision, stock):
    chosen = precision == _precisions(network)[-1]
    goal = (_GPU_GOAL if _has_gpu() else _CPU_GOAL) if network.goal and chosen else None
    return race(
        f"training-{network.key}-{precision}",
        f"train all of {network.title}, {network.side} x {network.side}, batch {network.batch}, Nadam",
        ours=(f"covidcxr, {precision}", _fit(bench, network, precision, ours=True)),
        peer=(_STOCK, stock),
        amount=1,
        unit="steps",
        repeats=bench.repeats,
        goal=goal,
        note="both read the same batch from memory, through an input pipeline that is not tuned while it runs",
    )


def _fit(bench, network, precision, ours=False):
    """Return one training step of a network as Keras' `fit` makes it."""
    from contextlib import nullcontext

    from covidcxr.models.fused_batchnorm import fused_batchnorm

    model, batches = _compiled(bench, network, precision), _batches(bench, network)

    def work():
        with fused_batchnorm(model) if ours else nullcontext():
            model.fit(batches, steps_per_epoch=1, epochs=1, shuffle=False, verbose=0)

    return work


def _compiled(bench, network, precision):
    import keras

    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(bench.seed)
    keras.config.set_dtype_policy(precision)
    try:
        model = _build(network)
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(keras.optimizers.Nadam(1e-4), "categorical_crossentropy", metrics=["accuracy"])
    return model


def _build(network):
    from covidcxr.models import backbones, concatenated, heads

    shape = (network.side, network.side, 3)
    if network.key == "concatenated":
        return concatenated.build(3, shape)
    return heads.classifier(backbones.build(network.key, shape), heads.HeadSpec(3))


def _batches(bench, network):
    import tensorflow as tf

    from covidcxr.data.pipelines import steady

    grey = greys(bench, network.batch, network.side)
    images = np.repeat(grey[..., None] / np.float32(127.5) - 1, 3, axis=-1)
    targets = np.eye(3, dtype=np.float32)[np.arange(network.batch) % 3]
    return steady(tf.data.Dataset.from_tensors((images, targets)).cache().repeat())


def _has_gpu():
    import keras

    return bool(keras.distribution.list_devices("gpu"))
