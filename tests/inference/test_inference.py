"""Every way of predicting gives what Keras' own predict gives for the same images."""

import importlib.util
import threading
import types

import keras
import numpy as np
import pytest
from PIL import Image

from covidcxr import inference
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import ImageError, ModelError, OptionError
from covidcxr.inference import runtimes
from covidcxr.inference.reading import in_order
from covidcxr.models import backbones, concatenated, squeezenet
from covidcxr.models.files import ModelInfo, attach_info
from covidcxr.models.frozen_graph import frozen
from covidcxr.models.heads import HeadSpec, classifier

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="freezes TensorFlow graphs")

SIDE = 32


def pictures(model, count=4, scale=1):
    height, width, channels = model.input_shape[1:]
    blocks = np.random.default_rng(0).random((count, -(-height // 8), -(-width // 8), channels), np.float32)
    return scale * blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def lively(model, scale=1):
    """Give normalisations statistics of images and values of their own, so that a fold left out would show."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([np.array([0.3, 0.4, 0.5]), np.array([0.2, 0.1, 0.3]), np.array(1)])
            layer.finalize_state()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.set_weights([rng.uniform(0.7, 1.3, weight.shape) for weight in layer.weights])
        layer.momentum = 0
    if norms:
        model(pictures(model, 16, scale), training=True)
    return model


def small():
    """Ordinary, depthwise and separable convolutions, both paddings, a bias, and a sum that is no bias."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(layers.Normalization(axis=-1)(layers.Rescaling(2, -1)(inputs)))
    x = layers.ReLU(6)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.BatchNormalization()(
        layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False)(x)
    )
    y = layers.BatchNormalization(scale=False)(
        layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    )
    x = layers.Concatenate()([layers.Add()([x, y]), layers.BatchNormalization()(x)])
    x = layers.GlobalAveragePooling2D()(x)
    return lively(keras.Model(inputs, layers.Dense(2, activation="softmax")(x)))


def carrying(model):
    preprocessing = Preprocessing((SIDE, SIDE), interpolation="bilinear", rescale=1 / 255).to_dict()
    attach_info(model, ModelInfo("ragab2022", "tiny", "sound", ("covid19", "normal"), preprocessing, 0, {}))
    return model


@pytest.fixture(scope="module")
def model():
    return carrying(small())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(21):
        pixels = np.kron(rng.integers(0, 256, (6, 6)), np.ones((8, 8))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return sorted(folder.iterdir())


def expected(model, files):
    loader = Preprocessing((SIDE, SIDE), interpolation="bilinear", rescale=1 / 255)
    values = model.predict(loader.batch(files), verbose=0)
    assert np.ptp(values, axis=0).min() > 1e-2
    return values


def test_a_frozen_graph_folds_and_predicts_the_same(model):
    images = pictures(model, 5)
    np.testing.assert_allclose(frozen(model)(images), model.predict(images, verbose=0), atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("structure", ["alone", "list", "name", "sequential"])
def test_a_network_is_frozen_whatever_structure_its_images_have(structure):
    layers = [keras.Input((6, 5, 3), name="image"), keras.layers.Flatten(), keras.layers.Dense(2)]
    outputs = layers[2](layers[1](layers[0]))
    inputs = {"alone": layers[0], "list": [layers[0]], "name": {"image": layers[0]}}
    model = keras.Sequential(layers) if structure == "sequential" else keras.Model(inputs[structure], outputs)
    images = np.random.default_rng(0).random((2, 6, 5, 3), np.float32)
    kernel, bias = layers[2].get_weights()
    np.testing.assert_allclose(frozen(model)(images), images.reshape(2, -1) @ kernel + bias, atol=1e-5)


def test_normalisations_after_convolutions_are_folded_and_others_kept(model):
    from covidcxr.models.folding import fold
    from covidcxr.models.frozen_graph import _without_variables, traced

    function = traced(model)
    before = _without_variables(function, model.name)
    graph = fold(function.graph, type(before).FromString(before.SerializeToString()))
    made = [node.name for node in graph.node if node.name.endswith("/folded_kernel")]
    assert len(made) == 3
    assert next(node.attr["padding"].s for node in graph.node if node.op == "Conv2D") == b"SAME"
    (depthwise, *_) = [node for node in graph.node if node.op == "DepthwiseConv2dNative"]
    # Zeros on both sides of an even picture are not what "SAME" adds at a stride of two.
    assert depthwise.attr["padding"].s == b"VALID"


NETWORKS = {
    "mobilenet_v2": (96, 1),
    "efficientnet_b0": (96, 255),
    "densenet121": (64, 1),
    "resnet50_v2": (64, 1),
    "xception": (96, 1),
    "nasnet_mobile": (96, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_backbones_predict_the_same_when_frozen(name):
    side, scale = NETWORKS[name]
    keras.utils.set_random_seed(1)
    model = lively(classifier(backbones.build(name, (side, side, 3)), HeadSpec(2)), scale)
    images = pictures(model, 4, scale)
    wanted = model.predict(images, verbose=0)
    assert wanted.std() > 1e-4
    np.testing.assert_allclose(frozen(model)(images), wanted, atol=1e-5)


@pytest.mark.slow
def test_the_concatenated_network_predicts_the_same_when_frozen():
    keras.utils.set_random_seed(1)
    model = lively(concatenated.build(input_shape=(96, 96, 3)))
    images = pictures(model)
    np.testing.assert_allclose(frozen(model)(images), model.predict(images, verbose=0), atol=1e-5)


def test_squeezenet_predicts_the_same_when_frozen(shared):
    model = squeezenet.build()
    model.load_weights(shared / "weights" / "squeezenet_v1.1_imagenet.h5")
    images = pictures(model, 2, 100)
    np.testing.assert_allclose(frozen(model)(images), model.predict(images, verbose=0), atol=1e-5)


@pytest.mark.parametrize("few", [True, False], ids=["keras", "frozen"])
@pytest.mark.parametrize("batch_size", [None, 4, 64])
def test_files_in_any_batch_give_keras_probabilities(few, batch_size, model, files, monkeypatch):
    monkeypatch.setattr(runtimes, "repays", lambda *_: not few)
    done = []
    result = inference.predict_files(model, files, batch_size, progress=done.append)
    np.testing.assert_allclose(result, expected(model, files), atol=1e-5)
    assert done == sorted(done)
    assert done[-1] == len(files)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_other_runtimes_agree_with_keras(runtime, model, files):
    for package in runtimes._PACKAGES[runtime]:
        pytest.importorskip(package)
    result = inference.predict_files(model, files, runtime=runtime)
    np.testing.assert_allclose(result, expected(model, files), atol=1e-4)


@pytest.mark.parametrize("runtime", ["keras", pytest.param("openvino", marks=pytest.mark.slow)])
def test_bfloat16_is_close_and_of_the_same_class(runtime, model, files):
    for package in runtimes._PACKAGES.get(runtime, ()):
        pytest.importorskip(package)
    result, wanted = (
        inference.predict_files(model, files, runtime=runtime, precision=precision)
        for precision in ("bfloat16", "float32")
    )
    np.testing.assert_allclose(result, wanted, atol=runtimes.TOLERANCE)
    np.testing.assert_array_equal(result.argmax(axis=1), wanted.argmax(axis=1))


def test_bfloat16_that_moves_probabilities_is_refused(model, files, monkeypatch):
    wrong = runtimes.Forward(lambda images: np.tile(np.float32([0.5, 0.5]), (len(images), 1)), 8)
    monkeypatch.setattr(runtimes, "prepare", lambda *_: wrong)
    with pytest.raises(ModelError, match=r"bfloat16 moves probabilities .* use precision float32"):
        inference.predict_files(model, files, precision="bfloat16")


def test_arrays_and_files_give_the_same_table(model, files):
    stack = np.stack([np.asarray(Image.open(path)) for path in files])
    columns = ["predicted", "prob_covid19", "prob_normal"]
    of_files, of_stack = inference.predict(model, files), inference.predict(model, stack)
    assert of_files[columns].equals(of_stack[columns])
    assert of_files["path"].tolist() == [str(path) for path in files]
    assert of_stack["image"].tolist() == list(range(len(files)))


def test_bad_images_are_named_in_order_and_leave_empty_rows(model, files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    mixed = [bad, *files[:5], bad]
    faults = []
    result = inference.predict_files(model, mixed, 2, lambda index, error: faults.append(index))
    assert faults == [0, 6]
    assert np.isnan(result[[0, 6]]).all()
    np.testing.assert_allclose(result[1:6], expected(model, files)[:5], atol=1e-5)
    with pytest.raises(ImageError, match=r"bad\.png"):
        inference.predict_files(model, mixed)


def test_choices_that_do_not_exist_are_refused(model, files, monkeypatch):
    with pytest.raises(OptionError, match="choose one of keras, onnxruntime, openvino"):
        inference.predict(model, files, runtime="tensorrt")
    with pytest.raises(OptionError, match="choose one of float32, bfloat16"):
        inference.predict(model, files, precision="int8")
    with pytest.raises(OptionError, match="float32 only"):
        inference.predict(model, files, runtime="onnxruntime", precision="bfloat16")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"^openvino not installed: pip install 'covidcxr\[runtimes\]'"):
        inference.predict(model, files, runtime="openvino")


def test_a_graph_is_built_for_many_images_and_sooner_for_a_small_network():
    small, large = (types.SimpleNamespace(count_params=lambda n=n: n) for n in (2_000_000, 24_000_000))
    assert [runtimes.repays(small, count) for count in (1, 100, 500)] == [False, False, True]
    assert [runtimes.repays(large, count) for count in (500, 3000)] == [False, True]
    assert not runtimes.repays(types.SimpleNamespace(count_params=lambda: 10), 20)


def test_a_bounded_number_of_results_is_under_way():
    begun, most, lock = [0], [0], threading.Lock()

    def work(item):
        with lock:
            begun[0] += 1
        return item

    taken = 0
    for item in in_order(work, range(50), 3):
        assert item == taken
        most[0] = max(most[0], begun[0] - taken)
        taken += 1
    assert taken == 50
    assert most[0] <= 6


def test_an_error_ends_the_work_that_was_not_begun():
    begun = []

    def work(item):
        begun.append(item)
        raise ImageError("bad")

    with pytest.raises(ImageError):
        list(in_order(work, range(100), 2))
    assert len(begun) <= 4
