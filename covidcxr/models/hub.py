"""TensorFlow Hub's MobileNetV2, as ragab2022's listing names it, read into Keras' MobileNetV2.

``hub.KerasLayer`` is a layer of Keras 2 and would tie a saved model to the module's folder. The module's
variables are those of TF-Slim's MobileNetV2, the same network as Keras': same 3x3 padding at every size, same
batch-norm epsilon (0.001). So the variables are copied, and the saved model needs neither the module nor
TensorFlow Hub. They are read from the module's checkpoint: its graph, which may do whatever TensorFlow can, is never
loaded.

Module: https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4 (Apache-2.0).
"""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError, is_out_of_memory
from covidcxr.models.layer_names import is_head
from covidcxr.models.weights_report import WeightsReport, sha256

RAGAB_HANDLE = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"

# Variables of the module that a feature extractor has no use for.
_IGNORED = re.compile(r"(^|/)(global_step|Logits/.*|Predictions/.*)$")
_BATCHNORM = ("gamma", "beta", "moving_mean", "moving_variance")


_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Of float32 and of the names; a checkpoint is not compressed.
_MOST_BYTES_A_BYTE = 2


@dataclass(frozen=True)
class Variable:
    """A variable of a module.

    Attributes
    ----------
    name : str
    value : numpy.ndarray
    """

    name: str
    value: np.ndarray

    def numpy(self):
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Module:
    """What is read of a module.

    Attributes
    ----------
    variables : tuple of Variable
    """

    variables: tuple


def load_module(place):
    """Read the variables of a SavedModel folder.

    Parameters
    ----------
    place : path-like

    Returns
    -------
    Module

    Raises
    ------
    ModelError
        If there is no SavedModel, or it is damaged.
    """
    try:
        return Module(tuple(_stored(Path(place) / "variables")))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{place}: cannot be loaded as a SavedModel ({reason}); "
            "download the module's folder and give its path, or choose --weights imagenet"
        ) from error


def load_into(model, place):
    """Fill a MobileNetV2, bare or under a head, from TensorFlow Hub's module.

    Parameters
    ----------
    model : keras.Model
        With the layer names of ``keras.applications.MobileNetV2``.
    place : path-like
        See :func:`load_module`.

    Returns
    -------
    covidcxr.models.weights_report.WeightsReport

    Raises
    ------
    ModelError
        If the module cannot be loaded, or any variable is missing, left over or of another shape. The model
        is then unchanged.
    """
    values = module_values(load_module(place), place)
    layers = [layer for layer in model.layers if layer.weights and not is_head(layer)]
    names = {layer.name: [slim_name(layer.name, weight.name) for weight in layer.weights] for layer in layers}
    _check(layers, names, values, place)
    for layer in layers:
        layer.set_weights([values[name] for name in names[layer.name]])
    head = tuple(layer.name for layer in model.layers if layer.weights and is_head(layer))
    return WeightsReport(tuple(layer.name for layer in layers), head, (), str(place), _sha256(place))


def _stored(folder):
    """List the variables of a checkpoint as TensorFlow saves objects: values by key, and a list of their names."""
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tf.train.load_checkpoint(str(folder / "variables"))
    shapes, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    declared = sum(math.prod(shape) * kinds[key].size for key, shape in shapes.items())
    held = sum(path.stat().st_size for path in folder.iterdir())
    if declared > _MOST_BYTES_A_BYTE * held:
        raise ValueError(f"declares {declared:,} bytes and holds {held:,}")
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_OBJECT_GRAPH))
    # The attribute that TensorFlow Hub's modules promise.
    lists = [child.node_id for child in graph.nodes[0].children if child.local_name == "variables"]
    members = [graph.nodes[child.node_id] for place in lists for child in graph.nodes[place].children]
    return [
        Variable(attribute.full_name, reader.get_tensor(attribute.checkpoint_key))
        for node in members
        for attribute in node.attributes
        if attribute.name == "VARIABLE_VALUE"
    ]


