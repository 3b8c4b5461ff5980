import itertools
import json
import logging
import sys
import zipfile
from subprocess import run

import h5py
import numpy as np
import pytest

from covidcxr.errors import ModelError, OutputError
from covidcxr.models import backbones
from covidcxr.models.files import ModelInfo, attach_info, info_of, load_model, read_info, save_model
from covidcxr.models.freezing import freeze_all, freeze_layers, trainable_counts
from covidcxr.models.heads import HeadSpec, classifier

INFO = ModelInfo(
    paper="ragab2022",
    network="mobilenet_v2",
    protocol="sound",
    class_names=("covid19", "normal"),
    preprocessing={"size": [64, 64], "scale": 1 / 255, "mean": None},
    seed=7,
    versions={"keras": "3"},
    extra={"note": "Ärzte", "rates": [1e-3, 1e-5]},
)


def backbone(seed=0, shape=(32, 32, 3)):
    import keras

    keras.utils.set_random_seed(seed)
    model = backbones.build("mobilenet", shape, alpha=0.25, pooling="avg")
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def flat():
    model = backbone()
    freeze_layers(model, 60)
    return classifier(model, HeadSpec(2, dropout=0.4, hidden=(8,)), input_scaling=(2.0, -1.0))


def nested(batchnorm="inference"):
    import keras

    inner = backbone()
    freeze_layers(inner, 40, batchnorm)
    return keras.Sequential([keras.Input((32, 32, 3)), inner, keras.layers.Dense(2, activation="softmax")])


def own_layer():
    import keras

    from covidcxr.models.layers import LocalResponseNormalization

    inputs = keras.Input((8, 8, 3))
    x = LocalResponseNormalization()(keras.layers.Conv2D(6, 3)(inputs))
    return classifier(keras.Model(inputs, x), HeadSpec(2))


def plain():
    import keras

    inputs = keras.Input((4,), name="image")
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="head")(inputs))


def images(model):
    return np.random.default_rng(0).random((2, *model.input_shape[1:]), dtype=np.float32)


BUILDERS = {
    "flat": flat,
    "nested": nested,
    "nested_training": lambda: nested("training"),
    "own_layer": own_layer,
}

FRESH = """
import sys
import numpy as np
from covidcxr.models.files import info_of, load_model
for path in sys.argv[1:]:
    model = load_model(path)
    arrays = np.load(path + ".npz")
    result, expected = np.asarray(model(arrays["x"]), np.float32), arrays["y"]
    assert expected.std() > 1e-4, path
    np.testing.assert_allclose(result, expected, atol=1e-6, err_msg=path)
    assert info_of(model).class_names == ("covid19", "normal")
print("agreed", len(sys.argv) - 1)
"""


def saved(model, path):
    save_model(model, path, INFO)
    np.savez(f"{path}.npz", x=images(model), y=np.asarray(model(images(model)), np.float32))
    return str(path)


