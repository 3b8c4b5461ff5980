"""SqueezeNet: arithmetic of its table, rounding of its poolings, the authors' weights."""

import itertools
import json

import keras
import numpy as np
import pytest

from covidcxr.models import squeezenet

WEIGHTS = "squeezenet_v1.1_imagenet.h5"
CAFFE_MEAN = (103.939, 116.779, 123.68)


@pytest.mark.parametrize(
    ("variant", "first", "total"), [("1.0", (7, 96), 1_248_424), ("1.1", (3, 64), 1_235_496)]
)
def test_parameters_by_arithmetic(variant, first, total):
    size, before = first
    count = size * size * 3 * before + before
    for squeeze, expand in [(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2:
        count += before * squeeze + squeeze + squeeze * expand + expand + 9 * squeeze * expand + expand
        before = 2 * expand
    count += before * 1000 + 1000
    assert squeezenet.build(variant).count_params() == count == total


@pytest.mark.parametrize(
    ("variant", "side", "maps"),
    [
        ("1.1", 224, (111, 55, 27, 13)),
        ("1.1", 227, (113, 56, 28, 14)),
        ("1.0", 224, (109, 54, 27, 13)),
        ("1.0", 227, (111, 55, 27, 13)),
    ],
)
def test_poolings_round_up(variant, side, maps):
    """Caffe's output size is ceil((n - 3) / 2) + 1."""
    model = squeezenet.build(variant, input_shape=(side, side, 3), include_top=False)
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert (model.get_layer("conv1").output.shape[1], *(layer.output.shape[1] for layer in pools)) == maps
    for before, after in itertools.pairwise(maps):
        assert after == -(-(before - 3) // 2) + 1


def floored(side):
    """The same network with poolings that round down, as keras-squeezenet has them."""
    inputs = x = keras.Input((side, side, 3))
    for layer in squeezenet.build(input_shape=(side, side, 3), include_top=False).layers[1:]:
        if "expand1x1" in layer.name:
            squeezed, first = x, keras.layers.Conv2D.from_config(layer.get_config())(x)
        elif "expand3x3" in layer.name:
            x = [first, keras.layers.Conv2D.from_config(layer.get_config())(squeezed)]
        elif not layer.name.endswith("_pad"):
            x = type(layer).from_config(layer.get_config())(x)
    return keras.Model(inputs, x)


def test_rounding_matters_at_227_and_not_at_224(shared):
    images = np.random.default_rng(1).uniform(-120, 130, (2, 227, 227, 3)).astype("float32")
    for side, same in ((224, True), (227, False)):
        up, down = squeezenet.build(input_shape=(side, side, 3), include_top=False), floored(side)
        for model in (up, down):
            model.load_weights(shared / "weights" / WEIGHTS, by_name=True)
        up, down = (np.asarray(model(images[:, :side, :side])) for model in (up, down))
        assert (up.shape == down.shape) is same
        if same:
            np.testing.assert_array_equal(up, down)
        else:
            assert (up.shape[1], down.shape[1]) == (14, 13)


def test_the_authors_weights_name_a_palace(shared, palace):
    model = squeezenet.build()
    model.load_weights(shared / "weights" / WEIGHTS)
    by_name = squeezenet.build()
    by_name.load_weights(shared / "weights" / WEIGHTS, by_name=True)
    for ours, named in zip(model.get_weights(), by_name.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, named)
    image = palace(227)[None, ..., ::-1] - np.asarray(CAFFE_MEAN, "float32")
    scores = np.asarray(model(image))[0]
    names = json.loads((shared / "weights" / "imagenet_class_index.json").read_text())
    best = {names[str(index)][1] for index in np.argsort(scores)[-3:]}
    assert best & {"stupa", "monastery", "palace"}


@pytest.fixture
def palace():
    """scikit-learn's photograph of the Summer Palace, its centre at a given size, RGB 0..255."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    picture = Image.fromarray(load_sample_image("china.jpg")).crop((106, 0, 533, 427))
    return lambda side: np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), "float32")


def test_a_new_head_takes_the_rest_from_the_file(shared):
    model = squeezenet.build(classes=2)
    start = model.get_layer("conv10").get_weights()
    with pytest.warns(UserWarning, match="conv10"):
        model.load_weights(shared / "weights" / WEIGHTS, by_name=True, skip_mismatch=True)
    np.testing.assert_array_equal(model.get_layer("conv10").get_weights()[0], start[0])
    assert np.abs(model.get_layer("fire9_expand3x3").get_weights()[1]).max() > 0