def module_values(module, place="the module"):
    """Return the module's variables by their TF-Slim names below ``MobilenetV2/``.

    Returns
    -------
    dict of str to numpy.ndarray
    """
    values = {}
    for variable in _variables(module, place):
        name = variable.name.partition(":")[0]
        if _IGNORED.search(name):
            continue
        _, found, rest = name.rpartition("MobilenetV2/")
        if not found:
            raise ModelError(f"{place}: has a variable {name!r}, which no MobileNetV2 of TF-Slim has")
        values[rest] = variable.numpy()
    return values


def _variables(module, place):
    try:
        return module.variables
    except AttributeError as error:
        raise ModelError(
            f"{place}: a SavedModel that lists no variables; give a feature vector module of TensorFlow Hub"
        ) from error


def slim_name(layer, weight):
    """Translate the names of a layer of Keras' MobileNetV2 and of one of its weights into TF-Slim's.

    Raises
    ------
    ModelError
        If it is no weight of that network.

    Examples
    --------
    >>> slim_name("block_3_expand_BN", "gamma")
    'expanded_conv_3/expand/BatchNorm/gamma'
    >>> slim_name("expanded_conv_depthwise", "kernel")
    'expanded_conv/depthwise/depthwise_weights'
    """
    if layer in _ENDS:
        scope = _ENDS[layer]
    else:
        match = re.fullmatch(r"(expanded_conv|block_(\d+))_(expand|depthwise|project)(_BN)?", layer)
        if not match:
            raise ModelError(f"layer {layer}: not one of MobileNetV2, so no SavedModel of it can fill it")
        number = f"_{match[2]}" if match[2] else ""
        scope = f"expanded_conv{number}/{match[3]}"
    if weight in _BATCHNORM:
        return f"{scope}/BatchNorm/{weight}"
    return f"{scope}/depthwise_weights" if scope.endswith("depthwise") else f"{scope}/weights"


def check_against_module(model, module, images):
    """Return how far a Keras model's features are from the module's, as the largest absolute difference.

    Parameters
    ----------
    model : keras.Model
        float32 RGB images in 0..1 to features (n, 1280): MobileNetV2 behind the scaling layer, pooled.
    module : callable
        As `tf.saved_model.load` returns it.
    images : numpy.ndarray
        float32 (n, height, width, 3) in 0..1.

    Returns
    -------
    float
    """
    ours = np.asarray(model(images, training=False))
    theirs = np.asarray(module(images))
    if ours.shape != theirs.shape:
        raise ModelError(f"features of shape {ours.shape} cannot be held against the module's {theirs.shape}")
    return float(np.abs(ours - theirs).max())


_ENDS = {"Conv1": "Conv", "bn_Conv1": "Conv", "Conv_1": "Conv_1", "Conv_1_bn": "Conv_1"}


def _check(layers, names, values, place):
    wanted = {name for group in names.values() for name in group}
    for odd, verb in ((sorted(wanted - set(values)), "lacks"), (sorted(set(values) - wanted), "also has")):
        if odd:
            raise ModelError(
                f"{place}: {verb} {odd[0]} and {len(odd) - 1} others; "
                "give a MobileNetV2 feature vector module"
            )
    for layer in layers:
        for weight, name in zip(layer.weights, names[layer.name], strict=True):
            if tuple(weight.shape) != values[name].shape:
                raise ModelError(
                    f"{place}: {name} has shape {values[name].shape}, "
                    f"the network wants {tuple(weight.shape)}; is it of another width?"
                )


def _sha256(place):
    variables = sorted(Path(str(place)).glob("variables/variables.data-*"))
    if not variables:
        return ""
    if len(variables) == 1:
        return sha256(variables[0])
    return hashlib.sha256("".join(sha256(path) for path in variables).encode()).hexdigest()
