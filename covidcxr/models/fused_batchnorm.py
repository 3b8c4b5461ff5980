"""Batch normalization in one operation while a network trains on a CPU, for the numbers that Keras' layers give."""

import contextlib
import types


@contextlib.contextmanager
def fused_batchnorm(*models):
    """Compute batch normalization in one pass of TensorFlow's kernel while models train on a CPU.

    Keras 3 writes it as some ten operations, each of which goes through memory. The fused kernel computes the
    same: outputs, gradients and moving statistics agree to rounding (the kernel's variance is that of a sample,
    and is brought back to Keras'). Saved models do not tell the difference. A step that was compiled inside the
    block keeps it.

    Parameters
    ----------
    *models : keras.Model
        Built. On a GPU, and where Keras runs on another backend, they are left alone.
    """
    usable = _on_tensorflow() and not has_gpu()
    fused = [layer for model in models if usable for layer in _fusible(model)]
    for layer in fused:
        layer.call = types.MethodType(_fused_call, layer)
    try:
        yield
    finally:
        for layer in fused:
            del layer.call


def has_gpu():
    """Return whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


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
