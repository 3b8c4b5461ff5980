"""Where decoded images are kept: in memory, in a nameless file, or in a file that is checked whenever it is used."""

import collections
import contextlib
import hashlib
import json
import os
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np

from covidcxr.atomic import make_folder, output_errors, whole_file
from covidcxr.errors import OutputError
from covidcxr.version import __version__

# A change of the file's layout makes other names, so that no old file is ever taken for a new one.
_LAYOUT = 1
_DECODERS = ("pillow", "opencv-python-headless", "opencv-python", "pydicom", "pylibjpeg")
# Images written and checked together, and groups decoded ahead: bounds memory while a file is made.
_GROUP, _AHEAD = 32, 2


class Groups:
    """Decodes files in groups, in their order.

    Parameters
    ----------
    files : list of str
    preprocessing : Preprocessing
    progress : callable or None
        ``progress(done, total)`` after each image.
    workers : int
        Images decoded at the same time.
    """

    def __init__(self, files, preprocessing, progress, workers):
        self.files = files
        self.size = tuple(preprocessing.size)
        self._load = preprocessing.load
        self._progress = progress
        self._workers = workers

    def hashes(self):
        """Return the SHA-256 of every file's bytes."""
        with ThreadPoolExecutor(self._workers) as pool:
            return list(pool.map(_content, self.files))

    def __iter__(self):
        """Yield uint8 (n, height, width), group after group."""
        waiting = collections.deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for start in range(0, len(self.files) + _AHEAD * _GROUP, _GROUP):
                    group = self.files[start : start + _GROUP]
                    waiting.append((start, [pool.submit(self._load, path) for path in group]))
                    if len(waiting) > _AHEAD:
                        yield from self._collected(*waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _collected(self, start, futures):
        if futures:
            images = []
            for number, future in enumerate(futures, start + 1):
                images.append(future.result())
                if self._progress:
                    self._progress(number, len(self.files))
            yield np.stack(images)


class _Memory:
    def __init__(self, images):
        self._images = images

    def stack(self, rows):
        return np.take(self._images, rows, axis=0)


class _Mapped:
    """Images in an open file; mapped for each read alone, as a standing map would count as this process' memory."""

    def __init__(self, file, offset, shape):
        self._file, self._offset, self._shape = file, offset, shape

    def __len__(self):
        return self._shape[0]

    def records(self):
        return np.memmap(self._file, _kind(self._shape[1:]), "r", self._offset, self._shape[:1])

    def stack(self, rows):
        return self.records()["pixels"][rows]


def in_memory(groups):
    """Decode into an array."""
    images = np.empty((len(groups.files), *groups.size), np.uint8)
    start = 0
    for group in groups:
        images[start : start + len(group)] = group
        start += len(group)
    return _Memory(images)


def in_nameless_file(groups, folder):
    """Decode into a file in a folder that has no name there, so that nothing is left of it after any end."""
    with output_errors(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        offset = _write(file, groups, key="")
    return _Mapped(file, offset, (len(groups.files), *groups.size))


def in_folder(groups, settings, folder):
    """Find the images in a folder, or decode them and leave them there."""
    key = _key(groups, settings)
    path = make_folder(folder) / f"decoded-{key[:32]}.npy"
    shape = (len(groups.files), *groups.size)
    store = _opened(path, shape, key)
    if store is None:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            _write(file, groups, key)
        store = _opened(path, shape, key)
    if store is None:
        raise OutputError(f"{path}: was damaged as soon as it was written; choose another folder for --cache")
    return store


def _key(groups, settings):
    """Name a set of images by all that decides a pixel."""
    versions = {"covidcxr": __version__}
    for name in _DECODERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    facts = {"layout": _LAYOUT, "settings": settings, "versions": versions, "files": groups.hashes()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _content(path):
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        # Decoding says what is wrong with it.
        return ""


def _kind(size):
    return np.dtype([("pixels", np.uint8, tuple(size)), ("check", "<u4")])


def _write(file, groups, key):
    """Write images as a .npy file and return where they begin."""
    kind = _kind(groups.size)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, header | {"shape": (len(groups.files),)})
    offset, row = file.tell(), 0
    for images in groups:
        records = np.empty(len(images), kind)
        records["pixels"] = images
        records["check"] = _checks(images, key, row)
        file.write(records.tobytes())
        row += len(images)
    file.flush()
    return offset


def _checks(images, key, first):
    """Return a checksum of each image that another image, another place or another set would not have."""
    return [
        zlib.crc32(np.ascontiguousarray(image), zlib.crc32(f"{key} {row}".encode()))
        for row, image in enumerate(images, first)
    ]


def _opened(path, shape, key):
    """Open a file that was left before; None where there is none or it is damaged."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return None
    # NumPy reads the header as Python, with whatever errors that has.
    with contextlib.suppress(Exception):
        np.lib.format.read_magic(file)
        count, _, kind = np.lib.format.read_array_header_1_0(file)
        store = _Mapped(file, file.tell(), shape)
        whole = file.tell() + shape[0] * kind.itemsize == os.path.getsize(path)
        if count == shape[:1] and kind == _kind(shape[1:]) and whole and _is_sound(store, key):
            return store
    file.close()
    return None


def _is_sound(store, key):
    for start in range(0, len(store), _GROUP):
        group = store.records()[start : start + _GROUP]
        if _checks(group["pixels"], key, start) != group["check"].tolist():
            return False
    return True
