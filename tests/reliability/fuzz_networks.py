"""Small valid models, Keras weights and checkpoints, and how the commands read them."""

import io
import json

import numpy as np
from fuzz_containers import items, members, unzipped, zipped
from fuzz_mutations import any_bytes, nodes

_INFO = {
    "paper": "ragab2022",
    "network": "tiny",
    "protocol": "published",
    "class_names": ["covid19", "normal"],
    "preprocessing": {
        "size": [16, 16],
        "channels": 3,
        "rescale": 0.00392,
        "reading": {"depth": "full_range"},
    },
    "seed": 0,
    "versions": {"keras": "3"},
    "extra": {"case": "binary"},
}
_NETWORK = {
    "class_name": "Sequential",
    "config": {
        "name": "net",
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_shape": [None, 32, 32, 3], "name": "in"}},
            {"class_name": "Flatten", "config": {"name": "flat"}},
        ],
    },
}


def inside_keras(rng, name, content, others):
    """Damage a file inside a .keras archive by its kind."""
    if name.endswith(".json"):
        return nodes(rng, content, others)
    return items(rng, content, others) if name.endswith(".h5") else any_bytes(rng, content, others)


# What a model file says of itself


def described(folder):
    """Return .h5 and .keras files that hold a description and no weights."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["model_config"] = json.dumps(_NETWORK)
        file.attrs["keras_version"] = "3.12.0"
        file.attrs["covidcxr"] = json.dumps(_INFO).encode()
    found = {"config.json": _NETWORK, "covidcxr.json": _INFO}
    archive = zipped([(name, json.dumps(value).encode()) for name, value in found.items()])
    return [("model.h5", stream.getvalue()), ("model.keras", archive)]


def read_description(folder, place):
    """Read what a model file says, as every command does first."""
    from covidcxr.data.preprocessing import Preprocessing
    from covidcxr.models.files import read_info

    info = read_info(folder / place)
    return Preprocessing.from_dict(info.preprocessing)


# Networks


def _network():
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((16, 16, 3), name="images"),
        keras.layers.Conv2D(4, 3, name="conv"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(2, "softmax", name="head_probabilities"),
    ]
    return keras.Sequential(layers, name="net")


def _saved(folder, suffix):
    from covidcxr.models.files import ModelInfo, save_model

    path = folder / f"made{suffix}"
    save_model(_network(), path, ModelInfo(**{**_INFO, "class_names": tuple(_INFO["class_names"])}))
    data = path.read_bytes()
    path.unlink()
    if suffix == ".h5":
        return data
    # Keras notes the time at which it saved.
    dated = [(name, content) for name, content in unzipped(data) if name != "metadata.json"]
    return zipped(
        [*dated, ("metadata.json", b'{"keras_version": "3.12.0", "date_saved": "2020-01-01@00:00:00"}')]
    )


def h5_models(folder):
    """Return a model as we save it to .h5."""
    return [("model.h5", _saved(folder, ".h5"))]


def keras_models(folder):
    """Return a model as we save it to .keras."""
    return [("model.keras", _saved(folder, ".keras"))]


def read_model(folder, place):
    """Load a model as `covidcxr predict` does."""
    import keras

    from covidcxr.inference import _loader
    from covidcxr.models.files import info_of, load_model

    try:
        model = load_model(folder / place)
        return info_of(model) and _loader(model, info_of(model))
    finally:
        keras.backend.clear_session()


_TARGET = {}


def weights(folder):
    """Return weight files in Keras' older layout, alone and inside a whole model's."""
    import h5py

    _TARGET["model"] = _network()
    path = folder / "made.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        _write_layers(file, _TARGET["model"])
        _write_layers(group, _TARGET["model"])
    whole = path.read_bytes()
    with h5py.File(path, "w") as file:
        _write_layers(file, _TARGET["model"])
    plain = path.read_bytes()
    path.unlink()
    return [("weights.h5", plain), ("whole.h5", whole)]


def _write_layers(group, model):
    layers = [layer for layer in model.layers if layer.weights]
    group.attrs["layer_names"] = np.array([layer.name.encode() for layer in layers])
    for layer in layers:
        place = group.create_group(layer.name)
        names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
        place.attrs["weight_names"] = np.array([name.encode() for name in names])
        for name, weight in zip(names, layer.weights, strict=True):
            place[name] = np.asarray(weight)


def read_weights(folder, place):
    """Fill a network as `--weights FILE` does."""
    from covidcxr.models.weight_files import load_into
    from covidcxr.models.weights_place import Found

    return load_into(_TARGET["model"], Found("keras_h5", folder / place, ""))


def checkpoints(folder):
    """Return the state and the model of a run that was stopped after an epoch."""
    from covidcxr.training.checkpoints import Checkpoints

    model = _compiled()
    Checkpoints(folder).save(model, {"epoch": 1, "stage": "head", "loss": 1.0})
    _TARGET["model"] = model
    place = folder / "checkpoint"
    return [(f"checkpoint/{path.name}", path.read_bytes()) for path in sorted(place.iterdir())]


def _compiled():
    model = _network()
    model.compile("sgd", "categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


def read_checkpoint(folder, _place):
    """Go on as `covidcxr train --resume` does."""
    from covidcxr.training.checkpoints import Checkpoints

    Checkpoints(folder, writes=False).restore(_TARGET["model"], [3])


def inside_checkpoint(rng, data, others):
    """Damage state.json or the .keras beside it, each by its kind."""
    if data[:2] != b"PK":
        return nodes(rng, data, others)
    return members(inside_keras)(rng, data, others)
