"""Batch-normalisation statistics for a network that starts from random weights."""

import contextlib

from covidcxr.errors import ModelError
from covidcxr.models.freezing import layers_within


def calibrate_batchnorm(model, batches):
    """Refit every moving mean and variance to some images, without labels; nothing that learns is changed.

    A frozen network with random weights normalises with the statistics 0 and 1 that it was born with, and its
    features of all images are nearly the same. After this they differ, and a trained head can use them.

    Parameters
    ----------
    model : keras.Model
        Frozen layers included.
    batches : iterable of numpy.ndarray
        Training images (n, height, width, channels) as the model takes them; (images, ...) tuples are
        accepted and only their images used. Batches of 16 and more give steady statistics.

    Returns
    -------
    int
        How many images were used. The statistics are the average over batches, weighted by their sizes; the
        result does not depend on what the statistics were before.

    Raises
    ------
    ModelError
        If there is no batch.
    """
    import keras

    layers = [layer for layer in layers_within(model) if isinstance(layer, keras.layers.BatchNormalization)]
    seen = 0
    with _without_noise(model), _learning_statistics(layers):
        for batch in batches:
            images = batch[0] if isinstance(batch, tuple | list) else batch
            for layer in layers:
                # The share of what was seen before: makes the moving average a plain one.
                layer.momentum = seen / (seen + len(images))
            model(images, training=True)
            seen += len(images)
    if not seen:
        raise ModelError("batch normalisation cannot be calibrated: no training images; check the split")
    return seen


@contextlib.contextmanager
def _learning_statistics(layers):
    before = [
        (layer, layer.momentum, layer.trainable, [w.trainable for w in layer.weights]) for layer in layers
    ]
    try:
        for layer in layers:
            layer.trainable = True
        yield
    finally:
        for layer, momentum, trainable, flags in before:
            layer.momentum = momentum
            layer.trainable = trainable
            for weight, flag in zip(layer.weights, flags, strict=True):
                weight.trainable = flag


@contextlib.contextmanager
def _without_noise(model):
    """Switch dropout off, so that the statistics are those of inference and the same every time."""
    noisy = [layer for layer in layers_within(model) if getattr(layer, "rate", 0)]
    rates = [layer.rate for layer in noisy]
    try:
        for layer in noisy:
            layer.rate = 0
        yield
    finally:
        for layer, rate in zip(noisy, rates, strict=True):
            layer.rate = rate
