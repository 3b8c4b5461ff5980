"""What a network's description in a model file may ask for: checked before Keras builds anything from it."""

import re
import sys

from covidcxr.errors import ModelError

# Layers that carry code, or load it from elsewhere.
_CARRY_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"}
# Layers for text, whose vocabulary may be the name of any file of this machine.
_READ_FILES = {"StringLookup", "IntegerLookup", "TextVectorization"}
_MODELS = {"Functional", "Model", "Sequential"}
# In keras.applications' InceptionResNetV2, but not in keras.layers; Keras 2 wrote the second name.
SCALE_LAYER = "CustomScaleLayer"
_SCALE_LAYERS = {SCALE_LAYER, f"Custom>{SCALE_LAYER}"}
OWN_PACKAGE = "covidcxr>"
_FUNCTION_MODULES = {"keras.activations", "keras.src.activations.activations"}
# Keras imports the module that a description names: only its own, and ours with layers, may be named.
_MODULES = re.compile(r"(tf_)?keras(\..*)?|covidcxr\.models\.layers")
_OPERATIONS = ("keras.src.ops.", "keras.ops.")
# Where a layer stands in a description.
_LAYER_KEYS = {"layers", "layer", "forward_layer", "backward_layer", "cell", "cells"}

MOST_LAYERS = 20_000
"""NASNetLarge has 1,039."""
LARGEST_NUMBER = 2**24
"""No size in a network comes near: VGG19's first dense layer has 4,096 units."""
# Numbers that are no sizes.
_NO_SIZES = {"seed", "shared_object_id"}
_LONGEST_NAME = 300
_PATH = re.compile(r"[/\\]|~[/\\]|[A-Za-z]:[/\\]")


def check(path, config):
    """Refuse a network that Keras and this package cannot build from their own classes alone, or that no one would.

    Parameters
    ----------
    path : path-like
        For the message.
    config : dict

    Raises
    ------
    ModelError
        If a layer carries code (``Lambda`` and its like), reads files, is of an unknown class or is called like a
        path; if a number is no network's.
    """
    layers = 0
    for key, node, is_layer in _nodes(config):
        if isinstance(node, int):
            _check_number(path, key, node)
        elif isinstance(node.get("class_name"), str):
            layers += is_layer
            objection = _objection(node, is_layer)
            if objection:
                name = _names(node)[0] if _names(node) else node["class_name"]
                raise ModelError(f"{path}: layer {_shown(name)} {objection}")
    if layers > MOST_LAYERS:
        raise ModelError(f"{path}: describes {layers:,} layers; no network of this package has so many")


def _nodes(config):
    """Yield (key, dictionary or whole number, whether a layer stands there) of a description, at any depth."""
    stack = [("", config, True)]
    while stack:
        key, node, is_layer = stack.pop()
        if isinstance(node, dict):
            yield key, node, is_layer
            stack += [(inner, value, inner in _LAYER_KEYS) for inner, value in reversed(node.items())]
        elif isinstance(node, list):
            stack += [(key, item, is_layer) for item in reversed(node)]
        elif isinstance(node, int):
            yield key, node, False


def _check_number(path, key, number):
    if abs(number) > LARGEST_NUMBER and key not in _NO_SIZES:
        raise ModelError(
            f"{path}: {_shown(key)} of {f'{number:,}'[:40]} is no size of a network; it is not built"
        )


def _objection(entry, is_layer):
    kind = entry["class_name"]
    if kind in _CARRY_CODE:
        return f"carries code of its own ({kind}), which is never run; ask for the model without such layers"
    if kind in _READ_FILES:
        return f"is of the class {kind}, which reads files of this machine; ask for the model without such layers"
    if any(_is_path_like(name) for name in _names(entry)):
        return "is called like a path; ask for the model with plain names"
    if is_layer and not _is_known(entry):
        return (
            f"is of the class {_shown(kind)}, which neither Keras nor covidcxr has; it opens only with its "
            "authors' code"
        )
    if foreign := _foreign(entry):
        return f"asks for code from {_shown(foreign)}, which is never run; ask for the model without it"
    return None


def _names(entry):
    options = entry["config"] if isinstance(entry.get("config"), dict) else {}
    return [name for name in (options.get("name"), entry.get("name")) if isinstance(name, str)]


def _is_path_like(name):
    climbs = ".." in re.split(r"[\\/]", name)
    return climbs or _PATH.match(name) or not name.isprintable() or len(name) > _LONGEST_NAME


def _is_known(entry):
    import keras

    kind = entry["class_name"]
    if kind in _MODELS or kind in _SCALE_LAYERS:
        return True
    if kind.startswith(OWN_PACKAGE) or str(entry.get("registered_name", "")).startswith(OWN_PACKAGE):
        from covidcxr.models import layers

        return _is_subclass(layers, kind.removeprefix(OWN_PACKAGE), keras.layers.Layer)
    if str(entry.get("module", "")).startswith(_OPERATIONS):
        return _is_subclass(sys.modules.get(entry["module"]), kind, keras.Operation)
    return _is_subclass(keras.layers, kind, keras.layers.Layer)


def _is_subclass(module, name, parent):
    found = getattr(module, name, None)
    return isinstance(found, type) and issubclass(found, parent)


def _foreign(entry):
    """Return the names of what an entry asks for that is neither Keras' nor ours, ``""`` if there is nothing."""
    # What is no text is no name of ours either.
    named = (entry.get("module"), entry.get("registered_name"))
    module, registered = (value if value is None else str(value) for value in named)
    if entry["class_name"] == "function":
        ours = module in _FUNCTION_MODULES
        own_name = entry.get("config")
    else:
        ours = module is None or _MODULES.fullmatch(str(module))
        own_name = entry["class_name"]
    if not ours:
        return str(module)
    plain = registered in (None, "", own_name) or registered in _SCALE_LAYERS
    return "" if plain or str(registered).startswith(OWN_PACKAGE) else str(registered)


def _shown(name):
    text = str(name)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:100])
