"""The papers' networks by name: what is known of each, and the network itself, usually without classifier."""

import difflib
import importlib
import warnings

from covidcxr.errors import CovidcxrError, ModelError
from covidcxr.models.backbone_table import BACKBONES, CONCATENATED, Backbone
from covidcxr.models.small_networks import SMALL_NETWORKS

_BY_KEY = {backbone.key: backbone for backbone in (*BACKBONES, *SMALL_NETWORKS, CONCATENATED)}


def keys():
    """Return the known keys: keras.applications' networks first, then those written in this package."""
    return tuple(_BY_KEY)


def get(key):
    """Return what is known of a backbone.

    Parameters
    ----------
    key : str
        Case, ``-``, ``_`` and blanks do not matter: ``"MobileNetV2"`` finds ``"mobilenet_v2"``.

    Returns
    -------
    Backbone

    Raises
    ------
    ModelError
        If there is none of that name; near matches are named.

    Examples
    --------
    >>> get("MobileNetV2").parameters
    2257984
    """
    by_spelling = {_bare(known): known for known in _BY_KEY}
    if _bare(key) in by_spelling:
        return _BY_KEY[by_spelling[_bare(key)]]
    near = difflib.get_close_matches(_bare(key), by_spelling, n=3, cutoff=0.5)
    if near:
        raise ModelError(
            f"backbone {key!r}: not known; did you mean {' or '.join(by_spelling[n] for n in near)}?"
        )
    raise ModelError(f"backbone {key!r}: not known; choose one of {', '.join(_BY_KEY)}")


def build(key, input_shape, pooling=None, alpha=1.0, classes=None):
    """Build a network with random weights, from Keras' current seed.

    See :func:`covidcxr.models.start.start` for one with weights from a file.

    Parameters
    ----------
    key : str or Backbone
    input_shape : tuple of int
        (height, width, channels).
    pooling : {"avg", "max"}, optional
        Global pooling after the last feature map.
    alpha : float, optional
        Width multiplier; only MobileNet and MobileNetV2 have one.
    classes : int, optional
        Keep the network's own classifier, for so many classes; the default leaves it out.

    Returns
    -------
    keras.Model
        float32 images (n, height, width, channels) in the range that `Backbone.value_range` tells, to a
        feature map; with `pooling` to (n, features); with `classes` to probabilities (n, classes).

    Raises
    ------
    ModelError
        If the name is unknown, or the network cannot take that shape or width.
    """
    backbone = key if isinstance(key, Backbone) else get(key)
    module, _, function = backbone.builder.partition(":")
    options = {"input_shape": tuple(input_shape), **_width(backbone, alpha), **_end(pooling, classes)}
    try:
        with warnings.catch_warnings():
            # MobileNet warns about ImageNet weights of other sizes even when it gets none.
            warnings.filterwarnings("ignore", message=".*input_shape.*")
            builder = getattr(importlib.import_module(module), function)
            model = builder(**options, **({"weights": None} if module == "keras.applications" else {}))
    except (ValueError, CovidcxrError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{backbone.key}: cannot be built for {options}: {reason}") from error
    return model


def _end(pooling, classes):
    if classes is None:
        return {"include_top": False, "pooling": pooling}
    return {"include_top": True, "classes": classes}


def _width(backbone, alpha):
    if backbone.widths:
        return {"alpha": alpha}
    if alpha != 1.0:
        raise ModelError(f"{backbone.key}: has no width multiplier; leave alpha at 1.0 (got {alpha})")
    return {}


def _bare(key):
    return "".join(letter for letter in str(key).lower() if letter.isalnum())
