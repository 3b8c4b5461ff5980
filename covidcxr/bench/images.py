"""Radiographs for the parts: real ones where a folder is given, else a few phantoms varied into as many as asked."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import cv2
import numpy as np

from covidcxr import atomic
from covidcxr.data import labels
from covidcxr.errors import ImageError, OptionError

KINDS = ("png", "jpg")

_ENCODINGS = {
    # Of the default level's size, and read as fast, but written in less time.
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
}
_RENDERED, _RENDERED_QUICK = 24, 8
_LARGEST_PHANTOM = 1024
_LARGEST_SHIFT = 0.04
# Grey levels. Enlarged and shifted pictures are smoother than a detector's, and a PNG of them decodes too fast.
_NOISE = 2.0
_THREADS = 2


def radiographs(bench, count, side, kind="png", folders=1):
    """Write grey radiographs as files, once for a bench: asked again, they are there already.

    Parameters
    ----------
    bench : Bench
        Real images of `bench.data` are resized to squares; where there is none, phantoms.
    count : int
    side : int
        Pixels.
    kind : str
        ``"png"`` or ``"jpg"``; ``"jpeg"`` is the latter.
    folders : int
        Above 1: dealt in turn over so many sub-folders, named by labels, as ``flow_from_directory`` reads them; at
        most 6. They are all in ``paths[0].parent.parent`` then.

    Returns
    -------
    list of pathlib.Path
        In the order of the images, 8-bit grey, in a folder that holds nothing else. Picture `i` is the same for
        every `count`, `kind` and `folders`.

    Raises
    ------
    OptionError
        If `kind` or `folders` has no meaning.
    DataError
        If `bench.data` holds no images.
    """
    kind = {"jpeg": "jpg"}.get(kind, kind)
    if kind not in KINDS:
        raise OptionError(f"kind={kind!r}: use one of {', '.join(KINDS)}")
    if not 1 <= folders <= len(labels.LABELS):
        raise OptionError(f"folders={folders}: use 1 to {len(labels.LABELS)}")
    root = bench.folder / "radiographs" / f"{kind}-{side}-{folders}-{count}"
    names = [labels.LABELS[index % folders] if folders > 1 else "images" for index in range(count)]
    paths = [root / name / f"{index:05d}.{kind}" for index, name in enumerate(names)]
    for name in set(names):
        atomic.make_folder(root / name)
    originals = _originals(bench, side, count)
    missing = [index for index, path in enumerate(paths) if not path.is_file()]

    def write(index):
        # Not synced to the disk one by one: the folder lives as long as the process.
        encoded = cv2.imencode(f".{kind}", originals.picture(index), _ENCODINGS[kind])[1]
        paths[index].write_bytes(encoded.tobytes())

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(write, missing))
    return paths


def greys(bench, count, side):
    """Return the pictures of :func:`radiographs` without writing files.

    Parameters
    ----------
    bench : Bench
    count : int
    side : int
        Pixels.

    Returns
    -------
    numpy.ndarray of uint8, shape (count, side, side)
    """
    originals = _originals(bench, side, count)
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.stack(list(pool.map(originals.picture, range(count))))


def _originals(bench, side, count):
    if bench.data is None:
        few = _RENDERED_QUICK if bench.quick else _RENDERED
        return _Phantoms(min(few, count), side, bench.seed)
    return _Real(_files(bench.data, bench.seed), side, bench.seed)


class _Phantoms:
    """A few rendered phantoms; the pictures after them are these, flipped, shifted and with noise of their own."""

    def __init__(self, few, side, seed):
        self.few, self.side, self.seed = few, side, seed

    def picture(self, index):
        rendered = _rendered(index % self.few, self.side, self.seed)
        return rendered if index < self.few else varied(rendered, self.seed, index)


class _Real:
    """The images of a folder in a seeded order; after the last they come again, varied."""

    def __init__(self, files, side, seed):
        self.files, self.side, self.seed = files, side, seed

    def picture(self, index):
        picture = self._readable(index)
        return picture if index < len(self.files) else varied(picture, self.seed, index)

    def _readable(self, index):
        """Read the image, or the next one that can be: a set from the web has a few that cannot."""
        from covidcxr.data.images import read_grey

        for step in range(len(self.files)):
            try:
                grey = read_grey(self.files[(index + step) % len(self.files)])
            except ImageError as error:
                last = error
                continue
            return resized(grey, self.side, self.seed, index)
        raise last


def resized(grey, side, seed, index):
    """Resize a grey image to a square; what is enlarged gets noise, as a detector of that size would give it.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (h, w)
    side : int
    seed, index : int
        Of the noise.

    Returns
    -------
    numpy.ndarray of uint8, shape (side, side)
    """
    smaller = min(grey.shape) >= side
    picture = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return picture if smaller else _noisy(picture, np.random.default_rng([seed, index, 1]))


def varied(picture, seed, index):
    """Flip, shift (by at most 4 % of the side) and add noise, as drawn for this seed and index.

    Parameters
    ----------
    picture : numpy.ndarray of uint8, shape (side, side)
    seed, index : int

    Returns
    -------
    numpy.ndarray of uint8, shape (side, side)
    """
    rng = np.random.default_rng([seed, index, 2])
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    most = int(_LARGEST_SHIFT * len(picture))
    shift = rng.integers(-most, most + 1, 2)
    return _noisy(np.roll(picture, shift, axis=(0, 1)), rng)


def _noisy(picture, rng):
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(_NOISE)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


@lru_cache(maxsize=2 * _RENDERED)
def _rendered(number, side, seed):
    from covidcxr.data.phantom import render

    size = min(max(side, 64), _LARGEST_PHANTOM)
    label = labels.LABELS[number % 2]
    pixels, _ = render(label, number + 1, 1, size=size, seed=seed)
    return pixels if size == side else resized(pixels, side, seed, number)


@lru_cache(maxsize=2)
def _files(data, seed):
    from covidcxr.data import sources

    files = sources.read(data).files()
    order = np.random.default_rng(seed).permutation(len(files))
    return tuple(files[index] for index in order)
