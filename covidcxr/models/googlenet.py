"""GoogLeNet / Inception v1 (Szegedy et al. 2014, arXiv 1409.4842), in the two forms in circulation.

``torchvision``: ported from TensorFlow: batch normalisation, no local response normalisation, and 3x3
kernels in the branch that the paper gives 5x5 (torchvision issue 906); 6,624,904 parameters, with both
auxiliary heads 13,004,888. Its published weights expect RGB in -1..1; torchvision converts inside.
``bvlc``: the paper's network as Caffe's BVLC trained it: biases, local response normalisation, true 5x5;
6,998,552 parameters, with both auxiliary heads 13,378,280.
"""

from functools import partial

import keras
from keras import layers

from covidcxr.models.blocks import ceil_max_pool, choose, classifier, global_pool, image_input
from covidcxr.models.layers import AdaptiveAveragePooling2D, LocalResponseNormalization

# Weights of the losses of the outputs [main, first auxiliary, second auxiliary] (paper, section 5).
AUX_LOSS_WEIGHTS = (1.0, 0.3, 0.3)

# Paper, table 1: filters of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
_WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def build(
    variant="torchvision",
    classes=1000,
    input_shape=None,
    include_top=True,
    pooling=None,
    classifier_activation="softmax",
    aux=False,
    name="googlenet",
):
    """Build GoogLeNet with random weights.

    Parameters
    ----------
    variant : {"torchvision", "bvlc"}
    classes : int
    input_shape : tuple of int, optional
        Default (224, 224, 3).
    include_top : bool
        False stops after module 5b: 1024 channels at 1/32.
    pooling : {None, "avg", "max"}
        Of that map, when `include_top` is False.
    classifier_activation : str or None
        None gives logits.
    aux : bool
        With `include_top`: outputs [main, first auxiliary (after 4a), second auxiliary (after 4d)];
        weigh their losses with :data:`AUX_LOSS_WEIGHTS`.
    name : str

    Returns
    -------
    keras.Model
        ``fc`` (``bvlc``: ``loss3_classifier``) is the layer to replace for a new task.

    Raises
    ------
    ModelError, OptionError
        For an unknown variant, an input under 15 (``bvlc``: 31) pixels.
    """
    trunk, top, aux_head, minimum = choose(_VARIANTS, variant, "googlenet")
    inputs = image_input(input_shape, 224, minimum)
    x, after_4a, after_4d = trunk(inputs)
    if not include_top:
        return keras.Model(inputs, global_pool(x, pooling), name=name)
    dropout, head = top
    x = layers.Dropout(dropout, name="dropout")(global_pool(x, "avg"))
    outputs = classifier(x, classes, classifier_activation, name=head)
    if aux:
        first = aux_head(after_4a, classes, classifier_activation, 1)
        second = aux_head(after_4d, classes, classifier_activation, 2)
        outputs = [outputs, first, second]
    return keras.Model(inputs, outputs, name=name)


def _torchvision_trunk(x):
    x = _conv_norm(x, 64, 7, "conv1", stride=2)
    x = ceil_max_pool(x, 3, 2, "maxpool1")
    x = _conv_norm(x, 64, 1, "conv2")
    x = _conv_norm(x, 192, 3, "conv3")
    x = ceil_max_pool(x, 3, 2, "maxpool2")
    x = _torchvision_inception(x, "3a")
    x = _torchvision_inception(x, "3b")
    x = ceil_max_pool(x, 3, 2, "maxpool3")
    x = after_4a = _torchvision_inception(x, "4a")
    x = _torchvision_inception(x, "4b")
    x = _torchvision_inception(x, "4c")
    x = after_4d = _torchvision_inception(x, "4d")
    x = _torchvision_inception(x, "4e")
    x = ceil_max_pool(x, 2, 2, "maxpool4")
    x = _torchvision_inception(x, "5a")
    x = _torchvision_inception(x, "5b")
    return x, after_4a, after_4d


