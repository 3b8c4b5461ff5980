"""One harness for the networks written here: counts, shapes, files, a step of training."""

import contextlib
import importlib

import keras
import numpy as np
import pytest

from covidcxr.errors import CovidcxrError
from covidcxr.models.small_networks import SMALL_NETWORKS

KEYS = [network.key for network in SMALL_NETWORKS]
# Published counts: torchvision's tables of weights; Krizhevsky 2012 and BVLC's GoogLeNet by the arithmetic of
# their papers' tables (tests/models/test_alexnet.py and test_googlenet.py).
PUBLISHED_COUNTS = {
    "alexnet": 61_100_840,
    "alexnet_2012": 60_965_224,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "googlenet": 6_624_904,
    "googlenet_bvlc": 6_998_552,
    "resnet18": 11_689_512,
}


def builder(network):
    module, _, function = network.builder.partition(":")
    return getattr(importlib.import_module(module), function)


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.parametrize("network", SMALL_NETWORKS, ids=KEYS)
def test_facts_are_those_of_the_network(network):
    model = builder(network)()
    assert trainable(model) == network.trainable == PUBLISHED_COUNTS[network.key]
    assert model.count_params() == network.parameters_with_top
    assert model.input_shape == (None, network.input_size, network.input_size, 3)
    assert model.output_shape == (None, 1000)
    assert sum(1 for layer in model.layers if layer.weights) == network.depth
    heads = [layer.name for layer in model.layers if layer.name in network.head]
    assert heads == [network.head[0]]
    assert 1000 in model.get_layer(heads[0]).kernel.shape

    # The others' files open without this package.
    own = any("covidcxr" in type(layer).__module__ for layer in model.layers)
    assert own == (network.key in ("alexnet_2012", "googlenet_bvlc"))

    trunk = builder(network)(include_top=False)
    assert trunk.count_params() == network.parameters
    assert trunk.output_shape[-1] == network.features


@pytest.mark.parametrize("network", SMALL_NETWORKS, ids=KEYS)
def test_the_smallest_input_leaves_one_pixel_and_a_smaller_one_is_refused(network):
    build, side = builder(network), network.minimum_size
    assert build(input_shape=(side, side, 3), include_top=False).output_shape[1:3] == (1, 1)
    assert build(input_shape=(side, side + 40, 1), include_top=False, pooling="max").output_shape == (
        None,
        network.features,
    )
    for shape in [(side - 1, side, 3), (side, side - 1, 3), (side, side)]:
        with pytest.raises(CovidcxrError, match=f"{side} x {side} or more"):
            build(input_shape=shape)
    with pytest.raises(CovidcxrError, match="'avg', 'max' or None"):
        build(input_shape=(side, side, 3), include_top=False, pooling="mean")


@pytest.mark.parametrize("module", ["alexnet", "squeezenet", "googlenet"])
def test_an_unknown_variant_is_named_beside_those_there_are(module):
    build = importlib.import_module(f"covidcxr.models.{module}").build
    with pytest.raises(CovidcxrError, match=f"{module}: unknown variant '3.0'; choose one of"):
        build("3.0")


@pytest.fixture(scope="module")
def two_classes():
    """Each network with two classes at a small size, made once."""
    keras.utils.set_random_seed(1)
    return {n.key: builder(n)(classes=2, input_shape=_small(n)) for n in SMALL_NETWORKS}


def _small(network):
    side = max(network.minimum_size, 32)
    return (side, side, 3)


def _images(model, count=4):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(5).normal(0, 1, shape).astype("float32")


@pytest.mark.parametrize("network", SMALL_NETWORKS, ids=KEYS)
def test_one_step_of_training_lowers_the_loss(network, two_classes):
    model = keras.models.clone_model(two_classes[network.key])
    model.set_weights(two_classes[network.key].get_weights())
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.compile(keras.optimizers.SGD(1e-4), "categorical_crossentropy")
    images, labels = _images(model), np.eye(2, dtype="float32")[[0, 1, 0, 0]]
    first, second = (float(model.train_on_batch(images, labels)) for _ in range(2))
    assert second < first


@pytest.mark.parametrize("network", SMALL_NETWORKS, ids=KEYS)
def test_outputs_are_probabilities_also_in_half_precision(network, two_classes):
    model = two_classes[network.key]
    full = np.asarray(model(_images(model)))
    np.testing.assert_allclose(full.sum(axis=1), 1, atol=1e-6)
    with half_precision():
        mixed = builder(network)(classes=2, input_shape=_small(network))
    mixed.set_weights(model.get_weights())
    half = mixed(_images(model))
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(half), full, atol=0.05)


@contextlib.contextmanager
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("key", ["alexnet_2012", "squeezenet1_1", "googlenet_bvlc", "resnet18"])
def test_saved_files_open_again_in_safe_mode(key, suffix, two_classes, tmp_path):
    model = two_classes[key]
    model.save(tmp_path / f"model{suffix}")
    again = keras.models.load_model(tmp_path / f"model{suffix}", compile=False)
    images = _images(model)
    np.testing.assert_array_equal(np.asarray(model(images)), np.asarray(again(images)))
