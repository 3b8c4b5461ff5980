"""AlexNet, in the two forms in circulation.

``torchvision``: the one-column network of Krizhevsky 2014 (arXiv 1404.5997) as torchvision publishes it:
widths 64-192-384-256-256, no normalisation, a 6x6 average pooling before the classifier; 61,100,840
parameters.
``2012``: the network of the ImageNet paper (Krizhevsky, Sutskever, Hinton 2012), which khalifa2020's toolbox
also has: widths 96-256-384-384-256, two groups in layers 2, 4 and 5, local response normalisation,
input 227; 60,965,224 parameters.
"""

from functools import partial

import keras
from keras import layers

from covidcxr.models.blocks import choose, classifier, global_pool, image_input
from covidcxr.models.layers import AdaptiveAveragePooling2D, LocalResponseNormalization


def build(
    variant="torchvision",
    classes=1000,
    input_shape=None,
    include_top=True,
    pooling=None,
    classifier_activation="softmax",
    name="alexnet",
):
    """Build AlexNet with random weights.

    Parameters
    ----------
    variant : {"torchvision", "2012"}
    classes : int
    input_shape : tuple of int, optional
        Default (224, 224, 3) and (227, 227, 3). The classifier of ``2012`` has its published size at 227
        only; that of ``torchvision`` at every size.
    include_top : bool
        False stops after the last max-pooling: (batch, 6, 6, 256) at the published sizes.
    pooling : {None, "avg", "max"}
        Of that map, when `include_top` is False.
    classifier_activation : str or None
        None gives logits.
    name : str

    Returns
    -------
    keras.Model
        Layers ``conv1`` to ``conv5``, ``fc6`` to ``fc8``; ``fc8`` is the one to replace for a new task.

    Raises
    ------
    ModelError, OptionError
        For an unknown variant, an input under 63 (``2012``: 67) pixels.
    """
    features, classify, size, minimum = choose(_VARIANTS, variant, "alexnet")
    inputs = image_input(input_shape, size, minimum)
    x = features(inputs)
    if not include_top:
        return keras.Model(inputs, global_pool(x, pooling), name=name)
    outputs = classifier(classify(x), classes, classifier_activation, name="fc8")
    return keras.Model(inputs, outputs, name=name)


def _torchvision_features(x):
    x = layers.ZeroPadding2D(2, name="conv1_pad")(x)
    x = _conv(x, 64, 11, "conv1", strides=4, padding="valid")
    x = _pool(x, "pool1")
    x = _conv(x, 192, 5, "conv2")
    x = _pool(x, "pool2")
    x = _conv(x, 384, 3, "conv3")
    x = _conv(x, 256, 3, "conv4")
    x = _conv(x, 256, 3, "conv5")
    return _pool(x, "pool5")


def _torchvision_classify(x):
    # At 224 and 227 the map is 6x6 already; leaving the layer out keeps the file free of custom layers.
    if x.shape[1:3] != (6, 6):
        x = AdaptiveAveragePooling2D(6, name="avgpool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(0.5, name="drop5")(x)
    x = layers.Dense(4096, activation="relu", name="fc6")(x)
    x = layers.Dropout(0.5, name="drop6")(x)
    return layers.Dense(4096, activation="relu", name="fc7")(x)


def _paper_features(x):
    x = _conv(x, 96, 11, "conv1", strides=4, padding="valid")
    x = LocalResponseNormalization(name="norm1")(x)
    x = _pool(x, "pool1")
    x = _conv(x, 256, 5, "conv2", groups=2)
    x = LocalResponseNormalization(name="norm2")(x)
    x = _pool(x, "pool2")
    x = _conv(x, 384, 3, "conv3")
    x = _conv(x, 384, 3, "conv4", groups=2)
    x = _conv(x, 256, 3, "conv5", groups=2)
    return _pool(x, "pool5")


def _paper_classify(x):
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(4096, activation="relu", name="fc6")(x)
    x = layers.Dropout(0.5, name="drop6")(x)
    x = layers.Dense(4096, activation="relu", name="fc7")(x)
    return layers.Dropout(0.5, name="drop7")(x)


def _conv(x, filters, size, name, strides=1, padding="same", groups=1):
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding,
        groups=groups,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _pool(x, name):
    return layers.MaxPooling2D(3, 2, name=name)(x)


_VARIANTS = {
    "torchvision": (_torchvision_features, _torchvision_classify, 224, 63),
    "2012": (_paper_features, _paper_classify, 227, 67),
}

build_2012 = partial(build, "2012")
