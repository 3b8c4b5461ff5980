"""Pages of generated images, to see what training does."""

from pathlib import Path

import keras
import numpy as np

from covidcxr.atomic import make_folder, whole_file
from covidcxr.errors import OptionError

_GAP = 2
_PAPER = 255


class SampleSheets(keras.callbacks.Callback):
    """Write a page of images made from the same noise at the end of epochs, as ``epoch-0001.png``...

    Parameters
    ----------
    folder : path-like
    every : int
        Epochs from one page to the next, the first of them after epoch `every`.
    rows, columns : int
    seed : int
        Of the noise.

    Raises
    ------
    OptionError
        If a count is below 1.
    """

    def __init__(self, folder, every=1, *, rows=8, columns=8, seed=0):
        super().__init__()
        if min(every, rows, columns) < 1:
            raise OptionError(
                f"a page of {rows} rows of {columns} every {every} epochs; each must be at least 1"
            )
        self.folder = Path(folder)
        self.every = every
        self.layout = {"rows": rows, "columns": columns, "seed": seed}

    def on_epoch_end(self, epoch, logs=None):
        """Write a page where one is due."""
        if (epoch + 1) % self.every == 0:
            self.model.sample_sheet(make_folder(self.folder) / f"epoch-{epoch + 1:04d}.png", **self.layout)


def mosaic(images, columns):
    """Lay images of one size out row by row, with white gaps.

    Parameters
    ----------
    images : numpy.ndarray of uint8, shape (n, height, width)
    columns : int

    Returns
    -------
    numpy.ndarray of uint8, shape (rows * (height + 2) - 2, columns * (width + 2) - 2)
    """
    count, height, width = images.shape
    rows = -(-count // columns)
    page = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), _PAPER, np.uint8)
    for place, image in enumerate(images):
        top, left = (place // columns) * (height + _GAP), (place % columns) * (width + _GAP)
        page[top : top + height, left : left + width] = image
    return page


def write_grey(path, grey):
    """Write grey bytes (height, width) as an image file, whole or not at all."""
    from PIL import Image

    with whole_file(path) as temporary:
        Image.fromarray(grey).save(temporary)
