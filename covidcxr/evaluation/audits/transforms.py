"""Surgeries on grey radiographs: parts taken away for the shortcut audit, defects added for the robustness one."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from covidcxr.errors import OptionError

BORDER = 0.10
CORNER = 0.22
# What the corners leave out at the very edge: a film's black frame is the border's affair.
EDGE = 0.06
COARSE = 16
BINS = 64
# Round the lungs' box, so that an outline a little too tight shows no lung.
MARGIN = 0.05

ALL, SOME, NONE = "all", "some", "none"


@dataclass(frozen=True)
class Surgery:
    """What one probe of the shortcut audit leaves of an image.

    Attributes
    ----------
    name : str
        Such as ``"border"``; also the name of the finding.
    keeps : str
        For a reader: what is left.
    disease : {"all", "some", "none"}
        How much of a lung disease what is left can hold: ``"none"`` is flagged where it predicts the class.
    cut : callable
        ``cut(grey, mask) -> grey``, uint8 of shape (height, width), of the same shape; `mask` is bool of that
        shape, true in the lungs, or None.
    needs_mask : bool
    greys_only : bool
        Describe what `counted` marks by its grey levels alone, in :data:`BINS` bins, without a place.
    counted : callable, optional
        ``counted(shape) -> bool array``, the pixels whose greys are counted; default all.
    """

    name: str
    keeps: str
    disease: str
    cut: object
    needs_mask: bool = False
    greys_only: bool = False
    counted: object = None


def border_mask(shape, share=BORDER, corner=CORNER):
    """Mark the border strips without the corners.

    Parameters
    ----------
    shape : tuple of int
        (height, width) in pixels.
    share : float
        Width of the strips, as a share of the side.
    corner : float
        Side of the corner squares, likewise; 0 keeps the whole ring.

    Returns
    -------
    numpy.ndarray of bool
    """
    return ~_inside(shape, share) & ~_squares(shape, corner)


def corner_mask(shape, corner=CORNER, edge=EDGE):
    """Mark the four corner squares, without the outermost edge; see :func:`border_mask`."""
    return _squares(shape, corner) & _inside(shape, edge)


def only(marked, grey, mask=None):
    """Blank all that ``marked(shape)`` does not mark."""
    return np.where(marked(grey.shape), grey, np.uint8(0))


def without(marked, grey, mask=None):
    """Blank what ``marked(shape)`` marks."""
    return np.where(marked(grey.shape), np.uint8(0), grey)


def whole(grey, mask=None):
    """Return the image as it is."""
    return grey


def centre(grey, mask=None):
    """Blank the whole border ring, corners included."""
    return np.where(_inside(grey.shape, BORDER), grey, np.uint8(0))


def coarse(grey, mask=None):
    """Keep the means of 16 x 16 fields."""
    import cv2

    small = cv2.resize(grey, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)


def lungs_only(grey, mask):
    """Blank all outside the lungs."""
    return np.where(mask, grey, np.uint8(0))


def lungs_removed(grey, mask):
    """Blank the upright box round both lungs: their outline alone would tell of anatomy and disease."""
    return np.where(_box(mask), np.uint8(0), grey)


def grey_histogram(grey, marked=None, bins=BINS):
    """Count grey levels.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (height, width)
    marked : numpy.ndarray of bool, optional
    bins : int
        Of equal width; divides 256.

    Returns
    -------
    numpy.ndarray of float32, shape (bins,)
        Square roots of the shares of pixels: the Hellinger distance of two histograms is then Euclidean.
    """
    levels = grey.ravel() if marked is None else grey[marked]
    counts = np.bincount(levels // (256 // bins), minlength=bins)
    return np.sqrt(counts / max(1, levels.size)).astype(np.float32)


SURGERIES = (
    Surgery("full", "the whole image (reference)", ALL, whole),
    Surgery("centre", "all but the outer tenth on each side", ALL, centre),
    Surgery("corners_masked", "all but the four corners", ALL, partial(without, corner_mask)),
    Surgery("lungs_only", "the lung fields", ALL, lungs_only, needs_mask=True),
    Surgery("low_frequency", "means of 16 x 16 fields", SOME, coarse),
    Surgery(
        "grey_levels", "the grey levels of the image, without their places", SOME, whole, greys_only=True
    ),
    Surgery("border", "the outer tenth on each side, without the corners", NONE, partial(only, border_mask)),
    Surgery("corners", "the four corners", NONE, partial(only, corner_mask)),
    Surgery(
        "border_grey_levels",
        "the grey levels of the border, without their places",
        NONE,
        whole,
        greys_only=True,
        counted=border_mask,
    ),
    Surgery("lungs_removed", "all but a box round the lungs", NONE, lungs_removed, needs_mask=True),
)


def jpeg(quality, grey):
    """Encode as JPEG and decode again."""
    import cv2

    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def contrast(factor, grey):
    """Stretch (above 1) or flatten the greys about the image's own mean, cut at 0 and 255."""
    values = grey.astype(np.float32)
    middle = values.mean()
    return _bytes((values - middle) * np.float32(factor) + middle)


