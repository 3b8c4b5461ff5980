"""What a frozen prefix says of every image, computed once: in memory where it fits, else in a file without a name."""

import math
import shutil
import tempfile

import numpy as np

from covidcxr.errors import ModelError

# Of the memory there is, what all banks of a run may take.
_SHARE = 4
# The prefix always sees as many images at once: what it says of one then never hangs on what else is missing.
BATCH = 32
_SPARE_DISK = 1 << 30


class Bank:
    """Features of images, of each under a number of random transforms, filled as they are asked for.

    Parameters
    ----------
    cut : covidcxr.models.cutting.Cut
    draws, images : int
        Transforms an image, and images.
    folder : path-like, optional
        For a file where they are not to be in memory. It has no name there: it goes with the process, however
        that ends.

    Raises
    ------
    ModelError
        If the disk has no room for it.
    """

    def __init__(self, cut, draws, images, folder=None):
        self.bytes = needed(cut, draws * images)
        self.in_memory = folder is None
        if folder is not None:
            _check_disk(folder, self.bytes)
        self._filled = np.zeros((draws, images), bool)
        self._parts = []
        for shape, dtype in zip(cut.shapes, cut.dtypes, strict=True):
            self._parts.append(self._allocate((draws, images, *shape), _dtype(dtype), folder))

    def missing(self, draw, places):
        """Return those of an array's places that have no features yet, in its order."""
        return places[~self._filled[draw, places]]

    def put(self, draw, places, features):
        """Keep the features of images: a tuple of arrays (n, ...)."""
        for part, values in zip(self._parts, features, strict=True):
            part[draw, places] = values
        self._filled[draw, places] = True

    def of(self, draw):
        """Return all images' features of one draw: a tuple of arrays (images, ...), to be read only."""
        return tuple(part[draw] for part in self._parts)

    def close(self):
        """Give memory and disk back."""
        self._parts.clear()

    def _allocate(self, shape, dtype, folder):
        if folder is None:
            # Pages that are never written take no memory.
            return np.empty(shape, dtype)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype, "w+", shape=shape)


class Banks:
    """The banks of a run, by what they hold: models that share a prefix and images share a bank.

    Closes them as a context manager.

    Parameters
    ----------
    room : int, optional
        Bytes of memory that they may take together; default a quarter of what this process may use.
    """

    def __init__(self, room=None):
        self.room = _room() if room is None else room
        self._banks = {}
        self._constants = None, None

    def compiled(self, key, prefix, exact):
        """Return :func:`compiled` of a prefix; a graph of constants is made once for all models of that key.

        Parameters
        ----------
        key : hashable
            Equal where layers and weights are.
        prefix : keras.Model
        exact : bool
        """
        if exact:
            return compiled(prefix, exact)
        if key != self._constants[0]:
            self._constants = key, _frozen(prefix)
        return _padded(self._constants[1] or _traced(prefix))

    def get(self, key, cut, draws, images, folder):
        """Return the bank of that key, made if need be; the longest unused ones make room for it.

        Parameters
        ----------
        key : hashable
        cut, draws, images, folder
            As for :class:`Bank`; the folder is used where memory does not suffice.
        """
        if key not in self._banks:
            size = needed(cut, draws * images)
            fits = size <= self.room
            while self._banks and self._held(fits) + size > (self.room if fits else 0):
                self._banks.pop(next(iter(self._banks))).close()
            self._banks[key] = Bank(cut, draws, images, None if fits else folder)
        # The last used stands last.
        self._banks[key] = self._banks.pop(key)
        return self._banks[key]

    def _held(self, in_memory):
        return sum(bank.bytes for bank in self._banks.values() if bank.in_memory == in_memory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._constants = None, None
        while self._banks:
            self._banks.popitem()[1].close()


def needed(cut, rows):
    """Return the bytes that so many images' features take."""
    each = sum(
        math.prod(shape) * _dtype(dtype).itemsize for shape, dtype in zip(cut.shapes, cut.dtypes, strict=True)
    )
    return rows * each


def fits(size, room, folder):
    """Tell whether a bank of so many bytes has a place, in memory or on the folder's disk."""
    return size <= room or size + _SPARE_DISK <= shutil.disk_usage(folder).free


def compiled(prefix, exact=False):
    """Return a function of image batches, float32 (n, h, w, channels), to a tuple of feature arrays (n, ...).

    It pads them to :data:`BATCH`, of which there must not be more.

    Parameters
    ----------
    prefix : keras.Model
    exact : bool
        Whether the features are to be Keras' own. Otherwise they are within 1e-5 of the greatest, and come sooner
        from a graph of constants on a processor, if all are vectors: layers that train on feature maps would make
        more of the difference.
    """
    return _padded((not exact and _frozen(prefix)) or _traced(prefix))


def _padded(run):
    def features(images):
        lacking = BATCH - len(images)
        padded = np.concatenate([images, np.repeat(images[:1], lacking, axis=0)]) if lacking else images
        return tuple(output[: len(images)] for output in run(padded))

    return features


def _frozen(prefix):
    """Return the prefix as a frozen graph of constants, or None where it is to be Keras'."""
    import tensorflow as tf

    from covidcxr.models.frozen_graph import frozen_outputs

    pooled = all(len(tensor.shape) == 2 for tensor in prefix.outputs)
    if not pooled or len(prefix.inputs) != 1 or tf.config.list_physical_devices("GPU"):
        return None
    try:
        return frozen_outputs(prefix)
    except ModelError:
        return None


def _traced(prefix):
    import tensorflow as tf

    run = tf.function(lambda images: prefix([images], training=False), autograph=False)
    return lambda images: [output.numpy() for output in tf.nest.flatten(run(tf.convert_to_tensor(images)))]


def _room():
    from covidcxr.models import memory

    return (memory.available() or 4 << 30) // _SHARE


def _check_disk(folder, size):
    free = shutil.disk_usage(folder).free
    if size + _SPARE_DISK > free:
        raise ModelError(
            f"{folder}: {free / 2**30:.1f} GiB are free and the frozen features need {size / 2**30:.1f} GiB; "
            "lower --draws, or give --draws off"
        )


def _dtype(name):
    import tensorflow as tf

    return np.dtype(tf.as_dtype(name).as_numpy_dtype)