@pytest.mark.slow
def test_round_trip_in_a_fresh_process(tmp_path):
    import keras

    before = keras.config.dtype_policy()
    paths = []
    for policy, suffix in itertools.product(("float32", "mixed_bfloat16"), (".h5", ".keras")):
        keras.config.set_dtype_policy(policy)
        try:
            paths += [
                saved(build(), tmp_path / f"{name}-{policy}{suffix}") for name, build in BUILDERS.items()
            ]
        finally:
            keras.config.set_dtype_policy(before)
    done = run([sys.executable, "-c", FRESH, *paths], capture_output=True, text=True, check=False)
    assert f"agreed {len(paths)}" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_inception_resnet_reopens(tmp_path):
    model = classifier(backbones.build("inception_resnet_v2", (75, 75, 3)), HeadSpec(2))
    save_model(model, tmp_path / "model.h5", INFO)
    np.testing.assert_allclose(
        load_model(tmp_path / "model.h5")(images(model)), model(images(model)), atol=1e-6
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_info_travels_and_needs_no_tensorflow(tmp_path, suffix):
    path = save_model(plain(), tmp_path / f"model{suffix}", INFO)
    assert read_info(path) == INFO
    code = (
        "import sys; from covidcxr.models.files import read_info; print(read_info(sys.argv[1]).network);"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "mobilenet_v2", done.stderr


def test_info_belongs_to_its_model(tmp_path):
    model = plain()
    assert info_of(model) is None
    attach_info(model, INFO)
    assert info_of(model) is INFO
    save_model(model, tmp_path / "model.h5", INFO)
    assert info_of(load_model(tmp_path / "model.h5")) == INFO


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_the_optimiser_stays_behind(tmp_path, suffix):
    model = plain()
    model.compile("adam", "categorical_crossentropy")
    model.fit(images(model), np.eye(2, dtype=np.float32), verbose=0)
    path = save_model(model, tmp_path / f"model{suffix}", INFO)
    if suffix == ".h5":
        with h5py.File(path) as file:
            assert set(file) == {"model_weights"}
            assert "training_config" not in file.attrs
    else:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            assert b"adam" not in archive.read("model.weights.h5")
        assert not config.get("compile_config")
    assert model.optimizer is not None
    assert not load_model(path).compiled


def test_what_is_frozen_stays_frozen(tmp_path):
    model = flat()
    save_model(model, tmp_path / "model.h5", INFO)
    assert trainable_counts(load_model(tmp_path / "model.h5")) == trainable_counts(model)
    frozen = backbone()
    freeze_all(frozen)
    save_model(frozen, tmp_path / "frozen.keras", INFO)
    assert trainable_counts(load_model(tmp_path / "frozen.keras"))[0] == 0


@pytest.mark.filterwarnings("error::UserWarning")
def test_saving_and_loading_say_nothing(tmp_path, caplog, capfd):
    with caplog.at_level(logging.WARNING):
        load_model(save_model(plain(), tmp_path / "model.h5", INFO))
    assert caplog.text == ""
    assert "legacy" not in "".join(capfd.readouterr())


def test_a_failed_save_leaves_the_old_file(tmp_path):
    import keras

    class Unknown(keras.Model):
        def call(self, x):
            return x

    path = tmp_path / "model.h5"
    save_model(plain(), path, INFO)
    before = path.read_bytes()
    odd = Unknown()
    odd.build((None, 4))
    odd.get_config = None
    with pytest.raises(ModelError, match="cannot be stored"):
        save_model(odd, path, INFO)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]
    with pytest.raises(ModelError, match=r"must end in \.h5 or \.keras"):
        save_model(plain(), tmp_path / "model.hdf5", INFO)
    with pytest.raises(OutputError):
        save_model(plain(), tmp_path / "absent" / "model.h5", INFO)


def changed(path, change):
    """Rewrite the network's description in a model file."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_lambda(config):
    import base64
    import marshal

    code = base64.b64encode(marshal.dumps(compile("open('run', 'w')", "x", "exec"))).decode()
    config["config"]["layers"].append(
        {
            "class_name": "Lambda",
            "name": "trap",
            "config": {"name": "trap", "function": {"class_name": "__lambda__", "config": {"code": code}}},
        }
    )


def with_unknown(config):
    config["config"]["layers"][1].update(
        class_name="SpecialDense", module="special", registered_name="special>X"
    )


def with_function(config):
    config["config"]["layers"][1]["config"]["activation"] = {
        "class_name": "function",
        "config": "get_file",
        "module": "keras.utils",
        "registered_name": "get_file",
    }


def with_module(config):
    config["config"]["layers"][1].update(module="this")


def with_saved_model(config):
    config["config"]["layers"][1].update(class_name="TFSMLayer", module="keras.layers")


def with_bad_option(config):
    config["config"]["layers"][1]["config"]["units"] = -3


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_lambda, "layer trap carries code"),
        (with_unknown, "class SpecialDense, which neither Keras nor covidcxr has"),
        (with_function, r"asks for code from keras\.utils"),
        (with_module, "asks for code from this"),
        (with_saved_model, "carries code of its own"),
        (with_bad_option, "Keras cannot rebuild this model"),
    ],
)
def test_untrustworthy_networks_are_one_line(tmp_path, monkeypatch, suffix, change, message):
    monkeypatch.chdir(tmp_path)
    path = save_model(plain(), tmp_path / f"model{suffix}", INFO)
    changed(path, change)
    refused(path, message)
    assert not (tmp_path / "run").exists()


def refused(path, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_cut_files(tmp_path, suffix):
    whole = save_model(flat(), tmp_path / f"whole{suffix}", INFO).read_bytes()
    for share in (0, 0.001, 0.3, 0.9, 0.9999):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path, "cut short|damaged|cannot rebuild")
        with pytest.raises(ModelError):
            read_info(path)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_damage_inside(tmp_path, suffix):
    path = save_model(plain(), tmp_path / f"model{suffix}", INFO)
    content = bytearray(path.read_bytes())
    middle = content.find(b"batch_shape") if suffix == ".h5" else len(content) // 3
    content[middle : middle + 40] = bytes(255 - byte for byte in content[middle : middle + 40])
    path.write_bytes(bytes(content))
    refused(path, "damaged|cannot rebuild|cut short|not a Keras model")


def test_files_that_are_no_models(tmp_path):
    (tmp_path / "page.h5").write_text("<html>not found</html>")
    refused(tmp_path / "page.h5", "not a Keras model")
    with zipfile.ZipFile(tmp_path / "photos.keras", "w") as archive:
        archive.writestr("photo.png", b"")
    refused(tmp_path / "photos.keras", "a zip file, but not a Keras model")
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["x"] = np.zeros(3)
    refused(tmp_path / "table.h5", "not a Keras model")
    plain().save_weights(tmp_path / "model.weights.h5")
    refused(tmp_path / "model.weights.h5", "weights without a network")
    refused(tmp_path / "absent.h5", "No such file")
    refused(tmp_path, "a folder, not a model file; give")
    save_model(plain(), tmp_path / "model.h5", INFO)
    refused(tmp_path, r"a folder, not a model file \(it holds model\.h5\)")


def test_a_wrong_suffix_is_named(tmp_path):
    path = save_model(plain(), tmp_path / "model.keras", INFO)
    path.rename(tmp_path / "model.h5")
    refused(tmp_path / "model.h5", r"by its content a \.keras file; rename")


def test_foreign_models_load_without_info(tmp_path):
    model = plain()
    model.save(tmp_path / "model.h5")
    assert info_of(load_model(tmp_path / "model.h5")) is None
    with pytest.raises(ModelError, match="says nothing of classes"):
        read_info(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file.attrs["covidcxr"] = '{"paper": "x"}'
    with pytest.raises(ModelError, match="cannot be read"):
        read_info(tmp_path / "model.h5")


@pytest.mark.parametrize("names", [[1, 2], ["covid19"], ["a", "a"], "ab", ["", "b"], None])
def test_class_names_that_are_none_are_refused(names, tmp_path):
    import json

    path = save_model(plain(), tmp_path / "model.h5", INFO)
    with h5py.File(path, "a") as file:
        file.attrs["covidcxr"] = json.dumps({**json.loads(file.attrs["covidcxr"]), "class_names": names})
    for read in (read_info, load_model):
        with pytest.raises(ModelError, match="what it says of its classes cannot be read"):
            read(path)
