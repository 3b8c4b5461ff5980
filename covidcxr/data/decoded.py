"""Radiographs decoded once: grey bytes at a network's size, kept in memory or in a file, never with other values."""

import contextlib
import hashlib
import json
import os

from covidcxr.data import decoded_stores as stores
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import OptionError

MEMORY, FILE = "memory", "file"


class Decoded:
    """Grey images of one set of files, decoded once.

    Parameters
    ----------
    files : sequence of path-like
    settings : dict
        Of :func:`grey_settings`.
    store : object
        Gives ``store.stack(rows)``.
    """

    def __init__(self, files, settings, store):
        self.settings = settings
        self._rows = {os.fspath(path): row for row, path in enumerate(files)}
        self._store = store

    @classmethod
    def open(cls, files, preprocessing, where=MEMORY, *, folder=None, progress=None, workers=None):
        """Decode files, or find them decoded before.

        Parameters
        ----------
        files : sequence of path-like
        preprocessing : Preprocessing
            Its size, interpolation and reading decide; the rest comes after the grey image.
        where : str or path-like
            ``"memory"``; ``"file"``, a nameless file in `folder` that ends with this process, however that
            ends; or a folder, where a file is left for whoever needs the same images again. That is known by
            the bytes of the files, the settings and the versions of the decoders; it is written whole or not at
            all, and every image in it has a checksum: a damaged one is made anew.
        folder : path-like, optional
            For ``"file"``.
        progress : callable, optional
            Called as ``progress(done, total)`` while images are decoded.
        workers : int, optional
            Images decoded at the same time; default: one a core.

        Returns
        -------
        Decoded

        Raises
        ------
        ImageError
            For the first file that cannot be read.
        OutputError
            If the file cannot be written.
        """
        files = list(dict.fromkeys(map(os.fspath, files)))
        if not files:
            raise OptionError("no images to decode; give at least one file")
        settings = grey_settings(preprocessing)
        groups = stores.Groups(files, preprocessing, progress, workers or _cores())
        if where == MEMORY:
            store = stores.in_memory(groups)
        elif where == FILE:
            store = stores.in_nameless_file(groups, folder)
        else:
            store = stores.in_folder(groups, settings, where)
        return cls(files, settings, store)

    def __contains__(self, path):
        return os.fspath(path) in self._rows

    def load(self, path):
        """Return one image as :meth:`Preprocessing.load` gives it: uint8 (height, width)."""
        return self.stack([path])[0]

    def stack(self, paths):
        """Return several images.

        Parameters
        ----------
        paths : sequence of path-like
            Among the files.

        Returns
        -------
        numpy.ndarray of uint8, shape (n, height, width)
            The caller's own.
        """
        return self._store.stack([self._rows[os.fspath(path)] for path in paths])

    def behind(self, preprocessing):
        """Return a preprocessing with the same values that takes its grey images from here.

        Parameters
        ----------
        preprocessing : Preprocessing

        Returns
        -------
        CachedPreprocessing

        Raises
        ------
        OptionError
            If its grey images are others.
        """
        if grey_settings(preprocessing) != self.settings:
            raise OptionError("the images were decoded for another size, interpolation or reading")
        values = {name: getattr(preprocessing, name) for name in Preprocessing.__dataclass_fields__}
        cached = CachedPreprocessing(**values)
        object.__setattr__(cached, "decoded", self)
        return cached


class CachedPreprocessing(Preprocessing):
    """A preprocessing whose grey images were decoded before, as far as they were.

    A changed copy (`dataclasses.replace`) reads the files again: its grey image may be another.

    Attributes
    ----------
    decoded : Decoded or None
    """

    decoded = None

    def has(self, paths):
        """Tell whether all of these files were decoded."""
        return self.decoded is not None and all(path in self.decoded for path in paths)

    def load(self, path):
        """Return one file's grey image: see :meth:`Preprocessing.load`."""
        if self.has([path]):
            return self.decoded.load(path)
        return super().load(path)


def grey_settings(preprocessing):
    """Return what of a preprocessing decides its grey image, as JSON values."""
    values = preprocessing.to_dict()
    return {name: values[name] for name in ("size", "interpolation", "reading")}


def fingerprint(files, preprocessing):
    """Tell cheaply, within one process, whether files would be decoded to the same images.

    Returns
    -------
    str
        Digest of the settings and of each file's path, length and times of change.
    """
    digest = hashlib.sha256(json.dumps(grey_settings(preprocessing), sort_keys=True).encode())
    for path in map(os.fspath, files):
        facts = (0, 0)
        with contextlib.suppress(OSError):
            status = os.stat(path)
            facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(f"{path}\0{facts}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _cores():
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
