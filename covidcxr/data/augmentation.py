"""Random transforms with the meaning of Keras' ImageDataGenerator, and the statistics it would fit."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Protocol

import numpy as np

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


class Engine(Protocol):
    """What carries out an :class:`Augmentation`. Engines differ in speed and rounding, never in meaning."""

    def draw(self, seed):
        """Draw one image's transform.

        Parameters
        ----------
        seed : int
            From 0 to 2**32 - 1. The same seed gives the same transform in every engine.

        Returns
        -------
        dict
            Under Keras' keys: `theta`, `shear` (degrees), `tx` (rows), `ty` (columns; both pixels), `zx`,
            `zy` (factors of height and width), `flip_horizontal`, `flip_vertical`, `channel_shift_intensity`
            and `brightness` (None where not asked for).
        """

    def apply(self, image, parameters):
        """Transform one image.

        Parameters
        ----------
        image : numpy.ndarray, float32, (height, width, channels)
            Grey values 0-255. Left as it is.
        parameters : dict
            From :meth:`draw`.

        Returns
        -------
        numpy.ndarray, float32, (height, width, channels)
        """


def draw_parameters(augmentation, shape, seed):
    """Draw the transform that Keras' `get_random_transform` draws for the same seed.

    Keras draws from NumPy's global generator, which no thread may share; a private generator of the same kind
    gives the same numbers. The order of the draws below is therefore Keras' order.

    Parameters
    ----------
    augmentation : Augmentation
    shape : tuple of int
        Begins with height and width.
    seed : int
        From 0 to 2**32 - 1.

    Returns
    -------
    dict
        See :meth:`Engine.draw`.
    """
    random = np.random.RandomState(seed)
    theta = _symmetric(random, augmentation.rotation_range)
    tx = _shift(random, augmentation.height_shift_range, shape[0])
    ty = _shift(random, augmentation.width_shift_range, shape[1])
    shear = _symmetric(random, augmentation.shear_range)
    bounds = augmentation.zoom_bounds
    zx, zy = (1, 1) if bounds == (1, 1) else random.uniform(*bounds, 2)
    # Both are drawn even where a flip is off.
    chances = random.random_sample(), random.random_sample()
    shift = augmentation.channel_shift_range
    brightness = augmentation.brightness_range
    return {
        "theta": theta,
        "tx": tx,
        "ty": ty,
        "shear": shear,
        "zx": zx,
        "zy": zy,
        "flip_horizontal": augmentation.horizontal_flip and chances[0] < 0.5,
        "flip_vertical": augmentation.vertical_flip and chances[1] < 0.5,
        "channel_shift_intensity": _symmetric(random, shift) if shift else None,
        "brightness": None if brightness is None else random.uniform(*brightness),
    }


def _symmetric(random, limit):
    return random.uniform(-limit, limit) if limit else 0


def _shift(random, amount, length):
    if not amount:
        return 0
    if isinstance(amount, float):
        pixels = random.uniform(-amount, amount)
    else:
        pixels = random.choice(amount) * random.choice([-1, 1])
    return pixels * length if np.max(amount) < 1 else pixels


class KerasEngine:
    """Keras' own `ImageDataGenerator.apply_transform`, safe to use from several threads.

    The channels are warped one by one, so a grey image costs a third of the same image in three channels.
    """

    def __init__(self, augmentation, shape):
        from tensorflow.keras.preprocessing.image import ImageDataGenerator

        self._augmentation = augmentation
        self._shape = tuple(shape)
        self._generator = ImageDataGenerator(
            fill_mode=augmentation.fill_mode,
            cval=augmentation.cval,
            interpolation_order=augmentation.interpolation_order,
            data_format="channels_last",
            dtype="float32",
        )

    def draw(self, seed):
        """Draw one image's transform: see :meth:`Engine.draw`."""
        return draw_parameters(self._augmentation, self._shape, seed)

    def apply(self, image, parameters):
        """Transform one image: see :meth:`Engine.apply`."""
        return np.ascontiguousarray(self._generator.apply_transform(image, parameters), dtype=np.float32)


ENGINES = {"keras": KerasEngine}


def make_engine(name, augmentation, shape):
    """Build an engine by name.

    Parameters
    ----------
    name : str
        A key of :data:`ENGINES`.
    augmentation : Augmentation
    shape : (int, int, int)
        Height, width and channels of the images that it will be given.

    Returns
    -------
    Engine

    Raises
    ------
    OptionError
        If there is no such engine.
    """
    if name not in ENGINES:
        raise OptionError(f"unknown augmentation engine {name!r}; choose among {', '.join(sorted(ENGINES))}")
    return ENGINES[name](augmentation, shape)


def fit_statistics(files, preprocessing, *, std=True, progress=None):
    """Measure a set's feature-wise mean and deviation, as Keras' `ImageDataGenerator.fit` does.

    Keras measures after `rescale` but before the sample-wise steps, and later applies the result after them:
    with both, images that are already centred on zero have the set's mean subtracted once more. So here too.

    A histogram of the 256 grey values is all that is kept, so memory does not grow with the set, and the
    result does not depend on the order of the files.

    Parameters
    ----------
    files : sequence of path-like
    preprocessing : Preprocessing
        How to read the images. Its own feature-wise statistics, if any, are replaced.
    std : bool
        Whether to measure the deviation too.
    progress : callable, optional
        Called as ``progress(done, total)`` after each image.

    Returns
    -------
    Preprocessing
        With `featurewise_mean`, and with `std` also `featurewise_std`: one number a channel, in units of the
        rescaled grey values.

    Raises
    ------
    OptionError
        If there are no files.
    ImageError
        If one cannot be read.
    """
    if not len(files):
        raise OptionError("no images to fit the feature-wise statistics on; give the training files")
    histogram = np.zeros(256, np.int64)
    for done, path in enumerate(files, 1):
        histogram += np.bincount(preprocessing.load(path).ravel(), minlength=256)
        if progress:
            progress(done, len(files))
    values = np.arange(256) * float(preprocessing.rescale or 1)
    mean = np.average(values, weights=histogram)
    deviation = math.sqrt(np.average((values - mean) ** 2, weights=histogram))
    return replace(
        preprocessing,
        featurewise_mean=(float(mean),) * preprocessing.channels,
        featurewise_std=(deviation,) * preprocessing.channels if std else None,
    )
