"""A page of thumbnails, one row a class: the quickest way to see what a set of images is."""

import numpy as np

from covidcxr.data.images import read_grey
from covidcxr.errors import ImageError

_SIDE = 128
_GAP = 4
_CAPTION = 14
_INK = 255
_PAPER = 24


def contact_sheet(records, columns=8, *, seed=0):
    """Draw images of every class at random and lay them out.

    Parameters
    ----------
    records : Records
    columns : int
        Images a class; fewer where the class has fewer that can be read.
    seed : int

    Returns
    -------
    PIL.Image.Image
        Mode "L". Each picture keeps its aspect within 128 × 128 px; a row's caption is its class and the
        class's number of images.
    """
    from PIL import Image, ImageDraw

    labels = records.classes()
    width = _GAP + columns * (_SIDE + _GAP)
    sheet = Image.new("L", (width, _GAP + len(labels) * (_CAPTION + _SIDE + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, label in enumerate(labels):
        top = _GAP + row * (_CAPTION + _SIDE + _GAP)
        chosen = records.where(records.table["label"] == label)
        pen.text((_GAP, top), f"{label} ({len(chosen)} images)", fill=_INK)
        for column, thumb in enumerate(_thumbs(chosen, columns, np.random.default_rng([seed, row]))):
            sheet.paste(thumb, (_GAP + column * (_SIDE + _GAP), top + _CAPTION))
    return sheet


def _thumbs(records, count, generator):
    from PIL import Image

    files = sorted(records.files())
    found = 0
    for index in generator.permutation(len(files)):
        if found == count:
            return
        try:
            picture = Image.fromarray(read_grey(files[index]))
        except ImageError:
            continue
        picture.thumbnail((_SIDE, _SIDE))
        found += 1
        yield picture
