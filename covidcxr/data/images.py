"""Radiographs from disk to grey bytes: JPEG, PNG, BMP, TIFF and DICOM, told apart by content."""

import contextlib
import operator
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from covidcxr.data.decoding import MAX_PIXELS, FaultError, check_file, check_size, decoding
from covidcxr.data.greyscale import GreyReading, to_uint8
from covidcxr.errors import DataError, OptionError

__all__ = [
    "DEFAULT_READING",
    "IMAGE_SUFFIXES",
    "INTERPOLATIONS",
    "MAX_PIXELS",
    "GreyReading",
    "image_size",
    "list_images",
    "read_grey",
    "read_resized",
    "resize",
]

DEFAULT_READING = GreyReading()
DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", *DICOM_SUFFIXES)

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
INTERPOLATIONS = (*_PILLOW, "cv2_linear", "cv2_area")
# 4096 x 4096: a size that a model's file asks for is not to fill the memory.
LARGEST_TARGET = 2**24

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_OTHER_SIGNATURES = (
    (b"GIF8", "a GIF"),
    (b"RIFF", "a WebP or another RIFF file"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file (a NIfTI volume?)"),
    (b"PK\x03\x04", "a zip archive"),
)
_TURNED = {
    2: np.fliplr,
    3: lambda grey: np.rot90(grey, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda grey: np.rot90(grey, -1),
    7: lambda grey: np.rot90(grey, 2).T,
    8: np.rot90,
}
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258


def read_grey(path, reading=DEFAULT_READING):
    """Read one radiograph as grey bytes. Safe to call from several threads.

    The format is decided by content: "DICM" at byte 128, then the other formats' signatures; the suffix
    ``.dcm`` only decides for DICOM written without its preamble. EXIF orientation is applied and alpha is
    flattened on black (Keras' `load_img` does neither), colour becomes ITU-R 601 luma as Pillow's mode "L".
    A CMYK JPEG is first converted to RGB without a colour profile, Adobe's inverted ones included. Colour and
    alpha of 16 bits lose their lower byte in Pillow; 16-bit grey is read whole.

    Parameters
    ----------
    path : path-like
    reading : GreyReading

    Returns
    -------
    numpy.ndarray of uint8, shape (H, W)

    Raises
    ------
    ImageError
        One line beginning with the path, for every file that is not one whole radiograph of at most
        `MAX_PIXELS` pixels: missing, empty, cut short, damaged, of another format, of several pages...
        A JPEG whose lost end was closed again by another program cannot be told from a whole one.
    """
    return _read(path, reading, None)


def read_resized(path, size, interpolation="nearest", reading=DEFAULT_READING):
    """Read one radiograph and resize it: bit for bit ``resize(read_grey(path, reading), size, interpolation)``.

    Less is copied: 8-bit images are shrunk before they become an array. Safe to call from several threads.

    Parameters
    ----------
    path : path-like
    size, interpolation
        As in :func:`resize`.
    reading : GreyReading

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width)

    Raises
    ------
    ImageError
        As :func:`read_grey`.
    OptionError
        As :func:`resize`.
    """
    height, width = check_target(size, interpolation)

    def shrink(image):
        return image.resize((width, height), _PILLOW[interpolation])

    grey = _read(path, reading, shrink if interpolation in _PILLOW else None)
    return resize(grey, (height, width), interpolation)


def image_size(path):
    """Read (height, width) from the header, as :func:`read_grey` will give them, without decoding.

    Raises
    ------
    ImageError
        As :func:`read_grey`, for what the header tells.
    """
    with decoding(path):
        if _is_dicom(path):
            from covidcxr.data import dicom

            return dicom.size(path)
        with _opened(path) as image:
            turned = _orientation(image) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)


def resize(grey, size, interpolation="nearest"):
    """Resize a grey image, without keeping its aspect.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (H, W)
    size : tuple of int
        (height, width) of the result. An image that already has it is returned as it is, as Keras does.
    interpolation : str
        One of `INTERPOLATIONS`. "nearest", "bilinear", "bicubic", "hamming", "box" and "lanczos" are those of
        `keras.utils.load_img`, that is Pillow's, which average over the source area when shrinking (except
        "nearest"); "cv2_linear" and "cv2_area" are OpenCV's INTER_LINEAR, which does not, and INTER_AREA.

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width)

    Raises
    ------
    OptionError
        If the interpolation is unknown or the size is not two positive whole numbers.
    """
    height, width = check_target(size, interpolation)
    if grey.shape == (height, width):
        return grey
    if interpolation in _PILLOW:
        return np.array(Image.fromarray(grey).resize((width, height), _PILLOW[interpolation]))
    import cv2

    flags = {"cv2_linear": cv2.INTER_LINEAR, "cv2_area": cv2.INTER_AREA}
    return cv2.resize(grey, (width, height), interpolation=flags[interpolation])


def check_target(size, interpolation):
    """Return `size` as two positive integers, or raise `OptionError` for what :func:`resize` refuses."""
    if interpolation not in INTERPOLATIONS:
        raise OptionError(
            f"unknown interpolation {interpolation!r}; choose one of {', '.join(INTERPOLATIONS)}"
        )
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise OptionError(
            f"size {size!r} is not a height and a width in pixels; give two whole numbers above 0"
        )
    if height * width > LARGEST_TARGET:
        raise OptionError(f"size {size!r} is more than {LARGEST_TARGET:,} pixels; give a smaller one")
    return height, width


def list_images(folder):
    """List the image files below a folder by suffix, sorted by their POSIX path.

    Hidden files and folders (macOS' ``._*`` among them) and ``__MACOSX`` are skipped; symbolic links
    are followed, each folder being entered once, and none that holds `folder` itself.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of pathlib.Path
        `folder` / ..., with a suffix of `IMAGE_SUFFIXES` in upper or lower case.

    Raises
    ------
    DataError
        If the folder, or one below it, cannot be listed.
    """
    # A link that leads back up would bring the images of other folders, that is of other classes.
    found, seen = [], set(map(str, Path(os.path.realpath(folder)).parents))
    for parent, folders, files in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if _enter(parent, name, seen))
        found += [Path(parent, name) for name in files if _is_image_name(name)]
    return sorted(found, key=Path.as_posix)


