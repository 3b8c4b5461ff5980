"""Every published weight file this package can start from: where it is, what it is, whether it is here.

Readable without TensorFlow or Keras. Sources: the module docstrings of :mod:`covidcxr.models.backbone_table`,
:mod:`covidcxr.models.torch_weights` and :mod:`covidcxr.models.caffe_weights`, and the source of
``keras.applications`` for the MD5 sums of the files with classifier.
"""

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path

from covidcxr.errors import ModelError
from covidcxr.models import (
    backbones,
    caffe_weights,
    containers,
    fetching,
    pretrained,
    small_weights,
    torch_weights,
)
from covidcxr.models.small_networks import SMALL_NETWORKS

_MEBI = 2**20
_FLOAT_BYTES = 4
# Keras counts a few numbers that some files leave out.
_WHOLE = 0.999

# Of the files with classifier; those without are in the backbone table. Source: keras/src/applications/*.py, 3.15.
MD5_WITH_TOP = {
    "densenet121": "9d60b8095a5708f2dcce2bca79d332c7",
    "densenet169": "d699b8f76981ab1b30698df4c175e90b",
    "densenet201": "1ceb130c1ea1b78c3bf6114dbdfd8807",
    "efficientnet_b0": "902e53a9f72be733fc0bcb005b3ebbac",
    "efficientnet_b1": "1d254153d4ab51201f1646940f018540",
    "efficientnet_b2": "b15cce36ff4dcbd00b6dd88e7857a6ad",
    "efficientnet_b3": "ffd1fdc53d0ce67064dc6a9c7960ede0",
    "efficientnet_b4": "18c95ad55216b8f92d7e70b3a046e2fc",
    "efficientnet_b5": "ace28f2a6363774853a83a0b21b9421a",
    "efficientnet_b6": "165f6e37dce68623721b423839de8be5",
    "efficientnet_b7": "8c03f828fec3ef71311cd463b6759d99",
    "inception_resnet_v2": "e693bd0210a403b3192acc6073ad2e96",
    "inception_v3": "9a0d58056eeedaa3f26cb7ebd46da564",
    "nasnet_large": "11577c9a518f0070763c2b964a382f17",
    "nasnet_mobile": "020fb642bf7360b370c678b08e0adf61",
    "resnet50": "2cb95161c43110f7111970584f804107",
    "resnet101": "f1aeb4b969a6efcfb50fad2f0c20cfc5",
    "resnet152": "100835be76be38e30d865e96f2aaae62",
    "resnet50_v2": "3ef43a0b657b3be2300d5770ece849e0",
    "resnet101_v2": "6343647c601c52e1368623803854d971",
    "resnet152_v2": "a49b44d1979771252814e80f8ec446f9",
    "vgg16": "64373286793e3c8b2b4e3219cbf3544b",
    "vgg19": "cbe5617147190e668d6c5d5026f83318",
    "xception": "0a58e3b7378bc2990ea3b43d5981f1f6",
}


@dataclass(frozen=True)
class Entry:
    """A published weight file.

    Attributes
    ----------
    key : str
        What `covidcxr data weights` calls it: the network, with ``@`` and the width where that is not 1, with
        ``_caffe`` where PyTorch's is another.
    network : str
        Key of a backbone or of :data:`covidcxr.models.small_networks.SMALL_NETWORKS`.
    alpha : float
        Width multiplier.
    publisher : {"Keras", "torchvision", "Caffe"}
    name : str
        File name, as the publisher's own program caches it.
    address : str
    digest : str
        See :func:`covidcxr.models.fetching.matches`; empty where the publisher checks none.
    mebibytes : float or None
        Size of the file, in MiB; None where no source tells.
    float_mebibytes : float or None
        Its numbers, four bytes each, in MiB: a little less than the file.
    licence : str
    value_range : str
        Input that the weights expect; a key of :data:`covidcxr.models.backbone_table.VALUE_RANGES`.
    """

    key: str
    network: str
    alpha: float
    publisher: str
    name: str
    address: str
    digest: str
    mebibytes: float | None
    float_mebibytes: float | None
    licence: str
    value_range: str

    @property
    def fetchable(self):
        """Whether the address is one that is fetched."""
        return self.address.startswith("https://")


@dataclass(frozen=True)
class Place:
    """Where an entry's weights lie on this machine.

    Attributes
    ----------
    path : pathlib.Path or None
    state : {"absent", "whole", "partial", "source", "unknown"}
        ``"source"``: a .pth or .caffemodel, to be converted on first use; ``"unknown"``: a file whose numbers
        cannot be counted.
    share : float or None
        Numbers in the file, of those of the network without classifier.
    """

    path: Path | None
    state: str
    share: float | None = None


@functools.cache
def entries():
    """Return all entries: those of Keras, then those of this package's own networks."""
    keras = [_keras_entry(backbone, alpha) for backbone in _backbones() for alpha in _widths(backbone)]
    small = [_small_entry(source) for row in SMALL_NETWORKS for source in small_weights.sources(row.key)]
    return (*keras, *small)


