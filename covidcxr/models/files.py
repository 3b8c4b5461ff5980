"""Model files: written whole, with what is needed to use the model; read without running anything in them."""

import contextlib
import dataclasses
import json
import math
import weakref
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from covidcxr.atomic import whole_file
from covidcxr.errors import CovidcxrError, ModelError, is_out_of_memory
from covidcxr.models import containers, deferred, description, keras2, model_config

SUFFIXES = (".h5", ".keras")
_ATTRIBUTE = "covidcxr"
_MEMBER = "covidcxr.json"
_LONGEST_NAME = 200
_KINDS = {
    "paper": str,
    "network": str,
    "protocol": str,
    "preprocessing": dict,
    "versions": dict,
    "extra": dict,
}

# Beside the models and not on them: Keras wraps what is set on a model, to track it.
_INFO = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class ModelInfo:
    """What a model was trained for and how its images must be prepared.

    Attributes
    ----------
    paper, network, protocol : str
        Keys, such as ``"ragab2022"``, ``"mobilenet_v2"``, ``"sound"``.
    class_names : tuple of str
        In the order of the outputs.
    preprocessing : dict
        As :class:`covidcxr.data.preprocessing.Preprocessing` writes it.
    seed : int or None
    versions : dict of str to str
        Package versions at training time.
    extra : dict
        Anything else that JSON can hold.
    """

    paper: str
    network: str
    protocol: str
    class_names: tuple
    preprocessing: dict
    seed: int | None
    versions: dict
    extra: dict = field(default_factory=dict)


def save_model(model, path, info):
    """Write a model for inference, whole or not at all. The optimiser's state is left out.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, compiled or not; unchanged.
    path : path-like
        Ending in .h5 (the papers' format) or .keras.
    info : ModelInfo
        Stored in the file; :func:`info_of` gives it from now on.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        If the suffix is another, or the network cannot be described (it has layers without a configuration).
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path}: a model's file name must end in .h5 or .keras")
    text = json.dumps(dataclasses.asdict(info))
    try:
        bare = _bare(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: {model.name} cannot be stored ({_first_line(error)})") from error
    with whole_file(path) as temporary:
        _write(bare, temporary, text)
    _INFO[model] = info
    return path


def load_model(path):
    """Load a model for inference. Nothing that the file may carry is run.

    Models of Keras 2 are opened too (see :mod:`covidcxr.models.keras2`).

    Parameters
    ----------
    path : path-like
        An .h5 (.hdf5) or .keras file of a whole model.

    Returns
    -------
    keras.Model
        Not compiled. :func:`info_of` gives what the file says about it.

    Raises
    ------
    ModelError
        If the file is absent, damaged, no model, or has layers that carry code or are unknown.
    """
    path = Path(path)
    config, version = model_config.read_config(path)
    _check_suffix(path)
    with model_config.damage_named(path):
        containers.check(path)
    description.check(path, config)
    try:
        with _readable(path, config, version) as readable:
            model = deferred.load(lambda: _load(readable), path)
    except CovidcxrError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Keras raises whatever a layer's constructor raises.
        raise ModelError(f"{path}: Keras cannot rebuild this model ({_first_line(error)})") from error
    text = _info_text(path)
    if text is not None:
        _INFO[model] = _parse(path, text)
    return model


def read_info(path):
    """Read what a model file says about its model, without TensorFlow or Keras.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelError
        If the file is absent, damaged, or says nothing.
    """
    path = Path(path)
    model_config.read_config(path)
    text = _info_text(path)
    if text is None:
        raise ModelError(f"{path}: says nothing of classes and preprocessing; give a model saved by covidcxr")
    return _parse(path, text)


def info_of(model):
    """Return the :class:`ModelInfo` of a model saved or loaded here, or None."""
    return _INFO.get(model)


def attach_info(model, info):
    """Let :func:`info_of` give `info` for a model that is in no file yet."""
    _INFO[model] = info


def _bare(model):
    """Copy a model without its optimiser.

    The copy's weights stand in the order that the reopened model's will: switching single weights to not
    trainable changes the order in which .h5 lists those of nested models, but is not stored.
    """
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def _write(model, path, text):
    import h5py
    import keras

    with _quiet():
        keras.saving.save_model(model, path, **({"include_optimizer": False} if path.suffix == ".h5" else {}))
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs[_ATTRIBUTE] = text.encode("utf-8")
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_MEMBER, text)


@contextlib.contextmanager
def _quiet():
    """Keep Keras from calling .h5 a legacy format: it is the papers', and asked for."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_suffix(path):
    expected = (".keras",) if model_config.is_zip(path) else (".h5", ".hdf5")
    if path.suffix not in expected:
        raise ModelError(f"{path}: by its content a {expected[0]} file; rename it to end so")


@contextlib.contextmanager
def _readable(path, config, version):
    if path.suffix != ".keras" and keras2.is_keras_2(version):
        with keras2.readable(path, config) as copy:
            yield copy
    else:
        yield path


def _load(path):
    import keras

    with _quiet():
        return keras.saving.load_model(path, custom_objects=_scale_layer(), compile=False, safe_mode=True)


def _scale_layer():
    """Return the one layer of keras.applications that Keras does not find again by itself."""
    from keras.src.applications import inception_resnet_v2

    return {description.SCALE_LAYER: getattr(inception_resnet_v2, description.SCALE_LAYER)}


def _info_text(path):
    import h5py

    with model_config.damage_named(path):
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return archive.read(_MEMBER).decode("utf-8") if _MEMBER in archive.namelist() else None
        with h5py.File(path, "r") as file:
            text = file.attrs.get(_ATTRIBUTE)
            return text.decode("utf-8") if isinstance(text, bytes) else text


def _parse(path, text):
    try:
        values = json.loads(text)
        _check_kinds(values)
        return ModelInfo(**{**values, "class_names": _class_names(values["class_names"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(
            f"{path}: what it says of its classes cannot be read ({_first_line(error)})"
        ) from error


def _check_kinds(values):
    if not isinstance(values, dict):
        raise ValueError("no set of named values")
    for name, kind in _KINDS.items():
        if not isinstance(values.get(name, kind()), kind):
            raise ValueError(f"{name} is {values[name]!r}, not of the kind {kind.__name__}")
    size = values.get("preprocessing", {}).get("size")
    if isinstance(size, list) and all(isinstance(side, int) for side in size):
        from covidcxr.data.images import LARGEST_TARGET

        if math.prod(size) > LARGEST_TARGET:
            raise ValueError(f"images of {size} are more than {LARGEST_TARGET:,} pixels")


def _class_names(names):
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"class_names is {names!r}, not a list of names")
    if not all(name.isprintable() and len(name) <= _LONGEST_NAME for name in names):
        raise ValueError(f"class_names has one that is not printable or longer than {_LONGEST_NAME} letters")
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"class_names is {names!r}; at least two, all different, are needed")
    return tuple(names)


def _first_line(error):
    # Keras repeats a whole description before it comes to the point.
    text = str(error).strip().rpartition("Exception encountered: ")[2]
    return text.splitlines()[0][:300] if text else type(error).__name__
