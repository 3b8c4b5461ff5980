"""The description of a network inside a model file, read and checked before Keras builds anything from it."""

import contextlib
import json
import re
import zipfile
import zlib

from covidcxr.errors import ModelError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_CONFIG = "config.json"

# What h5py, zipfile and json raise on bytes that were changed.
_DAMAGE = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)

# Layers that carry code, or load it from elsewhere.
_CARRY_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"}
_MODELS = {"Functional", "Model", "Sequential"}
# In keras.applications' InceptionResNetV2, but not in keras.layers; Keras 2 wrote the second name.
SCALE_LAYER = "CustomScaleLayer"
_SCALE_LAYERS = {SCALE_LAYER, f"Custom>{SCALE_LAYER}"}
OWN_PACKAGE = "covidcxr>"
_FUNCTION_MODULES = {"keras.activations", "keras.src.activations.activations"}
# Keras imports the module that a description names: only its own, and ours with layers, may be named.
_MODULES = re.compile(r"(tf_)?keras(\..*)?|covidcxr\.models\.layers")


def is_zip(path):
    """Return whether a model file is a zip (.keras) and not HDF5 (.h5).

    Raises
    ------
    ModelError
        If it is absent, a folder, or neither.
    """
    if path.is_dir():
        inside = " (it holds model.h5)" if (path / "model.h5").is_file() else ""
        raise ModelError(f"{path}: a folder, not a model file{inside}; give the .h5 or .keras file")
    try:
        with open(path, "rb") as file:
            start = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start == HDF5_SIGNATURE:
        return False
    if zipfile.is_zipfile(path):
        return True
    raise ModelError(f"{path}: not a Keras model, or cut short; give a whole .h5 or .keras file")


def read_config(path):
    """Read the network's description, as Keras wrote it.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    config : dict
    keras_version : str
        ``""`` where the file does not say.

    Raises
    ------
    ModelError
        If there is none, or the file is damaged.
    """
    with damage_named(path):
        return _read_zip(path) if is_zip(path) else _read_hdf5(path)


@contextlib.contextmanager
def damage_named(path):
    """Turn whatever a damaged file raises while it is read into one line.

    Raises
    ------
    ModelError
    """
    try:
        yield
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{path}: damaged ({reason}); copy or download it again") from error


def check_classes(path, config):
    """Refuse a network that Keras and this package cannot build from their own classes alone.

    Raises
    ------
    ModelError
        If a layer carries code (``Lambda`` and its like) or is of an unknown class.
    """
    for entry, is_layer in _entries(config):
        objection = _objection(entry, is_layer)
        if objection:
            name = entry["config"].get("name") if isinstance(entry.get("config"), dict) else None
            raise ModelError(f"{path}: layer {name or entry['class_name']} {objection}")


def _objection(entry, is_layer):
    kind = entry["class_name"]
    if kind in _CARRY_CODE:
        return f"carries code of its own ({kind}), which is never run; ask for the model without such layers"
    if is_layer and not _is_known(entry):
        return f"is of the class {kind}, which neither Keras nor covidcxr has; it opens only with its authors' code"
    if _is_foreign(entry):
        return f"asks for code from {entry.get('module')}, which is never run; ask for the model without it"
    return None


def _read_hdf5(path):
    import h5py

    with h5py.File(path, "r") as file:
        text, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
        if text is None:
            what = "holds weights without a network" if _has_weights(file) else "not a Keras model"
            raise ModelError(f"{path}: {what}; give the file of a whole model, as model.save writes it")
    return json.loads(text), _text(version)


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        if _ZIP_CONFIG not in archive.namelist():
            raise ModelError(f"{path}: a zip file, but not a Keras model; give a .h5 or .keras file")
        # Keras reads the weights without comparing their checksum.
        if archive.testzip() is not None:
            raise ModelError(f"{path}: damaged (a checksum is wrong); copy or download it again")
        return json.loads(archive.read(_ZIP_CONFIG)), "3"


def _has_weights(file):
    return bool({"layer_names", "layer_names0"} & set(file.attrs)) or "layers" in file


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _entries(node, is_layer=True):
    """Yield every described object, at any depth, and whether it stands where a layer does."""
    if isinstance(node, list):
        for item in node:
            yield from _entries(item, is_layer)
    elif isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            yield node, is_layer
        for key, value in node.items():
            yield from _entries(value, key in ("layers", "layer"))


def _is_known(entry):
    import keras

    kind = entry["class_name"]
    if kind in _MODELS or kind in _SCALE_LAYERS:
        return True
    if kind.startswith(OWN_PACKAGE) or str(entry.get("registered_name", "")).startswith(OWN_PACKAGE):
        from covidcxr.models import layers

        return hasattr(layers, kind.removeprefix(OWN_PACKAGE))
    if str(entry.get("module", "")).startswith(("keras.src.ops.", "keras.ops.")):
        return True
    return isinstance(getattr(keras.layers, kind, None), type)


def _is_foreign(entry):
    module = entry.get("module")
    if entry["class_name"] == "function":
        return module not in _FUNCTION_MODULES
    return module is not None and not _MODULES.fullmatch(str(module))
