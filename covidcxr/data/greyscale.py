"""Grey levels: how what a file stores (1 to 16 bits, signed or not) becomes one byte a pixel."""

from dataclasses import asdict, dataclass, fields

import numpy as np

from covidcxr.data.decoding import FaultError
from covidcxr.errors import ModelError, OptionError

DEPTHS = ("full_range", "min_max", "as_stored")


@dataclass(frozen=True)
class GreyReading:
    """How stored values are read as grey levels 0 to 255.

    Attributes
    ----------
    voi_lut : bool
        Apply a DICOM file's first VOI LUT, or else its first window (PS3.3 C.11.2), before the mapping to
        bytes. Off by default: the papers' authors wrote pixels without windowing. No effect on other formats.
    invert_monochrome1 : bool
        Turn MONOCHROME1, whose smallest value is to be shown as white (PS3.3 C.7.6.3.1.2), so that bone is
        bright in every image. rahimzadeh2020's authors did not: set it to False to follow them.
    depth : {"full_range", "min_max", "as_stored"}
        "full_range" maps the range that the stored bits can hold linearly to 0..255, so a grey level means
        the same in every image of a detector. "min_max" stretches the range that the image itself uses (a
        constant image becomes 0). "as_stored" keeps the stored values, without rescale, and refuses an image
        that uses more than 8 bits: rahimzadeh2020's authors wrote RSNA's 8-bit DICOM to PNG so.
        An ordinary 8-bit image is the same under "full_range" and "as_stored".

    Raises
    ------
    OptionError
        If a value has no meaning, or `voi_lut` is asked of pixels "as_stored".
    """

    voi_lut: bool = False
    invert_monochrome1: bool = True
    depth: str = "full_range"

    def __post_init__(self):
        check_flags(self, "voi_lut", "invert_monochrome1")
        if self.depth not in DEPTHS:
            raise OptionError(f"unknown depth {self.depth!r}; choose one of {', '.join(DEPTHS)}")
        if self.voi_lut and self.depth == "as_stored":
            raise OptionError("voi_lut changes pixels that depth 'as_stored' keeps; choose one of the two")

    def to_dict(self):
        """Return the reading as a JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """Build from :meth:`to_dict`; absent keys take their defaults.

        Raises
        ------
        ModelError
            If a key is unknown or a value has no meaning.
        """
        return from_mapping(cls, values, "grey reading")


def check_flags(settings, *names):
    """Raise `OptionError` unless each named attribute is True or False."""
    for name in names:
        if not isinstance(getattr(settings, name), bool):
            raise OptionError(f"{name} is {getattr(settings, name)!r}; give true or false")


def from_mapping(cls, values, what):
    """Build a frozen dataclass from a dictionary read from a model file.

    Parameters
    ----------
    cls : type
        A dataclass whose `__post_init__` raises `OptionError` for a value without meaning.
    values : dict
    what : str
        Names the settings in the message.

    Raises
    ------
    ModelError
        If `values` is no dictionary, has a key that `cls` lacks, lacks one it needs, or a value is refused.
    """
    if not isinstance(values, dict):
        raise ModelError(f"the {what} is {values!r}, not a table of settings; the model file is damaged")
    unknown = sorted(str(key) for key in set(values) - {field.name for field in fields(cls)})
    if unknown:
        raise ModelError(
            f"the {what} has the unknown setting(s) {', '.join(unknown)}; "
            "the model was written by another version of covidcxr, install that one"
        )
    try:
        return cls(**values)
    except (OptionError, TypeError) as error:
        raise ModelError(f"the {what} cannot be used: {error}") from error


def to_uint8(stored, limits, reading, levels=None, inverted=False):
    """Map stored integers to bytes.

    Parameters
    ----------
    stored : numpy.ndarray of int, shape (H, W)
    limits : tuple of int
        Smallest and largest value that the stored bits can hold, at most 65,536 values apart.
    reading : GreyReading
    levels : callable, optional
        Takes the float64 values `limits[0]`..`limits[1]`; returns what each of them stands for and the range
        (low, high) that full depth maps to 0..255. Not used for "as_stored". Default: the values themselves.
    inverted : bool
        Exchange black and white.

    Returns
    -------
    numpy.ndarray of uint8, shape (H, W)

    Raises
    ------
    FaultError
        If the values do not fit in 8 bits and are to be kept as stored.
    """
    if reading.depth == "as_stored":
        return _as_stored(stored, limits, inverted)
    domain = np.arange(limits[0], limits[1] + 1, dtype=np.float64)
    values, span = levels(domain) if levels else (domain, limits)
    index = np.subtract(np.clip(stored, *limits), limits[0], dtype=np.int32)
    if reading.depth == "min_max":
        used = np.zeros(len(domain), dtype=bool)
        used[index] = True
        span = values[used].min(), values[used].max()
    table = _stretch(values, *span)
    return (255 - table if inverted else table)[index]


def _stretch(values, low, high):
    if high == low:
        return np.zeros(len(values), dtype=np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _as_stored(stored, limits, inverted):
    low, high = int(stored.min()), int(stored.max())
    if low < 0 or high > 255:
        raise FaultError(
            f"its values run from {low} to {high}, more than 8 bits, and cannot be kept as stored",
            "read it with depth full_range or min_max",
        )
    grey = stored.astype(np.uint8)
    return np.uint8(min(limits[1], 255)) - grey if inverted else grey
