"""Model files from strangers: each trap is one line, nothing in it is run, opened, unpacked or allocated."""

import io
import json
import tracemalloc
import warnings
import zipfile

import h5py
import numpy as np
import pytest

from covidcxr.errors import DataError, ModelError
from covidcxr.models import containers, deferred, description, weight_files
from covidcxr.models.files import ModelInfo, load_model, read_info, save_model
from covidcxr.models.pretrained import Found

SUFFIXES = (".h5", ".keras")
PREPROCESSING = {"size": [8, 8], "channels": 3}
INFO = ModelInfo("ragab2022", "tiny", "sound", ("covid19", "normal"), PREPROCESSING, 0, {})


def network():
    import keras

    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="head")(x))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """One good model as .h5 and .keras; tests copy them."""
    folder = tmp_path_factory.mktemp("models")
    for suffix in SUFFIXES:
        save_model(network(), folder / f"model{suffix}", INFO)
    return folder


@pytest.fixture(params=SUFFIXES)
def model(request, shelf, tmp_path):
    path = tmp_path / f"model{request.param}"
    path.write_bytes((shelf / path.name).read_bytes())
    return path


@pytest.fixture
def h5(shelf, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes((shelf / "model.h5").read_bytes())
    return path


@pytest.fixture
def archive(shelf, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes((shelf / "model.keras").read_bytes())
    return path


def members(path):
    with zipfile.ZipFile(path) as stored:
        return {name: stored.read(name) for name in stored.namelist()}


def rewrite(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as stored:
        for name, data in content.items():
            stored.writestr(name, data)


def redescribe(path, change):
    """Change a model's description in its file."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    content = members(path)
    config = json.loads(content["config.json"])
    change(config)
    rewrite(path, {**content, "config.json": json.dumps(config)})


def layer(config, name):
    return next(entry for entry in config["config"]["layers"] if entry["config"]["name"] == name)


def with_weights(path, change):
    """Change the HDF5 part of a model file."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            change(file["model_weights"])
        return
    content = members(path)
    stream = io.BytesIO(content["model.weights.h5"])
    with h5py.File(stream, "a") as file:
        change(file["layers"])
    rewrite(path, {**content, "model.weights.h5": stream.getvalue()})


def first_dataset(group):
    found = []
    group.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return next(item for item in found if item.ndim == 4)


def refused(path, message):
    tracemalloc.start()
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert peak < 200_000_000
    return str(caught.value)


def set_units(value):
    return lambda config: layer(config, "head")["config"].update(units=value)


def set_name(name):
    def change(config):
        layer(config, "head")["config"]["name"] = name

    return change


def set_option(place, **options):
    return lambda config: layer(config, place)["config"].update(options)


def set_entry(place, **facts):
    return lambda config: layer(config, place).update(facts)


def nested(inner):
    """Hide a description where a layer carries another one."""

    def change(config):
        layer(config, "pool").update(
            class_name="TimeDistributed", config={"name": "outer", "layer": inner, "trainable": True}
        )

    return change


LAMBDA = {
    "class_name": "Lambda",
    "module": "keras.layers",
    "registered_name": None,
    "config": {"name": "inner", "function": {"class_name": "__lambda__", "config": {"code": "4wAAAA=="}}},
}
LOOKUP = {"vocabulary": "/etc/passwd", "name": "words"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_units(2**40), r"units of 1,099,511,627,776 is no size of a network"),
        (set_units(10**400), "units of 10,000,000"),
        (set_option("conv", filters=2**40), "filters of"),
        (set_option("conv", kernel_size=[2**20, 2**20]), "holds|fit|rebuild|values"),
        (set_option("conv", kernel_size=[2**40, 1]), "kernel_size of"),
        (set_option("image", batch_shape=[None, 2**40, 2**40, 3]), "batch_shape of"),
        (set_option("image", batch_shape=[None, 2**20, 2**20, 3]), "one layer gives [0-9,]+ values"),
        (set_units(2**23), "rebuild"),
        (set_name("../../etc/passwd"), "layer ../../etc/passwd is called like a path"),
        (set_name("/etc"), "called like a path"),
        (set_name("..\\x"), "called like a path"),
        (set_name("C:\\x"), "called like a path"),
        (set_name("~/x"), "called like a path"),
        (set_name("a\nb"), "called like a path"),
        (set_name("x" * 10_000), "called like a path"),
        (nested(LAMBDA), "layer inner carries code of its own"),
        (set_entry("head", class_name="StringLookup", config=LOOKUP), "StringLookup, which reads files"),
        (set_entry("head", class_name="TextVectorization", config=LOOKUP), "which reads files"),
        (set_entry("head", registered_name="evil>Dense"), "asks for code from evil>Dense"),
        (set_entry("head", module="os", registered_name=None), "asks for code from os"),
        (set_entry("head", module="kerasevil.layers"), "asks for code from kerasevil"),
        (
            set_entry("head", class_name="deserialize", module="keras.ops.x"),
            "class deserialize, which neither",
        ),
        (set_entry("head", class_name="np", registered_name="covidcxr>np"), "class np, which neither"),
        (set_entry("head", class_name="get_file", module="keras.utils"), "class get_file, which neither"),
        (
            set_option("head", activation={"class_name": "function", "config": "system", "module": "os"}),
            "code from os",
        ),
        (
            set_option("head", kernel_initializer={"class_name": "X", "module": "os.path", "config": {}}),
            "from os.path",
        ),
    ],
)
def test_descriptions_that_ask_too_much(model, change, message):
    redescribe(model, change)
    refused(model, message)


@pytest.mark.parametrize("place", ["module", "registered_name"])
@pytest.mark.parametrize("kind", ["Dense", "function"])
def test_names_that_are_no_text_are_refused(place, kind):
    entry = {
        "class_name": "Dense",
        "config": {"activation": {"class_name": kind, "config": "relu", place: {"a": 1}}},
    }
    with pytest.raises(ModelError, match="asks for code from"):
        description.check("x.keras", entry)


@pytest.mark.parametrize(
    ("class_name", "size"), [("LocalResponseNormalization", 2**23 + 1), ("AdaptiveAveragePooling2D", 2**23)]
)
def test_our_own_layers_have_a_largest_size(model, class_name, size):
    options = {"name": "pool", "size": size}
    registered = f"covidcxr>{class_name}"
    name = registered if model.suffix == ".h5" else class_name
    redescribe(
        model, set_entry("pool", class_name=name, registered_name=registered, module=None, config=options)
    )
    refused(model, "whole number from 1 to 1024")


def test_a_description_of_very_many_layers(model):
    def change(config):
        config["config"]["layers"] += [layer(config, "pool")] * description.MOST_LAYERS

    redescribe(model, change)
    refused(model, r"describes 20,00\d layers")


def test_a_description_nested_without_end(model):
    text = '{"class_name": "Functional", "config": ' + "[" * 100_000 + "]" * 100_000 + "}"
    if model.suffix == ".h5":
        with h5py.File(model, "a") as file:
            file.attrs["model_config"] = text
    else:
        rewrite(model, {**members(model), "config.json": text})
    refused(model, "damaged|rebuild")


def test_a_network_that_was_refused_leaves_nothing_waiting(h5):
    """Keras makes variables that wait when the next network is built."""
    import keras

    redescribe(h5, set_units(2**23))
    refused(h5, "rebuild")
    tracemalloc.start()
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])(np.zeros((1, 4), np.float32))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "raw"])
def test_weights_outside_the_file_are_never_read(model, tmp_path, kind):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones((3, 3, 3, 4), np.float32)
    (tmp_path / "secret.bin").write_bytes(bytes(432))

    def change(group):
        dataset = first_dataset(group)
        parent, name = dataset.parent, dataset.name.rpartition("/")[2]
        del parent[name]
        if kind == "external":
            parent[name] = h5py.ExternalLink(str(other), "/secret")
        elif kind == "soft":
            parent[name] = h5py.SoftLink("/nowhere")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape=(3, 3, 3, 4), dtype="f4")
            layout[...] = h5py.VirtualSource(str(other), "secret", shape=(3, 3, 3, 4))
            parent.create_virtual_dataset(name, layout)
        else:
            place = [(str(tmp_path / "secret.bin"), 0, 432)]
            parent.create_dataset(name, (3, 3, 3, 4), "f4", external=place)

    with_weights(model, change)
    refused(model, "is a link; give" if kind == "soft" else "lies in another file")


