"""What carries out an augmentation."""

from typing import Protocol

import numpy as np

from covidcxr.data.augmentation.drawing import draw_parameters
from covidcxr.errors import OptionError


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
            Under Keras' keys: `theta`, `shear` (degrees), `tx`, `ty` (pixels, drawn from the ranges of height
            and width), `zx`, `zy` (factors), `flip_horizontal`, `flip_vertical`, `channel_shift_intensity`
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

    def each(self, greys, parameters):
        """Transform grey images one after another, for whoever needs each but for a moment.

        Parameters
        ----------
        greys : sequence of numpy.ndarray, uint8 or float32, (height, width)
            Grey values 0-255. Left as they are.
        parameters : sequence of dict
            One of :meth:`draw` for each image.

        Yields
        ------
        numpy.ndarray, float32, (height, width)
            What :meth:`apply` gives for the image as one channel. The next image may overwrite it,
            and so may the caller.
        """

    def apply_batch(self, greys, parameters, threads=1):
        """Transform grey images, each by its own parameters.

        Parameters
        ----------
        greys : numpy.ndarray, uint8 or float32, (n, height, width)
            Grey values 0-255. Left as they are.
        parameters : sequence of dict
            One of :meth:`draw` for each image.
        threads : int
            Images transformed at the same time; the result is the same for any number.

        Returns
        -------
        numpy.ndarray, float32, (n, height, width)
            What :meth:`apply` gives for each image as one channel.
        """


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

    def each(self, greys, parameters):
        """Transform grey images one after another: see :meth:`Engine.each`."""
        for grey, drawn in zip(greys, parameters, strict=True):
            yield self.apply(grey.astype(np.float32)[..., np.newaxis], drawn)[..., 0]

    def apply_batch(self, greys, parameters, threads=1):
        """Transform grey images one by one, whatever `threads` is: see :meth:`Engine.apply_batch`."""
        result = np.empty(greys.shape, np.float32)
        for image, moved in zip(result, self.each(greys, parameters), strict=True):
            image[...] = moved
        return result


def _fast(augmentation, shape):
    # OpenCV takes a while to load, which who only names an augmentation need not wait for.
    from covidcxr.data.augmentation.fast import FastEngine

    return FastEngine(augmentation, shape)


ENGINES = {"fast": _fast, "keras": KerasEngine}


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
        If there is no such engine, or it cannot do what is asked for.
    """
    if name not in ENGINES:
        raise OptionError(f"unknown augmentation engine {name!r}; choose among {', '.join(sorted(ENGINES))}")
    return ENGINES[name](augmentation, shape)
