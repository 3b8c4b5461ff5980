"""What a weight file is: which network's, the published file or another, whole or only a trunk.

A file is loaded into the networks that its name, its digest or the count of its numbers points to, by the code
that training uses; nothing is concluded from the name alone.
"""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from covidcxr.errors import ModelError
from covidcxr.models import (
    backbones,
    convert,
    fetching,
    pretrained,
    weight_catalog,
    weight_files,
    weights_report,
)

SUFFIXES = (".h5", ".hdf5", ".keras", *convert.SOURCE_SUFFIXES)
# Files may leave out, or add, the few numbers that Keras counts but does not train.
_SLACK = 0.001


@dataclass(frozen=True)
class Verdict:
    """What was found of one file.

    Attributes
    ----------
    path : pathlib.Path
    network : str
        Key of the backbone that it fits; ``""`` for none.
    alpha : float
        Width multiplier.
    state : {"whole", "trunk", "other"}
        Whether all layers of the network (without classifier) are in it, or its first ones, or it fits no
        network that was tried.
    layers, loaded : int
        Layers with weights of the network, and those that the file has.
    first_missing : str
        The first layer that it lacks.
    classifier : bool
        Whether it holds layers beyond the network, as a classifier is.
    digest : {"published", "other", "none published"}
        Whether it is the file that is published, byte by byte, or was converted from it.
    sha256 : str
        Of the file.
    note : str
        Why it fits no network, or what it was converted from.
    """

    path: Path
    network: str
    alpha: float
    state: str
    layers: int
    loaded: int
    first_missing: str
    classifier: bool
    digest: str
    sha256: str
    note: str


def verify(path, key=None, progress=None):
    """Say of a weight file, or of every one in a folder, what it is.

    Parameters
    ----------
    path : path-like
        A file, or a folder (not searched further down).
    key : str, optional
        The network to hold it against, with ``@`` and the width where that is not 1; default: those that the
        file itself points to.
    progress : callable, optional
        ``progress(done, total)`` in files.

    Returns
    -------
    list of Verdict

    Raises
    ------
    ModelError
        If there is no file, or no such network.
    """
    path = Path(path)
    paths = [path]
    if path.is_dir():
        paths = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES)
    if not paths or not path.exists():
        raise ModelError(
            f"{path}: no weights there; give a file ending in {', '.join(SUFFIXES)}, or their folder"
        )
    asked = _asked(key) if key else None
    verdicts = []
    for done, entry in enumerate(paths, start=1):
        verdicts.append(_verdict(entry, asked))
        if progress:
            progress(done, len(paths))
    return verdicts


def _asked(key):
    name, _, alpha = str(key).partition("@")
    try:
        return [(backbones.get(name).key, float(alpha or 1))]
    except ValueError as error:
        raise ModelError(f"{key}: the width after @ must be a number, as in mobilenet@0.5") from error


def _verdict(path, asked):
    try:
        digest = weights_report.sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    candidates = asked or _candidates(path)
    reasons, trunk = [], None
    for network, alpha in candidates:
        try:
            found = _held_against(path, network, alpha)
        except ModelError as error:
            reasons.append(str(error).removeprefix(f"{path}: "))
            continue
        verdict = Verdict(path, network, alpha, *found, *_published(path, network, alpha, digest))
        if verdict.state == "whole":
            return verdict
        trunk = trunk or verdict
    reason = reasons[0] if reasons else "neither its name nor its size tells the network; name the network"
    return trunk or Verdict(path, "", 1.0, "other", 0, 0, "", False, "none published", digest, reason)


def _held_against(path, network, alpha):
    """Return (state, layers, loaded, first missing, classifier) of a file in a network.

    Raises
    ------
    ModelError
        If it does not fit.
    """
    backbone = backbones.get(network)
    if path.suffix in convert.SOURCE_SUFFIXES:
        convert.value_range_of(path, network)
        model = convert.build(backbone)
        convert.fill(model, path, network)
        return "whole", _weighted(model), _weighted(model), "", True
    side = max(backbone.minimum_size, 32)
    model = backbones.build(backbone, (side, side, 3), alpha=alpha)
    report = weight_files.load_into(model, pretrained.Found("keras_h5", path, ""), partial=True)
    order = [layer.name for layer in model.layers if layer.weights]
    first = order.index(report.missing[0]) if report.missing else len(order)
    if set(order[:first]) != set(report.loaded):
        raise ModelError(
            f"{path}: lacks {report.missing[0]} and has later layers of {network}: another network's"
        )
    first_missing = report.missing[0] if report.missing else ""
    state = "trunk" if report.missing else "whole"
    return state, len(order), len(report.loaded), first_missing, bool(report.unused)


def _published(path, network, alpha, sha256):
    """Return (digest, SHA-256, note) of a file that fits a network."""
    origin = convert.read_origin(path) if path.suffix == ".h5" else None
    if origin is not None:
        known = _digests(network, alpha, Path(origin.source).suffix)
        same = any(f"sha256:{origin.sha256}".startswith(digest) for digest in known)
        return "published" if same else "other", sha256, f"converted from {origin.source}"
    known = _digests(network, alpha, path.suffix)
    if not known:
        return "none published", sha256, ""
    same = any(fetching.matches(path, digest) for digest in known)
    return "published" if same else "other", sha256, ""


def _digests(network, alpha, suffix):
    """List the digests of the published files of a kind, with and without classifier."""
    entries = [entry for entry in weight_catalog.of(network, alpha) if entry.name.endswith(suffix)]
    with_top = weight_catalog.MD5_WITH_TOP.get(network) if suffix == ".h5" else None
    return [entry.digest for entry in entries if entry.digest] + ([f"md5:{with_top}"] if with_top else [])


def _candidates(path):
    """List the (network, width) that a file points to: by its origin, its name, the count of its numbers."""
    origin = convert.read_origin(path) if path.suffix == ".h5" else None
    rows = [(row, alpha) for row in map(backbones.get, backbones.keys()) for alpha in _widths(row)]
    found = [(origin.network, 1.0)] if origin else []
    found += [(row.key, alpha) for row, alpha in rows if _is_named(path.name, row, alpha)]
    numbers = weight_catalog.count_numbers(path)
    if numbers:
        found += [(row.key, alpha) for row, alpha in rows if alpha == 1 and _counts(row, numbers)]
    return list(dict.fromkeys(found))


def _widths(row):
    return row.widths or (1.0,)


def _is_named(name, row, alpha):
    published = [entry.name for entry in weight_catalog.of(row.key, alpha)]
    text = row.widths.get(alpha, str(alpha))
    others = [pattern.format(alpha=text, number=alpha) for pattern in row.other_names]
    return name in published or any(fnmatch(name, pattern) for pattern in others)


def _counts(row, numbers):
    return any(
        abs(numbers - wanted) <= _SLACK * wanted for wanted in (row.parameters, row.parameters_with_top)
    )


def _weighted(model):
    return sum(1 for layer in model.layers if layer.weights)
