"""AlexNet's two forms: sizes of the papers, and the 2012 network against plain tensor operations."""

import numpy as np
import pytest

from covidcxr.models import alexnet


def test_parameters_by_arithmetic():
    """Krizhevsky 2012: layers 2, 4 and 5 see half of the maps before them; fc6 reads 6x6x256."""
    features = [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)]
    dense = [(6 * 6 * 256, 4096), (4096, 4096), (4096, 1000)]
    count = sum(k * k * i * o + o for k, i, o in features) + sum(i * o + o for i, o in dense)
    assert alexnet.build("2012").count_params() == count == 60_965_224
    features = [(11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256)]
    count = sum(k * k * i * o + o for k, i, o in features) + sum(i * o + o for i, o in dense)
    assert alexnet.build().count_params() == count == 61_100_840


@pytest.mark.parametrize(
    ("variant", "side", "maps"),
    [
        ("2012", 227, (55, 27, 13, 6)),
        ("torchvision", 224, (55, 27, 13, 6)),
        ("torchvision", 227, (56, 27, 13, 6)),
    ],
)
def test_map_sizes(variant, side, maps):
    model = alexnet.build(variant, input_shape=(side, side, 3), include_top=False)
    found = tuple(model.get_layer(name).output.shape[1] for name in ("conv1", "pool1", "pool2", "pool5"))
    assert found == maps


def test_torchvisions_classifier_has_one_size_at_every_input():
    for side in (63, 300):
        model = alexnet.build(classes=2, input_shape=(side, side, 3))
        assert model.get_layer("fc6").kernel.shape == (9216, 4096)


def test_the_2012_network_is_its_paper_in_plain_operations():
    tf = pytest.importorskip("tensorflow")
    model = alexnet.build("2012", input_shape=(99, 99, 3), classes=5, classifier_activation=None)
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    for name, (kernel, bias) in weights.items():
        bias[:] = np.random.default_rng(len(name)).normal(0, 0.1, bias.shape)
        model.get_layer(name).set_weights([kernel, bias])
    images = np.random.default_rng(0).normal(0, 60, (2, 99, 99, 3)).astype("float32")

    def half(x, kernel, start, stop, stride, padding):
        return tf.nn.conv2d(x, kernel[..., start:stop], stride, padding)

    def conv(x, name, groups, stride=1, padding="SAME"):
        kernel, bias = weights[name]
        parts = tf.split(x, groups, axis=3)
        edges = np.linspace(0, kernel.shape[-1], groups + 1).astype(int)
        outs = [half(parts[g], kernel, edges[g], edges[g + 1], stride, padding) for g in range(groups)]
        return tf.nn.relu(tf.concat(outs, 3) + bias)

    def norm(x):
        return tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)

    def pool(x):
        return tf.nn.max_pool2d(x, 3, 2, "VALID")

    x = pool(norm(conv(images, "conv1", 1, 4, "VALID")))
    x = pool(norm(conv(x, "conv2", 2)))
    x = pool(conv(conv(conv(x, "conv3", 1), "conv4", 2), "conv5", 2))
    x = tf.reshape(x, (2, -1))
    x = tf.nn.relu(x @ weights["fc6"][0] + weights["fc6"][1])
    x = tf.nn.relu(x @ weights["fc7"][0] + weights["fc7"][1])
    x = x @ weights["fc8"][0] + weights["fc8"][1]
    ours = np.asarray(model(images))
    np.testing.assert_allclose(ours, np.asarray(x), atol=1e-5 * np.abs(ours).max())
