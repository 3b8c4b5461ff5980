"""Occlusion and integrated gradients against closed forms, and on a network that looks at one corner only."""

import numpy as np
import pytest

from covidcxr.errors import OptionError
from covidcxr.evaluation.explanations import gradcam, integrated_gradients, occlusion

SIZE = 16
CORNER = 4


def corner_model():
    """Only the upper left 4 x 4 pixels reach the softmax."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Conv2D(1, 1, use_bias=False, name="copy")(inputs)
    outputs = keras.layers.Dense(2, activation="softmax", name="out")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    kernel = np.zeros((SIZE, SIZE, 2))
    kernel[:CORNER, :CORNER] = (0.2, -0.2)
    model.get_layer("copy").set_weights([np.ones((1, 1, 1, 1))])
    model.get_layer("out").set_weights([kernel.reshape(-1, 2), np.zeros(2)])
    return model


def marker_model():
    """Answers to brightness above 0.8 anywhere, by convolution and average."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Conv2D(1, 1, activation="relu", name="bright")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="out")(x))
    model.get_layer("bright").set_weights([np.ones((1, 1, 1, 1)), np.array([-0.8])])
    model.get_layer("out").set_weights([np.array([[60.0, -60.0]]), np.zeros(2)])
    return model


def deep_model():
    import keras

    keras.utils.set_random_seed(3)
    layers = [keras.Input((SIZE, SIZE, 3))]
    layers += [keras.layers.Conv2D(6, 3, activation="relu"), keras.layers.BatchNormalization()]
    layers += [keras.layers.Flatten(), keras.layers.Dense(8, activation="tanh")]
    return keras.Sequential([*layers, keras.layers.Dense(3, activation="softmax")])


def noise(n=1, channels=1, seed=0):
    return np.random.default_rng(seed).random((n, SIZE, SIZE, channels), dtype="float32")


def outside(maps):
    rest = maps.copy()
    rest[:, :CORNER, :CORNER] = 0
    return np.abs(rest).max()


def test_a_network_that_sees_one_corner_has_its_attribution_there():
    model, image = corner_model(), noise()
    whole = integrated_gradients(model, image, np.array([0]))
    assert whole[0, :CORNER, :CORNER].min() > 0
    assert outside(whole) == 0
    fall = occlusion(
        model, image + np.pad(np.ones((1, 4, 4, 1)), ((0, 0), (0, 12), (0, 12), (0, 0))), [0], 4, 4
    )
    assert fall[0, :CORNER, :CORNER].min() > 0.01
    assert outside(fall) < 1e-6


def test_gradcam_finds_a_marker_in_the_corner():
    image = 0.5 * noise()
    image[0, :CORNER, :CORNER] = 1
    heat = gradcam(marker_model(), image, np.array([0]))
    assert heat[0, :CORNER, :CORNER].min() > 0
    assert outside(heat) == 0


def test_gradcam_averages_the_place_away_where_a_dense_layer_reads_it():
    """A known limit, and why a second method stands beside it: the corner network's map is the image itself."""
    heat = gradcam(corner_model(), noise(), np.array([0]))
    assert outside(heat) > 0
    np.testing.assert_allclose(heat / heat.max(), noise()[..., 0] / noise().max(), atol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, "mean"])
def test_integrated_gradients_are_complete(baseline):
    """Sundararajan 2017, proposition 1: they sum to the difference of the two probabilities."""
    model, batch = deep_model(), noise(3, 3)
    start = batch.mean() * np.ones(batch.shape[1:], "float32") if baseline == "mean" else 0.0
    classes = np.array([0, 1, 2])
    maps = integrated_gradients(model, batch, classes, start, steps=1000, batch_size=250)
    ends = np.asarray(model(batch))[range(3), classes]
    starts = np.asarray(model(np.broadcast_to(np.float32(start), batch.shape)))[range(3), classes]
    assert np.abs(ends - starts).max() > 0.01
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), ends - starts, atol=1e-4)


def test_integrated_gradients_of_a_linear_network_are_input_times_weight():
    """Without a softmax the closed form is (x - baseline) * w."""
    import keras

    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    image = noise()
    kernel = np.asarray(model.layers[-1].kernel)[:, 1].reshape(SIZE, SIZE)
    maps = integrated_gradients(model, image, np.array([1]), baseline=0.25, steps=3, batch_size=2)
    np.testing.assert_allclose(maps[0], (image[0, ..., 0] - 0.25) * kernel, atol=1e-6)


def test_occlusion_equals_a_plain_loop():
    model, image = deep_model(), noise(1, 3, seed=5)
    maps = occlusion(model, image, [2], patch=5, stride=3, batch_size=7)
    whole = np.asarray(model(image))[0, 2]
    fall, times = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    # 16 - 5 = 11 is no multiple of 3: a last patch ends at the edge.
    for top in (0, 3, 6, 9, 11):
        for left in (0, 3, 6, 9, 11):
            covered = image.copy()
            covered[0, top : top + 5, left : left + 5] = image[0].mean(axis=(0, 1))
            fall[top : top + 5, left : left + 5] += whole - np.asarray(model(covered))[0, 2]
            times[top : top + 5, left : left + 5] += 1
    np.testing.assert_allclose(maps[0], fall / times, atol=1e-6)


@pytest.mark.parametrize(("patch", "stride"), [(0, 1), (4, 0), (4, 5), (17, 1)])
def test_patches_that_miss_pixels_are_refused(patch, stride):
    with pytest.raises(OptionError, match="want 1 <= stride <= patch <= 16"):
        occlusion(corner_model(), noise(), [0], patch, stride)
