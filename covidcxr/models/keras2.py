"""Whole models that Keras 2 saved as .h5, made readable for Keras 3.

Keras 3 refuses some of what Keras 2 wrote about the same layers. Only the description is changed, in a
temporary copy; the weights are Keras' to read, and their order is the same.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

# Options that Keras 2 wrote for these layers because of their base class, and that never had an effect.
_INERT = {
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}
_ENDS = ("input_layers", "output_layers")


def is_keras_2(keras_version):
    """Return whether a version string, as a file states it, is of Keras 1 or 2 (which may state none)."""
    return not keras_version or keras_version[0] in "12"


@contextlib.contextmanager
def readable(path, config):
    """Give a temporary copy of an .h5 model of Keras 2 that Keras 3 can read.

    Parameters
    ----------
    path : pathlib.Path
    config : dict
        Its description, as read from it.

    Yields
    ------
    pathlib.Path
    """
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "a") as file:
            file.attrs["model_config"] = json.dumps(repaired(config)).encode("utf-8")
        yield copy


def repaired(config):
    """Return a network's description with what Keras 3 refuses put right, nested networks included.

    Parameters
    ----------
    config : dict
        ``{"class_name": ..., "config": {...}}``; unchanged itself.

    Returns
    -------
    dict
    """
    kind = config["class_name"].removeprefix("Custom>")
    fixed = {**config, "class_name": kind, "config": _repaired_options(kind, config["config"])}
    if config.get("registered_name"):
        fixed["registered_name"] = config["registered_name"].removeprefix("Custom>")
    if "inbound_nodes" in config:
        fixed["inbound_nodes"] = _renamed(config["inbound_nodes"])
    return _with_plain_name(fixed)


def _repaired_options(kind, options):
    fixed = {name: value for name, value in options.items() if name not in _INERT.get(kind, ())}
    if "layers" in fixed:
        fixed["layers"] = [repaired(layer) for layer in fixed["layers"]]
        fixed.update({end: _single(_renamed(fixed[end])) for end in _ENDS if end in fixed})
    if kind == "BatchNormalization" and isinstance(fixed.get("axis"), list):
        (fixed["axis"],) = fixed["axis"]
    if isinstance(fixed.get("dtype"), dict):
        fixed["dtype"] = fixed["dtype"]["config"]["name"]
    return _with_plain_name(fixed)


def _with_plain_name(entry):
    return {**entry, "name": _plain(entry["name"])} if isinstance(entry.get("name"), str) else entry


def _renamed(node):
    """Rename the layers in connections, ``[name, node index, tensor index, options]`` at any depth."""
    if isinstance(node, list):
        return [_renamed(item) for item in node]
    return _plain(node) if isinstance(node, str) else node


def _single(ends):
    """Take one input or output out of its list: Keras 3 would otherwise give results as lists of one."""
    return ends[0] if len(ends) == 1 and isinstance(ends[0], list) else ends


def _plain(name):
    # Keras 3 keeps "/" for the paths of weights.
    return name.replace("/", "_")
