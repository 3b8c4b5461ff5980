import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.freezing import freeze_layers, trainable_counts
from covidcxr.models.heads import (
    HeadSpec,
    classifier,
    khalifa_head,
    nemati_head,
    ragab_head,
    ragab_prose_head,
)
from covidcxr.models.layer_names import is_head


def images(size, count=2):
    return np.random.default_rng(0).random((count, size, size, 3), dtype=np.float32)


def test_ragab2022_listing_has_the_printed_counts():
    model = ragab_head()
    assert model.count_params() == 2_260_546
    assert trainable_counts(model) == (2_562, 2_257_984)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.get_layer("head_dropout").rate == 0.4


def test_ragab2022_listing_scales_as_the_module_does():
    model = ragab_head(input_size=64)
    import keras

    features = keras.Model(model.input, model.get_layer("head_pooling").output)
    reference = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), include_top=False, weights=None, pooling="avg"
    )
    for layer in reference.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
    batch = images(64)
    np.testing.assert_allclose(features(batch), reference(2 * batch - 1), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(("backbone", "features"), [("mobilenet", 1024), ("mobilenet_v2", 1280)])
def test_ragab2022_prose(backbone, features):
    model = ragab_prose_head(backbone=backbone)
    assert model.input_shape == (None, 128, 128, 3)
    assert trainable_counts(model)[0] == 2 * features + 2
    assert not any(layer.name == "input_scaling" for layer in model.layers)


def test_nemati2022_head():
    model = nemati_head(backbones.build("mobilenet", (64, 64, 3)))
    assert trainable_counts(model)[0] == (1024 * 64 + 64) + (64 * 2 + 2)
    assert [layer.name for layer in model.layers[-3:]] == [
        "head_dense_1",
        "head_dropout",
        "head_probabilities",
    ]
    assert model.get_layer("head_dense_1").activation.__name__ == "relu"


KHALIFA = {
    # Input of the paper's toolbox, the replaced layer, its inputs.
    "alexnet": (227, "head_fc8", 4096),
    "alexnet_2012": (227, "head_fc8", 4096),
    "squeezenet1_1": (227, "head_conv10", 512),
    "googlenet": (224, "head_fc", 1024),
    "googlenet_bvlc": (224, "head_loss3_classifier", 1024),
    "resnet18": (224, "head_fc", 512),
}


@pytest.mark.parametrize("key", KHALIFA)
def test_khalifa2020_replaces_the_last_layer_only(key):
    size, last, inputs = KHALIFA[key]
    model = khalifa_head(key)
    assert model.input_shape == (None, size, size, 3)
    assert model.count_params() == backbones.get(key).parameters_with_top - 998 * (inputs + 1)
    assert [layer.name for layer in model.layers if is_head(layer) and layer.weights] == [last]
    assert all(layer.trainable for layer in model.layers)
    assert model.layers[-1].dtype_policy.name == "float32"


def test_a_replaced_layer_keeps_its_settings():
    import keras

    whole = backbones.build("squeezenet1_1", (227, 227, 3), classes=3)
    model = khalifa_head("squeezenet1_1", classes=3)
    by_name = {layer.name: layer for layer in model.layers}
    for layer in whole.layers[1:]:
        twin = by_name.get(layer.name) or by_name["head_" + layer.name]
        twin.set_weights(layer.get_weights())
        assert {**twin.get_config(), "name": ""} == {**layer.get_config(), "name": ""}
    assert isinstance(model.get_layer("head_conv10"), keras.layers.Conv2D)
    batch = images(227)
    np.testing.assert_allclose(model(batch), whole(batch), atol=1e-6)


@pytest.mark.parametrize("key", ["squeezenet1_1", "googlenet_bvlc"])
def test_real_weights_fill_all_but_the_replaced_layer(key, shared):
    from covidcxr.models.pretrained import find_weights
    from covidcxr.models.weight_files import load_into

    model = khalifa_head(key)
    last = next(layer for layer in model.layers if is_head(layer) and layer.weights)
    before = last.get_weights()
    report = load_into(model, find_weights(key, shared / "weights"))
    assert report.missing == (last.name,)
    assert report.unused == (last.name.removeprefix("head_"),)
    assert len(report.loaded) == backbones.get(key).depth - 1
    for old, new in zip(before, last.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_head_may_start_from_a_normal_distribution():
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((2000,))
    backbone = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    kernel = np.asarray(classifier(backbone, HeadSpec(3, deviation=0.001)).layers[-1].kernel)
    assert kernel.std() == pytest.approx(0.001, rel=0.05)
    # Glorot's uniform: between the roots of 6 / (2000 + 3).
    plain = np.asarray(classifier(backbone, HeadSpec(3)).layers[-1].kernel)
    assert np.abs(plain).max() == pytest.approx((6 / 2003) ** 0.5, rel=0.01)


def test_scaling_keeps_values_and_what_learns():
    backbone = backbones.build("efficientnet_b0", (64, 64, 3), pooling="avg")
    normalization = next(layer for layer in backbone.layers if layer.name.startswith("normalization"))
    normalization.adapt_mean.assign([0.1, 0.2, 0.3])
    normalization.finalize_state()
    freeze_layers(backbone, 100, batchnorm="training")
    plain, _ = trainable_counts(backbone)
    batch = images(64)
    expected = np.asarray(backbone(3 * batch + 1))
    model = classifier(backbone, HeadSpec(2), input_scaling=(3.0, 1.0))
    import keras

    features = keras.Model(model.input, model.get_layer("head_probabilities").input)
    np.testing.assert_allclose(features(batch), expected, rtol=1e-4, atol=1e-9)
    assert expected.std() > 0
    assert trainable_counts(model)[0] == plain + 2 * 1280 + 2


def test_the_model_is_flat():
    import keras

    model = ragab_head(input_size=64)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    inner = keras.Model(model.input, [model.get_layer("out_relu").output, model.output])
    maps, probabilities = inner(images(64))
    assert maps.shape == (2, 2, 2, 1280)
    np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "first"),
    [
        (lambda: ragab_head(input_size=64, alpha=0.35), "Conv1"),
        # Keras' own classifier would give probabilities of 16 bits.
        (lambda: khalifa_head("mobilenet", input_size=64), "conv1"),
    ],
    ids=["ragab2022", "khalifa2020"],
)
def test_mixed_precision_gives_float32_probabilities(build, first):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
        assert model.get_layer(first).compute_dtype == "bfloat16"
        assert str(np.asarray(model(images(64))).dtype) == "float32"
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("spec", [HeadSpec(1), HeadSpec(2, dropout=1.0), HeadSpec(2, pooling="sum")])
def test_meaningless_heads_are_refused(spec):
    import keras

    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ModelError):
        classifier(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)), spec)


@pytest.mark.parametrize(("pooling", "features"), [("avg", 4), ("max", 4), ("flatten", 4 * 36)])
def test_pooling(pooling, features):
    import keras

    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    assert classifier(backbone, HeadSpec(3, pooling=pooling)).layers[-1].kernel.shape == (features, 3)
