"""What computes a network's forward pass: Keras and TensorFlow, ONNX Runtime or OpenVINO."""

import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError, OptionError

RUNTIMES = ("keras", "onnxruntime", "openvino")
PRECISIONS = ("float32", "bfloat16")
# Building a frozen graph takes longer the more parameters there are, and repays over the images: measured from
# the first call on, from some 30 images for 2 million parameters (MobileNetV2) and 2500 for 24 million (ResNet50V2).
_PARAMETERS_AN_IMAGE = 10_000
_BATCH = 32
# How far a probability may move for bfloat16 to be taken as safe.
TOLERANCE = 1e-2

_PACKAGES = {"onnxruntime": ("onnxruntime", "onnx", "tf2onnx"), "openvino": ("openvino",)}


@dataclass(frozen=True)
class Forward:
    """A network ready to run.

    Attributes
    ----------
    run : callable
        float32 (n, height, width, channels) to (n, classes), as numpy.ndarray; may be called by several threads.
    batch_size : int
        Images a call where none is asked for: as many as keep several calls at once in the processor's cache.
    """

    run: Callable
    batch_size: int


def check(runtime, precision):
    """See that a runtime can be used before a network is loaded for it.

    Raises
    ------
    OptionError
        If there is no such runtime or precision, or the runtime does not have the precision.
    ModelError
        If the runtime's packages are not installed.
    """
    for name, value, known in (("runtime", runtime, RUNTIMES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise OptionError(f"{name} {value!r}: choose one of {', '.join(known)}")
    if runtime == "onnxruntime" and precision != "float32":
        raise OptionError("runtime onnxruntime computes in float32 only; choose precision float32")
    missing = [name for name in _PACKAGES.get(runtime, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{' and '.join(missing)} not installed: "
            f"pip install 'covidcxr[runtimes]' to predict with runtime {runtime}"
        )


def prepare(model, count, runtime="keras", precision="float32"):
    """Make a network ready for `count` images.

    Parameters
    ----------
    model : keras.Model
    count : int
        Images to come. Keras itself predicts few; a frozen graph is built for many.
    runtime : {"keras", "onnxruntime", "openvino"}, optional
    precision : {"float32", "bfloat16"}, optional

    Returns
    -------
    Forward

    Raises
    ------
    OptionError, ModelError
        As :func:`check`, or if the network cannot be brought into the runtime's form.
    """
    check(runtime, precision)
    return {"keras": _keras, "onnxruntime": _onnxruntime, "openvino": _openvino}[runtime](
        model, count, precision
    )


def check_precision(model, forward, images):
    """Compare a runtime of lower precision with Keras in float32 on a few images.

    Parameters
    ----------
    model : keras.Model
    forward : Forward
    images : numpy.ndarray of float32, shape (n, height, width, channels)

    Raises
    ------
    ModelError
        If a probability differs by more than `TOLERANCE`, or the predicted class of an image does.
    """
    wanted, found = np.asarray(model.predict_on_batch(images)), forward.run(images)
    distance = float(np.abs(wanted - found).max())
    turned = int((wanted.argmax(axis=1) != found.argmax(axis=1)).sum())
    if not distance <= TOLERANCE or turned:
        raise ModelError(
            f"bfloat16 moves probabilities of this model by up to {distance:.3f} and changes the class of {turned} of "
            f"{len(images)} images; use precision float32"
        )


def _keras(model, count, precision):
    import keras

    if keras.backend.backend() != "tensorflow":
        if precision != "float32":
            raise OptionError(f"precision {precision} needs Keras' TensorFlow backend, or runtime openvino")
        return _plain(model)
    if precision == "float32" and (not repays(model, count) or _has_gpu()):
        return _plain(model)
    from covidcxr.models.frozen_graph import frozen

    try:
        return Forward(frozen(model, precision), batch_size=8 if precision == "float32" else 16)
    except ModelError:
        if precision != "float32":
            raise
        return _plain(model)


def repays(model, count):
    """Tell whether building a frozen graph takes less time than it saves on so many images."""
    return count > _BATCH and count * _PARAMETERS_AN_IMAGE >= model.count_params()


def _plain(model):
    lock = threading.Lock()

    def run(images):
        with lock:
            return np.asarray(model.predict_on_batch(images))

    return Forward(run, batch_size=_BATCH)


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _onnxruntime(model, _count, _precision):
    import onnxruntime

    from covidcxr.models.export import write_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        write_onnx(model, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Forward(lambda images: session.run(None, {name: images})[0], batch_size=8)


def _openvino(model, _count, precision):
    import openvino

    from covidcxr.models.export import openvino_model

    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
    }
    compiled = openvino.Core().compile_model(openvino_model(model), "CPU", settings)
    own = threading.local()

    def run(images):
        # A request is for one thread; threads share the compiled network.
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return own.request.infer([images])[0].copy()

    return Forward(run, batch_size=4)


def workers():
    """Return how many threads decode and predict: one more than there are cores, as files are waited for too."""
    return (os.cpu_count() or 1) + 1
