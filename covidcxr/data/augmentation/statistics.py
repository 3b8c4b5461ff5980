"""The grey value statistics that Keras' ImageDataGenerator would fit."""

import math
from dataclasses import replace

import numpy as np

from covidcxr.errors import OptionError


def fit_statistics(files, preprocessing, *, std=True, progress=None):
    """Measure a set's feature-wise mean and deviation, as Keras' `ImageDataGenerator.fit` does.

    Keras measures after `rescale` but before the sample-wise steps, and later applies the result after them:
    with both, images that are already centred on zero have the set's mean subtracted once more. So here too.

    A histogram of the 256 grey values is all that is kept, so memory does not grow with the set, and the
    result does not depend on the order of the files.

    Parameters
    ----------
    files : sequence of path-like
    preprocessing : Preprocessing
        How to read the images. Its own feature-wise statistics, if any, are replaced.
    std : bool
        Whether to measure the deviation too.
    progress : callable, optional
        Called as ``progress(done, total)`` after each image.

    Returns
    -------
    Preprocessing
        With `featurewise_mean`, and with `std` also `featurewise_std`: one number a channel, in units of the
        rescaled grey values.

    Raises
    ------
    OptionError
        If there are no files.
    ImageError
        If one cannot be read.
    """
    if not len(files):
        raise OptionError("no images to fit the feature-wise statistics on; give the training files")
    histogram = np.zeros(256, np.int64)
    for done, path in enumerate(files, 1):
        histogram += np.bincount(preprocessing.load(path).ravel(), minlength=256)
        if progress:
            progress(done, len(files))
    values = np.arange(256) * float(preprocessing.rescale or 1)
    mean = np.average(values, weights=histogram)
    deviation = math.sqrt(np.average((values - mean) ** 2, weights=histogram))
    return replace(
        preprocessing,
        featurewise_mean=(float(mean),) * preprocessing.channels,
        featurewise_std=(deviation,) * preprocessing.channels if std else None,
    )
