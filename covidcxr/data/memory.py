"""Memory that is used again: a fresh page costs more time than a transform of the pixels that it is for."""

import math
import threading
import weakref

import numpy as np

# TensorFlow copies what does not begin at such an address.
_ALIGNMENT = 64


class Buffers:
    """Lends float32 arrays, each for as long as anybody refers to it or to a part of it; safe between threads.

    It keeps as many as were lent at the same time.
    """

    def __init__(self):
        self._free = []

    def take(self, shape):
        """Lend an array.

        Parameters
        ----------
        shape : tuple of int

        Returns
        -------
        numpy.ndarray of float32
            Of any values, aligned so that TensorFlow takes it as it is.
        """
        size = math.prod(shape)
        try:
            whole = self._free.pop()
        except IndexError:
            whole = _aligned(size)
        if whole.size < size:
            whole = _aligned(size)
        # By way of a memoryview: else a part of the array would refer to `whole` and not to what is watched.
        lent = np.frombuffer(memoryview(whole), np.float32, size)
        weakref.finalize(lent, self._free.append, whole).atexit = False
        return lent.reshape(shape)


class Scratch(threading.local):
    """Each thread's own arrays for values in between."""

    def __init__(self):
        self._kept = {}

    def take(self, name, shape):
        """Return this thread's float32 array of that name, of any values; what it held before is lost.

        Parameters
        ----------
        name : str
        shape : tuple of int

        Returns
        -------
        numpy.ndarray of float32
        """
        size = math.prod(shape)
        whole = self._kept.get(name)
        if whole is None or whole.size < size:
            whole = self._kept[name] = _aligned(size)
        return whole[:size].reshape(shape)


def _aligned(size):
    """Return a float32 array of one axis that begins at a multiple of the alignment."""
    raw = np.empty(4 * size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + 4 * size].view(np.float32)