def gamma(exponent, grey):
    """Raise the greys, as shares of 255, to a power: above 1 darkens."""
    table = _bytes(255 * np.linspace(0, 1, 256) ** exponent)
    return table[grey]


def rotate(degrees, grey):
    """Turn about the centre, counter-clockwise; the corners repeat the edge."""
    import cv2

    height, width = grey.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(
        grey, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def shift(share, grey):
    """Move right and down by a share of the side; the edge is repeated."""
    rows, columns = (_moved(side, share) for side in grey.shape)
    return grey[rows][:, columns]


def invert(grey):
    """Exchange black and white, as a MONOCHROME1 file read without its tag."""
    return np.uint8(255) - grey


def flip(grey):
    """Exchange left and right."""
    return np.ascontiguousarray(grey[:, ::-1])


def noise(deviation, grey, rng):
    """Add Gaussian noise of a standard deviation in grey levels."""
    return _bytes(grey + rng.normal(0, deviation, grey.shape))


def lung_masks(records, folder=None):
    """Find the lung mask of each image.

    Parameters
    ----------
    records : covidcxr.data.records.Records
    folder : path-like, optional
        Holds masks under the images' own paths or names, with any image suffix; default the column `mask`
        of the records.

    Returns
    -------
    list of pathlib.Path or None
        One an image; None where it has none.

    Raises
    ------
    OptionError
        If a folder is given that holds no mask of any image.
    """
    if folder is None:
        given = records.table["mask"] if "mask" in records.table else [""] * len(records)
        return [records.root / name if isinstance(name, str) and name else None for name in given]
    from covidcxr.data.images import list_images

    known = {}
    for path in list_images(folder):
        inside = path.relative_to(folder).with_suffix("").as_posix()
        known.setdefault(inside.rpartition("/")[2], path)
        known[inside] = path
    stems = [name.rpartition(".")[0] for name in records.table["path"]]
    found = [known.get(stem, known.get(stem.rpartition("/")[2])) for stem in stems]
    if not any(found):
        raise OptionError(
            f"{folder}: holds no mask for any of the {len(records)} images; name each as its image"
        )
    return found


def read_mask(path, size):
    """Read a lung mask at a size, bool (height, width): true where it is lighter than middle grey.

    Raises
    ------
    ImageError
        As :func:`covidcxr.data.images.read_grey`.
    """
    from covidcxr.data.images import read_grey, resize

    return resize(read_grey(path), size, "nearest") > 127


def _inside(shape, share):
    marked = np.zeros(shape, dtype=bool)
    rows, columns = (max(1, round(share * side)) for side in shape)
    marked[rows:-rows, columns:-columns] = True
    return marked


def _squares(shape, corner):
    near = [_near_an_end(side, corner) for side in shape]
    return near[0][:, None] & near[1][None, :]


def _near_an_end(side, corner):
    places = np.arange(side)
    return np.minimum(places, side - 1 - places) < round(corner * side)


def _box(mask):
    box = np.zeros(mask.shape, dtype=bool)
    if not mask.any():
        return ~box
    slices = []
    for axis, side in ((1, mask.shape[0]), (0, mask.shape[1])):
        places = np.flatnonzero(mask.any(axis=axis))
        wide = round(MARGIN * side)
        slices.append(slice(max(0, places[0] - wide), places[-1] + 1 + wide))
    box[tuple(slices)] = True
    return box


def _moved(side, share):
    return np.clip(np.arange(side) - round(share * side), 0, side - 1)


def _bytes(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
