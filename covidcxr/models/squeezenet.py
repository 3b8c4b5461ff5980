"""SqueezeNet (Iandola et al. 2016, arXiv 1602.07360): 1.0 with 1,248,424 parameters, 1.1 with 1,235,496.

Max-poolings round their output size up, as in the authors' Caffe network and torchvision. A widely copied
Keras version (keras-squeezenet) rounds down. For 1.1 the two agree at 224 (maps 111, 55, 27, 13) and
differ at 227 (113, 56, then 28 and 14 here, 27 and 13 there); the weights fit both.
"""

from functools import partial

import keras
from keras import layers

from covidcxr.models.blocks import ceil_max_pool, choose, global_pool, image_input

# Filters of each fire module: squeeze, then of each of the two expansions.
_FIRES = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
# First convolution (filters, size), the fire modules followed by a pooling, the smallest input side.
_VARIANTS = {"1.0": (96, 7, (4, 8), 21), "1.1": (64, 3, (3, 5), 17)}


def build(
    variant="1.1",
    classes=1000,
    input_shape=None,
    include_top=True,
    pooling=None,
    classifier_activation="softmax",
    name="squeezenet",
):
    """Build SqueezeNet with random weights.

    Parameters
    ----------
    variant : {"1.1", "1.0"}
    classes : int
    input_shape : tuple of int, optional
        Default (227, 227, 3), the authors' and khalifa2020's; torchvision trained at 224.
    include_top : bool
        False stops after ``fire9_concat``: 512 channels at 1/16.
    pooling : {None, "avg", "max"}
        Of that map, when `include_top` is False.
    classifier_activation : str or None
        None gives logits, which are never negative: a ReLU follows ``conv10``, as published.
    name : str

    Returns
    -------
    keras.Model
        ``conv10`` is the layer to replace for a new task.

    Raises
    ------
    ModelError, OptionError
        For an unknown variant, an input under 17 (1.0: 21) pixels.
    """
    filters, size, pooled, minimum = choose(_VARIANTS, variant, "squeezenet")
    inputs = image_input(input_shape, 227, minimum)
    x = layers.Conv2D(filters, size, 2, activation="relu", kernel_initializer="he_uniform", name="conv1")(
        inputs
    )
    x = ceil_max_pool(x, 3, 2, "pool1")
    for number, (squeeze, expand) in _FIRES.items():
        x = _fire(x, squeeze, expand, f"fire{number}")
        if number in pooled:
            x = ceil_max_pool(x, 3, 2, f"pool{number}")
    x = _classify(x, classes, classifier_activation) if include_top else global_pool(x, pooling)
    return keras.Model(inputs, x, name=name)


def _fire(x, squeeze, expand, name):
    x = _conv(x, squeeze, 1, f"{name}_squeeze1x1")
    wide = [_conv(x, expand, 1, f"{name}_expand1x1"), _conv(x, expand, 3, f"{name}_expand3x3")]
    return layers.Concatenate(name=f"{name}_concat")(wide)


def _conv(x, filters, size, name):
    return layers.Conv2D(
        filters, size, padding="same", activation="relu", kernel_initializer="he_uniform", name=name
    )(x)


def _classify(x, classes, activation):
    x = layers.Dropout(0.5, name="drop9")(x)
    start = keras.initializers.RandomNormal(stddev=0.01)
    x = layers.Conv2D(classes, 1, activation="relu", kernel_initializer=start, name="conv10")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pool10")(x)
    return layers.Activation(activation, dtype="float32", name="predictions")(x)


build_1_0 = partial(build, "1.0")
