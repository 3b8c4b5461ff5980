"""One picture with some images of every class, to look at the phantom before using it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from covidcxr.atomic import whole_file
from covidcxr.data import labels
from covidcxr.data.phantom.scene import render

_ORDER = (labels.NORMAL, labels.COVID19, labels.SARS, labels.BACTERIAL, labels.VIRAL)
_GAP = 3


def contact_sheet(path, seed=0, per_class=6, *, tile=160):
    """Write a contact sheet: a row a class, `per_class` patients each; ``"pneumonia"`` would repeat two rows.

    Parameters
    ----------
    path : path-like
        A PNG or JPEG file; its folder must exist.
    seed : int
    per_class : int
        Images in a row.
    tile : int
        Pixels a side of each image, 64 to 1024.

    Returns
    -------
    PIL.Image.Image
        The sheet, 8-bit grey.

    Raises
    ------
    OptionError
        If `tile` or `seed` is out of range.
    OutputError
        If the file cannot be written.
    """
    font = ImageFont.load_default(size=max(11, tile // 10))
    strip = max(14, tile // 8)
    step = tile + _GAP
    sheet = Image.new("L", (per_class * step - _GAP, len(_ORDER) * (step + strip)), 255)
    pen = ImageDraw.Draw(sheet)
    for row, label in enumerate(_ORDER):
        top = row * (step + strip)
        pen.text((2, top), label, fill=0, font=font)
        first = labels.LABELS.index(label) + 1
        for column in range(per_class):
            pixels, _ = render(label, first + column * len(labels.LABELS), 1, size=tile, seed=seed)
            sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (column * step, top + strip))
    with whole_file(path) as temporary:
        sheet.save(temporary, optimize=True)
    return sheet
