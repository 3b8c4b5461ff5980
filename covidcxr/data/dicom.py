"""DICOM files to grey bytes: modality LUT, then VOI LUT or window, then photometric interpretation."""

import math

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covidcxr.data.decoding import FaultError, check_size
from covidcxr.data.greyscale import to_uint8

_WITHOUT_VOI = "read it without voi_lut, or leave it out"
_GREY = ("MONOCHROME1", "MONOCHROME2")


def size(path):
    """Return (height, width); raise `FaultError` as :func:`read`, for what the header tells."""
    return _checked_size(pydicom.dcmread(path, stop_before_pixels=True, force=True))


def read(path, reading):
    """Read one DICOM image; to be called inside :func:`covidcxr.data.decoding.decoding`.

    Order of the steps: DICOM PS3.4 N.2. The modality transformation is PS3.3 C.11.1, VOI LUT and window
    C.11.2.1, photometric interpretation C.7.6.3.1.2. Bits above Bits Stored (old overlays) are masked away by
    `pydicom.pixels.pixel_array` (https://pydicom.github.io/pydicom/stable/reference/pixels.html). Colour (RGB
    or YBR, 8 bits) becomes luma.

    Parameters
    ----------
    path : path-like
    reading : covidcxr.data.greyscale.GreyReading

    Returns
    -------
    numpy.ndarray of uint8, shape (Rows, Columns)

    Raises
    ------
    FaultError
        For several frames, no pixels, colour palettes, more than 16 bits, a transfer syntax without a
        decoder, and a rescale that is not finite or has slope zero.
    """
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    height_width = _checked_size(header)
    limits = _limits(header)
    _check_transfer_syntax(header)
    dataset = pydicom.dcmread(path, force=True)
    dataset.file_meta = header.file_meta
    if "PixelData" not in dataset:
        raise _without_pixels(dataset)
    pixels = pixel_array(dataset)
    grey_scale = dataset.PhotometricInterpretation in _GREY
    if pixels.shape != height_width + (() if grey_scale else (3,)):
        raise FaultError(f"DICOM header says {height_width} pixels, its data {pixels.shape}")
    if not grey_scale:
        grey = np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert("L"))
        return to_uint8(grey, (0, 255), reading)
    levels = _Levels(dataset, reading.voi_lut)
    inverted = reading.invert_monochrome1 and dataset.PhotometricInterpretation == "MONOCHROME1"
    return to_uint8(pixels, limits, reading, levels, inverted)


class _Levels:
    """What each stored value stands for: a callable for :func:`covidcxr.data.greyscale.to_uint8`."""

    def __init__(self, dataset, voi_lut):
        self._dataset = dataset
        self._voi_lut = voi_lut
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        self._slope = 1.0 if slope is None else float(slope)
        self._intercept = 0.0 if intercept is None else float(intercept)
        # 2**16 stored values at most: the rescaled range must stay finite as well.
        if not math.isfinite(self._slope * 2**17 + self._intercept) or self._slope == 0:
            raise FaultError(
                f"rescale slope {self._slope:g} and intercept {self._intercept:g} make no grey levels",
                "mend these DICOM tags, or leave the file out",
            )

    def __call__(self, domain):
        values, span = self._modality(domain)
        return self._voi(values) or (values, span) if self._voi_lut else (values, span)

    def _modality(self, domain):
        if self._dataset.get("ModalityLUTSequence"):
            return _look_up(self._dataset, self._dataset.ModalityLUTSequence[0], domain)
        values = domain * self._slope + self._intercept
        return values, (values.min(), values.max())

    def _voi(self, values):
        if self._dataset.get("VOILUTSequence"):
            return _look_up(self._dataset, self._dataset.VOILUTSequence[0], values)
        center, width = (_first(self._dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
        if center is None or width is None:
            return None
        function = str(self._dataset.get("VOILUTFunction") or "LINEAR").upper()
        return _window(values, float(center), float(width), function), (0.0, 1.0)


def _look_up(dataset, item, values):
    """Apply a Modality or VOI LUT; pydicom's own wraps indices above 255 of 8-bit VOI LUTs around."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * (entries or 2**16) else "u1")
    table = np.asarray(data, dtype=np.float64)[: entries or 2**16]
    index = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.int64)
    return table[index], (0.0, float(2**bits - 1))


def _window(values, center, width, function):
    """Return 0..1 by PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT) or C.11.2.1.3.1 (SIGMOID)."""
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if not math.isfinite(center) or not 0 <= width < math.inf or (width == 0 and function != "LINEAR"):
        raise FaultError(f"window of center {center:g} and width {width:g} has no meaning", _WITHOUT_VOI)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -500, 500)))
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise FaultError(f"unknown VOI LUT function {function}", _WITHOUT_VOI)
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _first(value):
    return value[0] if isinstance(value, pydicom.multival.MultiValue) else value


def _checked_size(header):
    if "Rows" not in header or "Columns" not in header:
        raise _without_pixels(header)
    height, width = int(header.Rows), int(header.Columns)
    frames = int(header.get("NumberOfFrames") or 1)
    check_size(height, width, max(frames, 1))
    if frames > 1:
        raise FaultError(f"DICOM of {frames} frames, not one radiograph", "export one frame to a file")
    return height, width


def _without_pixels(header):
    kind = header.get("SOPClassUID")
    if not kind and not header.get("Modality") and not header.file_meta:
        return FaultError("is no DICOM file, whatever its name", "give it its right suffix, or leave it out")
    name = getattr(kind, "name", "") or "no SOP class"
    return FaultError(f"DICOM without pixels ({name})", "export the image itself, or leave it out")


def _limits(header):
    """Return the smallest and largest value that the stored bits can hold (PS3.3 C.7.6.3.1, PS3.5 8.1.1)."""
    photometric = str(header.get("PhotometricInterpretation", ""))
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    if photometric not in _GREY and (photometric[:3] not in ("RGB", "YBR") or allocated != 8):
        raise FaultError(
            f"DICOM of {allocated}-bit {photometric or 'unknown photometric interpretation'}",
            "export it as MONOCHROME2 or 8-bit RGB",
        )
    if allocated not in (1, 8, 16):
        raise FaultError(f"DICOM of {allocated} bits a pixel", "export it with 8 to 16 bits")
    if not 1 <= stored <= allocated:
        raise FaultError(f"DICOM header says {stored} bits stored in {allocated}")
    if int(header.get("PixelRepresentation") or 0):
        return -(2 ** (stored - 1)), 2 ** (stored - 1) - 1
    return 0, 2**stored - 1


def _check_transfer_syntax(header):
    uid = header.file_meta.get("TransferSyntaxUID") or _guessed_syntax(header)
    header.file_meta.TransferSyntaxUID = uid
    try:
        ready = get_decoder(uid).is_available
    except NotImplementedError:
        ready = False
    if not ready:
        raise FaultError(
            f"DICOM transfer syntax {uid.name} cannot be decoded",
            'pip install "covidcxr[dicom]", or convert it to Explicit VR Little Endian (gdcmconv --raw)',
        )


def _guessed_syntax(header):
    """Name the encoding that pydicom found by trial in a file without a file meta group."""
    implicit, little = header.original_encoding
    if implicit or implicit is None:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
