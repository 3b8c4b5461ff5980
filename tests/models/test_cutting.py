import keras
import numpy as np
import pytest

from covidcxr.models.cutting import cut
from covidcxr.models.freezing import freeze_layers

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")


def network(frozen, batchnorm="inference", dropout_after=None):
    """A stem, a dense block and an inception-like pair of branches: a cut inside them crosses skip connections."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    stem = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    stem = layers.BatchNormalization(name="stem_bn")(stem)
    if dropout_after == "stem":
        stem = layers.Dropout(0.5)(stem)
    grown = layers.Conv2D(4, 3, padding="same", activation="relu", name="grow")(stem)
    joined = layers.Concatenate(name="join")([stem, grown])
    left = layers.Conv2D(4, 1, name="left")(joined)
    right = layers.Conv2D(4, 3, padding="same", name="right")(joined)
    mixed = layers.Concatenate(name="mix")([left, right])
    vector = layers.GlobalAveragePooling2D()(mixed)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="head")(vector))
    freeze_layers(model, [layer.name for layer in model.layers].index(frozen) + 1, batchnorm)
    return model


def joined(parts, images):
    return parts.suffix(parts.prefix([images]))


@pytest.mark.parametrize(
    ("frozen", "between"), [("stem_bn", 1), ("grow", 1), ("join", 1), ("left", 2), ("mix", 1)]
)
def test_the_parts_together_are_the_network(frozen, between):
    model = network(frozen)
    config, names = model.get_config(), [layer.name for layer in model.layers]
    parts = cut(model, 0)
    assert len(parts.shapes) == between
    assert parts.dtypes == ("float32",) * between
    np.testing.assert_allclose(joined(parts, IMAGES), model(IMAGES), atol=1e-6)
    assert not parts.prefix.trainable_weights
    assert list(map(id, parts.suffix.trainable_weights)) == list(map(id, model.trainable_weights))
    assert (model.get_config(), [layer.name for layer in model.layers]) == (config, names)


def test_the_network_saves_as_it_did_before_it_was_cut(tmp_path):
    model = network("left")
    parts = cut(model, 0)
    parts.suffix.layers[-1].bias.assign([0.5, -0.5])
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        again = keras.saving.load_model(tmp_path / name, compile=False)
        np.testing.assert_allclose(again(IMAGES), model(IMAGES), atol=1e-6)


def test_what_is_not_the_same_at_every_step_ends_the_prefix():
    assert [layer.name for layer in cut(network("mix", dropout_after="stem"), 0).prefix.layers][
        -1
    ] == "stem_bn"
    assert cut(network("join", "training"), 0).prefix.layers[-1].name == "stem"
    noisy = keras.Sequential([keras.Input((3,)), keras.layers.GaussianNoise(0.1), keras.layers.Dense(2)])
    assert [type(layer).__name__ for layer in cut(noisy, 0).prefix.layers] == ["InputLayer"]


def test_a_prefix_too_small_to_be_worth_it_is_none():
    assert cut(network("stem_bn"), worthwhile=0.3) is None
    assert cut(network("mix")).share > 0.9
    model = network("stem_bn")
    freeze_layers(model, 0)
    assert cut(model) is None
    freeze_layers(model, len(model.layers))
    assert cut(model) is None, "nothing is left to train"
