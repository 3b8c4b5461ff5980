"""A trained model in other formats: ONNX, TensorFlow's SavedModel, an `.h5` of Keras 2, an `.h5` of half the size."""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from covidcxr.atomic import make_folder, output_errors, place_folder, whole_file, write_json
from covidcxr.errors import ModelError, OptionError, OutputError, is_out_of_memory
from covidcxr.models import files, half_storage, keras2_export, model_config

FORMATS = {
    "onnx": "ONNX, for ONNX Runtime, OpenVINO and others",
    "saved_model": "a folder for TensorFlow, TensorFlow Serving and TensorFlow Lite",
    "h5-keras2": "an .h5 for Keras 2, such as tf_keras",
    "h5-float16": "an .h5 of half the size for this package, computing in float32",
}
_SUFFIXES = {"onnx": ".onnx", "h5-keras2": ".h5", "h5-float16": ".h5"}
_ONNX_PACKAGES = ("onnx", "tf2onnx")
_NOTE = "Not a medical device."


def export(model, out, format="onnx"):  # noqa: A002
    """Write a model in another format, computing in float32, with a JSON file beside it.

    The JSON file, named as `out` with ``.json`` after it, holds the class names in the order of the outputs, the
    preprocessing (as :class:`covidcxr.data.preprocessing.Preprocessing` writes it), the shapes of input and
    output, and what the model was trained for: the exported network itself takes preprocessed images.

    Parameters
    ----------
    model : keras.Model or path-like
        A model of this package, or its .h5 or .keras file.
    out : path-like
        Ending in .onnx (onnx) or .h5 (h5-keras2, h5-float16), or a folder that does not exist yet
        (saved_model). Written whole or not at all.
    format : {"onnx", "saved_model", "h5-keras2", "h5-float16"}, optional

    Returns
    -------
    pathlib.Path
        The JSON file.

    Raises
    ------
    ModelError
        If the model carries no class names, has layers that the format cannot hold, or a package for the format
        is not installed. One line.
    OptionError
        If there is no such format, or `out` has another suffix.
    OutputError
        If it cannot be written, or the folder stands already.
    """
    out = Path(out)
    _check(out, format)
    model, info = _model_and_info(model)
    make_folder(out.parent)
    _WRITERS[format](_in_float32(model), out, info)
    beside = out.with_name(f"{out.name}.json")
    write_json(beside, _description(model, info, format))
    return beside


def write_onnx(model, path):
    """Write the network alone as ONNX, computing in float32, where a runtime is to read it at once.

    Parameters
    ----------
    model : keras.Model
    path : path-like
        Ending in .onnx.

    Raises
    ------
    ModelError
        If the network has operations that ONNX cannot hold. One line.
    """
    _write_onnx(_in_float32(model), Path(path), None)


def openvino_model(model):
    """Return the network as OpenVINO's, computing in float32.

    Parameters
    ----------
    model : keras.Model
        Built on Keras' TensorFlow backend.

    Returns
    -------
    openvino.Model
        float32 (n, height, width, channels) to (n, classes), any n.

    Raises
    ------
    ModelError
        If OpenVINO cannot read it, or Keras runs on another backend. One line.
    """
    import keras
    import openvino
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"OpenVINO reads networks of Keras' TensorFlow backend, not of {keras.backend.backend()}"
        )
    single = _in_float32(model)
    images = tf.TensorSpec((None, *single.input_shape[1:]), tf.float32, name="images")
    traced = tf.function(lambda images: single(images, training=False))
    with _as_model_error(model.name, "openvino"), _quiet("openvino"):
        return openvino.convert_model(traced.get_concrete_function(images))


def _check(out, kind):
    if kind not in FORMATS:
        raise OptionError(f"format {kind!r}: choose one of {', '.join(FORMATS)}")
    suffix = _SUFFIXES.get(kind, "")
    if suffix and out.suffix != suffix:
        raise OptionError(f"{out}: the name of a file of format {kind} must end in {suffix}")
    if kind == "saved_model" and out.exists():
        raise OutputError(f"{out}: stands already; name a folder that does not exist yet")
    missing = [name for name in _ONNX_PACKAGES if kind == "onnx" and importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{' and '.join(missing)} not installed: pip install 'covidcxr[runtimes]' to export ONNX"
        )


def _model_and_info(model):
    if isinstance(model, str | os.PathLike):
        info = files.read_info(model)
        return files.load_model(model), info
    info = files.info_of(model)
    if info is None:
        raise ModelError(
            f"{model.name}: carries no class names and preprocessing; give a model saved by covidcxr"
        )
    return model, info


