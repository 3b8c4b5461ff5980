import shutil

import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import hub
from covidcxr.models.heads import ragab_head
from covidcxr.models.pretrained import find_weights
from covidcxr.models.weight_files import load_into, read_layers

# MobileNetV2's Table 2 (Sandler et al. 2018): expansion, output channels, repeats, first stride.
TABLE_2 = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def blocks():
    index, channels = 0, 32
    for expansion, width, repeats, stride in TABLE_2:
        for repeat in range(repeats):
            scope = f"MobilenetV2/expanded_conv_{index}" if index else "MobilenetV2/expanded_conv"
            yield scope, expansion, channels, width, stride if repeat == 0 else 1
            index, channels = index + 1, width


def variable_shapes(width=1280):
    """Return TF-Slim's variable names and shapes, written down from the paper's table."""
    shapes = {"MobilenetV2/Conv/weights": (3, 3, 3, 32), "MobilenetV2/Conv_1/weights": (1, 1, 320, width)}
    norms = {"MobilenetV2/Conv": 32, "MobilenetV2/Conv_1": width}
    for scope, expansion, channels, output, _ in blocks():
        inner = expansion * channels
        if expansion > 1:
            shapes[f"{scope}/expand/weights"] = (1, 1, channels, inner)
            norms[f"{scope}/expand"] = inner
        shapes[f"{scope}/depthwise/depthwise_weights"] = (3, 3, inner, 1)
        shapes[f"{scope}/project/weights"] = (1, 1, inner, output)
        norms.update({f"{scope}/depthwise": inner, f"{scope}/project": output})
    for scope, size in norms.items():
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{scope}/BatchNorm/{part}"] = (size,)
    return shapes


def values(shared_weights):
    """Return the published MobileNetV2 1.0 where it is at hand, else random values of a similar spread."""
    if shared_weights is not None:
        return slim_values_of(shared_weights)
    rng = np.random.default_rng(0)
    made = {}
    for name, shape in variable_shapes().items():
        if name.endswith("weights"):
            fan_in = np.prod(shape[:2]) * (1 if "depthwise" in name else shape[2])
            made[name] = rng.normal(0, np.sqrt(2 / fan_in), shape)
        else:
            made[name] = rng.uniform(0.5, 1.5, shape) if name[-1] in "ae" else rng.normal(0, 0.2, shape)
    return {name: value.astype("float32") for name, value in made.items()}


def slim_values_of(path):
    """Read a Keras weight file in TF-Slim's order: both list each block as expand, depthwise, project."""
    arrays = [array for _, group in read_layers(path) for array in group]
    scopes = ["MobilenetV2/Conv"]
    for scope, expansion, *_ in blocks():
        scopes += [
            f"{scope}/{part}" for part in (("expand",) if expansion > 1 else ()) + ("depthwise", "project")
        ]
    names = []
    for scope in [*scopes, "MobilenetV2/Conv_1"]:
        names.append(f"{scope}/{'depthwise_' if scope.endswith('depthwise') else ''}weights")
        names += [f"{scope}/BatchNorm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")]
    return dict(zip(names, (array.astype("float32") for array in arrays), strict=True))


def save_module(folder, content, prefix=""):
    """Save a stand-in for the module: TF-Slim's variables, and the network in plain TensorFlow operations."""
    import tensorflow as tf

    class Module(tf.train.Checkpoint):
        def __init__(self):
            super().__init__()
            # The attribute that TensorFlow Hub's reusable SavedModels promise.
            self.variables = [tf.Variable(value, name=prefix + name) for name, value in content.items()]
            self.by_name = dict(zip(content, self.variables, strict=True))

        def layer(self, x, scope, stride=1, relu=True):
            kind = tf.nn.depthwise_conv2d if scope.endswith("depthwise") else tf.nn.conv2d
            suffix = "depthwise_weights" if scope.endswith("depthwise") else "weights"
            strides = [1, stride, stride, 1]
            x = kind(x, self.by_name[f"{scope}/{suffix}"], strides=strides, padding="SAME")
            gamma, beta, mean, variance = (
                self.by_name[f"{scope}/BatchNorm/{part}"]
                for part in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 0.001)
            return tf.nn.relu6(x) if relu else x

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
        def __call__(self, images):
            x = self.layer(2 * images - 1, "MobilenetV2/Conv", 2)
            for scope, expansion, channels, output, stride in blocks():
                y = self.layer(x, f"{scope}/expand") if expansion > 1 else x
                y = self.layer(y, f"{scope}/depthwise", stride)
                y = self.layer(y, f"{scope}/project", relu=False)
                x = x + y if stride == 1 and channels == output else y
            return tf.reduce_mean(self.layer(x, "MobilenetV2/Conv_1"), axis=[1, 2])

    tf.saved_model.save(Module(), str(folder))
    return folder


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory, request):
    try:
        weights = request.getfixturevalue("shared") / "weights"
        path = find_weights("mobilenet_v2", weights).path
    except (pytest.skip.Exception, ModelError):
        path = None
    return save_module(tmp_path_factory.mktemp("hub") / "module", values(path), prefix="module/")


