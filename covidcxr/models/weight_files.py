"""Weight files of Keras, old and new, read into a network layer by layer, with an account of what fitted."""

import re
import warnings
import zipfile
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError, is_out_of_memory
from covidcxr.models import containers
from covidcxr.models.layer_names import is_head
from covidcxr.models.weights_report import WeightsReport, sha256

# Keras counts layers without a name of their own through a process, so their numbers tell the order, not the
# layer.
_AUTOMATIC = re.compile(r"(separable_|depthwise_)?(conv2d|batch_normalization|dense|normalization)(_\d+)?")
_IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)


def load_into(model, found, partial=False):
    """Fill a network from weights found by :func:`covidcxr.models.pretrained.find_weights`.

    Layers are matched by name; layers without a name of their own by order. Nothing is changed unless
    everything fits. A head (see :mod:`covidcxr.models.heads`) always keeps its own start.

    Parameters
    ----------
    model : keras.Model
        A backbone, or a flat classifier on one.
    found : covidcxr.models.pretrained.Found
    partial : bool, optional
        Accept a file that holds only the network's first layers (a trunk).

    Returns
    -------
    WeightsReport

    Raises
    ------
    ModelError
        If the file is truncated, was not written by Keras, belongs to another network or width, or holds only
        a trunk and `partial` is false.
    """
    if found.kind == "none":
        return WeightsReport((), tuple(layer.name for layer in _weighted(model)), (), "", "")
    if found.kind == "saved_model":
        from covidcxr.models import hub

        return hub.load_into(model, found.path)
    path = Path(found.path)
    try:
        containers.check(path)
        loaded, unused = _load_file(model, path, partial)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: cannot be read as Keras weights ({reason}); fetch it again") from error
    missing = tuple(layer.name for layer in _weighted(model) if layer.name not in set(loaded))
    return WeightsReport(tuple(loaded), missing, tuple(unused), path.name, sha256(path))


def read_layers(path):
    """Read a file in Keras' older format (``save_weights`` or ``save`` to .h5), nested models taken apart.

    Returns
    -------
    list of (str, list of numpy.ndarray) or None
        Layer name and arrays, for layers that have any; None if the file is in Keras 3's own ``.weights.h5``
        layout.

    Raises
    ------
    ModelError
        If it is HDF5 but holds no Keras weights.
    OSError
        If it is not HDF5, or truncated.
    """
    import h5py

    with h5py.File(path, "r") as file:
        group = _own(file, "model_weights") if "model_weights" in file else file
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            return [
                part for name in _names(group, "layer_names") for part in _arrays(_own(group, name), name)
            ]
        if "layers" in group:
            return None
    raise ModelError(f"{path}: an HDF5 file without Keras weights; give one written by Keras")


def _load_file(model, path, partial):
    if zipfile.is_zipfile(path):
        return _load_by_keras(model, path)
    stored = read_layers(path)
    if stored is None:
        return _load_by_keras(model, path)
    targets = [layer for layer in _weighted(model) if not is_head(layer)]
    pairs, unused = _match(targets, stored, path, partial)
    for layer, arrays in pairs:
        _check_shapes(layer, arrays, path)
    for layer, arrays in pairs:
        _assign(layer, arrays)
    return [layer.name for layer, _ in pairs], unused


def _load_by_keras(model, path):
    """Load a file of exactly this network; Keras refuses any other."""
    if path.suffix != ".keras" and not path.name.endswith(".weights.h5"):
        raise ModelError(f"{path}: in Keras 3's weight layout; rename it to end in .weights.h5")
    before = model.get_weights()
    head = {layer.name: layer.get_weights() for layer in _weighted(model) if is_head(layer)}
    try:
        with warnings.catch_warnings():
            # Files of an older Keras 3 lack a second listing of the layers, of no consequence.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model.load_weights(path)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        model.set_weights(before)
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: does not fit {model.name} ({reason}); is it another network's?") from error
    for name, values in head.items():
        model.get_layer(name).set_weights(values)
    return [layer.name for layer in _weighted(model) if not is_head(layer)], []


