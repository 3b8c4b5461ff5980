import hashlib

import h5py
import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.heads import HeadSpec, classifier
from covidcxr.models.pretrained import Found, find_weights
from covidcxr.models.start import start
from covidcxr.models.weight_files import load_into


def tiny(units=4, classes=3, seed=0, auto=False, depth=2):
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for number in range(depth):
        name = None if auto else f"conv_{number}"
        x = keras.layers.Conv2D(units, 3, padding="same", name=name)(x)
        x = keras.layers.BatchNormalization(name=None if auto else f"norm_{number}")(x)
    if classes:
        x = keras.layers.Dense(classes, name="predictions")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def save(model, path):
    """Write the older .h5 weight format, as the published files have it."""
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return Found("keras_h5", path, "")


def outputs(model):
    return np.asarray(model(np.random.default_rng(0).random((2, 8, 8, 3), dtype=np.float32)))


def refused(model, found, match, **options):
    before = model.get_weights()
    with pytest.raises(ModelError, match=match) as caught:
        load_into(model, found, **options)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("auto", [False, True])
def test_every_layer_is_accounted_for(tmp_path, auto):
    source, target = tiny(seed=1, auto=auto), tiny(seed=2, auto=auto)
    found = save(source, tmp_path / "weights.h5")
    report = load_into(target, found)
    np.testing.assert_array_equal(outputs(target), outputs(source))
    assert report.loaded == tuple(layer.name for layer in target.layers if layer.weights)
    assert report.missing == report.unused == ()
    assert report.sha256 == hashlib.sha256((tmp_path / "weights.h5").read_bytes()).hexdigest()
    assert report.source == "weights.h5"


def test_names_decide_over_order(tmp_path):
    import keras

    def two(order):
        layers = {name: keras.layers.Dense(3, name=name) for name in ("a", "b")}
        inputs = keras.Input((3,))
        return keras.Model(inputs, layers[order[1]](layers[order[0]](inputs)))

    source, target = two("ab"), two("ba")
    load_into(target, save(source, tmp_path / "w.h5"))
    np.testing.assert_array_equal(target.get_layer("a").kernel, source.get_layer("a").kernel)


def test_a_classifier_takes_the_backbone_and_keeps_its_head(tmp_path):
    backbone = tiny(classes=0, seed=1)
    found = save(backbone, tmp_path / "w.h5")
    model = classifier(tiny(classes=0, seed=2), HeadSpec(2, hidden=(5,)), input_scaling=(2.0, -1.0))
    head = model.get_layer("head_probabilities").get_weights()
    report = load_into(model, found)
    assert report.missing == ("head_dense_1", "head_probabilities")
    np.testing.assert_array_equal(model.get_layer("conv_1").kernel, backbone.get_layer("conv_1").kernel)
    np.testing.assert_array_equal(model.get_layer("head_probabilities").get_weights()[0], head[0])


def test_a_classifier_s_own_file_starts_another(tmp_path):
    trained = classifier(tiny(classes=0, seed=1), HeadSpec(4))
    trained.save(tmp_path / "model.h5")
    model = classifier(tiny(classes=0, seed=2), HeadSpec(2))
    report = load_into(model, Found("keras_h5", tmp_path / "model.h5", ""))
    assert (report.missing, report.unused) == (("head_probabilities",), ("head_probabilities",))


def test_a_nested_model_is_taken_apart(tmp_path):
    import keras

    backbone = tiny(classes=0, seed=1)
    inputs = keras.Input((8, 8, 3))
    keras.Sequential([inputs, backbone, keras.layers.GlobalAveragePooling2D()]).save(tmp_path / "model.h5")
    target = tiny(classes=0, seed=2)
    load_into(target, Found("keras_h5", tmp_path / "model.h5", ""))
    np.testing.assert_array_equal(outputs(target), outputs(backbone))


def test_a_file_with_its_classifier_fits_a_network_without(tmp_path):
    report = load_into(tiny(classes=0), save(tiny(), tmp_path / "w.h5"))
    assert report.unused == ("predictions",)


def test_a_trunk_must_be_allowed(tmp_path):
    found = save(tiny(classes=0, depth=1, seed=1), tmp_path / "w.h5")
    target = tiny(classes=0, depth=2)
    refused(target, found, r"holds 2 of the network's 4 layers .*conv_1 is the first")
    report = load_into(target, found, partial=True)
    assert report.loaded == ("conv_0", "norm_0")
    assert report.missing == ("conv_1", "norm_1")


def test_another_network_is_refused(tmp_path):
    import keras

    deeper = save(tiny(classes=0, depth=3), tmp_path / "deeper.h5")
    refused(tiny(classes=2, depth=2), deeper, "holds 4 of the network's 5 layers")
    refused(tiny(classes=0, units=8), save(tiny(classes=0), tmp_path / "narrow.h5"), "width")
    other = save(classifier(tiny(classes=0, auto=True), HeadSpec(2)), tmp_path / "auto.h5")
    refused(tiny(classes=0, depth=7), other, r"layer conv_2 wants .* the file has", partial=True)
    nothing = save(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]), tmp_path / "nothing.h5")
    refused(tiny(), nothing, "none of its layers fits")


