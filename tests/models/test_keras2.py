"""Whole models of Keras 2, as the papers' authors would have saved them, opened by Keras 3."""

import numpy as np
import pytest

from covidcxr.models.files import load_model
from covidcxr.models.freezing import trainable_counts
from covidcxr.models.keras2 import repaired

tf_keras = pytest.importorskip("tf_keras")

SLOW = (
    "Xception",
    "DenseNet121",
    "EfficientNetB0",
    "NASNetMobile",
    "ResNet50V2",
    "InceptionV3",
    "VGG19",
    "InceptionResNetV2",
)
NAMES = ["MobileNetV2", "MobileNet", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def backbone(name):
    size = 96 if name in ("Xception", "InceptionV3", "InceptionResNetV2") else 64
    tf_keras.utils.set_random_seed(1)
    options = {"weights": None, "include_top": False, "input_shape": (size, size, 3), "pooling": "avg"}
    return getattr(tf_keras.applications, name)(**options)


def images(model):
    return np.random.default_rng(0).uniform(-1, 1, (3, *model.input_shape[1:])).astype("float32")


def spread(model, backbone):
    """Scale and centre the last layer so that the probabilities of random features differ."""
    features = backbone.predict(images(backbone), verbose=0)
    dense = model.layers[-1]
    kernel = dense.get_weights()[0] / features.std(axis=0).mean()
    dense.set_weights([kernel, -(features.mean(axis=0) @ kernel)])


def compared(model, path):
    expected = model.predict(images(model), verbose=0)
    assert expected.std(axis=0).min() > 1e-2
    again = load_model(path)
    result = again(images(model))
    assert not isinstance(result, list)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    return again


@pytest.mark.parametrize("name", NAMES)
def test_functional_models(tmp_path, name):
    base = backbone(name)
    base.trainable = False
    model = tf_keras.Model(base.input, tf_keras.layers.Dense(2, activation="softmax")(base.output))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    spread(model, base)
    model.save(tmp_path / "model.h5")
    again = compared(model, tmp_path / "model.h5")
    assert trainable_counts(again)[0] == 2 * base.output_shape[-1] + 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frozen", [True, False])
def test_sequential_models_on_a_nested_backbone(tmp_path, name, frozen):
    base = backbone(name)
    base.trainable = not frozen
    model = tf_keras.Sequential(
        [base, tf_keras.layers.Dropout(0.4), tf_keras.layers.Dense(2, activation="softmax")]
    )
    model.build((None, *base.input_shape[1:]))
    spread(model, base)
    model.save(tmp_path / "model.h5", include_optimizer=False)
    compared(model, tmp_path / "model.h5")


@pytest.mark.slow
def test_the_concatenated_network_of_rahimzadeh2020(tmp_path):
    """Xception and ResNet50V2 on one input, side by side, 1x1 convolution, flatten, dropout, dense 3."""
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input((96, 96, 3))
    options = {"weights": None, "include_top": False, "input_tensor": inputs}
    towers = [getattr(tf_keras.applications, name)(**options) for name in ("Xception", "ResNet50V2")]
    layers = tf_keras.layers
    maps = layers.Concatenate()([tower.output for tower in towers])
    features = layers.Flatten()(layers.Conv2D(1024, 1, padding="same")(maps))
    output = layers.Dense(3, activation="softmax")(layers.Dropout(0.5)(features))
    model = tf_keras.Model(inputs, output)
    model.compile("nadam", "categorical_crossentropy", metrics=["accuracy"])
    spread(model, tf_keras.Model(inputs, features))
    model.save(tmp_path / "model.h5")
    compared(model, tmp_path / "model.h5")


def test_repairs_one_by_one():
    layers = [
        {"class_name": "InputLayer", "config": {"name": "a/in"}, "name": "a/in", "inbound_nodes": []},
        {
            "class_name": "BatchNormalization",
            "config": {
                "name": "a/bn",
                "axis": [3],
                "dtype": {"class_name": "Policy", "config": {"name": "float32"}},
            },
            "name": "a/bn",
            "inbound_nodes": [[["a/in", 0, 0, {}]]],
        },
        {
            "class_name": "DepthwiseConv2D",
            "config": {"name": "dw", "groups": 1, "kernel_size": [3, 3]},
            "name": "dw",
            "inbound_nodes": [[["a/bn", 0, 0, {}]]],
        },
    ]
    config = {
        "class_name": "Functional",
        "config": {
            "name": "m",
            "layers": layers,
            "input_layers": [["a/in", 0, 0]],
            "output_layers": [["dw", 0, 0]],
        },
    }
    fixed = repaired(config)["config"]
    assert fixed["layers"][0]["config"]["name"] == fixed["layers"][0]["name"] == "a_in"
    assert fixed["layers"][1]["config"] == {"name": "a_bn", "axis": 3, "dtype": "float32"}
    assert fixed["layers"][1]["inbound_nodes"] == [[["a_in", 0, 0, {}]]]
    assert fixed["layers"][2]["config"] == {"name": "dw", "kernel_size": [3, 3]}
    assert fixed["input_layers"] == ["a_in", 0, 0]
    assert fixed["output_layers"] == ["dw", 0, 0]
    assert config["config"]["layers"][1]["config"]["axis"] == [3]
    two = {
        "class_name": "Functional",
        "config": {"layers": [], "output_layers": [["x/y", 0, 0], ["z", 0, 0]]},
    }
    assert repaired(two)["config"]["output_layers"] == [["x_y", 0, 0], ["z", 0, 0]]
