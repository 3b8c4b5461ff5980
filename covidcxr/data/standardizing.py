"""Standardisation of grey images that are to get channels: arithmetic once, where it is the same for each channel."""

from dataclasses import replace

import cv2
import numpy as np

from covidcxr.data.memory import Scratch

# Statistics of an image's own are sums over its channels, whose rounding one channel alone would not repeat.
_OF_ONE_CHANNEL = ("none", "tf")
_STATISTICS = ("featurewise_mean", "featurewise_std")
_SCRATCH = Scratch()


class Standardizer:
    """From grey images to a network's input.

    Parameters
    ----------
    preprocessing : Preprocessing
    """

    def __init__(self, preprocessing):
        self._shape = (*preprocessing.size, preprocessing.channels)
        self._preprocessing = preprocessing
        self._repeats = preprocessing.channels > 1 and _alike(preprocessing)
        if self._repeats:
            statistics = {name: _first(getattr(preprocessing, name)) for name in _STATISTICS}
            self._preprocessing = replace(preprocessing, channels=1, **statistics)

    def __call__(self, greys, out=None, *, overwrite=False):
        """Standardise.

        Parameters
        ----------
        greys : iterable of numpy.ndarray, shape (height, width)
            Grey levels 0 to 255; a sequence, unless `out` is given.
        out : numpy.ndarray of float32, shape (n, height, width, channels), optional
            Contiguous; takes the result.
        overwrite : bool
            Whether `greys`, then float32, may lose their values: saves a copy.

        Returns
        -------
        numpy.ndarray of float32, shape (n, height, width, channels)
            Bit for bit ``preprocessing.standardize(preprocessing.expand(greys))``.
        """
        if out is None:
            out = np.empty((len(greys), *self._shape), np.float32)
        # One after another: an image stays in the processor's cache between the steps.
        for image, grey in zip(out, greys, strict=True):
            self._one(grey, image, overwrite)
        return out

    def _one(self, grey, image, overwrite):
        if self._repeats:
            grey = grey[..., np.newaxis]
            one = grey if overwrite else _SCRATCH.take("one", grey.shape)
            self._preprocessing.standardize(grey, one)
            cv2.cvtColor(one, cv2.COLOR_GRAY2BGR, image)
        else:
            self._preprocessing.standardize(self._preprocessing.expand(grey), image)


def _alike(preprocessing):
    of_an_image = preprocessing.samplewise_center or preprocessing.samplewise_std_normalization
    values = [getattr(preprocessing, name) or (0,) for name in _STATISTICS]
    return (
        preprocessing.mode in _OF_ONE_CHANNEL
        and not of_an_image
        and all(len(set(each)) == 1 for each in values)
    )


def _first(values):
    return values and values[:1]