def _torchvision_inception(x, module):
    one, three_reduce, three, five_reduce, five, projection = _WIDTHS[module]
    name = f"inception{module}"
    first = _conv_norm(x, one, 1, f"{name}_branch1")
    second = _conv_norm(x, three_reduce, 1, f"{name}_branch2_0")
    second = _conv_norm(second, three, 3, f"{name}_branch2_1")
    third = _conv_norm(x, five_reduce, 1, f"{name}_branch3_0")
    third = _conv_norm(third, five, 3, f"{name}_branch3_1")
    fourth = layers.MaxPooling2D(3, 1, "same", name=f"{name}_branch4_0")(x)
    fourth = _conv_norm(fourth, projection, 1, f"{name}_branch4_1")
    return layers.Concatenate(name=name)([first, second, third, fourth])


def _torchvision_aux(x, classes, activation, number):
    name = f"aux{number}"
    x = AdaptiveAveragePooling2D(4, name=f"{name}_pool")(x)
    x = _conv_norm(x, 128, 1, f"{name}_conv")
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(1024, activation="relu", name=f"{name}_fc1")(x)
    x = layers.Dropout(0.7, name=f"{name}_dropout")(x)
    return classifier(x, classes, activation, name=f"{name}_fc2")


def _conv_norm(x, filters, size, name, stride=1):
    if stride > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    start = keras.initializers.TruncatedNormal(stddev=0.01)
    x = layers.Conv2D(
        filters, size, stride, padding, use_bias=False, kernel_initializer=start, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _bvlc_trunk(x):
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _conv(x, 64, 7, "conv1_7x7_s2", strides=2, padding="valid")
    x = ceil_max_pool(x, 3, 2, "pool1_3x3_s2")
    x = _response_norm(x, "pool1_norm1")
    x = _conv(x, 64, 1, "conv2_3x3_reduce")
    x = _conv(x, 192, 3, "conv2_3x3")
    x = _response_norm(x, "conv2_norm2")
    x = ceil_max_pool(x, 3, 2, "pool2_3x3_s2")
    x = _bvlc_inception(x, "3a")
    x = _bvlc_inception(x, "3b")
    x = ceil_max_pool(x, 3, 2, "pool3_3x3_s2")
    x = after_4a = _bvlc_inception(x, "4a")
    x = _bvlc_inception(x, "4b")
    x = _bvlc_inception(x, "4c")
    x = after_4d = _bvlc_inception(x, "4d")
    x = _bvlc_inception(x, "4e")
    x = ceil_max_pool(x, 3, 2, "pool4_3x3_s2")
    x = _bvlc_inception(x, "5a")
    x = _bvlc_inception(x, "5b")
    return x, after_4a, after_4d


def _bvlc_inception(x, module):
    one, three_reduce, three, five_reduce, five, projection = _WIDTHS[module]
    name = f"inception_{module}"
    first = _conv(x, one, 1, f"{name}_1x1")
    second = _conv(x, three_reduce, 1, f"{name}_3x3_reduce")
    second = _conv(second, three, 3, f"{name}_3x3")
    third = _conv(x, five_reduce, 1, f"{name}_5x5_reduce")
    third = _conv(third, five, 5, f"{name}_5x5")
    fourth = layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x)
    fourth = _conv(fourth, projection, 1, f"{name}_pool_proj")
    return layers.Concatenate(name=f"{name}_output")([first, second, third, fourth])


def _bvlc_aux(x, classes, activation, number):
    name = f"loss{number}"
    x = layers.AveragePooling2D(5, 3, name=f"{name}_ave_pool")(x)
    x = _conv(x, 128, 1, f"{name}_conv")
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(1024, activation="relu", name=f"{name}_fc")(x)
    x = layers.Dropout(0.7, name=f"{name}_drop_fc")(x)
    return classifier(x, classes, activation, name=f"{name}_classifier")


def _conv(x, filters, size, name, strides=1, padding="same"):
    return layers.Conv2D(filters, size, strides, padding, activation="relu", name=name)(x)


def _response_norm(x, name):
    return LocalResponseNormalization(size=5, alpha=1e-4 / 5, beta=0.75, bias=1.0, name=name)(x)


_VARIANTS = {
    "torchvision": (_torchvision_trunk, (0.2, "fc"), _torchvision_aux, 15),
    "bvlc": (_bvlc_trunk, (0.4, "loss3_classifier"), _bvlc_aux, 31),
}

build_bvlc = partial(build, "bvlc")
