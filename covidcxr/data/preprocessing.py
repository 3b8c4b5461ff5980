"""From a file to what a network is fed: one code path for training, evaluation and inference, in NumPy.

A `Preprocessing` is stored inside the model file, so that a model is never fed otherwise than it was trained.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from covidcxr.data.greyscale import GreyReading, check_flags, from_mapping
from covidcxr.data.images import DEFAULT_READING, check_target, read_resized
from covidcxr.errors import DataError, OptionError

# keras.applications.imagenet_utils.preprocess_input: ImageNet's means and deviations, of RGB in 0..1 for
# "torch", of BGR in 0..255 for "caffe".
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
# keras.preprocessing.image.ImageDataGenerator.standardize
_EPSILON = 1e-6


@dataclass(frozen=True)
class Preprocessing:
    """Reading, resizing and standardization of one network's input.

    Attributes
    ----------
    size : tuple of int
        (height, width) in pixels.
    channels : int
        1, or 3 equal ones.
    interpolation : str
        One of `covidcxr.data.images.INTERPOLATIONS`; the default is that of Keras' `ImageDataGenerator`.
    reading : GreyReading
    mode : {"none", "tf", "torch", "caffe"}
        As in `keras.applications.imagenet_utils.preprocess_input`, applied first, as an
        `ImageDataGenerator`'s `preprocessing_function` is. "torch" and "caffe" need 3 channels.
    rescale : float or None
        Factor applied after `mode`.
    samplewise_center, samplewise_std_normalization : bool
        Subtract the image's own mean, divide by its own standard deviation (over height, width and channels).
        As in Keras, the second implies the first.
    featurewise_mean, featurewise_std : tuple of float or None
        Subtracted and divided by last, so in the units that the steps above leave (Keras'
        `ImageDataGenerator.fit` measures the images it is given, before any step). One value, or one a
        channel.

    Raises
    ------
    OptionError
        If a value has no meaning.
    """

    size: tuple
    channels: int = 3
    interpolation: str = "nearest"
    reading: GreyReading = DEFAULT_READING
    mode: str = "none"
    rescale: float | None = None
    samplewise_center: bool = False
    samplewise_std_normalization: bool = False
    featurewise_mean: tuple | None = None
    featurewise_std: tuple | None = None

    def __post_init__(self):
        self._set("size", check_target(self.size, self.interpolation))
        if self.channels not in (1, 3):
            raise OptionError(f"channels is {self.channels!r}; give 1 or 3")
        if self.mode not in tuple(_MODES):
            raise OptionError(f"unknown mode {self.mode!r}; choose one of {', '.join(_MODES)}")
        if self.mode in ("torch", "caffe") and self.channels != 3:
            raise OptionError(f"mode {self.mode} is defined for 3 channels, not {self.channels}")
        check_flags(self, "samplewise_center", "samplewise_std_normalization")
        self._set("samplewise_center", self.samplewise_center or self.samplewise_std_normalization)
        if not isinstance(self.reading, GreyReading):
            raise OptionError(f"reading is {self.reading!r}; give a GreyReading")
        self._check_numbers()

    def _check_numbers(self):
        if self.rescale is not None:
            self._set("rescale", _numbers("rescale", self.rescale, 1)[0])
        for name in ("featurewise_mean", "featurewise_std"):
            if getattr(self, name) is not None:
                self._set(name, _numbers(name, getattr(self, name), self.channels))

    def load(self, path):
        """Read and resize one file.

        Returns
        -------
        numpy.ndarray of uint8, shape (height, width)

        Raises
        ------
        ImageError
            As :func:`covidcxr.data.images.read_grey`.
        """
        return read_resized(path, self.size, self.interpolation, self.reading)

    def expand(self, grey):
        """Repeat grey images over the channels.

        Parameters
        ----------
        grey : numpy.ndarray, shape (..., height, width)

        Returns
        -------
        numpy.ndarray of float32, shape (..., height, width, channels)
            The same values.
        """
        grey = np.asarray(grey, dtype=np.float32)[..., np.newaxis]
        # Repeating once copies slowly.
        return grey if self.channels == 1 else np.repeat(grey, self.channels, axis=-1)

    def standardize(self, images, out=None):
        """Apply `mode`, `rescale` and the centrings, in the order and with the epsilon of Keras.

        The same arithmetic as `ImageDataGenerator.standardize` of each image alone, as its iterators call it.

        Parameters
        ----------
        images : array-like, shape (height, width, channels) or (n, height, width, channels)
            Grey levels 0 to 255. Not changed.
        out : numpy.ndarray of float32, same shape, optional
            Takes the result; may be `images`, which then are changed.

        Returns
        -------
        numpy.ndarray of float32, same shape

        Raises
        ------
        DataError
            If the shape does not end with `channels` or has another number of axes.
        """
        x = _copied(images, out)
        if x.ndim not in (3, 4) or x.shape[-1] != self.channels:
            raise DataError(
                f"images of shape {x.shape} cannot be standardized; "
                f"give (height, width, {self.channels}) or a batch of such images"
            )
        x = self._standardized(x)
        return x if out is None else _copied(x, out)

    def _standardized(self, x):
        """Standardise float32 images in place, as far as their mode can."""
        x = _MODES[self.mode](x)
        if self.rescale is not None:
            x *= np.float32(self.rescale)
        if self.samplewise_center:
            x -= _each(np.mean, x)
        if self.samplewise_std_normalization:
            x /= _each(np.std, x) + np.float32(_EPSILON)
        if self.featurewise_mean is not None:
            x -= np.asarray(self.featurewise_mean, dtype=np.float32)
        if self.featurewise_std is not None:
            x /= np.asarray(self.featurewise_std, dtype=np.float32) + np.float32(_EPSILON)
        return x

    def __call__(self, path):
        """Return one file as the network is fed it: float32, shape (height, width, channels)."""
        return self.standardize(self.expand(self.load(path)))

    def batch(self, paths):
        """Return files as one batch: float32, shape (n, height, width, channels).

        Raises
        ------
        ImageError
            For the first file that cannot be read.
        """
        paths = list(paths)
        images = np.empty((len(paths), *self.size, self.channels), dtype=np.float32)
        for row, path in enumerate(paths):
            images[row] = self(path)
        return images

    def to_dict(self):
        """Return a dictionary of JSON values; :meth:`from_dict` gives an equal preprocessing back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return {**values, **lists, "reading": self.reading.to_dict()}

    @classmethod
    def from_dict(cls, values):
        """Build from :meth:`to_dict`; absent keys other than `size` take their defaults.

        Raises
        ------
        ModelError
            If a key is unknown or a value has no meaning.
        """
        if isinstance(values, dict) and "reading" in values:
            values = {**values, "reading": GreyReading.from_dict(values["reading"])}
        return from_mapping(cls, values, "preprocessing")

    def _set(self, name, value):
        object.__setattr__(self, name, value)


