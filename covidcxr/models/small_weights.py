"""Starting weights of the networks written in this package: found, fetched, and converted once.

PyTorch's and Caffe's files are converted to `.h5` in a folder of this package in Keras' cache: published ones
under their name, a user's own under the beginning of its SHA-256, so that none passes for another.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from covidcxr.errors import ModelError
from covidcxr.models import backbones, caffe_weights, convert, fetching, torch_weights
from covidcxr.models.backbone_table import VALUE_RANGES
from covidcxr.models.weights_place import Found, cache_folder

SOURCE_SUFFIXES = convert.SOURCE_SUFFIXES
_DIGITS = 8
_KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")


@dataclass(frozen=True)
class Source:
    """A file published for a network of this package.

    Attributes
    ----------
    network : str
    name, url, digest : str
        See :func:`covidcxr.models.fetching.matches` for `digest`.
    """

    network: str
    name: str
    url: str
    digest: str

    @property
    def converted_name(self):
        """Name of the `.h5` made of it."""
        return f"{convert.stem(self.name, self.network)}.h5"


def sources(network):
    """Return what is published for a network, the file that ``"imagenet"`` means first."""
    found = []
    if network in torch_weights.PUBLISHED:
        file = torch_weights.PUBLISHED[network]
        found.append(Source(network, file.name, file.url, f"sha256:{file.sha256 or file.sha256_prefix}"))
    if network in caffe_weights.PUBLISHED:
        file = caffe_weights.PUBLISHED[network]
        found.append(Source(network, file.name, file.url, file.digest))
    return tuple(found)


def own_folder():
    """Return the folder of this package in Keras' cache."""
    return cache_folder() / "covidcxr"


def find(network, spec):
    """Find the weights that a ``--weights`` option names; see :func:`covidcxr.models.pretrained.find_weights`.

    Parameters
    ----------
    network : str
        Key of :data:`covidcxr.models.small_networks.SMALL_NETWORKS`.
    spec : str or path-like
        ``"imagenet"``, a folder, or a file: .h5, .keras, .pth or .caffemodel.

    Returns
    -------
    Found
        The note tells the input that the weights expect, where that is known.

    Raises
    ------
    ModelError
    """
    if str(spec) == "imagenet":
        return _imagenet(network)
    path = Path(spec).expanduser()
    if not path.exists():
        raise ModelError(
            f"{path}: no such file or folder; --weights takes imagenet, none, a folder or a file"
        )
    return _in_folder(network, path) if path.is_dir() else _file(network, path)


def fetch(source, folder=None, progress=None):
    """Get a published file, and the `.h5` made of it, into a folder.

    Parameters
    ----------
    source : Source
    folder : path-like, optional
        Default :func:`own_folder`.
    progress : callable, optional
        See :func:`covidcxr.models.fetching.download`.

    Returns
    -------
    pathlib.Path
        The `.h5`.

    Raises
    ------
    ModelError
    """
    folder = Path(folder) if folder else own_folder()
    converted = folder / source.converted_name
    if converted.is_file():
        return converted
    path = _first([folder, *_caches()], [source.name])
    if path is None:
        path = folder / source.name
        fetching.download(source.url, path, source.digest, progress)
    elif not fetching.matches(path, source.digest):
        raise ModelError(
            f"{path}: not the published {source.name} ({source.digest}); delete it and try again"
        )
    convert.convert(path, source.network, converted)
    return converted


def locate(source, folder=None):
    """Look for one published file, or the `.h5` made of it; nothing is fetched or converted.

    Parameters
    ----------
    source : Source
    folder : path-like, optional
        Where to look, under other names too; default: our folder, Keras' cache and PyTorch's.

    Returns
    -------
    pathlib.Path or None
    """
    names = (source.converted_name, source.name)
    if folder is None:
        return _first(_caches(), names)
    return _first([Path(folder)], names) or _other(source, Path(folder))


def _other(source, folder):
    """Find weights of one source in a folder under another name, by the input that they expect."""
    row = backbones.get(source.network)
    expected = convert.value_range_of(source.name, source.network)
    found = (path for pattern in row.other_names for path in sorted(folder.glob(pattern)))
    return next((path for path in found if row.range_of(path.name) == expected), None)


def _first(folders, patterns):
    found = (path for pattern in patterns for folder in folders for path in sorted(folder.glob(pattern)))
    return next(found, None)


def _caches():
    torch_home = os.environ.get("TORCH_HOME", "~/.cache/torch")
    return own_folder(), cache_folder(), Path(torch_home).expanduser() / "hub" / "checkpoints"


def _imagenet(network):
    published = sources(network)
    if not published:
        raise ModelError(
            f"{network}: nobody publishes ImageNet weights of it; give a file, or --weights none"
        )
    return _found(fetch(published[0]), f"ImageNet weights of {published[0].name}")


def _in_folder(network, folder):
    published = sources(network)
    converted = [source.converted_name for source in published]
    others = backbones.get(network).other_names
    found = _first([folder], (*converted, *others, *(source.name for source in published)))
    if found is not None:
        return _file(network, found)
    wanted = " or ".join(source.name for source in published) or f"{network}*.h5"
    raise ModelError(
        f"{folder}: no weights of {network} there; put {wanted} into it, or choose --weights none"
    )


def _file(network, path):
    if path.suffix in _KERAS_SUFFIXES:
        return _found(path, f"weights from {path.name}")
    if path.suffix not in SOURCE_SUFFIXES:
        endings = ", ".join((*_KERAS_SUFFIXES, *SOURCE_SUFFIXES))
        raise ModelError(f"{path}: weights must be a file ending in {endings}, or a folder")
    digits = fetching.file_digest(path, "sha256")[:_DIGITS]
    converted = own_folder() / f"{convert.stem(path, network)}_{digits}.h5"
    if not converted.is_file():
        convert.convert(path, network, converted)
    return _found(converted, f"weights from {path.name}")


def _found(path, note):
    origin = convert.read_origin(path) if path.suffix == ".h5" else None
    expected = f"; they expect {VALUE_RANGES[origin.value_range]}" if origin else ""
    return Found("keras_h5", path, note + expected)