def get(key):
    """Return the entry of a key; case, ``-``, ``_`` and ``.`` do not matter.

    Raises
    ------
    ModelError
        If there is none; near matches are named.
    """
    known = {_bare(entry.key): entry for entry in entries()}
    if _bare(key) in known:
        return known[_bare(key)]
    near = difflib.get_close_matches(_bare(key), known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(known[name].key for name in near)}?" if near else "see data weights list"
    )
    raise ModelError(f"{key}: no published weights of that name; {hint}")


def of(network, alpha=1.0):
    """Return the entries of a network and width, in the order of :func:`entries`."""
    return [entry for entry in entries() if (entry.network, entry.alpha) == (network, alpha)]


def where(entry, folder=None):
    """Look for an entry's weights; nothing is fetched or converted.

    Parameters
    ----------
    entry : Entry
    folder : path-like, optional
        Default: the caches of Keras, this package and PyTorch.

    Returns
    -------
    Place
    """
    if entry.publisher == "Keras":
        path = _keras_place(entry, folder)
    else:
        path = small_weights.locate(_source(entry), folder)
    if path is None:
        return Place(None, "absent")
    if path.suffix in small_weights.SOURCE_SUFFIXES:
        return Place(path, "source")
    return _judged(path, entry)


def fetch(entry, folder=None, progress=None):
    """Get an entry's weights into a folder; of a .pth or .caffemodel also the `.h5` made of it.

    Parameters
    ----------
    entry : Entry
    folder : path-like, optional
        Default: Keras' cache, for this package's own networks a folder in it.
    progress : callable, optional
        See :func:`covidcxr.models.fetching.download`.

    Returns
    -------
    pathlib.Path
        The weights, ready for ``--weights``. A file that is there already is checked, not fetched again.

    Raises
    ------
    ModelError
        If it cannot be had, has no published digest, or another file stands there. One line.
    OutputError
        If the folder cannot be written to.
    """
    if entry.publisher != "Keras":
        return small_weights.fetch(_source(entry), folder, progress)
    path = Path(folder or pretrained.cache_folder()) / entry.name
    if not path.is_file():
        fetching.download(entry.address, path, entry.digest, progress)
    elif entry.digest and not fetching.matches(path, entry.digest):
        raise ModelError(f"{path}: not the published file ({entry.digest}); move it away and try again")
    return path


def count_numbers(path):
    """Count the numbers in an HDF5 file of weights; None if it is no such file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    int or None
        An optimiser's are left out.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = containers.datasets(file)
            return sum(item.size for name, item in found if not name.startswith("optimizer"))
    except (OSError, RuntimeError, ModelError):
        return None


def _backbones():
    every = map(backbones.get, backbones.keys())
    return [backbone for backbone in every if backbone.folder_url]


def _widths(backbone):
    return sorted(backbone.widths, key=lambda alpha: (alpha != 1, alpha)) or [1.0]


def _keras_entry(backbone, alpha):
    name = pretrained.cache_names(backbone, alpha)[0]
    return Entry(
        key=backbone.key if alpha == 1 else f"{backbone.key}@{alpha}",
        network=backbone.key,
        alpha=alpha,
        publisher="Keras",
        name=name,
        address=f"{backbone.folder_url}/{backbone.remote_name or name}",
        digest=backbone.digest_of(name),
        mebibytes=None,
        float_mebibytes=backbone.parameters * _FLOAT_BYTES / _MEBI if alpha == 1 else None,
        licence=backbone.licence,
        value_range=backbone.value_range,
    )


def _small_entry(source):
    torch = torch_weights.PUBLISHED.get(source.network)
    facts = {"network": source.network, "alpha": 1.0, "name": source.name, "digest": source.digest}
    facts |= {"address": source.url, "float_mebibytes": None}
    if torch and torch.name == source.name:
        return Entry(
            key=source.network,
            publisher="torchvision",
            mebibytes=torch.mebibytes,
            licence=torch.licence,
            value_range=torch.value_range,
            **facts,
        )
    caffe = caffe_weights.PUBLISHED[source.network]
    return Entry(
        key=f"{source.network}_caffe" if torch else source.network,
        publisher="Caffe",
        mebibytes=caffe.size / _MEBI,
        licence=caffe.licence,
        value_range="caffe",
        **facts,
    )


def _source(entry):
    return next(source for source in small_weights.sources(entry.network) if source.name == entry.name)


def _keras_place(entry, folder):
    if folder is None:
        path = pretrained.cache_folder() / entry.name
        return path if path.is_file() else None
    try:
        return pretrained.find_weights(entry.network, folder, entry.alpha).path
    except ModelError:
        return None


def _judged(path, entry):
    numbers = count_numbers(path)
    wanted = _parameters(entry)
    if not numbers or not wanted:
        return Place(path, "unknown")
    return Place(path, "whole" if numbers >= _WHOLE * wanted else "partial", min(1.0, numbers / wanted))


def _parameters(entry):
    """Return the numbers of a network without classifier; None where they are not listed."""
    return backbones.get(entry.network).parameters if entry.alpha == 1 else None


def _bare(key):
    return str(key).lower().replace("-", "").replace("_", "").replace(".", "")
