"""rahimzadeh2020's networks: Xception and ResNet50V2 side by side, and each of the two by itself.

Section 2.1, and Fig. 1: both read the same 300x300x3 image and give 10x10x2048; the maps are stacked to 4096
channels, a 1x1 convolution without activation makes 1024 of them, and a softmax reads these flattened, after
dropout. 48,928,811 parameters for three classes.
"""

import keras

from covidcxr.errors import ModelError
from covidcxr.models import backbones, heads, pretrained, weight_files
from covidcxr.models.blocks import global_pool
from covidcxr.models.weights_report import WeightsReport

INPUT_SIZE = 300
# Backbone, and the last layer of it in the flat network.
_ENDS = {"xception": "block14_sepconv2_act", "resnet50_v2": "post_relu"}
# What only the authors' code shows: the dropout's rate and how the softmax's kernel starts.
_DROPOUT = 0.5
_DEVIATION = 0.001


def build(classes=3, input_shape=None, include_top=True, pooling=None, dropout=_DROPOUT):
    """Build the concatenated network with random weights, everything trainable.

    It is one flat model, in which the layers of both networks keep their own names.

    Parameters
    ----------
    classes : int, optional
    input_shape : tuple of int, optional
        (height, width, channels); default (300, 300, 3).
    include_top : bool, optional
        False stops after the 1x1 convolution.
    pooling : {None, "avg", "max"}, optional
        Of that map, when `include_top` is False.
    dropout : float, optional

    Returns
    -------
    keras.Model
        float32 RGB images (n, height, width, 3) to probabilities (n, classes). The ImageNet weights expect
        -1..1; the paper feeds 0..1.

    Raises
    ------
    ModelError
        If the two maps of an input of that shape differ in size, or it is under 71 pixels.
    """
    inputs = keras.Input(input_shape or (INPUT_SIZE, INPUT_SIZE, 3), name="image")
    options = {"input_tensor": inputs, "include_top": False, "weights": None}
    maps = [builder(**options).output for builder in _builders()]
    if maps[0].shape != maps[1].shape:
        raise ModelError(
            f"input shape {inputs.shape[1:]}: Xception gives {maps[0].shape[1:]} of it and ResNet50V2 "
            f"{maps[1].shape[1:]}, which cannot be stacked; take {INPUT_SIZE} x {INPUT_SIZE}"
        )
    stacked = keras.layers.Concatenate(name="stacked")(maps)
    features = keras.layers.Conv2D(1024, 1, padding="same", name="stacked_conv")(stacked)
    if not include_top:
        return keras.Model(inputs, global_pool(features, pooling), name="concatenated")
    return heads.classifier(keras.Model(inputs, features, name="concatenated"), _head(classes, dropout))


def build_single(key, classes=3, dropout=_DROPOUT, input_size=INPUT_SIZE):
    """Build one of the two networks that the paper compares with, everything trainable.

    The paper does not say what stands on them: they get the concatenated network's classifier, without its
    1x1 convolution.

    Parameters
    ----------
    key : {"xception", "resnet50_v2"}
    classes : int, optional
    dropout : float, optional
    input_size : int, optional

    Returns
    -------
    keras.Model
        For three classes at 300 x 300 Xception has 21,475,883 parameters, ResNet50V2 24,179,203.
    """
    return heads.classifier(backbones.build(key, (input_size, input_size, 3)), _head(classes, dropout))


def parts(model):
    """Return the two networks inside the concatenated one, as models that share its layers.

    Parameters
    ----------
    model : keras.Model
        From :func:`build`, or loaded.

    Returns
    -------
    dict of str to keras.Model
        ``"xception"`` and ``"resnet50_v2"``.

    Raises
    ------
    ModelError
        If it is another network.
    """
    names = {layer.name for layer in model.layers}
    if not names.issuperset(_ENDS.values()):
        raise ModelError(f"{model.name}: not the concatenated network; build it, or load one")
    return {
        key: keras.Model(model.input, model.get_layer(end).output, name=key) for key, end in _ENDS.items()
    }


def load_weights(model, spec, partial=False):
    """Fill both networks, each from its own weight file; the rest keeps its start.

    Parameters
    ----------
    model : keras.Model
    spec : str or path-like
        ``"imagenet"``, ``"none"`` or a folder (see :func:`covidcxr.models.pretrained.find_weights`).
    partial : bool, optional
        Accept files that hold only a network's first layers.

    Returns
    -------
    covidcxr.models.weights_report.WeightsReport
        Of both; their file names and sums are joined by a comma.

    Raises
    ------
    ModelError
        If weights are missing or do not fit. Nothing is loaded unless both are found.
    """
    inside = parts(model)
    found = {key: pretrained.find_weights(key, spec, input_size=INPUT_SIZE) for key in inside}
    reports = [weight_files.load_into(part, found[key], partial) for key, part in inside.items()]
    loaded = tuple(name for report in reports for name in report.loaded)
    return WeightsReport(
        loaded=loaded,
        missing=tuple(layer.name for layer in model.layers if layer.weights and layer.name not in loaded),
        unused=tuple(name for report in reports for name in report.unused),
        source=", ".join(filter(None, (report.source for report in reports))),
        sha256=", ".join(filter(None, (report.sha256 for report in reports))),
    )


def _builders():
    return keras.applications.Xception, keras.applications.ResNet50V2


def _head(classes, dropout):
    return heads.HeadSpec(classes, dropout=dropout, pooling="flatten", deviation=_DEVIATION)
