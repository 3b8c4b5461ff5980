"""Exported models: opened by the programs they are for, which must predict the same."""

import json

import h5py
import keras
import numpy as np
import pytest

from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import ModelError, OptionError, OutputError
from covidcxr.models import alexnet, backbones, keras2_export, squeezenet
from covidcxr.models.export import export
from covidcxr.models.files import ModelInfo, attach_info, load_model, read_info, save_model
from covidcxr.models.freezing import freeze_all
from covidcxr.models.heads import HeadSpec, classifier, ragab_head

INFO = ModelInfo(
    paper="ragab2022",
    network="mobilenet_v2",
    protocol="sound",
    class_names=("covid19", "normal"),
    preprocessing=Preprocessing((64, 64), rescale=1 / 255).to_dict(),
    seed=7,
    versions={"keras": keras.__version__},
)
SLOW = (
    "densenet121",
    "xception",
    "efficientnet_b0",
    "resnet50_v2",
    "vgg19",
    "inception_v3",
    "nasnet_mobile",
    "mobilenet",
    "inception_resnet_v2",
)


def images(model, count=3):
    """Blocks of 8 x 8 pixels: noise of single ones looks the same to a network everywhere."""
    height, width, channels = model.input_shape[1:]
    blocks = np.random.default_rng(0).random((count, -(-height // 8), -(-width // 8), channels), np.float32)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def lively(model):
    """Give every layer values of its own and spread the outputs, so that any mix-up would show."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([np.array([0.3, 0.4, 0.5]), np.array([0.2, 0.1, 0.3]), np.array(1)])
            layer.finalize_state()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    frozen = [layer for layer in model.layers if not layer.trainable]
    momentum = [layer.momentum for layer in norms]
    for layer in norms:
        layer.set_weights([rng.uniform(0.7, 1.3, weight.shape) for weight in layer.weights])
        layer.trainable, layer.momentum = True, 0
    # Statistics of the images themselves: random ones let activations vanish or explode in a deep network.
    model(images(model, 16), training=True)
    for layer, value in zip(norms, momentum, strict=True):
        layer.momentum = value
    for layer in frozen:
        layer.trainable = False
    *_, features, dense = model.layers
    values = np.asarray(keras.Model(model.inputs[0], features.output)(images(model)))
    if values.ndim == 2 and isinstance(dense, keras.layers.Dense):
        kernel = rng.normal(size=(values.shape[1], 1)) * [1, -1]
        # Scores that differ by more would magnify the rounding of the layers before.
        kernel /= 4 * (values @ kernel).std(axis=0)
        dense.set_weights([kernel, -(values.mean(axis=0) @ kernel)])
    attach_info(model, INFO)
    return model


def ragab(alpha=0.35):
    keras.utils.set_random_seed(1)
    return lively(ragab_head(input_size=64, alpha=alpha))


def small():
    """The kinds of layers that make up most networks, once each."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Normalization(axis=-1)(layers.Rescaling(2, -1)(inputs))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Concatenate()([x, layers.SeparableConv2D(4, 3, padding="same")(x)])
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(layers.ZeroPadding2D(1)(x)))
    return lively(keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Dropout(0.4)(x))))


def expected(model):
    result = np.asarray(model(images(model)), np.float32)
    assert result.std(axis=0).min() > 1e-2
    return result


def by_tf_keras(path, model):
    tf_keras = pytest.importorskip("tf_keras")
    return tf_keras.models.load_model(path, compile=False).predict(images(model), verbose=0)


def test_keras_2_opens_a_bit_of_everything(tmp_path):
    model = small()
    export(model, tmp_path / "old.h5", "h5-keras2")
    np.testing.assert_allclose(by_tf_keras(tmp_path / "old.h5", model), expected(model), atol=1e-5)


def test_keras_2_opens_ragabs_classifier_and_predicts_the_same(tmp_path):
    model = ragab()
    beside = export(model, tmp_path / "old.h5", "h5-keras2")
    np.testing.assert_allclose(by_tf_keras(tmp_path / "old.h5", model), expected(model), atol=1e-5)
    np.testing.assert_allclose(load_model(tmp_path / "old.h5")(images(model)), expected(model), atol=1e-5)
    assert read_info(tmp_path / "old.h5") == INFO
    assert beside == tmp_path / "old.h5.json"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.h5", "old.h5.json"]


def test_the_description_beside_it_is_enough_to_prepare_images(tmp_path):
    told = json.loads(export(small(), tmp_path / "old.h5", "h5-keras2").read_text())
    assert told["class_names"] == ["covid19", "normal"]
    assert Preprocessing.from_dict(told["preprocessing"]) == Preprocessing((64, 64), rescale=1 / 255)
    assert (told["input_shape"], told["output_shape"]) == ([None, 16, 16, 3], [None, 2])
    assert told["note"] == "Not a medical device."


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_keras_2_opens_every_kind_of_network(tmp_path, name):
    if name == "inception_resnet_v2":
        # Registers the layer that Keras 2 keeps beside this network.
        pytest.importorskip("tf_keras").applications.inception_resnet_v2  # noqa: B018
    keras.utils.set_random_seed(1)
    # A last map of one pixel has no variance to speak of, and its normalisation magnifies rounding.
    size = 160 if name in ("xception", "inception_v3", "inception_resnet_v2") else 96
    backbone = backbones.build(name, (size, size, 3))
    freeze_all(backbone)
    model = lively(classifier(backbone, HeadSpec(2, dropout=0.4, hidden=(16,))))
    export(model, tmp_path / "old.h5", "h5-keras2")
    np.testing.assert_allclose(by_tf_keras(tmp_path / "old.h5", model), expected(model), atol=1e-5)


