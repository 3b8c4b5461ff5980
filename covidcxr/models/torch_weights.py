"""torchvision's published ImageNet weights, and their way into the Keras networks of this package."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError
from covidcxr.models.torch_files import read_state_dict

# torchvision's code is BSD-3-Clause; it states no licence of its own for the weights.
_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, which is for non-commercial research"


@dataclass(frozen=True)
class PublishedFile:
    """A weight file that torchvision publishes.

    Attributes
    ----------
    network : str
        Key of :data:`covidcxr.models.small_networks.SMALL_NETWORKS`.
    name : str
        File name; the 8 hexadecimal digits after the last dash begin its SHA-256, by PyTorch's convention.
    sha256 : str
        All of it, where more than the name tells is known.
    mebibytes : float
        Size as torchvision's table of weights prints it, in MiB.
    value_range : str
        See :class:`covidcxr.models.small_networks.SmallNetwork`.
    licence : str
    """

    network: str
    name: str
    mebibytes: float
    value_range: str = "torch"
    licence: str = _LICENCE
    sha256: str = ""

    @property
    def url(self):
        """Where torchvision fetches it from."""
        return f"https://download.pytorch.org/models/{self.name}"

    @property
    def sha256_prefix(self):
        """The first 8 hexadecimal digits of its SHA-256."""
        return self.name.removesuffix(".pth").rpartition("-")[2]


# Source: the weight enumerations in torchvision/models/{alexnet,squeezenet,googlenet,resnet}.py since 0.13. They give
# eight digits of SHA-256; whole ones are as several users computed them of the published files, and begin alike.
# GoogLeNet's weights come from TensorFlow: torchvision turns its usual input into -1..1 inside the network.
PUBLISHED = {
    file.network: file
    for file in (
        PublishedFile(
            "alexnet",
            "alexnet-owt-7be5be79.pth",
            233.087,
            sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
        PublishedFile("squeezenet1_0", "squeezenet1_0-b66bff10.pth", 4.778),
        PublishedFile(
            "squeezenet1_1",
            "squeezenet1_1-b8a52dc0.pth",
            4.729,
            sha256="b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        ),
        PublishedFile("googlenet", "googlenet-1378be20.pth", 49.731, value_range="tf"),
        PublishedFile(
            "resnet18",
            "resnet18-f37072fd.pth",
            44.661,
            sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        ),
    )
}


@dataclass(frozen=True)
class _Layout:
    """How a network's layers are called in torchvision's state dict.

    Attributes
    ----------
    names : dict of str to str
        Keras layer -> prefix, where it is not the layer's name with ``.`` for ``_``.
    flattened : dict of str to tuple
        Dense layers that read a flattened map, and its (channels, rows, columns) there.
    head : tuple of str
        Layers whose size is the number of classes.
    optional : tuple of str
        Prefixes that a model may have none of: its top, its auxiliary heads.
    """

    head: tuple
    optional: tuple
    names: dict = field(default_factory=dict)
    flattened: dict = field(default_factory=dict)

    def prefix(self, layer):
        """Return the layer's prefix in the state dict."""
        return self.names.get(layer, layer.replace("_", "."))


def _squeezenet(fires):
    """Lay out a SqueezeNet from the positions of its fire modules 2 to 9 in torchvision's ``features``."""
    names = {"conv1": "features.0", "conv10": "classifier.1"}
    for number, position in enumerate(fires, start=2):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            ours = "squeeze1x1" if part == "squeeze" else part
            names[f"fire{number}_{ours}"] = f"features.{position}.{part}"
    return _Layout(("conv10",), ("classifier.",), names)


_LAYOUTS = {
    "alexnet": _Layout(
        head=("fc8",),
        optional=("classifier.",),
        names={
            "conv1": "features.0",
            "conv2": "features.3",
            "conv3": "features.6",
            "conv4": "features.8",
            "conv5": "features.10",
            "fc6": "classifier.1",
            "fc7": "classifier.4",
            "fc8": "classifier.6",
        },
        flattened={"fc6": (256, 6, 6)},
    ),
    "squeezenet1_0": _squeezenet((3, 4, 5, 7, 8, 9, 10, 12)),
    "squeezenet1_1": _squeezenet((3, 4, 6, 7, 9, 10, 11, 12)),
    "googlenet": _Layout(
        head=("fc", "aux1_fc2", "aux2_fc2"),
        optional=("fc.", "aux1.", "aux2."),
        flattened={"aux1_fc1": (128, 4, 4), "aux2_fc1": (128, 4, 4)},
    ),
    "resnet18": _Layout(head=("fc",), optional=("fc.",)),
}

_PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# PyTorch counts the batches a normalisation has seen; Keras does not.
_UNUSED = "num_batches_tracked"


def check_download(path, published):
    """Check that a file is the published one, by the digits of its SHA-256 that its name carries.

    Parameters
    ----------
    path : path-like
    published : PublishedFile

    Raises
    ------
    ModelError
        If it cannot be read or is another file.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    found = digest.hexdigest()
    if not found.startswith(published.sha256_prefix):
        raise ModelError(
            f"{path}: not the published {published.name} (SHA-256 begins {found[:8]}, "
            f"not {published.sha256_prefix}); delete it and fetch {published.url}"
        )


def load_file(model, path, network, new_head=False):
    """Fill a network from a `.pth` file; see :func:`load_state_dict` and :func:`read_state_dict`.

    Raises
    ------
    ModelError
        The message begins with the path.
    """
    state = read_state_dict(path)
    try:
        return load_state_dict(model, state, network, new_head)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def load_state_dict(model, state, network, new_head=False):
    """Fill a network of this package from torchvision's state dict, or leave it alone if anything differs.

    Convolutions go from (out, in, rows, columns) to (rows, columns, in, out). Dense layers are transposed;
    one that reads a flattened map has its inputs reordered from (channels, rows, columns) to
    (rows, columns, channels).

    Parameters
    ----------
    model : keras.Model
        As the package's builder made it; without top, or without auxiliary heads, their arrays are left out.
    state : dict of str to numpy.ndarray
    network : str
        Key of :data:`PUBLISHED`.
    new_head : bool
        Leave alone the layers whose size is the number of classes (khalifa2020: "last layer replaced").

    Returns
    -------
    tuple of str
        Layers left as they were.

    Raises
    ------
    ModelError
        If a tensor is missing, left over, of another shape or not of floating-point numbers.
    """
    if network not in _LAYOUTS:
        raise ModelError(
            f"{network}: torchvision publishes no such network; choose one of {', '.join(_LAYOUTS)}"
        )
    layout = _LAYOUTS[network]
    layers = [layer for layer in model.layers if layer.weights]
    skipped = tuple(layer.name for layer in layers if new_head and layer.name in layout.head)
    sources = {
        f"{layout.prefix(layer.name)}.{_PARTS.get(variable.name, variable.name)}": (layer, variable)
        for layer in layers
        for variable in layer.weights
    }
    needed = {name for name, (layer, _) in sources.items() if layer.name not in skipped}
    _check_names(needed, set(sources), set(state), layout)
    arrays = [
        (variable, _converted(state[name], layer, variable, name, layout))
        for name, (layer, variable) in sources.items()
        if name in needed
    ]
    for variable, array in arrays:
        variable.assign(array)
    return skipped


def _check_names(needed, known, found, layout):
    if missing := sorted(needed - found):
        raise ModelError(
            f"lacks the tensor {missing[0]} ({len(missing)} missing); use the network it belongs to"
        )
    absent = tuple(prefix for prefix in layout.optional if not any(name.startswith(prefix) for name in known))
    extra = sorted(
        name for name in found - known if not name.startswith(absent) and not name.endswith(_UNUSED)
    )
    if extra:
        raise ModelError(f"has the tensor {extra[0]!a} ({len(extra)} unused); use the network it belongs to")


def _converted(array, layer, variable, name, layout):
    if array.dtype.kind != "f":
        raise ModelError(f"tensor {name} holds {array.dtype} numbers; floating-point ones are needed")
    array = _channels_last(array, layout.flattened.get(layer.name))
    if array.shape != tuple(variable.shape):
        advice = "; ask for a new head" if layer.name in layout.head else ""
        raise ModelError(
            f"tensor {name} has shape {array.shape} in Keras' order, "
            f"the layer {layer.name} {tuple(variable.shape)}{advice}"
        )
    return array


def _channels_last(array, flattened):
    """Reorder a kernel; vectors stay as they are."""
    if array.ndim == 2 and flattened and array.shape[1] == np.prod(flattened):
        maps = array.reshape(-1, *flattened).transpose(0, 2, 3, 1)
        return maps.reshape(len(array), -1).T
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
