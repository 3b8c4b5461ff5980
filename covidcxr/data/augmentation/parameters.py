"""Random transforms with the meaning of Keras' ImageDataGenerator: what is asked for."""

import math
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from covidcxr.data.augmentation.statistics import fit_statistics
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import OptionError

FILL_MODES = ("nearest", "constant", "reflect", "wrap")

_SHIFTS = ("width_shift_range", "height_shift_range")
_FLAGS = (
    "featurewise_center",
    "samplewise_center",
    "featurewise_std_normalization",
    "samplewise_std_normalization",
    "featurewise_fitted",
    "horizontal_flip",
    "vertical_flip",
)
_RANDOM = (
    "rotation_range",
    "width_shift_range",
    "height_shift_range",
    "brightness_range",
    "shear_range",
    "zoom_range",
    "channel_shift_range",
    "horizontal_flip",
    "vertical_flip",
)


@dataclass(frozen=True)
class Augmentation:
    """Keras' `ImageDataGenerator` parameters, under Keras' names, with Keras' defaults and meanings.

    Lists are accepted and kept as tuples. What cannot be written to a file (`preprocessing_function`) or has
    one value throughout this package (`data_format` channels last, `dtype` float32) is left out.

    Keras first transforms the 0-255 image and only then standardises it: rescale, sample-wise centre and
    deviation, feature-wise mean and deviation, in this order.

    Attributes
    ----------
    featurewise_center, featurewise_std_normalization : bool
        Subtract the training set's mean, divide by its deviation. Keras does so only after `fit()`;
        without, it does *nothing* but warn, and `flow_from_directory` never fits. See `featurewise_fitted`.
        As in Keras, the deviation brings the centre along.
    samplewise_center, samplewise_std_normalization : bool
        Subtract each image's own mean (over all its pixels and channels), divide by its deviation + 1e-6.
        As in Keras, the deviation brings the centre along.
    zca_whitening : bool
        Only False: none of the five papers uses it.
    zca_epsilon : float
    rotation_range : float
        Degrees: the angle is drawn from [-range, range].
    width_shift_range, height_shift_range : float, int or sequence
        A float draws from [-value, value]: a fraction of the width (height) if below 1, pixels otherwise.
        A sequence is *not* an interval: one of its entries is chosen and given a random sign, in pixels
        (in fractions if its greatest entry is below 1): [-20, 20] moves every image by 20 pixels to one side
        or the other, never less. An int `n` chooses among 0..n-1 with a random sign, so 1 moves nothing.
        Keras crosses them: what is drawn for the *height* moves the image sideways, and for the width up or down.
    brightness_range : None or (float, float)
        Factor drawn from it and applied by Pillow to the transformed image, whose grey values it cuts to
        whole numbers, before any rescaling.
    shear_range : float
        *Degrees* (0.05 is nearly nothing), drawn from [-range, range].
    zoom_range : float or (float, float)
        `z` means (1 - z, 1 + z). Height and width draw their factors independently, so proportions change.
        The factor scales the coordinates that are read: *below 1 enlarges* the image, above 1 shrinks it.
    channel_shift_range : float
        Grey levels added to all channels alike, drawn from [-range, range], cut to the image's own extremes.
    fill_mode : str
        One of :data:`FILL_MODES`: what stands outside the image.
    cval : float
        Grey value for the fill mode constant.
    horizontal_flip, vertical_flip : bool
        Each with probability one half.
    rescale : float, optional
        Factor on the grey values, such as 1/255.
    validation_split : float
        Share in [0, 1) that `flow_from_directory` sets aside; kept for the record, splits are made elsewhere.
    interpolation_order : int
        Of the spline that reads between pixels, 0 to 5; 1 is bilinear.
    featurewise_fitted : bool
        Not Keras': True stands for a program that did call `fit()` on its training images. Only then does
        :meth:`fit` measure them.

    Raises
    ------
    OptionError
        If a value has no meaning.

    Notes
    -----
    Source: Keras 3, `keras/src/legacy/preprocessing/image.py`.
    """

    featurewise_center: bool = False
    samplewise_center: bool = False
    featurewise_std_normalization: bool = False
    samplewise_std_normalization: bool = False
    zca_whitening: bool = False
    zca_epsilon: float = 1e-6
    rotation_range: float = 0
    width_shift_range: float | int | tuple = 0.0
    height_shift_range: float | int | tuple = 0.0
    brightness_range: tuple | None = None
    shear_range: float = 0.0
    zoom_range: float | tuple = 0.0
    channel_shift_range: float = 0.0
    fill_mode: str = "nearest"
    cval: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    rescale: float | None = None
    validation_split: float = 0.0
    interpolation_order: int = 1
    featurewise_fitted: bool = False

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        for name, (holds, wanted) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise OptionError(f"{name}={value!r}: {wanted}")
        if self.featurewise_std_normalization:
            object.__setattr__(self, "featurewise_center", True)
        if self.samplewise_std_normalization:
            object.__setattr__(self, "samplewise_center", True)
        if self.featurewise_fitted and not self.featurewise_center:
            raise OptionError("featurewise_fitted=True: set featurewise_center, or there is nothing to fit")

    @classmethod
    def from_dict(cls, values):
        """Build from :meth:`to_dict`'s result, or from any subset of its keys.

        Raises
        ------
        OptionError
            If a key is not one of the fields, or a value has no meaning.
        """
        known = [field.name for field in fields(cls)]
        strange = sorted(set(values) - set(known))
        if strange:
            raise OptionError(
                f"unknown augmentation parameter {strange[0]!r}; choose among {', '.join(known)}"
            )
        return cls(**values)

    def to_dict(self):
        """Return every field, with lists for tuples, as JSON wants them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def zoom_bounds(self):
        """Lowest and highest zoom factor."""
        if isinstance(self.zoom_range, tuple):
            return self.zoom_range
        return 1 - self.zoom_range, 1 + self.zoom_range

    @property
    def is_random(self):
        """Whether any image would be transformed, standardisation aside."""
        amounts = (self.rotation_range, self.shear_range, self.channel_shift_range)
        return (
            any(amounts)
            or any(np.any(getattr(self, name)) for name in _SHIFTS)
            or self.zoom_bounds != (1, 1)
            or self.brightness_range is not None
            or self.horizontal_flip
            or self.vertical_flip
        )

    def without_randomness(self):
        """Return the same standardisation with no random transform."""
        return replace(self, **{f.name: f.default for f in fields(self) if f.name in _RANDOM})

    def preprocessing(self, size, **options):
        """Return the deterministic part, for images of `size`.

        Parameters
        ----------
        size : (int, int)
            Height and width in pixels.
        **options
            Further fields of :class:`~covidcxr.data.preprocessing.Preprocessing`.

        Returns
        -------
        Preprocessing
            Without feature-wise statistics: :meth:`fit` adds them.
        """
        return Preprocessing(
            size=size,
            rescale=self.rescale,
            samplewise_center=self.samplewise_center,
            samplewise_std_normalization=self.samplewise_std_normalization,
            **options,
        )

    def check(self, preprocessing):
        """Make sure that `preprocessing` standardises as asked here; more than asked is no error.

        Parameters
        ----------
        preprocessing : Preprocessing

        Raises
        ------
        OptionError
            If something asked for here would not happen.
        """
        for name in ("rescale", "samplewise_center", "samplewise_std_normalization"):
            wanted, found = getattr(self, name), getattr(preprocessing, name)
            if wanted and wanted != found:
                raise OptionError(
                    f"the augmentation has {name}={wanted!r} but the preprocessing {found!r}; "
                    "build the preprocessing with Augmentation.preprocessing"
                )
        if self.featurewise_fitted and preprocessing.featurewise_mean is None:
            raise OptionError(
                "featurewise_fitted=True but the preprocessing has no statistics; call Augmentation.fit first"
            )

    def fit(self, files, preprocessing, progress=None):
        """Do what Keras' `fit()` does, if the described program called it (`featurewise_fitted`).

        Parameters
        ----------
        files, preprocessing, progress
            As for :func:`fit_statistics`.

        Returns
        -------
        Preprocessing
            With the statistics that were asked for; unchanged if `fit()` was not called.
        """
        if not self.featurewise_fitted:
            return preprocessing
        std = self.featurewise_std_normalization
        return fit_statistics(files, preprocessing, std=std, progress=progress)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_amount(value):
    return _is_number(value) and value >= 0


def _is_flag(value):
    return isinstance(value, (bool, np.bool_))


def _is_shift(value):
    if not isinstance(value, tuple):
        return _is_amount(value)
    # A sequence whose greatest entry is below 1 is read as fractions: (-30, -20) would move by 30 heights.
    return bool(value) and all(map(_is_number, value)) and (max(value) >= 1 or min(value) > -1)


def _is_pair(value):
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_amount, value))


def _is_zoom(value):
    if _is_pair(value):
        return 0 < value[0] <= value[1]
    return _is_amount(value) and value < 1


_SHIFT_RULE = (
    _is_shift,
    "must be 0 or more, or a list of pixels (of fractions between -1 and 1 if none reaches 1)",
)
_RULES = dict.fromkeys(_FLAGS, (_is_flag, "must be True or False")) | {
    "zca_whitening": (
        lambda value: value is False,
        "none of the five papers uses ZCA whitening, and it is not provided; leave it False",
    ),
    "zca_epsilon": (lambda value: _is_amount(value) and value > 0, "must be a number above 0"),
    "rotation_range": (_is_amount, "must be degrees, 0 or more"),
    "width_shift_range": _SHIFT_RULE,
    "height_shift_range": _SHIFT_RULE,
    "brightness_range": (
        lambda value: value is None or (_is_pair(value) and value[0] <= value[1]),
        "must be None or two factors [lower, upper], 0 or more",
    ),
    "shear_range": (lambda value: _is_amount(value) and value < 90, "must be degrees from 0 to below 90"),
    "zoom_range": (_is_zoom, "must be from 0 to below 1, or two factors [lower, upper] above 0"),
    "channel_shift_range": (_is_amount, "must be grey levels, 0 or more"),
    "fill_mode": (lambda value: value in FILL_MODES, f"must be one of {', '.join(FILL_MODES)}"),
    "cval": (_is_number, "must be a grey value"),
    "rescale": (
        lambda value: value is None or (_is_number(value) and value != 0),
        "must be a factor such as 1/255; None leaves the grey values as they are",
    ),
    "validation_split": (lambda value: _is_amount(value) and value < 1, "must be from 0 to below 1"),
    "interpolation_order": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 5,
        "must be a whole number from 0 to 5",
    ),
}
