"""Layers of our own against closed forms and against the libraries that have them."""

import keras
import numpy as np
import pytest

from covidcxr.models.layers import AdaptiveAveragePooling2D, LocalResponseNormalization


def values(shape, scale=1.0):
    return (np.random.default_rng(2).normal(0, scale, shape)).astype("float32")


@pytest.mark.parametrize(("size", "channels"), [(5, 16), (3, 4), (1, 3), (9, 6)])
def test_response_normalisation_is_the_papers_formula(size, channels):
    x = values((2, 3, 4, channels), 30.0)
    expected = np.empty_like(x)
    for c in range(channels):
        low, high = max(0, c - size // 2), min(channels - 1, c + size // 2)
        energy = (x[..., low : high + 1].astype("float64") ** 2).sum(axis=-1)
        expected[..., c] = x[..., c] / (2 + 1e-4 * energy) ** 0.75
    ours = np.asarray(LocalResponseNormalization(size)(x))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_response_normalisation_is_tensorflows():
    tf = pytest.importorskip("tensorflow")
    x = values((2, 5, 5, 32), 100.0)
    expected = tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75)
    ours = LocalResponseNormalization(5, 1e-4 / 5, 0.75, 1.0)(x)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(expected), rtol=1e-5)


def test_response_normalisation_survives_float16():
    """300 squared is beyond float16's 65,504: the energy must not become infinite."""
    x = np.full((1, 1, 1, 8), 300.0, "float16")
    ours = np.asarray(LocalResponseNormalization(dtype="float16")(x))
    energy = 300.0**2 * np.array([3, 4, 5, 5, 5, 5, 4, 3])
    np.testing.assert_allclose(ours[0, 0, 0], 300 / (2 + 1e-4 * energy) ** 0.75, rtol=2e-3)
    assert ours.dtype == np.float16


@pytest.mark.parametrize("shape", [(6, 6), (13, 7), (1, 2), (14, 14), (3, 12)])
@pytest.mark.parametrize("size", [4, 6])
def test_adaptive_pooling_averages_pytorchs_bins(shape, size):
    x = values((2, *shape, 3))
    expected = np.empty((2, size, size, 3), "float32")
    for i in range(size):
        for j in range(size):
            rows = slice(int(np.floor(i * shape[0] / size)), int(np.ceil((i + 1) * shape[0] / size)))
            columns = slice(int(np.floor(j * shape[1] / size)), int(np.ceil((j + 1) * shape[1] / size)))
            expected[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    np.testing.assert_allclose(np.asarray(AdaptiveAveragePooling2D(size)(x)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "layer", [LocalResponseNormalization(3, 2e-4, 0.5, 1.5), AdaptiveAveragePooling2D(4)]
)
def test_layers_are_rebuilt_from_their_configuration(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    x = values((1, 5, 5, 6))
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(layer(x)))
    assert again.compute_output_shape(x.shape) == tuple(layer(x).shape)
