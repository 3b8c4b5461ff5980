"""A network's description as Keras 2 wrote it: the way back of :mod:`covidcxr.models.keras2`.

Only what a prediction needs is kept: how weights were initialised or regularised is left to Keras 2's defaults.
"""

from covidcxr.errors import ModelError

# Written into the file; the format is that of every Keras 2 since 2.4.
KERAS_VERSION = "2.15.0"

_MODELS = ("Functional", "Sequential")
# What keras.applications and the networks of this package are made of, and Keras 2 has under the same name.
LAYERS = {
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "InputLayer",
    "MaxPooling2D",
    "Multiply",
    "Normalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "ZeroPadding2D",
}
# Keras 2 registers the one layer of InceptionResNetV2 that is not in keras.layers by this name.
_RENAMED = {"CustomScaleLayer": "Custom>CustomScaleLayer"}
_DROPPED_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# New in Keras 3, or in late versions of Keras 2; none changes a prediction.
_DROPPED = (
    "build_input_shape",
    "keepdims",
    "optional",
    "quantization_config",
    "renorm",
    "renorm_clipping",
    "renorm_momentum",
    "synchronized",
)
# Keras 2 passes these by itself.
_CALL_CONTEXT = ("mask", "training")


def described(config):
    """Return the description of a network, nested ones included, in the form of Keras 2.

    Parameters
    ----------
    config : dict
        ``{"class_name": ..., "config": {...}}`` of Keras 3; unchanged itself.

    Returns
    -------
    dict

    Raises
    ------
    ModelError
        If a layer has no counterpart, or is called in a way that Keras 2 cannot describe.
    """
    kind = config["class_name"]
    fixed = {"class_name": _RENAMED.get(kind, kind), "config": _options(kind, config)}
    if "inbound_nodes" in config:
        fixed["name"] = config["name"]
        fixed["inbound_nodes"] = [_node(config["name"], node) for node in config["inbound_nodes"]]
    return fixed


def _options(kind, config):
    _check(kind, config)
    options = {name: value for name, value in config["config"].items() if not _is_dropped(name, value)}
    if kind in _MODELS:
        options["layers"] = [described(layer) for layer in options["layers"]]
        ends = {"input_layers", "output_layers"} & set(options)
        return {**options, **{end: _ends(options[end]) for end in ends}}
    if isinstance(options.get("dtype"), dict):
        options["dtype"] = options["dtype"]["config"]["name"]
    if kind == "InputLayer":
        options["batch_input_shape"] = options.pop("batch_shape")
    # Keras 2 knows the activation by this name since 2.2, by the other since 2.13.
    if options.get("activation") == "silu":
        options["activation"] = "swish"
    return options


def _check(kind, config):
    if kind not in LAYERS and kind not in _MODELS and kind not in _RENAMED:
        name = config["config"].get("name", kind)
        raise ModelError(
            f"layer {name} ({kind}) has no counterpart in Keras 2; export as onnx or saved_model"
        )


def _is_dropped(name, value):
    if name == "keepdims" and value:
        return False
    return name in _DROPPED or name.endswith(_DROPPED_ENDINGS)


def _ends(ends):
    """Put a single input or output into a list, as Keras 2 has it."""
    return [ends] if ends and isinstance(ends[0], str) else ends


def _node(name, node):
    """Return ``[[layer, node index, tensor index, {}], ...]`` for one call of a layer."""
    arguments = node["args"]
    others = [key for key, value in node["kwargs"].items() if key not in _CALL_CONTEXT and value is not None]
    if len(arguments) != 1 or others:
        raise ModelError(f"layer {name} is called in a way that Keras 2 cannot describe; export as onnx")
    tensors = arguments[0] if isinstance(arguments[0], list) else arguments
    return [[*tensor["config"]["keras_history"], {}] for tensor in tensors]
