"""ResNet-18 (He et al. 2015, arXiv 1512.03385, table 1) as torchvision publishes it; 11,689,512 parameters.

keras.applications starts at ResNet-50. Strided convolutions pad one pixel on every side, as PyTorch does;
Keras' ``"same"`` would pad even inputs on the right and bottom only, and shift the published weights.
"""

import keras
from keras import layers

from covidcxr.models.blocks import classifier, global_pool, image_input

# He initialisation over a filter's outputs, as torchvision starts it.
_START = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def build(
    classes=1000,
    input_shape=None,
    include_top=True,
    pooling=None,
    classifier_activation="softmax",
    name="resnet18",
):
    """Build ResNet-18 with random weights.

    Parameters
    ----------
    classes : int
    input_shape : tuple of int, optional
        Default (224, 224, 3); rows and columns may be None.
    include_top : bool
        False stops after the last residual block: 512 channels at 1/32.
    pooling : {None, "avg", "max"}
        Of that map, when `include_top` is False.
    classifier_activation : str or None
        None gives logits.
    name : str

    Returns
    -------
    keras.Model
        Layers are named as torchvision's, with ``_`` for ``.``; ``fc`` is the one to replace for a new task.

    Raises
    ------
    OptionError
        For an input shape that is not (rows, columns, channels).
    """
    inputs = image_input(input_shape, 224, 1)
    x = _conv(inputs, 64, 7, 2, "conv1")
    x = _norm(x, "bn1")
    x = layers.ReLU(name="relu")(x)
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        x = _basic_block(x, filters, 1 if stage == 1 else 2, f"layer{stage}_0")
        x = _basic_block(x, filters, 1, f"layer{stage}_1")
    if include_top:
        x = classifier(global_pool(x, "avg"), classes, classifier_activation, name="fc")
    else:
        x = global_pool(x, pooling)
    return keras.Model(inputs, x, name=name)


def _basic_block(x, filters, stride, name):
    shortcut = x
    if stride != 1:
        shortcut = _conv(x, filters, 1, stride, f"{name}_downsample_0")
        shortcut = _norm(shortcut, f"{name}_downsample_1")
    x = _conv(x, filters, 3, stride, f"{name}_conv1")
    x = _norm(x, f"{name}_bn1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, filters, 3, 1, f"{name}_conv2")
    x = _norm(x, f"{name}_bn2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _conv(x, filters, size, stride, name):
    if size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(filters, size, stride, use_bias=False, kernel_initializer=_START.clone(), name=name)(
        x
    )


def _norm(x, name):
    # PyTorch's momentum 0.1 weighs the new batch; Keras' 0.9 weighs the past.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
