"""ImageDataGenerator's transforms by OpenCV, on the grey image, without a loop over its channels."""

import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from covidcxr.data.augmentation.drawing import draw_parameters
from covidcxr.data.memory import Scratch
from covidcxr.errors import OptionError

_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
    "constant": cv2.BORDER_CONSTANT,
}
_BILINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
# OpenCV reads outside an image pixel by pixel: a wider copy pays until it is about this many times as large.
_WIDEST = 3
_STILL = np.eye(2, 3).tolist()
_SCRATCH = Scratch()
_RAMP = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])


class FastEngine:
    """What Keras' `ImageDataGenerator.apply_transform` gives, bilinear, many times as fast.

    Values differ by the rounding of single precision, below 0.01 grey levels on radiographs. With OpenCV before
    5.0, which reads at multiples of 1/32 pixel, by up to about 1 % of the step between neighbouring pixels.
    Brightness, which cuts to whole numbers, may then differ by one whole grey level in few pixels.

    Raises
    ------
    OptionError
        If the augmentation's `interpolation_order` is not 1.
    """

    def __init__(self, augmentation, shape):
        if augmentation.interpolation_order != 1:
            raise OptionError(
                f"engine 'fast' reads images bilinearly, not with interpolation_order="
                f"{augmentation.interpolation_order}; choose engine 'keras'"
            )
        self._augmentation = augmentation
        self._shape = tuple(shape)

    def draw(self, seed):
        """Draw one image's transform: see :meth:`Engine.draw`."""
        return draw_parameters(self._augmentation, self._shape, seed)

    def apply(self, image, parameters):
        """Transform one image: see :meth:`Engine.apply`."""
        planes = np.moveaxis(image, -1, 0)
        moved = np.empty(planes.shape, np.float32)
        for plane, result in zip(planes, moved, strict=True):
            self._move(plane, parameters, result)
        return _change_levels(np.stack(moved, axis=-1), parameters)

    def each(self, greys, parameters):
        """Transform grey images one after another: see :meth:`Engine.each`."""
        for grey, drawn in zip(greys, parameters, strict=True):
            moved = _SCRATCH.take("moved", grey.shape)
            self._move(grey, drawn, moved)
            yield _change_levels(moved, drawn)

    def apply_batch(self, greys, parameters, threads=1):
        """Transform grey images: see :meth:`Engine.apply_batch`."""
        result = np.empty(greys.shape, np.float32)

        if len(parameters) != len(greys):
            raise ValueError(f"{len(parameters)} transforms for {len(greys)} images")

        def work(first):
            for number in range(first, len(greys), threads):
                self._move(greys[number], parameters[number], result[number])
                result[number] = _change_levels(result[number], parameters[number])

        if threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, range(threads)))
        return result

    def _move(self, grey, parameters, moved):
        """Write one plane, warped and flipped, into `moved`, float32 and contiguous."""
        matrix = _matrix(parameters, grey.shape)
        if matrix.tolist() == _STILL:
            moved[...] = grey[_flips(parameters)]
            return
        # A copy of the thread's own: reading here and there in memory that is not in the cache takes twice as long.
        plane = _SCRATCH.take("plane", grey.shape)
        plane[...] = grey
        mode, cval = self._augmentation.fill_mode, self._augmentation.cval
        if mode == "wrap":
            _wrap(plane, matrix, _flips(parameters), moved)
            return
        _warp(plane, _flipped(matrix, parameters, grey.shape), _BORDERS[mode], cval, moved)
        if mode == "constant":
            moved[_outside(matrix, grey.shape, _flips(parameters))] = cval


def _matrix(parameters, shape):
    """Return Keras' rotation, shift, shear and zoom about the centre: from a result's (x, y) to the image's.

    As in Keras, `tx` and `zx` act along the rows, from left to right, and half the height stands for the centre
    of that axis too.
    """
    theta, shear = (math.radians(parameters.get(name, 0)) for name in ("theta", "shear"))
    tx, ty = parameters.get("tx", 0), parameters.get("ty", 0)
    zx, zy = parameters.get("zx", 1), parameters.get("zy", 1)
    sin, cos = math.sin(theta), math.cos(theta)
    skew, keep = math.sin(shear), math.cos(shear)
    a, b = cos * zx, (-cos * skew - sin * keep) * zy
    c, d = sin * zx, (-sin * skew + cos * keep) * zy
    x, y = shape[0] / 2 - 0.5, shape[1] / 2 - 0.5
    across = x + (cos * tx - sin * ty) - a * x - b * y
    down = y + (sin * tx + cos * ty) - c * x - d * y
    return np.array([[a, b, across], [c, d, down]])