def _in_float32(model):
    """Copy a model, free of mixed precision, which few runtimes read."""
    copy = type(model).from_config(_with_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        # Keras' Normalization computes with a copy of its variables.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return copy


def _with_rescaling(model):
    """Copy a model, a normalisation of its input (EfficientNet's) written as a product and a sum.

    Keras holds mean and variance outside the network's graph, and they would become further inputs.
    """
    norms = {layer.name: layer for layer in model.layers if _is_per_channel(layer)}
    if not norms:
        return model
    config = model.get_config()
    for entry in config["layers"]:
        if entry["config"]["name"] in norms:
            entry.pop("build_config", None)
            entry.update(class_name="Rescaling", config=_rescaling(norms[entry["config"]["name"]]))
    copy = type(model).from_config(config)
    for layer in copy.layers:
        if layer.name not in norms:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def _is_per_channel(layer):
    import keras

    return isinstance(layer, keras.layers.Normalization) and not layer.invert and layer.axis in ((-1,), (3,))


def _rescaling(layer):
    import keras
    import numpy as np

    mean, variance = np.ravel(layer.mean), np.ravel(layer.variance)
    scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return {"name": layer.name, "scale": scale.tolist(), "offset": (-mean * scale).tolist()}


def _with_float32(config):
    if isinstance(config, list):
        return [_with_float32(item) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: "float32" if key == "dtype" and value else _with_float32(value) for key, value in config.items()
    }


def _description(model, info, kind):
    return {
        "format": kind,
        "class_names": list(info.class_names),
        "preprocessing": info.preprocessing,
        "input_shape": list(model.input_shape),
        "output_shape": list(model.output_shape),
        "paper": info.paper,
        "network": info.network,
        "protocol": info.protocol,
        "versions": info.versions,
        "note": _NOTE,
    }


def _write_onnx(model, out, _info):
    import keras

    model = _with_rescaling(model)
    # Keras exports to ONNX only what has been called.
    model(keras.Input(batch_shape=model.input_shape))
    with whole_file(out) as temporary, _as_model_error(out, "onnx"), _quiet("tf2onnx", "absl"):
        model.export(str(temporary), format="onnx", verbose=False)
        _finish_onnx(temporary, len(model.inputs))


def _finish_onnx(path, inputs):
    """Refuse a graph that no runtime could load, and guard it against a fault of optimisers.

    ONNX Runtime moves a padding with zeros into the max-pooling after it, which pads with -infinity
    (https://github.com/microsoft/onnxruntime/pull/18136), unless the pooling says how it is padded. ResNet50V2,
    whose first pooling sees negative values, would predict otherwise.
    """
    import onnx

    graph = onnx.load(path)
    if len(graph.graph.input) != inputs:
        raise ValueError(f"{len(graph.graph.input) - inputs} constants became inputs")
    for node in graph.graph.node:
        if node.op_type == "MaxPool" and not {"auto_pad", "pads"} & {item.name for item in node.attribute}:
            node.attribute.append(onnx.helper.make_attribute("auto_pad", "VALID"))
    # Raises for operations of TensorFlow that were left as they were: grouped convolutions.
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _write_saved_model(model, out, _info):
    with output_errors(out):
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            with _as_model_error(out, "saved_model"), _quiet("absl", "tensorflow"):
                model.export(str(aside / "model"), format="tf_saved_model", verbose=False)
            place_folder(aside / "model", out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _write_keras2(model, out, info):
    import h5py

    with whole_file(out) as temporary:
        files.save_model(model, temporary, info)
        config, _ = model_config.read_config(temporary)
        try:
            described = keras2_export.described(config)
        except ModelError as error:
            raise ModelError(f"{out}: {error}") from error
        with h5py.File(temporary, "a") as file:
            for group in (file, file["model_weights"]):
                group.attrs["keras_version"] = keras2_export.KERAS_VERSION
            file.attrs["model_config"] = json.dumps(described).encode("utf-8")


def _write_half(model, out, info):
    with whole_file(out) as temporary, tempfile.TemporaryDirectory() as place:
        whole = files.save_model(model, Path(place) / "whole.h5", info)
        half_storage.write(whole, temporary)


@contextlib.contextmanager
def _as_model_error(out, kind):
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Converters raise whatever an operation they do not know leads to.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            f"{out}: this network cannot be exported as {kind} ({reason}); try another format"
        ) from error


@contextlib.contextmanager
def _quiet(*names):
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Keras' way to make tf2onnx run with NumPy 2.
            warnings.filterwarnings("ignore", message=".*np.object", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


_WRITERS = {
    "onnx": _write_onnx,
    "saved_model": _write_saved_model,
    "h5-keras2": _write_keras2,
    "h5-float16": _write_half,
}
