"""The lung field of a radiograph: from a folder of masks, or estimated and named so.

The estimate is a simple one: dark tissue where lungs usually lie, each side closed to one piece, and a side that
is too opaque to be dark taken from the other side's mirror image. It knows no anatomy. It fails on lateral views,
strongly rotated or cropped pictures and inverted greys, and is no segmentation for any other use.
"""

from pathlib import Path

import numpy as np

from covidcxr.data.images import list_images, read_grey, resize
from covidcxr.errors import DataError

MASK_ENDINGS = ("", "_mask", "-mask", "_lung", "_lungs")
_GRID = 128
# Chosen by Dice on phantoms of one seed (docs/explanations.md has the figures of others): centre (row, column)
# and half axes of where each lung usually lies, in shares of the picture's sides; how far from that centre,
# squared and in half axes, a lung may reach; how much that place counts beside darkness; how much of the
# slow shading is taken away, and over what share of the side it is measured.
_CENTRES = ((0.46, 0.28), (0.46, 0.72))
_HALF_AXES = (0.34, 0.17)
_REACH = 1.3
_PLACE = 0.5
_SHADING, _SHADING_WIDTH = 0.7, 0.25
# A side with less than this share of the other's area is taken for opaque.
_OPAQUE = 0.45
_LEAST = 0.02
_CLOSING = 0.07
_FAR = 1e3


def find_masks(folder, files):
    """Find the mask of each image in a folder, by name.

    Parameters
    ----------
    folder : path-like
        Searched recursively. A mask has the image's name, or that and one of `MASK_ENDINGS`, with any
        suffix; where several folders have the name, one ending alike (``normal/a.png``) is taken.
    files : sequence of path-like
        Images.

    Returns
    -------
    list of (pathlib.Path or None)
        None where there is no mask.

    Raises
    ------
    DataError
        If no image has a mask, or masks of one name cannot be told apart.
    """
    by_stem = {}
    for path in list_images(folder):
        by_stem.setdefault(path.stem, []).append(path)
    found = [_mask_of(Path(file), by_stem) for file in files]
    if not any(found):
        raise DataError(
            f"{folder}: no mask bears the name of any of {len(found)} images; name masks as the images"
        )
    return found


def read_mask(path, size):
    """Read a mask: lung where a pixel is above half of the brightest.

    Parameters
    ----------
    path : path-like
    size : tuple of int
        (rows, columns) of the result.

    Returns
    -------
    numpy.ndarray of bool, shape `size`

    Raises
    ------
    ImageError
        If it cannot be read.
    DataError
        If it is all black or all of one value.
    """
    grey = read_grey(path)
    mask = grey > grey.max() / 2
    if mask.all() or not mask.any():
        raise DataError(f"{path}: one value everywhere, not a lung mask; give a mask, bright where lung is")
    return resize(mask.astype(np.uint8), size, "nearest").astype(bool)


def estimate_field(grey):
    """Estimate the lung field of an upright frontal radiograph, bone bright.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (rows, columns)

    Returns
    -------
    numpy.ndarray of bool, same shape
        Where nothing dark lies in the usual place, that place itself: two ellipses.
    """
    import cv2

    usual = [_usual(centre) for centre in _CENTRES]
    darkness = _darkness(grey, np.minimum(*usual) < _REACH)
    sides = [
        _side((darkness + _PLACE * (1 - distance) > 0) & (distance < _REACH), distance) for distance in usual
    ]
    field = np.logical_or(*_balanced(sides, usual))
    big = cv2.resize(field.astype(np.float32), grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return big > 0.5


def dice(one, other):
    """Dice coefficient of two masks of one shape: 1 where equal, 0 where apart."""
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def _mask_of(file, by_stem):
    candidates = [path for ending in MASK_ENDINGS for path in by_stem.get(file.stem + ending, ())]
    if len(candidates) > 1:
        alike = [path for path in candidates if path.parent.name == file.parent.name]
        if len(alike) != 1:
            raise DataError(f"{file}: {len(candidates)} masks bear its name ({candidates[0]}, ...); keep one")
        candidates = alike
    return candidates[0] if candidates else None


def _darkness(grey, reach):
    """How far each pixel is below Otsu's threshold within `reach`, in deviations, on the small grid."""
    import cv2

    small = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    small -= _SHADING * cv2.GaussianBlur(small, (0, 0), _SHADING_WIDTH * _GRID)
    small = cv2.normalize(small, None, 0, 255, cv2.NORM_MINMAX)
    inside = small[reach]
    level, _ = cv2.threshold(inside.astype(np.uint8).reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    return (level - small) / max(float(inside.std()), 1.0)


def _usual(centre):
    """Distance from the middle of a lung's usual place, 1 at its edge (squared)."""
    at = (np.arange(_GRID) + 0.5) / _GRID
    rows, columns = np.meshgrid(at, at, indexing="ij")
    inside = ((rows - centre[0]) / _HALF_AXES[0]) ** 2 + ((columns - centre[1]) / _HALF_AXES[1]) ** 2
    # A lung does not cross the middle of the chest.
    return np.where((columns < 0.5) == (centre[1] < 0.5), inside, _FAR)


def _side(dark, distance):
    """Keep the dark piece that fills most of a lung's usual place, closed over ribs, vessels and small opacities."""
    import cv2

    count, pieces = cv2.connectedComponents(_open(dark.astype(np.uint8)))
    weight = np.exp(-distance)
    totals = [weight[pieces == piece].sum() for piece in range(1, count)]
    if not totals:
        return np.zeros(dark.shape, bool)
    piece = (pieces == 1 + int(np.argmax(totals))).astype(np.uint8)
    width = 2 * round(_CLOSING * _GRID) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    closed = cv2.morphologyEx(np.pad(piece, width), cv2.MORPH_CLOSE, disc)[width:-width, width:-width]
    return _filled(closed) & (distance < _FAR)


def _open(dark):
    import cv2

    return cv2.morphologyEx(dark, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))


def _filled(piece):
    import cv2

    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(piece), outlines, -1, 1, cv2.FILLED).astype(bool)


def _balanced(sides, usual):
    areas = [side.mean() for side in sides]
    if max(areas) < _LEAST:
        return [distance < 1 for distance in usual]
    weak, strong = (0, 1) if areas[0] < areas[1] else (1, 0)
    if areas[weak] < _OPAQUE * areas[strong]:
        sides[weak] = sides[weak] | sides[strong][:, ::-1]
    return sides
