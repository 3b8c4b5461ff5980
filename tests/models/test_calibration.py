import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models.calibration import calibrate_batchnorm
from covidcxr.models.freezing import trainable_counts
from covidcxr.models.heads import ragab_head


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)
    return [rng.random((count, 64, 64, 3), dtype=np.float32) for count in (8, 8, 4)]


def test_one_normalised_layer_against_the_closed_form(batches):
    import keras

    inputs = keras.Input((64, 64, 3))
    layer = keras.layers.BatchNormalization(momentum=0.9)
    layer.trainable = False
    model = keras.Model(inputs, layer(inputs))
    layer.moving_mean.assign([7, 8, 9])
    assert calibrate_batchnorm(model, batches) == 20
    pixels = np.concatenate(batches).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(layer.moving_mean, pixels.mean(0), rtol=1e-5)
    within = [len(b) / 20 * b.reshape(-1, 3).astype(np.float64).var(0) for b in batches]
    np.testing.assert_allclose(layer.moving_variance, sum(within), rtol=1e-5)
    assert (layer.momentum, layer.trainable) == (0.9, False)


def test_a_random_frozen_network_tells_images_apart_afterwards(batches):
    import keras

    keras.utils.set_random_seed(3)
    model = ragab_head(input_size=64, alpha=0.35)
    features = keras.Model(model.input, model.get_layer("head_pooling").output)
    counts, head = trainable_counts(model), model.get_layer("head_probabilities").get_weights()
    kernel = model.get_layer("Conv1").kernel.numpy()

    def spread():
        return float(np.asarray(features(batches[0])).std(axis=0).mean())

    before = spread()
    calibrate_batchnorm(model, [(batch, "labels") for batch in batches])
    after = spread()
    assert before < 1e-6 < 1e-2 < after
    first = model.get_layer("Conv_1_bn").get_weights()
    calibrate_batchnorm(model, batches)
    for a, b in zip(first, model.get_layer("Conv_1_bn").get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert trainable_counts(model) == counts
    assert model.get_layer("head_dropout").rate == 0.4
    np.testing.assert_array_equal(model.get_layer("Conv1").kernel, kernel)
    np.testing.assert_array_equal(model.get_layer("head_probabilities").get_weights()[0], head[0])


def test_no_images():
    with pytest.raises(ModelError, match="no training images"):
        calibrate_batchnorm(ragab_head(input_size=64, alpha=0.35), [])