def test_a_group_elsewhere_is_never_read(model, tmp_path):
    with_weights(model, lambda group: group.__setitem__("more", h5py.ExternalLink("/etc/x.h5", "/")))
    refused(model, "'.*more' lies in another file")


def test_arrays_that_declare_more_than_they_hold(model):
    def change(group):
        dataset = first_dataset(group)
        parent, name = dataset.parent, dataset.name.rpartition("/")[2]
        del parent[name]
        parent.create_dataset(name, (2**20, 2**20), "f4", chunks=(256, 256), compression="gzip")

    with_weights(model, change)
    refused(model, r"declares 4,398,[0-9,]+ bytes and holds [0-9,]+")


def test_arrays_of_anything_but_numbers(model):
    with_weights(
        model, lambda group: group.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
    )
    refused(model, "'.*names' holds no numbers")


def test_groups_without_end(model):
    def change(group):
        group["round"] = group

    with_weights(model, change)
    refused(model, "lies too deep")


def test_very_many_groups(h5, monkeypatch):
    monkeypatch.setattr(containers, "MOST_OBJECTS", 5)
    refused(h5, "among too many others")


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "/etc/cron.d/x", "assets/../../x", "C:\\x", "Config.json", "assets/vocabulary.txt", "a/"],
)
def test_archives_with_files_that_no_model_needs(archive, tmp_path, name):
    rewrite(archive, {**members(archive), name: b"x"})
    before = sorted(path.name for path in tmp_path.iterdir())
    assert ascii(name) in refused(archive, "which no model needs")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_archives_with_a_link(archive):
    with zipfile.ZipFile(archive, "a") as stored:
        link = zipfile.ZipInfo("model.weights.npz")
        link.external_attr = 0o120777 << 16
        stored.writestr(link, "/etc/passwd")
    refused(archive, "which no model needs")


