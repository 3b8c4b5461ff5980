"""Grad-CAM against closed forms, finite differences, and the same network built another way."""

import numpy as np
import pytest

from covidcxr.errors import ModelError, OptionError
from covidcxr.evaluation.explanations import gradcam
from covidcxr.evaluation.explanations.gradcam import feature_gradients
from covidcxr.evaluation.explanations.graph import Network

SIZE = 12


def images(n=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, SIZE, SIZE, 3)).astype("float32")


def small(pooling="avg", activation="softmax"):
    """One convolution, pooled or flattened, and a softmax."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.MaxPooling2D(2, name="pool")(x) if pooling == "max" else x
    x = keras.layers.GlobalAveragePooling2D()(x) if pooling == "avg" else keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation=activation, name="out")(x))


def nested(activation="softmax"):
    """A backbone as one layer of another network, as tutorials build it."""
    import keras

    keras.utils.set_random_seed(2)
    start = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(start)
    side = keras.layers.Conv2D(4, 1, name="side")(x)
    x = keras.layers.Add(name="both")([x, side])
    x = keras.layers.ReLU(name="last")(x)
    backbone = keras.Model(start, x, name="backbone")
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False))
    return keras.Model(inputs, keras.layers.Dense(2, activation=activation, name="out")(x), name="outer")


def test_closed_form_of_convolution_average_and_dense():
    """The gradient of the score is w / cells everywhere: the map is ReLU of the class-weighted features."""
    import keras

    model = small()
    conv = keras.Model(model.input, model.get_layer("conv").output)
    batch, classes = images(), np.array([2, 0])
    features = np.asarray(conv(batch))
    kernel = np.asarray(model.get_layer("out").kernel)
    cells = features.shape[1] * features.shape[2]
    expected = np.maximum(np.einsum("nrck,nk->nrc", features, kernel[:, classes].T) / cells, 0)
    assert expected.max() > 0
    np.testing.assert_allclose(gradcam(model, batch, classes), expected, atol=1e-6)


def test_gradients_equal_finite_differences():
    """Of the score before the softmax, with respect to the map before pooling and flattening."""
    model = small("max")
    network = Network(model)
    point = network.feature_map()
    assert point.path == "conv"
    batch, classes = images(1), np.array([1])
    features, gradients = feature_gradients(network, point, batch, classes)
    kernel, bias = (np.asarray(value, np.float64) for value in model.get_layer("out").weights)

    def score(values):
        blocks = values[:, :10, :10].reshape(1, 5, 2, 5, 2, 5).max(axis=(2, 4))
        return float((blocks.reshape(1, -1) @ kernel + bias)[0, 1])

    step, values = 1e-4, features.astype(np.float64)
    for place in np.random.default_rng(0).integers(0, [10, 10, 5], size=(40, 3)):
        up, down = values.copy(), values.copy()
        up[(0, *place)] += step
        down[(0, *place)] -= step
        # Where two cells of a block tie (both 0 after ReLU) the derivative is one-sided.
        if abs(score(up) + score(down) - 2 * score(values)) < 1e-9:
            expected = (score(up) - score(down)) / (2 * step)
            assert gradients[(0, *place)] == pytest.approx(expected, abs=1e-5)


def test_a_nested_backbone_equals_the_flat_network():
    import keras

    outer = nested()
    inner = outer.get_layer("backbone")
    flat = keras.Sequential([keras.layers.GlobalAveragePooling2D(), outer.get_layer("out")])
    flat = keras.Model(inner.input, flat(inner.output))
    # The flat network's own tail is a nested Sequential: both ways of nesting meet here.
    assert Network(outer).feature_map().path == "backbone/last"
    assert Network(flat).feature_map().path == "last"
    expected = gradcam(flat, images(), np.array([0, 1]))
    assert expected.max() > 0
    np.testing.assert_allclose(gradcam(outer, images(), np.array([0, 1])), expected, atol=1e-7)


def test_a_foreign_file_with_a_nested_backbone(tmp_path):
    from covidcxr.models.files import load_model

    model = nested()
    model.save(tmp_path / "foreign.h5")
    opened = load_model(tmp_path / "foreign.h5")
    expected = gradcam(model, images(), np.array([1, 0]))
    np.testing.assert_allclose(gradcam(opened, images(), np.array([1, 0])), expected, atol=1e-6)


@pytest.mark.parametrize("tail", ["fused", "Activation", "Softmax"])
def test_scores_are_those_before_the_softmax(tail):
    import keras

    model = nested("softmax" if tail == "fused" else None)
    if tail != "fused":
        layer = {"Activation": keras.layers.Activation("softmax"), "Softmax": keras.layers.Softmax()}[tail]
        model = keras.Model(model.input, layer(model.output))
    scores = np.asarray(Network(model).score(images())[0], dtype=np.float64)
    linear = np.asarray(nested(None)(images()))
    np.testing.assert_allclose(scores, linear, atol=1e-5)
    np.testing.assert_allclose(
        np.exp(scores) / np.exp(scores).sum(1, keepdims=True), model(images()), atol=1e-6
    )


def test_the_map_is_one_that_everything_passes_through():
    """Not a branch, even if it is the last call in order; not a dropout, a pooling or a single cell."""
    import keras

    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    wide = layers.Conv2D(4, 3, padding="same", name="a")(x)
    x = layers.Concatenate(name="joined")([wide, layers.Conv2D(4, 1, name="b")(x)])
    x = layers.Dropout(0.5)(layers.AveragePooling2D(2)(x))
    left, right = layers.Conv2D(2, 5, name="left")(x), layers.Conv2D(2, 5, name="right")(x)
    x = layers.Flatten()(layers.Add(name="one_cell")([left, right]))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    assert Network(model).feature_map().path == "joined"


def test_a_layer_by_name():
    model = nested()
    by_name = gradcam(model, images(), np.array([0, 1]), layer="both")
    by_path = gradcam(model, images(), np.array([0, 1]), layer="backbone/both")
    assert by_name.shape == (2, SIZE, SIZE)
    np.testing.assert_array_equal(by_name, by_path)
    with pytest.raises(OptionError, match=r"'bothh': not in outer; the last that give maps: .*backbone/last"):
        gradcam(model, images(), np.array([0, 1]), layer="bothh")
    with pytest.raises(OptionError, match="not a map"):
        gradcam(model, images(), np.array([0, 1]), layer="out")


def test_batches_change_nothing():
    model = nested()
    batch, classes = images(5), np.array([0, 1, 0, 1, 1])
    whole = gradcam(model, batch, classes, batch_size=5)
    np.testing.assert_allclose(gradcam(model, batch, classes, batch_size=2), whole, atol=1e-6)


def test_what_has_no_map_or_no_probabilities():
    import keras

    dense = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="no feature map; explain it by occlusion"):
        Network(dense).feature_map()
    one = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    with pytest.raises(ModelError, match="two or more classes"):
        Network(one)
    bare = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ModelError, match="give a classifier"):
        Network(bare)
    with pytest.raises(ModelError, match="one input and one output"):
        Network(keras.layers.Dense(2))


def test_layers_are_left_as_they_were():
    model = small()
    before = model.get_config()
    gradcam(model, images(), np.array([0, 1]))
    assert model.get_config() == before


def test_mixed_precision_gives_nearly_the_same_map():
    import keras

    expected = gradcam(nested(), images(), np.array([0, 1]))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        heat = gradcam(nested(), images(), np.array([0, 1]))
    finally:
        keras.config.set_dtype_policy(before)
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat, expected, atol=0.05 * expected.max())


def test_a_nested_network_with_two_outputs_stays_closed():
    """It is run as one layer, and the map before it is taken."""
    import keras

    keras.utils.set_random_seed(4)
    start = keras.Input((SIZE, SIZE, 4))
    pooled = keras.layers.GlobalAveragePooling2D()(start)
    two = keras.Model(start, [pooled, keras.layers.GlobalMaxPooling2D()(start)], name="two")
    inputs = keras.Input((SIZE, SIZE, 3))
    first, second = two(keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Concatenate()([first, second]))
    model = keras.Model(inputs, outputs)
    assert Network(model).feature_map().path == "conv"
    assert gradcam(model, images(), np.array([0, 1])).max() > 0


@pytest.mark.slow
def test_a_file_of_keras_2_with_a_nested_application(tmp_path):
    """As tutorials of 2020 saved it, against tf_keras' own features in the closed form of average and dense."""
    import tf_keras

    from covidcxr.models.files import load_model

    tf_keras.utils.set_random_seed(0)
    backbone = tf_keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    tail = [
        tf_keras.layers.GlobalAveragePooling2D(),
        tf_keras.layers.Dense(2, activation="softmax", name="out"),
    ]
    foreign = tf_keras.Sequential([backbone, *tail])
    # Statistics of its own, as random weights alone give nearly nothing after 53 normalisations.
    for layer in backbone.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 0.05)
    foreign.save(tmp_path / "foreign.h5")
    batch = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    classes = np.array([0, 1])
    features = backbone(batch, training=False).numpy()
    kernel = foreign.get_layer("out").kernel.numpy()
    cells = features.shape[1] * features.shape[2]
    expected = np.maximum(np.einsum("nrck,nk->nrc", features, kernel[:, classes].T) / cells, 0)
    assert expected.max() > 1e-3
    opened = load_model(tmp_path / "foreign.h5")
    assert Network(opened).feature_map().path.endswith("/out_relu")
    np.testing.assert_allclose(
        gradcam(opened, batch, classes), expected, rtol=1e-3, atol=1e-4 * expected.max()
    )
