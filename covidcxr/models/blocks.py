"""Pieces that the networks of khalifa2020 share: their input, their poolings, their last layer."""

import keras
from keras import layers

from covidcxr.errors import ModelError, OptionError


def image_input(input_shape, size, minimum):
    """Make the input of a network.

    Parameters
    ----------
    input_shape : tuple of int, optional
        (rows, columns, channels); rows and columns may be None where the network allows it.
        Default ``(size, size, 3)``.
    size : int
        The published input side, pixels.
    minimum : int
        The smallest side that leaves a pixel in the last map.

    Returns
    -------
    keras.KerasTensor

    Raises
    ------
    OptionError
        If the shape is not three numbers or is too small.
    """
    shape = tuple(input_shape or (size, size, 3))
    if len(shape) != 3 or any(side is not None and side < minimum for side in shape[:2]):
        raise OptionError(
            f"input shape {shape}: expected (rows, columns, channels) of {minimum} x {minimum} or more"
        )
    return keras.Input(shape)


def choose(table, variant, network):
    """Look up a network's variant; an unknown one is named beside those there are.

    Raises
    ------
    ModelError
    """
    if variant not in table:
        raise ModelError(f"{network}: unknown variant {variant!r}; choose one of {', '.join(sorted(table))}")
    return table[variant]


def ceil_max_pool(x, size, stride, name):
    """Max-pool with the output size rounded up, as Caffe and torchvision's ``ceil_mode`` do.

    For activations after a ReLU only: the border is filled with 0, the smallest of them.
    """
    extra = stride - 1
    x = layers.ZeroPadding2D(((0, extra), (0, extra)), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, stride, name=name)(x)


def global_pool(x, pooling):
    """Reduce a map to a vector: ``"avg"``, ``"max"``, or None to keep the map, as in keras.applications.

    Raises
    ------
    OptionError
    """
    if pooling not in (None, "avg", "max"):
        raise OptionError(f"pooling {pooling!r}: choose 'avg', 'max' or None")
    if pooling is None:
        return x
    pool = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
    return pool(name=f"{pooling}_pool")(x)


def classifier(x, classes, activation, name):
    """Add the last dense layer; float32 also under mixed precision, where a 16-bit softmax loses digits."""
    return layers.Dense(classes, activation=activation, dtype="float32", name=name)(x)