def _flips(parameters):
    """Return the slices that flip a plane, or any array of its rows and columns."""
    names = ("flip_vertical", "flip_horizontal")
    return tuple(slice(None, None, -1 if parameters.get(name) else 1) for name in names)


def _flipped(matrix, parameters, shape):
    """Return the matrix that reads what `matrix` reads, for a result that is flipped afterwards."""
    matrix = matrix.copy()
    for axis, name in enumerate(("flip_horizontal", "flip_vertical")):
        if parameters.get(name):
            matrix[:, 2] += matrix[:, axis] * (shape[1 - axis] - 1)
            matrix[:, axis] *= -1
    return matrix


def _warp(plane, matrix, border, cval, moved):
    height, width = plane.shape
    if border != cv2.BORDER_CONSTANT:
        plane, matrix = _widened(plane, matrix, border)
    size = (width, height)
    cv2.warpAffine(plane, matrix, size, moved, flags=_BILINEAR, borderMode=border, borderValue=cval)


def _widened(plane, matrix, border):
    """Return the plane with the margins that `matrix` reads, and the matrix for it; both as they are if huge."""
    height, width = plane.shape
    margins = []
    for (along, across, start), length in zip(matrix.tolist(), (width, height), strict=True):
        ends = along * (width - 1), across * (height - 1)
        lowest = start + min(ends[0], 0) + min(ends[1], 0)
        highest = start + max(ends[0], 0) + max(ends[1], 0)
        margins += [max(0, 1 - math.floor(lowest)), max(0, math.floor(highest) + 3 - length)]
    left, right, top, bottom = margins
    wide = (top + height + bottom, left + width + right)
    if math.prod(wide) > _WIDEST * plane.size:
        return plane, matrix
    matrix = matrix.copy()
    matrix[:, 2] += left, top
    return cv2.copyMakeBorder(plane, top, bottom, left, right, border, _SCRATCH.take("wide", wide)), matrix


def _positions(matrix, shape, flips):
    """Return the float64 positions x and y that SciPy would read for each pixel, in SciPy's order of sums."""
    rows = np.arange(shape[0], dtype=np.float64)[flips[0], np.newaxis]
    columns = np.arange(shape[1], dtype=np.float64)[flips[1]]
    return tuple(start + rows * b + columns * a for a, b, start in matrix)


def _outside(matrix, shape, flips):
    """Tell which pixels lie outside the image: SciPy leaves them no share of the outermost pixels."""
    x, y = _positions(matrix, shape, flips)
    return (x < 0) | (x > shape[1] - 1) | (y < 0) | (y > shape[0] - 1)


def _wrap(plane, matrix, flips, moved):
    """Repeat the plane as SciPy does: with a period of one pixel less than its length, so that it jumps."""
    maps = []
    for place, length in zip(_positions(matrix, plane.shape, flips), plane.shape[::-1], strict=True):
        period = max(1, length - 1)
        place = np.where(place < 0, place + period * (np.trunc(-place / period) + 1), place)
        place = np.where(place > period, place - period * np.trunc(place / period), place)
        maps.append(place.astype(np.float32))
    cv2.remap(plane, *maps, cv2.INTER_LINEAR, moved, borderMode=cv2.BORDER_REPLICATE)


def _change_levels(image, parameters):
    """Shift an image's grey levels and brighten it, as asked for; `image` may be overwritten."""
    shift = parameters.get("channel_shift_intensity")
    if shift is not None:
        image = np.clip(image + np.float32(shift), image.min(), image.max())
    factor = parameters.get("brightness")
    return image if factor is None else _brighten(image, factor)


def _brighten(image, factor):
    """Do what Keras lets Pillow do: on whole grey levels, stretched over all 256 first where some lie outside."""
    low, high = image.min(), image.max()
    stretched = low < 0 or high > 255
    if stretched:
        # Keras' order of steps: another one cuts other values.
        image = (image - low) / ((high - low) or 1) * np.float32(255)
    table = np.asarray(ImageEnhance.Brightness(_RAMP).enhance(factor), np.float32)[0]
    bright = table[image.astype(np.uint8)]
    return bright / np.float32(255) * (high - low) + low if stretched else bright
