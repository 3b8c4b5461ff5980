"""Batch normalization in one operation: that it computes what Keras' layer does, and is gone afterwards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr.models.fused_batchnorm import fused_batchnorm

IMAGES = np.random.default_rng(0).normal(1.5, 2.0, size=(6, 5, 7, 4)).astype("float32")


def layer_of(**options):
    layer = keras.layers.BatchNormalization(
        gamma_initializer=keras.initializers.RandomUniform(0.5, 2.0, seed=1),
        beta_initializer=keras.initializers.RandomUniform(-1.0, 1.0, seed=2),
        **options,
    )
    inputs = keras.Input(IMAGES.shape[1:])
    return keras.Model(inputs, layer(inputs)), layer


def results(model, layer, images, training=True):
    """Return outputs, gradients and moving statistics of a step whose loss is not symmetric."""
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model(images, training=training)
        loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3 * tf.cos(tf.cast(images, "float32")))
    gradients = tape.gradient(loss, [images, *(weight.value for weight in layer.trainable_weights)])
    return [outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value]


def agree(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        scale = max(float(tf.reduce_max(tf.abs(other))), 1e-6)
        np.testing.assert_allclose(np.asarray(one) / scale, np.asarray(other) / scale, atol=tolerance)


@pytest.mark.parametrize("count", [6, 1])
@pytest.mark.parametrize(
    "options",
    [{}, {"scale": False}, {"center": False}, {"axis": 3, "momentum": 0.7, "epsilon": 1.001e-5}],
)
def test_fused_batchnorm_computes_what_keras_does(options, count):
    expected = results(*layer_of(**options), IMAGES[:count])
    model, layer = layer_of(**options)
    with fused_batchnorm(model):
        assert "call" in vars(layer)
        found = results(model, layer, IMAGES[:count])
    agree(found, expected, 1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_inference_and_frozen_layers_keep_keras_call(trainable):
    model, layer = layer_of(trainable=trainable)
    expected = results(model, layer, IMAGES, training=not trainable)
    with fused_batchnorm(model):
        found = results(model, layer, IMAGES, training=not trainable)
    agree(found, expected, 0)


def test_what_the_kernel_cannot_do_is_left_alone():
    inputs = keras.Input((5, 7, 4))
    other = keras.layers.BatchNormalization(axis=1)
    flat = keras.layers.BatchNormalization()
    model = keras.Model(inputs, flat(keras.layers.Flatten()(other(inputs))))
    with fused_batchnorm(model):
        assert "call" not in vars(other)
        assert "call" not in vars(flat)


def test_the_layers_are_as_before_also_after_an_error():
    model, layer = layer_of()
    with pytest.raises(ZeroDivisionError), fused_batchnorm(model):
        raise ZeroDivisionError
    assert "call" not in vars(layer)