def _numbers(name, values, most):
    """Return `values` as a tuple of 1 or `most` finite floats, or raise `OptionError`."""
    try:
        numbers = tuple(float(value) for value in np.ravel(values))
    except (TypeError, ValueError):
        numbers = ()
    fits = len(numbers) in (1, most) and all(math.isfinite(number) for number in numbers)
    if (
        not fits
        or (name == "rescale" and numbers[0] == 0)
        or (name == "featurewise_std" and min(numbers) < 0)
    ):
        raise OptionError(f"{name} is {values!r}; give one usable number" + ", or one a channel" * (most > 1))
    return numbers


def _each(statistic, x):
    """Return a statistic of each image alone, to broadcast over `x` (a batch or one image)."""
    if x.ndim == 3:
        return statistic(x, keepdims=True)
    return np.array([statistic(image) for image in x], dtype=np.float32).reshape(-1, 1, 1, 1)


def _copied(images, out):
    """Return images as float32 of the caller's own: in `out`, where there is one."""
    if out is None:
        return np.array(images, dtype=np.float32)
    if images is not out:
        np.copyto(out, images)
    return out


def _tf(x):
    x /= np.float32(127.5)
    x -= np.float32(1)
    return x


def _torch(x):
    x /= np.float32(255)
    x -= np.asarray(_TORCH_MEAN, dtype=np.float32)
    x /= np.asarray(_TORCH_STD, dtype=np.float32)
    return x


def _caffe(x):
    return x[..., ::-1] - np.asarray(_CAFFE_MEAN, dtype=np.float32)


def _none(x):
    return x


_MODES = {"none": _none, "tf": _tf, "torch": _torch, "caffe": _caffe}
