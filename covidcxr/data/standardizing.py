"""Standardisation of grey images that are to get channels: arithmetic once, where it is the same for each channel."""

from dataclasses import replace

import numpy as np

# Statistics of an image's own are sums over its channels, whose rounding one channel alone would not repeat.
_OF_ONE_CHANNEL = ("none", "tf")


class Standardizer:
    """From grey images to a network's input, but for the last step: each channel is to be repeated.

    Parameters
    ----------
    preprocessing : Preprocessing

    Attributes
    ----------
    channels : int
        Of the result.
    repeats : int
        How often each is to be repeated; ``channels * repeats`` are the preprocessing's.
    """

    def __init__(self, preprocessing):
        self._preprocessing, self.repeats = preprocessing, 1
        if preprocessing.channels > 1 and _alike(preprocessing):
            statistics = {name: _first(getattr(preprocessing, name)) for name in _STATISTICS}
            self._preprocessing = replace(preprocessing, channels=1, **statistics)
            self.repeats = preprocessing.channels
        self.channels = self._preprocessing.channels

    def __call__(self, greys):
        """Standardise.

        Parameters
        ----------
        greys : numpy.ndarray, shape (n, height, width)
            Grey levels 0 to 255.

        Returns
        -------
        numpy.ndarray of float32, shape (n, height, width, channels)
            Repeated, bit for bit ``preprocessing.standardize(preprocessing.expand(greys))``.
        """
        result = np.empty((*greys.shape, self.channels), np.float32)
        # One after another: an image stays in the processor's cache between the steps.
        for image, grey in zip(result, greys, strict=True):
            image[...] = self._preprocessing.standardize(self._expanded(grey))
        return result

    def _expanded(self, grey):
        return grey[..., np.newaxis] if self.channels == 1 else self._preprocessing.expand(grey)


_STATISTICS = ("featurewise_mean", "featurewise_std")


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
