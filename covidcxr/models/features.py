"""Frozen features: what a network that is not trained any further says of images, computed once and kept.

A probe on such features answers in seconds what retraining the network answers in hours.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr.atomic import make_folder, whole_file
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import ModelError
from covidcxr.version import __version__

_CHUNK = 32
_PIXELS = 32


@dataclass(frozen=True)
class Features:
    """A way from a grey image to a vector.

    Attributes
    ----------
    name : str
        For a reader, such as ``"mobilenet_v2"``.
    note : str
        One sentence for a reader: where the weights come from.
    preprocessing : Preprocessing
        Reading and resizing before, standardization after whatever is done to the image.
    model : keras.Model or None
        To a feature map or a vector; None takes the pixels themselves, averaged to 32 x 32.
    """

    name: str
    note: str
    preprocessing: Preprocessing
    model: object = None

    def of(self, greys):
        """Compute features of images of the preprocessing's size.

        Parameters
        ----------
        greys : numpy.ndarray of uint8, shape (n, height, width)

        Returns
        -------
        numpy.ndarray of float32, shape (n, features)
            A feature map is averaged over its places.
        """
        if self.model is None:
            return _pixels(greys)
        batch = self.preprocessing.standardize(self.preprocessing.expand(greys))
        values = np.asarray(self.model.predict_on_batch(_filled(batch)))[: len(greys)]
        return _pooled(values).astype(np.float32)

    def identity(self):
        """Return a digest that changes with the network, its weights and the preprocessing."""
        digest = hashlib.sha256(json.dumps([self.name, self.preprocessing.to_dict()]).encode())
        if self.model is not None:
            for weight in self.model.get_weights():
                digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()


def pixels(size=64):
    """Return features without a network: grey values averaged to 32 x 32 fields.

    Parameters
    ----------
    size : int
        Height and width that images are first brought to; at least 32.

    Returns
    -------
    Features
    """
    note = f"pixels averaged to {_PIXELS} x {_PIXELS}: no network, so fine detail goes unseen"
    return Features("pixels", note, Preprocessing((size, size), 1, interpolation="box"))


def backbone(key="mobilenet_v2", weights=None, size=None):
    """Return a backbone of :mod:`covidcxr.models.backbones` as features.

    Parameters
    ----------
    key : str
    weights : str or path-like, optional
        As :func:`covidcxr.models.pretrained.find_weights`; without it the weights are random, seeded.
    size : int, optional
        Height and width; default that of the published weights.

    Returns
    -------
    Features

    Raises
    ------
    ModelError
        If the name is unknown, or the weights are not there or do not fit.
    """
    import keras

    from covidcxr.models import backbones, pretrained
    from covidcxr.models.start import start

    known = backbones.get(key)
    side = size or known.input_size
    found = pretrained.find_weights(known.key, weights)
    if found.kind == "none":
        keras.utils.set_random_seed(0)
    model = start(known, (side, side, 3), weights)
    expected = known.range_of(Path(found.path).name) if found.path else known.value_range
    mode = "none" if expected == "0-255" else expected
    note = f"{known.key}, {_origin(found)}"
    return Features(
        known.key, note, Preprocessing((side, side), 3, interpolation="bilinear", mode=mode), model
    )


def of_model(model):
    """Return a trained model's own last feature map as features.

    Parameters
    ----------
    model : keras.Model
        Saved or loaded by this package.

    Returns
    -------
    Features

    Raises
    ------
    ModelError
        If the model says nothing of its preprocessing, or has no layer before its classifier.
    """
    import keras

    from covidcxr.models.files import info_of

    info = info_of(model)
    if info is None:
        raise ModelError("this model says nothing of its preprocessing; load one with covidcxr.load_model")
    layer = _last_features(model)
    trunk = keras.Model(model.inputs, layer.output)
    note = f"the trained network's own features, after its layer {layer.name}"
    return Features(info.network, note, Preprocessing.from_dict(info.preprocessing), trunk)


def extract(features, files, variants, *, cache=None, say=None):
    """Compute features of several variants of images, reading each file once and nothing that is kept.

    Parameters
    ----------
    features : Features
    files : sequence of path-like
        n images.
    variants : mapping of str to callable
        ``variant(grey, row) -> vector or grey``: a uint8 image of the preprocessing's size, of which the
        features are taken; or a vector (one axis), which is kept as it is. The name has to tell everything
        that decides the result: it is what a kept result is known by.
    cache : path-like, optional
        Folder for the results, one .npz for each variant; made if need be. A result is taken up again if
        files (path, size, time of change), variant, network and weights are the same.
    say : callable, optional
        ``say(text)`` before the work.

    Returns
    -------
    dict of str to numpy.ndarray of float32, shape (n, features)

    Raises
    ------
    ImageError
        If an image cannot be read.
    OutputError
        If the cache cannot be written.
    """
    key = _key(features, files)
    kept = {name: _read(cache, name, key) for name in variants}
    missing = {name: variants[name] for name, values in kept.items() if values is None}
    if missing:
        if say:
            say(f"features of {len(files)} images, {len(missing)} variants: {features.name}")
        kept.update(_compute(features, files, missing))
        for name in missing:
            _keep(cache, name, key, kept[name])
    return kept


def _compute(features, files, variants):
    parts = {name: [] for name in variants}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for start in range(0, len(files), _CHUNK):
            greys = list(pool.map(features.preprocessing.load, files[start : start + _CHUNK]))
            for name, variant in variants.items():
                cut = np.stack([variant(grey, start + row) for row, grey in enumerate(greys)])
                parts[name].append(cut.astype(np.float32) if cut.ndim == 2 else features.of(cut))
    return {name: np.concatenate(part) for name, part in parts.items()}


def _last_features(model):
    """Return the last layer with a feature map of more channels than classes, else the last hidden vector."""
    classes = model.output_shape[-1]
    # A layer used twice has no one output; none of the networks here ends in one.
    layers = [layer for layer in model.layers[1:] if _shape(layer) is not None]
    maps = [layer for layer in layers if len(_shape(layer)) == 4 and _shape(layer)[-1] > classes]
    vectors = [layer for layer in layers if len(_shape(layer)) == 2 and _shape(layer)[-1] > classes]
    if not maps and not vectors:
        raise ModelError(f"{model.name}: has no features before its classifier; give a backbone by name")
    return (maps or vectors)[-1]


def _shape(layer):
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError):
        return None
    return None if shape[-1] is None else tuple(shape)


def _origin(found):
    if found.kind == "none":
        return "random weights: its features are weak, and a shortcut they miss may still be there"
    return f"weights {Path(str(found.path)).name}, frozen"


def _pixels(greys):
    n, height, width = greys.shape
    if height % _PIXELS or width % _PIXELS:
        raise ModelError(f"pixel features want sides that are multiples of {_PIXELS}, not {height} x {width}")
    fields = greys.reshape(n, _PIXELS, height // _PIXELS, _PIXELS, width // _PIXELS)
    return (fields.mean(axis=(2, 4)) / 255).reshape(n, -1).astype(np.float32)


def _pooled(values):
    return values.mean(axis=tuple(range(1, values.ndim - 1)), dtype=np.float64) if values.ndim > 2 else values


def _filled(batch):
    """Repeat the last image up to a whole chunk, so that the network is compiled for one shape only."""
    lacking = max(0, _CHUNK - len(batch))
    return np.concatenate([batch, np.repeat(batch[-1:], lacking, axis=0)]) if lacking else batch


def _key(features, files):
    # Another version may read images otherwise.
    digest = hashlib.sha256(f"{__version__}\n{features.identity()}".encode())
    for path in files:
        stat = Path(path).stat() if Path(path).exists() else None
        # A copy may have kept the time of the file that it replaces; that of its own change it has not.
        state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if stat else None
        digest.update(repr((str(path), state)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _place(cache, name, key):
    digest = hashlib.sha256(f"{name}\n{key}".encode()).hexdigest()
    stem = "".join(letter if letter.isalnum() else "-" for letter in name.split(" ")[0])[:40]
    return Path(cache) / f"{stem}-{digest[:16]}.npz"


def _read(cache, name, key):
    if cache is None or not _place(cache, name, key).is_file():
        return None
    try:
        with np.load(_place(cache, name, key), allow_pickle=False) as stored:
            return stored["features"] if str(stored["key"]) == key else None
    except Exception:
        # A damaged file, which NumPy reads with almost any error, is only a lost result.
        return None


def _keep(cache, name, key, values):
    if cache is None:
        return
    make_folder(cache)
    with whole_file(_place(cache, name, key)) as temporary:
        np.savez(temporary, features=values, key=np.array(key))
