"""What makes training faster: that it computes what Keras does, and is chosen only where it was measured."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr.training import tuning
from covidcxr.training.strategy import place

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
    with tuning.fused_batchnorm(model):
        assert "call" in vars(layer)
        found = results(model, layer, IMAGES[:count])
    agree(found, expected, 1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_inference_and_frozen_layers_keep_keras_call(trainable):
    model, layer = layer_of(trainable=trainable)
    expected = results(model, layer, IMAGES, training=not trainable)
    with tuning.fused_batchnorm(model):
        found = results(model, layer, IMAGES, training=not trainable)
    agree(found, expected, 0)


def test_what_the_kernel_cannot_do_is_left_alone():
    inputs = keras.Input((5, 7, 4))
    other = keras.layers.BatchNormalization(axis=1)
    flat = keras.layers.BatchNormalization()
    model = keras.Model(inputs, flat(keras.layers.Flatten()(other(inputs))))
    with tuning.fused_batchnorm(model):
        assert "call" not in vars(other)
        assert "call" not in vars(flat)


def test_the_layers_are_as_before_also_after_an_error():
    model, layer = layer_of()
    with pytest.raises(ZeroDivisionError), tuning.fused_batchnorm(model):
        raise ZeroDivisionError
    assert "call" not in vars(layer)


def network():
    keras.utils.set_random_seed(3)
    layers = [keras.Input((8, 8, 3))]
    for filters in (4, 6):
        # A bias before batch normalization has no gradient but rounding, which Adam would enlarge.
        layers += [keras.layers.Conv2D(filters, 3, use_bias=False), keras.layers.BatchNormalization()]
        layers += [keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])


def test_a_placement_trains_as_plain_fit_does(tmp_path):
    from covidcxr.data.batches import Batches

    generator = np.random.default_rng(4)
    images = generator.normal(size=(12, 8, 8, 3)).astype("float32")
    targets = np.eye(2, dtype="float32")[generator.integers(0, 2, 12)]
    dataset = tf.data.Dataset.from_tensor_slices((images, targets)).batch(4).repeat()
    plain, ours = network(), network()
    for model in (plain, ours):
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"]
        )
    plain.fit(dataset, steps_per_epoch=3, epochs=3, shuffle=False, verbose=0)
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    place("single").fit(
        ours,
        Batches(dataset, 3, []),
        None,
        steps_per_epoch=3,
        initial_epoch=0,
        epochs=3,
        callbacks=[saving],
    )
    agree(ours.get_weights(), plain.get_weights(), 1e-5)
    saved = keras.models.load_model(tmp_path / "model.keras")
    agree(saved.get_weights(), ours.get_weights(), 0)


@pytest.mark.parametrize(
    ("flags", "gpus", "backbone", "chosen"),
    [
        ("fpu avx512_bf16", [], "concatenated", "mixed_bfloat16"),
        ("fpu amx_bf16", [], "resnet50_v2", "mixed_bfloat16"),
        ("fpu avx512_bf16", [], "resnet50_v2", "float32"),
        ("fpu avx512f", [], "concatenated", "float32"),
        ("fpu avx512_bf16", [], "mobilenet_v2", "float32"),
        ("fpu avx512_bf16", ["GPU:0"], "concatenated", "float32"),
        (None, [], "concatenated", "float32"),
    ],
)
def test_bfloat16_is_chosen_only_where_it_was_measured(flags, gpus, backbone, chosen, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(tuning, "_CPU_FLAGS", path)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    assert tuning.precision_for(backbone) == chosen
