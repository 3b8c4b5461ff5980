"""One harness for every network: built, counted, run, trained for a step, saved and opened, in both precisions.

The default run takes the networks that are quick; -m slow takes the others.
"""

import contextlib
import gc
import itertools
import math

import numpy as np
import pytest

from covidcxr.models import backbones, files, freezing, heads

QUICK = ("mobilenet", "mobilenet_v2", "squeezenet1_1", "resnet18")
LABELS = np.eye(2, dtype="float32")[[0, 1, 0, 0]]
INFO = files.ModelInfo("none", "any", "sound", ("covid19", "normal"), {"size": [0, 0]}, 0, {})


def cases():
    keys = backbones.keys()
    return [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow, id=key) for key in keys]


class Network:
    """A network with two classes, at a small input."""

    def __init__(self, key):
        import keras

        keras.utils.set_random_seed(0)
        self.known = backbones.get(key)
        if "khalifa2020" in self.known.papers:
            # Its dense layers have their published size at one input only.
            self.size = self.known.input_size
            self.backbone = backbones.build(key, self.shape)
            self.model = heads.khalifa_head(key, input_size=self.size)
        else:
            # The smallest gives a last map of one pixel; two by two give batch normalisation 16 numbers.
            self.size = self.known.minimum_size + 32
            self.backbone = backbones.build(key, self.shape)
            pooling = "flatten" if self.known.parts else "avg"
            self.model = heads.classifier(self.backbone, heads.HeadSpec(2, dropout=0.5, pooling=pooling))
        self.images = images(self.known.value_range, self.shape)

    @property
    def shape(self):
        return (self.size, self.size, 3)


def images(value_range, shape):
    unit = np.random.default_rng(0).random((len(LABELS), *shape), dtype="float32")
    low, high = {"tf": (-1, 1), "caffe": (-120, 130), "torch": (-2, 2), "0-255": (0, 255)}[value_range]
    return low + (high - low) * unit


@pytest.fixture(scope="module", params=cases())
def network(request):
    yield Network(request.param)
    import keras

    keras.backend.clear_session()
    gc.collect()


@contextlib.contextmanager
def precision(policy):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def test_parameters_are_those_published(network):
    known, model = network.known, network.model
    assert network.backbone.count_params() == known.parameters
    last = [layer for layer in model.layers if layer.weights][-1]
    inputs = math.prod(last.kernel.shape[:-1])
    if "khalifa2020" in known.papers:
        expected = known.parameters_with_top - (known.classes - 2) * (inputs + 1)
    else:
        expected = known.parameters + 2 * (inputs + 1)
    assert model.count_params() == expected
    assert sum(freezing.trainable_counts(model)) == model.count_params()


def test_blocks_cover_every_layer_and_parameter(network):
    if network.known.parts:
        pytest.skip("its two networks stand side by side")
    summary = freezing.summary(network.model)
    assert (summary[0].first, summary[-1].last) == (0, len(network.model.layers) - 1)
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(summary))
    assert sum(block.trainable + block.frozen for block in summary) == network.model.count_params()
    assert summary[-1].name == "head"


def test_images_become_probabilities(network):
    assert network.backbone.output_shape[-1] == network.known.features
    outputs = np.asarray(network.model(network.images))
    assert outputs.shape == (4, 2)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)


def test_a_step_of_training_lowers_the_loss(network):
    import keras

    model = network.model
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    # A short step of bounded length: gradients of untrained networks differ by orders of magnitude. The loss is
    # that of training mode, where normalisation does not depend on the step before.
    optimizer = keras.optimizers.SGD(1e-4, global_clipnorm=1.0)
    model.compile(optimizer, "categorical_crossentropy", run_eagerly=True)
    first, second = (float(model.train_on_batch(network.images, LABELS)) for _ in range(2))
    assert second < first


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_files_give_the_same_network(network, suffix, tmp_path):
    same_after_saving(network.model, network.images, tmp_path / f"model{suffix}")


def test_bfloat16_gives_float32_probabilities(network, tmp_path):
    with precision("mixed_bfloat16"):
        half = type(network)(network.known.key)
        weighted = [layer for layer in half.model.layers if layer.weights]
        assert weighted[0].compute_dtype == "bfloat16"
        outputs = np.asarray(half.model(half.images))
        assert outputs.dtype == np.float32
        np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)
    same_after_saving(half.model, half.images, tmp_path / "model.h5")


def same_after_saving(model, batch, path):
    expected = np.asarray(model(batch))
    files.save_model(model, path, INFO)
    again = files.load_model(path)
    # Files of the largest are 340 MB, and pytest keeps what is left.
    path.unlink()
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_allclose(np.asarray(again(batch)), expected, atol=1e-6)