def test_archives_with_a_file_twice(archive):
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "a") as stored:
        warnings.simplefilter("ignore")
        stored.writestr("config.json", "{}")
    refused(archive, "two files of one name")


def test_archives_that_unfold(archive):
    content = {**members(archive), "metadata.json": bytes(200_000_000)}
    rewrite(archive, content, zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 1_000_000
    refused(archive, r"declares 200,[0-9,]+ bytes and holds")
    with pytest.raises(ModelError, match="declares"):
        read_info(archive)


def test_an_archive_of_compressed_members_that_is_no_bomb_opens(archive):
    before = members(archive)
    rewrite(archive, before, zipfile.ZIP_DEFLATED)
    assert load_model(archive).count_params() == network().count_params()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"class_names": [0, 1]}, "class_names"),
        ({"class_names": ["a", "b\x1b]0;x\x07"]}, "printable"),
        ({"class_names": ["a", "b" * 1000]}, "printable"),
        ({"extra": 3}, "extra is 3, not of the kind dict"),
        ({"paper": ["x"]}, "paper"),
        ({"preprocessing": "x"}, "preprocessing"),
    ],
)
def test_what_a_file_says_of_itself(h5, facts, message):
    with h5py.File(h5, "a") as file:
        file.attrs["covidcxr"] = json.dumps({**json.loads(file.attrs["covidcxr"]), **facts})
    refused(h5, message)


def test_images_of_a_size_that_no_memory_holds(h5, tmp_path):
    import keras

    from covidcxr.inference import predict

    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    open_network = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    info = ModelInfo("x", "x", "x", ("a", "b"), {"size": [2**20, 2**20], "channels": 3}, 0, {})
    path = save_model(open_network, tmp_path / "open.h5", info)
    with pytest.raises(ModelError, match="more than 16,777,216 pixels"):
        predict(path, np.zeros((4, 4), np.uint8))


def test_starting_weights_are_looked_through_too(archive, tmp_path):
    rewrite(archive, {**members(archive), "../evil": b"x"})
    with pytest.raises(ModelError, match="which no model needs"):
        weight_files.load_into(network(), Found("keras_h5", archive, ""))
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(["conv"], "S")
        group = file.create_group("conv")
        group.attrs["weight_names"] = np.array(["k"], "S")
        group.create_dataset("k", (2**20, 2**20), "f4", chunks=(256, 256))
    with pytest.raises(ModelError, match="declares"):
        weight_files.load_into(network(), Found("keras_h5", path, ""))


def test_checkpoints_are_looked_through_before_a_run_goes_on(archive, tmp_path):
    from covidcxr.training.checkpoints import Checkpoints

    model = network()
    model.compile("adam", "categorical_crossentropy")
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(model, {"epoch": 1, "loss": 1.0})
    Checkpoints(tmp_path / "run").restore(model, [2])
    path = tmp_path / "run" / "checkpoint" / "epoch-0001.keras"
    rewrite(path, {**members(path), "../evil": b"x"})
    with pytest.raises(DataError, match=r"cannot resume .*which no model needs") as caught:
        Checkpoints(tmp_path / "run").restore(model, [2])
    assert "\n" not in str(caught.value)


def test_deferred_loading_gives_the_same_network(model):
    import keras

    loaded = load_model(model)
    plain = keras.saving.load_model(model, compile=False)
    for ours, theirs in zip(loaded.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(loaded(images), plain(images))
    assert deferred.largest_map(loaded) == 8 * 8 * 3
    loaded.compile("adam", "categorical_crossentropy")
    loaded.fit(images, np.eye(2, dtype=np.float32), verbose=0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_network_of_a_petabyte_is_refused_without_trying(suffix, tmp_path):
    import keras

    layers = [keras.layers.Dense(2, name="one"), keras.layers.Dense(2, name="two")]
    path = save_model(keras.Sequential([keras.Input((4,)), *layers]), tmp_path / f"m{suffix}", INFO)

    def change(config):
        for name in ("one", "two"):
            layer(config, name)["config"]["units"] = 2**24
            layer(config, name).pop("build_config", None)

    redescribe(path, change)
    message = refused(path, "rebuild")
    assert "alloc" not in message.lower()
    assert "memory" not in message.lower()