def test_a_deeper_relative_with_the_same_names_is_refused(tmp_path):
    import keras

    def stack(names):
        inputs = x = keras.Input((3,))
        for name in names:
            x = keras.layers.Dense(3, name=name)(x)
        return keras.Model(inputs, x)

    found = save(stack(["one", "one_b", "two"]), tmp_path / "w.h5")
    refused(stack(["one", "two"]), found, r"layers that the network lacks \(one_b")


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_3_formats(tmp_path, suffix):
    source, target = tiny(seed=1), tiny(seed=2)
    path = tmp_path / f"model{suffix}"
    (source.save if suffix == ".keras" else source.save_weights)(path)
    report = load_into(target, Found("keras_h5", path, ""))
    np.testing.assert_array_equal(outputs(target), outputs(source))
    assert report.missing == ()
    refused(tiny(depth=3), Found("keras_h5", path, ""), "does not fit|another network")
    refused(tiny(units=8), Found("keras_h5", path, ""), "does not fit|another network")


def test_broken_files_are_one_line(tmp_path):
    whole = tmp_path / "whole.h5"
    save(tiny(), whole)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole.read_bytes()[:3000])
    refused(tiny(), Found("keras_h5", cut, ""), r"cut\.h5: cannot be read as Keras weights \(.*truncated")
    page = tmp_path / "page.h5"
    page.write_text("<html>404</html>")
    refused(tiny(), Found("keras_h5", page, ""), r"page\.h5: cannot be read")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["table"] = np.zeros(3)
    refused(tiny(), Found("keras_h5", tmp_path / "foreign.h5", ""), "without Keras weights")
    empty = tmp_path / "empty.h5"
    empty.touch()
    refused(tiny(), Found("keras_h5", empty, ""), r"empty\.h5: cannot be read")


def test_weights_outside_the_file_are_refused(tmp_path):
    save(tiny(), tmp_path / "real.h5")
    save(tiny(), tmp_path / "links.h5")
    with h5py.File(tmp_path / "links.h5", "a") as file:
        del file["conv_0"]
        file["conv_0"] = h5py.ExternalLink("real.h5", "/conv_0")
    refused(tiny(), Found("keras_h5", tmp_path / "links.h5", ""), "lies in another file")


def test_a_group_where_an_array_must_be_is_named(tmp_path):
    path = tmp_path / "group.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv_0"]
        file.create_group("conv_0").attrs["weight_names"] = [b"kernel"]
        file.create_group("conv_0/kernel")
    refused(tiny(), Found("keras_h5", path, ""), "kernel is no array")


def test_a_random_start_loads_nothing():
    report = load_into(tiny(), find_weights("vgg16", "none"))
    assert report.loaded == ()
    assert len(report.missing) == 5


def test_efficientnet_agrees_with_keras_imagenet_network(tmp_path, monkeypatch):
    """Keras corrects its EfficientNet files by a layer of its own; we correct the loaded variance."""
    import keras
    from keras.src.utils import file_utils

    shape = (64, 64, 3)
    source = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=shape)
    normalization = next(layer for layer in source.layers if layer.name.startswith("normalization"))
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    found = save(source, tmp_path / "efficientnetb0_notop.h5")
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(found.path))
    theirs = keras.applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=shape)
    ours = start("efficientnet_b0", shape, found.path)
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    expected = np.asarray(theirs(images))
    np.testing.assert_allclose(ours(images), expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(np.asarray(source(images)) - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(("key", "alpha"), [("mobilenet_v2", 0.35), ("mobilenet", 0.25), ("mobilenet", 0.75)])
def test_real_files_as_keras_loads_them(shared, key, alpha):
    import keras

    builder = getattr(keras.applications, backbones.get(key).builder.partition(":")[2])
    found = find_weights(key, shared / "weights", alpha)
    theirs = builder(weights=str(found.path), include_top=False, input_shape=(96, 96, 3), alpha=alpha)
    ours = backbones.build(key, (96, 96, 3), alpha=alpha)
    assert load_into(ours, found).missing == ()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-5)


def test_a_real_file_with_its_classifier(shared):
    path = shared / "weights" / "mobilenet_2_5_224_tf.h5"
    if not path.is_file():
        pytest.skip("this folder has no MobileNet 0.25 with classifier")
    report = load_into(backbones.build("mobilenet", (96, 96, 3), alpha=0.25), Found("keras_h5", path, ""))
    assert report.unused == ("conv_preds",)


def test_a_real_file_of_another_width(shared):
    found = find_weights("mobilenet_v2", shared / "weights", 0.35)
    refused(backbones.build("mobilenet_v2", (96, 96, 3)), found, r"width \(alpha\)")


def test_the_xception_trunk(shared):
    import keras

    found = find_weights("xception", shared / "weights")
    whole = backbones.build("xception", (96, 96, 3))
    refused(whole, found, "holds 76 of the network's 80 layers")
    report = load_into(whole, found, partial=True)
    assert report.missing == (
        "block14_sepconv1",
        "block14_sepconv1_bn",
        "block14_sepconv2",
        "block14_sepconv2_bn",
    )
    # By order, as the file's own description asks for.
    reference = keras.applications.Xception(weights=None, include_top=False, input_shape=(96, 96, 3))
    cuts = [
        [layer for layer in model.layers if isinstance(layer, keras.layers.Add)][-1]
        for model in (whole, reference)
    ]
    ours = keras.Model(whole.input, cuts[0].output)
    theirs = keras.Model(reference.input, cuts[1].output)
    theirs.load_weights(found.path)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 96, 96, 3)).astype("float32")
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-4)
