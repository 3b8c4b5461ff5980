"""What makes training faster on the device at hand: what `docs/training-speed.md` measured, and nothing else."""

import contextlib
import types
from pathlib import Path

# By what the CPU multiplies bfloat16 with: keys of covidcxr.models.backbones whose whole training was measured to
# gain from it there. MobileNetV2 was measured with both and does not.
GAIN_FROM_BFLOAT16 = {"avx512_bf16": ("concatenated",), "amx_bf16": ("resnet50_v2",)}
_CPU_FLAGS = Path("/proc/cpuinfo")


def precision_for(backbone):
    """Return the precision that was measured to be the fastest for a network on this machine.

    Parameters
    ----------
    backbone : str
        Key of :mod:`covidcxr.models.backbones`.

    Returns
    -------
    str
        ``"mixed_bfloat16"`` on a CPU and for a network in :data:`GAIN_FROM_BFLOAT16`; ``"float32"`` everywhere
        else, which is also where nothing was measured.
    """
    gains = any(backbone in GAIN_FROM_BFLOAT16.get(flag, ()) for flag in _cpu_flags())
    return "mixed_bfloat16" if gains and not _has_gpu() else "float32"


@contextlib.contextmanager
def fused_batchnorm(model):
    """Compute batch normalization in one pass of TensorFlow's kernel while a model trains on a CPU.

    Keras 3 writes it as some ten operations, each of which goes through memory. The fused kernel computes the
    same: outputs, gradients and moving statistics agree to rounding (the kernel's variance is that of a sample,
    and is brought back to Keras'). Saved models do not tell the difference. A step that was compiled inside the
    block keeps it.

    Parameters
    ----------
    model : keras.Model
        Built. On a GPU, and where Keras runs on another backend, it is left alone.
    """
    fused = _fusible(model) if _on_tensorflow() and not _has_gpu() else []
    for layer in fused:
        layer.call = types.MethodType(_fused_call, layer)
    try:
        yield
    finally:
        for layer in fused:
            del layer.call


def _cpu_flags():
    """Return the instructions that the CPU names; none where the system does not list them."""
    try:
        lines = _CPU_FLAGS.read_text().splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def _fusible(model):
    import keras

    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization) and _is_plain(layer)
    ]


def _is_plain(layer):
    shape = layer.input_spec and layer.input_spec.ndim
    return (
        shape == 4
        and layer.axis in (-1, 3)
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
        and layer.compute_dtype in ("float32", "bfloat16")
    )


def _fused_call(layer, inputs, training=None, mask=None):
    """Compute what `keras.layers.BatchNormalization.call` does."""
    import tensorflow as tf

    if mask is not None or not (training and layer.trainable):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels = layer.moving_mean.shape
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs,
        layer.gamma.value if layer.scale else tf.ones(channels),
        layer.beta.value if layer.center else tf.zeros(channels),
        epsilon=layer.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(inputs) // channels[0], tf.float32)
    # The kernel divides by count - 1; of a single value it gives 0 either way.
    variance *= (count - 1) / count
    _move(layer.moving_mean, mean, layer.momentum)
    _move(layer.moving_variance, variance, layer.momentum)
    return outputs


def _move(average, value, momentum):
    average.assign(average * momentum + value * (1.0 - momentum))


def _on_tensorflow():
    import keras

    return keras.backend.backend() == "tensorflow"


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