def test_keras_2_opens_the_real_squeezenet(shared, tmp_path):
    model = squeezenet.build()
    model.load_weights(shared / "weights" / "squeezenet_v1.1_imagenet.h5")
    attach_info(model, INFO)
    export(model, tmp_path / "old.h5", "h5-keras2")
    result = by_tf_keras(tmp_path / "old.h5", model)
    np.testing.assert_allclose(result, model(images(model)), atol=1e-5)
    assert result.max() > 5 / 1000


@pytest.mark.parametrize("frozen", [False, True])
def test_keras_2_opens_nested_models(tmp_path, frozen):
    keras.utils.set_random_seed(1)
    inner = backbones.build("mobilenet", (64, 64, 3), alpha=0.25, pooling="avg")
    inner.trainable = not frozen
    for layer in inner.layers[:40]:
        layer.trainable = False
    lively(inner)
    head = keras.layers.Dense(2, activation="softmax")
    model = keras.Sequential([keras.Input((64, 64, 3)), inner, keras.layers.Dropout(0.4), head])
    lively(model)
    export(model, tmp_path / "old.h5", "h5-keras2")
    np.testing.assert_allclose(by_tf_keras(tmp_path / "old.h5", model), expected(model), atol=1e-5)


def test_every_layer_that_is_passed_on_exists_in_keras_2():
    tf_keras = pytest.importorskip("tf_keras")
    assert {name for name in keras2_export.LAYERS if not hasattr(tf_keras.layers, name)} == set()


def test_what_keras_2_lacks_is_refused_in_one_line(tmp_path):
    model = alexnet.build_2012(classes=2, input_shape=(67, 67, 3))
    attach_info(model, INFO)
    refused(
        model, tmp_path / "old.h5", "h5-keras2", r"layer norm1 .*LocalResponseNormalization.* no counterpart"
    )
    inputs = keras.Input((4,))
    sine = keras.Model(inputs, keras.layers.Dense(2)(keras.ops.sin(inputs)))
    attach_info(sine, INFO)
    refused(sine, tmp_path / "old.h5", "h5-keras2", "no counterpart")


def refused(model, out, kind, match, error=ModelError):
    with pytest.raises(error, match=match) as caught:
        export(model, out, kind)
    assert "\n" not in str(caught.value)
    assert not [path for path in out.parent.iterdir() if path.name.startswith((".", "old"))]


@pytest.mark.parametrize("build", [small, pytest.param(ragab, marks=pytest.mark.slow)])
def test_tensorflow_serves_the_same(tmp_path, build):
    import tensorflow as tf

    model = build()
    path = save_model(model, tmp_path / "model.h5", INFO)
    beside = export(path, tmp_path / "served", "saved_model")
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(images(model)), expected(model), atol=1e-5)
    (result,) = served.signatures["serving_default"](tf.constant(images(model))).values()
    np.testing.assert_allclose(result, expected(model), atol=1e-5)
    assert served.serve(images(model, 1)).shape == (1, 2)
    assert json.loads(beside.read_text())["class_names"] == ["covid19", "normal"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.h5", "served", "served.json"]
    with pytest.raises(OutputError, match="stands already"):
        export(path, tmp_path / "served", "saved_model")


def resnet():
    """Keras' network that pads with zeros, then takes the maximum of values that may be negative."""
    keras.utils.set_random_seed(1)
    return lively(classifier(backbones.build("resnet50_v2", (96, 96, 3)), HeadSpec(2)))


@pytest.mark.parametrize(
    "build", [small, *(pytest.param(build, marks=pytest.mark.slow) for build in (ragab, resnet))]
)
def test_onnx_runtime_predicts_the_same(tmp_path, build):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = build()
    export(model, tmp_path / "model.onnx", "onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    (entry,) = session.get_inputs()
    (result,) = session.run(None, {entry.name: images(model)})
    np.testing.assert_allclose(result, expected(model), atol=1e-5)
    assert session.run(None, {entry.name: images(model, 1)})[0].shape == (1, 2)


def test_onnx_that_no_runtime_could_load_is_refused(tmp_path):
    pytest.importorskip("tf2onnx")
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 3, groups=2)])
    attach_info(model, INFO)
    refused(model, tmp_path / "old.onnx", "onnx", "cannot be exported as onnx .*try another format")


def test_mixed_precision_is_exported_in_float32(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy(before)
    export(model, tmp_path / "old.h5", "h5-keras2")
    with h5py.File(tmp_path / "old.h5") as file:
        assert "bfloat16" not in str(file.attrs["model_config"])
    single = small()
    single.set_weights(model.get_weights())
    np.testing.assert_allclose(by_tf_keras(tmp_path / "old.h5", model), single(images(model)), atol=1e-5)


def test_onnx_without_its_packages_names_the_extra(tmp_path, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else real(name))
    if real("onnx") is None:
        pattern = r"onnx and tf2onnx not installed: pip install 'covidcxr\[runtimes\]'"
    else:
        pattern = r"^tf2onnx not installed: pip install 'covidcxr\[runtimes\]'"
    refused(small(), tmp_path / "old.onnx", "onnx", pattern)


def test_senseless_requests_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    refused(model, tmp_path / "old.h5", "h5-keras2", "carries no class names")
    refused(model, tmp_path / "old.pb", "onnx", r"must end in \.onnx", OptionError)
    refused(model, tmp_path / "old.h5", "tflite", "choose one of onnx, saved_model, h5-keras2", OptionError)
    refused(tmp_path / "absent.h5", tmp_path / "old.h5", "h5-keras2", "No such file")