def images(size):
    return np.random.default_rng(1).random((2, size, size, 3), dtype=np.float32)


@pytest.mark.parametrize("size", [64, 96, 75])
def test_keras_network_agrees_with_the_module(module_folder, size):
    import keras
    import tensorflow_hub

    module = tensorflow_hub.load(str(module_folder))
    model = ragab_head(input_size=size)
    report = load_into(model, find_weights("mobilenet_v2", module_folder))
    assert report.missing == ("head_probabilities",)
    assert len(report.sha256) == 64
    features = keras.Model(model.input, model.get_layer("head_pooling").output)
    assert np.asarray(module(images(size))).std() > 0.01
    assert hub.check_against_module(features, module, images(size)) < 1e-4


def test_the_check_sees_a_wrong_input_range(module_folder):
    import keras
    import tensorflow as tf

    module = tf.saved_model.load(str(module_folder))
    bare = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), include_top=False, weights=None, pooling="avg"
    )
    hub.load_into(bare, module_folder)
    assert hub.check_against_module(bare, module, images(64)) > 1e-2


def test_the_model_needs_no_module_afterwards(module_folder, tmp_path):
    import keras

    model = ragab_head(input_size=64)
    hub.load_into(model, module_folder)
    assert not any(type(layer).__name__ in ("KerasLayer", "TFSMLayer") for layer in model.layers)
    model.save(tmp_path / "model.h5")
    again = keras.models.load_model(tmp_path / "model.h5", compile=False)
    np.testing.assert_allclose(again(images(64)), model(images(64)), atol=1e-6)


def stub(content):
    class Variable:
        def __init__(self, name, value):
            self.name, self.value = name + ":0", value

        def numpy(self):
            return self.value

    class Module:
        variables = tuple(Variable(name, value) for name, value in content.items())

    return Module()


def changed(change):
    content = {name: np.zeros(shape, np.float32) for name, shape in variable_shapes().items()}
    change(content)
    return stub(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("MobilenetV2/Conv_1/weights"), "lacks Conv_1/weights"),
        (lambda c: c.update({"MobilenetV2/extra/weights": np.zeros(1)}), "also has extra/weights"),
        (lambda c: c.update({"InceptionV1/weights": np.zeros(1)}), "no MobileNetV2 of TF-Slim has"),
        (
            lambda c: c.update({"MobilenetV2/Conv/weights": np.zeros((3, 3, 3, 16))}),
            "has shape .*another width",
        ),
    ],
)
def test_a_module_that_does_not_fit_changes_nothing(monkeypatch, change, message):
    monkeypatch.setattr(hub, "load_module", lambda _: changed(change))
    model = ragab_head(input_size=64)
    before = model.get_weights()
    with pytest.raises(ModelError, match=message) as caught:
        hub.load_into(model, "folder")
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_classifier_s_logits_are_not_missed(monkeypatch):
    extra = {"MobilenetV2/Logits/Conv2d_1c_1x1/weights": np.zeros(1), "global_step": np.zeros(())}
    monkeypatch.setattr(hub, "load_module", lambda _: changed(lambda c: c.update(extra)))
    assert len(hub.load_into(ragab_head(input_size=64), "folder").loaded) == 104


def test_another_network_is_refused(module_folder):
    import keras

    other = keras.applications.MobileNet(input_shape=(64, 64, 3), include_top=False, weights=None)
    with pytest.raises(ModelError, match="layer conv1: not one of MobileNetV2"):
        hub.load_into(other, module_folder)


def test_no_module_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="lists no variables"):
        hub.module_values(object())
    with pytest.raises(ModelError, match="cannot be loaded as a SavedModel") as caught:
        hub.load_module(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"feature_vector/4: addresses are not fetched") as caught:
        find_weights("mobilenet_v2", hub.RAGAB_HANDLE)
    assert "\n" not in str(caught.value)


def test_nothing_of_the_module_is_run(module_folder, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.saved_model, "load", None)
    shutil.copytree(module_folder / "variables", module_folder.parent / "bare" / "variables")
    found = hub.module_values(hub.load_module(module_folder.parent / "bare"))
    assert set(found) == {name.removeprefix("MobilenetV2/") for name in variable_shapes()}


def test_a_checkpoint_that_declares_more_than_it_holds(module_folder, tmp_path):
    shutil.copytree(module_folder, tmp_path / "cut")
    (data,) = (tmp_path / "cut" / "variables").glob("variables.data-*")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"declares [\d,]+ bytes and holds") as caught:
        hub.load_module(tmp_path / "cut")
    assert "\n" not in str(caught.value)
