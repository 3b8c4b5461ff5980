"""Where a network's starting weights come from: what ``--weights`` names, found on disk or fetched."""

from pathlib import Path

from covidcxr.errors import ModelError
from covidcxr.models import backbones, fetching
from covidcxr.models.small_networks import SMALL_NETWORKS
from covidcxr.models.weights_place import Found, cache_folder

_SUFFIXES = (".h5", ".hdf5", ".keras")


def find_weights(backbone_key, spec, alpha=1.0, input_size=None):
    """Find the weights that a ``--weights`` option names.

    Parameters
    ----------
    backbone_key : str
    spec : str or path-like
        ``"imagenet"`` (Keras' cache, else fetched from where Keras gets it, if a digest is published), ``"none"``,
        a folder that holds weight files or a SavedModel, or a file written by Keras. For the networks of
        :data:`covidcxr.models.small_networks.SMALL_NETWORKS` see :mod:`covidcxr.models.small_weights`.
    alpha : float, optional
        Width multiplier of the network.
    input_size : int, optional
        Height and width in pixels: MobileNet has ImageNet weights for several. Default the published size.

    Returns
    -------
    Found

    Raises
    ------
    ModelError
        If there are no such weights; the message names the file, its address, the folder to put it in and the
        way without.
    """
    backbone = backbones.get(backbone_key)
    if spec is None or str(spec) == "none":
        return Found("none", None, "random start: no pretrained weights")
    if backbone in SMALL_NETWORKS:
        from covidcxr.models import small_weights

        return small_weights.find(backbone.key, spec)
    if str(spec) == "imagenet":
        return _imagenet(backbone, alpha, input_size)
    if "://" in str(spec):
        raise ModelError(
            f"{spec}: addresses are not fetched, since nothing vouches for what they give; download it, and give the "
            "file, or the folder with saved_model.pb"
        )
    path = Path(spec).expanduser()
    if (path / "saved_model.pb").is_file():
        return _saved_model(backbone, path)
    if path.is_dir():
        return _in_folder(backbone, path, alpha, input_size)
    return _file(path)


def cache_names(backbone, alpha=1.0, input_size=None):
    """Return the names Keras caches a backbone's ImageNet weights under, without classifier, best first.

    Raises
    ------
    ModelError
        If no ImageNet weights of that width were published.
    """
    if backbone.widths and alpha not in backbone.widths:
        published = ", ".join(str(width) for width in sorted(backbone.widths))
        raise ModelError(
            f"{backbone.key}: no ImageNet weights of width alpha={alpha} were published (only {published}); "
            "choose one of these or --weights none"
        )
    sizes = [
        size for size in (input_size, backbone.input_size) if size in (*backbone.sizes, backbone.input_size)
    ]
    text = backbone.widths.get(alpha, "")
    return list(dict.fromkeys(backbone.cache_name.format(alpha=text, size=size) for size in sizes))


def _imagenet(backbone, alpha, input_size):
    names = cache_names(backbone, alpha, input_size)
    folder = cache_folder()
    for name in names:
        if (folder / name).is_file():
            return Found("keras_h5", folder / name, f"ImageNet weights from Keras' cache: {name}")
    if not backbone.folder_url:
        raise ModelError(
            f"{backbone.key}: Keras publishes no ImageNet weights of it; "
            "give a file or folder, or --weights none"
        )
    return _download(backbone, names[0], folder)


def _download(backbone, name, folder):
    address = f"{backbone.folder_url}/{backbone.remote_name or name}"
    try:
        fetching.download(address, folder / name, backbone.digest_of(name))
    except ModelError as error:
        raise ModelError(f"{error}; or choose --weights none") from error
    return Found("keras_h5", folder / name, f"ImageNet weights downloaded from {address}")


def _in_folder(backbone, folder, alpha, input_size):
    candidates = _candidates(backbone, folder, alpha, input_size)
    if not candidates:
        raise ModelError(_nothing_in(backbone, folder, alpha, input_size))
    chosen, *others = candidates
    note = f"weights from {chosen.name}"
    if others:
        note += f" (also there, not used: {', '.join(path.name for path in others)})"
    return Found("keras_h5", chosen, note)


def _candidates(backbone, folder, alpha, input_size):
    found = [folder / name for name in _published(backbone, alpha, input_size) if (folder / name).is_file()]
    for pattern in backbone.other_names:
        text = backbone.widths.get(alpha, str(alpha))
        found += sorted(folder.glob(pattern.format(alpha=text, number=alpha)))
    return list(dict.fromkeys(found))


def _nothing_in(backbone, folder, alpha, input_size):
    wanted = (_published(backbone, alpha, input_size) or [f"{backbone.key}*.h5"])[0]
    other_widths = sorted(
        {
            path.name
            for pattern in backbone.other_names
            for path in folder.glob(pattern.format(alpha="*", number="*"))
        }
    )
    if backbone.widths and other_widths:
        return (
            f"{folder}: holds {backbone.key} weights of another width only ({', '.join(other_widths)}); "
            f"alpha={alpha} needs {wanted}"
        )
    return f"{folder}: no weights of {backbone.key} there; put {wanted} into it, or choose --weights none"


def _published(backbone, alpha, input_size):
    try:
        return cache_names(backbone, alpha, input_size)
    except ModelError:
        return []


def _saved_model(backbone, place):
    if backbone.key != "mobilenet_v2":
        raise ModelError(
            f"{place}: a SavedModel can start mobilenet_v2 only, not {backbone.key}; "
            "give an .h5 or .keras file"
        )
    return Found("saved_model", place, f"weights from the SavedModel {place}")


def _file(path):
    if not path.exists():
        raise ModelError(
            f"{path}: no such file or folder; --weights takes imagenet, none, a folder or a file"
        )
    if path.suffix not in _SUFFIXES:
        raise ModelError(f"{path}: weights must be a file ending in {', '.join(_SUFFIXES)}, or a folder")
    return Found("keras_h5", path, f"weights from {path.name}")
