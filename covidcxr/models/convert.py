"""PyTorch's and Caffe's published weight files rewritten as `.h5` weights that Keras and this package load."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path

from covidcxr.atomic import make_folder, whole_file
from covidcxr.errors import ModelError
from covidcxr.models import caffe_weights, torch_weights
from covidcxr.models.small_networks import SMALL_NETWORKS
from covidcxr.models.weights_report import sha256

ORIGIN_ATTRIBUTE = "covidcxr_origin"
TORCH_SUFFIXES = (".pth", ".pt")
CAFFE_SUFFIX = ".caffemodel"
SOURCE_SUFFIXES = (*TORCH_SUFFIXES, CAFFE_SUFFIX)


@dataclass(frozen=True)
class Origin:
    """What a converted file was made from; stored in it.

    Attributes
    ----------
    network : str
        Key of :data:`covidcxr.models.small_networks.SMALL_NETWORKS`.
    source : str
        File name.
    sha256 : str
        Of the source.
    value_range : str
        Input that the weights expect; a key of :data:`covidcxr.models.backbone_table.VALUE_RANGES`.
    """

    network: str
    source: str
    sha256: str
    value_range: str


def convert(source, network, out):
    """Rewrite a weight file of a network of this package, classifier included.

    Parameters
    ----------
    source : path-like
        A state dict of torchvision's network (.pth) or a .caffemodel.
    network : str
        Key of :data:`covidcxr.models.small_networks.SMALL_NETWORKS`.
    out : path-like
        Ending in .h5; written whole or not at all, in the layout of Keras 2's ``save_weights``, from which
        layers load by name.

    Returns
    -------
    Origin

    Raises
    ------
    ModelError
        If the file cannot be read or belongs to another network.
    OutputError
        If `out` cannot be written.
    """
    source, out = Path(source), Path(out)
    row = _row(network)
    if out.suffix != ".h5" or out.name.endswith(".weights.h5"):
        raise ModelError(f"{out}: converted weights end in .h5, not in .weights.h5 (Keras 3's other layout)")
    kind = value_range_of(source, network)
    model = build(row)
    fill(model, source, network)
    origin = Origin(network, source.name, sha256(source), kind)
    make_folder(out.parent)
    with whole_file(out) as temporary:
        _write(model, temporary, origin)
    return origin


def value_range_of(source, network):
    """Return the input that a source's weights expect.

    Raises
    ------
    ModelError
        If no file of that kind is known for the network.
    """
    suffix = Path(source).suffix
    if suffix in TORCH_SUFFIXES and network in torch_weights.PUBLISHED:
        return torch_weights.PUBLISHED[network].value_range
    if suffix == CAFFE_SUFFIX and network in caffe_weights.PUBLISHED:
        return "caffe"
    raise ModelError(
        f"{source}: cannot become weights of {network}; torchvision's .pth fit "
        f"{', '.join(torch_weights.PUBLISHED)}, a .caffemodel fits {', '.join(caffe_weights.PUBLISHED)}"
    )


def stem(source, network):
    """Return how names of `.h5` files made of such a source begin; they tell PyTorch's from Caffe's."""
    if Path(source).suffix == CAFFE_SUFFIX and network in caffe_weights.PUBLISHED:
        return f"{caffe_weights.PUBLISHED[network].stem}_imagenet_caffe"
    return f"{network}_imagenet_torch"


def build(row):
    """Build a network of :data:`covidcxr.models.small_networks.SMALL_NETWORKS` with its 1000 classes."""
    module, _, function = row.builder.partition(":")
    return getattr(importlib.import_module(module), function)()


def fill(model, source, network):
    """Fill a network, as :func:`build` makes it, from a .pth or .caffemodel.

    Raises
    ------
    ModelError
        If the file cannot be read or belongs to another network.
    """
    if Path(source).suffix == CAFFE_SUFFIX:
        caffe_weights.load_file(model, source, network)
    else:
        torch_weights.load_file(model, source, network)


def read_origin(path):
    """Return the :class:`Origin` that an .h5 file states; None if it states none, or is no HDF5 file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get(ORIGIN_ATTRIBUTE)
    except OSError:
        return None
    try:
        return None if text is None else Origin(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: what it says of its origin cannot be read; convert it again") from error


def _row(network):
    rows = {row.key: row for row in SMALL_NETWORKS}
    if network not in rows:
        raise ModelError(f"{network}: nothing to convert for it; choose one of {', '.join(rows)}")
    return rows[network]


def _write(model, path, origin):
    import h5py
    import numpy as np

    layers = [layer for layer in model.layers if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.name for layer in layers], "S")
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.15.0"
        file.attrs[ORIGIN_ATTRIBUTE] = json.dumps(vars(origin))
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array(names, "S")
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)
