"""A pass through either network in fewer, larger operations than Keras' layers take, for the same numbers.

The networks stay Keras' own: their files do not tell how they were trained. Keras' batch normalization is a dozen
operations that go through memory one after the other; TensorFlow has one for it.
"""

import keras


def forward(network, inputs):
    """Return what ``network(inputs, training=True)`` returns, up to rounding, and update the same statistics.

    Parameters
    ----------
    network : keras.Model
        A chain of layers, as :func:`covidcxr.models.dcgan.generator` and
        :func:`covidcxr.models.dcgan.discriminator` make it; all trainable.
    inputs : tensor

    Returns
    -------
    tf.Tensor
    """
    for layer in network.layers[1:]:
        if isinstance(layer, keras.layers.BatchNormalization):
            inputs = _batch_norm(layer, inputs)
        else:
            inputs = layer(inputs, training=True)
    return inputs


def _batch_norm(layer, inputs):
    import tensorflow as tf

    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(inputs, tf.float32),
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    # TensorFlow's variance is that of a sample, Keras' that of the batch itself.
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
    statistics = ((layer.moving_mean, mean), (layer.moving_variance, variance * (count - 1.0) / count))
    for moving, now in statistics:
        moving.assign(moving * layer.momentum + now * (1.0 - layer.momentum))
    return tf.cast(outputs, layer.compute_dtype)