def _enter(parent, name, seen):
    shown = not name.startswith(".") and name != "__MACOSX"
    return shown and os.path.realpath(os.path.join(parent, name)) not in seen


def _is_image_name(name):
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def _refuse_folder(error):
    raise DataError(
        f"{error.filename}: cannot list this folder ({error.strerror}); check the path and its permissions"
    ) from error


def _read(path, reading, shrink):
    with decoding(path):
        if _is_dicom(path):
            from covidcxr.data import dicom

            return dicom.read(path, reading)
        with _opened(path) as image:
            return _decode(image, reading, shrink)


def _head(path):
    with open(path, "rb") as stream:
        return stream.read(132)


def _is_dicom(path):
    check_file(path)
    head = _head(path)
    if head[128:] == b"DICM":
        return True
    return os.fspath(path).lower().endswith(DICOM_SUFFIXES) and not _named(head, _SIGNATURES)


def _named(head, signatures):
    return next((name for signature, name in signatures if head.startswith(signature)), None)


@contextlib.contextmanager
def _opened(path):
    """Open with Pillow, which reads the header only, and check the size it declares.

    From a stream: given a name, Pillow maps uncompressed files, and garbles TIFF of orientation 5 to 8.
    """
    with open(path, "rb") as stream:
        try:
            image = Image.open(stream, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise _unknown(_head(path)) from error
        with image:
            check_size(image.height, image.width)
            yield image


def _unknown(head):
    known = _named(head, _SIGNATURES)
    if known:
        return FaultError(f"its {known} header is damaged or cut short")
    kind = _named(head, _OTHER_SIGNATURES) or ("text" if _is_text(head) else "something else")
    return FaultError(f"is {kind}, not a JPEG, PNG, BMP, TIFF or DICOM file", "convert it, or leave it out")


def _is_text(head):
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def _decode(image, reading, shrink=None):
    """Decode to grey bytes, of which `shrink` is given Pillow's image where it is what would be resized later."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise FaultError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this program and would fill cut files with grey",
            "set it to False",
        )
    if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
        raise FaultError(f"TIFF of {image.n_frames} pages, not one radiograph", "save one page to a file")
    turned = _TURNED.get(_orientation(image))
    bits = _deep_bits(image)
    image.load()
    stretched = bits > 8 or reading.depth == "min_max"
    if bits > 8:
        stored = _deep(image)
    else:
        grey = _shallow(image)
        stored = np.array(grey if turned or stretched or shrink is None else shrink(grey))
    if stretched:
        stored = to_uint8(stored, (0, 2**bits - 1), reading)
    return np.ascontiguousarray(turned(stored)) if turned else stored


def _orientation(image):
    """Return the EXIF orientation 1..8; Pillow itself turns TIFF, and a damaged EXIF block counts as none.

    A PNG is asked only for what stands before its pixels, so that :func:`image_size` need not decode.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _TURNED else 1


def _deep_bits(image):
    """Return the bits a sample holds: 8 for all that Pillow converts itself, up to 16 for deep grey."""
    if image.mode == "I" and image.format == "PNG":
        return 16
    if image.mode in ("I", "F"):
        raise FaultError(f"{image.format} of signed, 32-bit or real samples", "save it with 8 or 16 bits")
    if not image.mode.startswith("I;16"):
        return 8
    return int(image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]) if image.format == "TIFF" else 16


def _deep(image):
    pixels = np.array(image).astype(np.uint16)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        pixels[pixels == clear] = 0
    return pixels


def _shallow(image):
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(image, mask=image.getchannel("A"))
        image = black
    if image.mode == "CMYK":
        image = image.convert("RGB")
    # Converting grey to grey would copy it.
    return image if image.mode == "L" else image.convert("L")