def _match(targets, stored, path, partial):
    """Pair layers with stored arrays; return the pairs and the names of what is left of the file."""
    places = {_plain(name): place for place, (name, _) in enumerate(stored) if not _AUTOMATIC.fullmatch(name)}
    paired = {layer.name: places[layer.name] for layer in targets if layer.name in places}
    open_targets = [layer for layer in targets if layer.name not in paired]
    open_places = [place for place in range(len(stored)) if place not in set(paired.values())]
    if paired:
        open_targets = [layer for layer in open_targets if _AUTOMATIC.fullmatch(layer.name)]
        open_places = [place for place in open_places if _AUTOMATIC.fullmatch(stored[place][0])]
    paired.update(zip([layer.name for layer in open_targets], open_places, strict=False))
    _check_complete(targets, paired, path, partial)
    unused = [name for place, (name, _) in enumerate(stored) if place not in set(paired.values())]
    last = max(paired.values())
    inside = [name for place, (name, _) in enumerate(stored) if place < last and name in unused]
    if inside:
        raise ModelError(
            f"{path}: has layers that the network lacks ({inside[0]} and {len(inside) - 1} more); "
            "is it another network's?"
        )
    return [(layer, stored[paired[layer.name]][1]) for layer in targets if layer.name in paired], unused


def _check_complete(targets, paired, path, partial):
    missing = [layer.name for layer in targets if layer.name not in paired]
    if not paired:
        raise ModelError(f"{path}: none of its layers fits the network; is it another network's?")
    if missing and not partial:
        raise ModelError(
            f"{path}: holds {len(paired)} of the network's {len(targets)} layers with weights "
            f"({missing[0]} is the first without); give the whole network, or allow --partial-weights"
        )


def _check_shapes(layer, arrays, path):
    wanted = [tuple(weight.shape) for weight in layer.weights]
    given = [array.shape for array in arrays]
    if wanted != given:
        raise ModelError(
            f"{path}: layer {layer.name} wants {wanted}, the file has {given}; "
            "is it another network or width (alpha)?"
        )


def _assign(layer, arrays):
    for weight, array in zip(layer.weights, arrays, strict=True):
        weight.assign(array)
    if hasattr(layer, "finalize_state"):
        _square_deviations(layer)
        layer.finalize_state()


def _square_deviations(layer):
    """Undo a slip in Keras' EfficientNet files: they store the deviation where the layer wants the variance.

    Keras makes up for it with one more layer, but only in a network built with ``weights="imagenet"``.
    https://github.com/tensorflow/tensorflow/issues/49930
    """
    variance = np.asarray(layer.adapt_variance)
    if variance.size == 3 and np.allclose(variance.ravel(), _IMAGENET_DEVIATIONS, atol=1e-3):
        layer.adapt_variance.assign(variance**2)


def _weighted(model):
    return [layer for layer in model.layers if layer.weights]


def _arrays(group, name):
    """Return the (layer name, arrays) pairs of a layer's group; several where the layer is itself a model."""
    by_owner = {}
    for weight in _names(group, "weight_names"):
        owner = weight.rsplit("/", 2)[-2] if weight.count("/") else name
        by_owner.setdefault(owner, []).append(_array(group, weight))
    if len(by_owner) == 1:
        return [(name, arrays) for arrays in by_owner.values()]
    return list(by_owner.items())


def _array(group, name):
    dataset = _own(group, name)
    if not hasattr(dataset, "is_virtual"):
        raise ModelError(f"{group.file.filename}: {name} is no array; give a file as Keras writes it")
    if dataset.is_virtual or dataset.external:
        raise ModelError(_elsewhere(group, name))
    return dataset[()]


def _own(group, name):
    """Return a member of a group; a file may point into other files, but weights have no reason to."""
    member = group[name]
    if member.file.filename != group.file.filename:
        raise ModelError(_elsewhere(group, name))
    return member


def _elsewhere(group, name):
    return f"{group.file.filename}: {name} lies in another file; give a file that is whole in itself"


def _names(group, attribute):
    """Read a list of names, which Keras splits into numbered pieces where HDF5's limit asks for it."""
    pieces = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(pieces)}" in group.attrs:
        pieces.append(f"{attribute}{len(pieces)}")
    names = [name for piece in pieces for name in group.attrs[piece]]
    return [name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in names]


def _plain(name):
    return name.replace("/", "_")
