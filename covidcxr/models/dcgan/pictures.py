"""What a DCGAN is trained on: radiographs, made small once and kept in memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covidcxr.data.images import DEFAULT_READING
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import OptionError

_ENDLESS = np.iinfo(np.int64).max


def small_images(files, size, *, interpolation="cv2_area", reading=DEFAULT_READING, workers=2):
    """Read radiographs at the size at which they are learnt and compared.

    Parameters
    ----------
    files : sequence of path-like
    size : int
        Height and width in pixels; the aspect is not kept, as with every network of this package.
    interpolation : str
        One of `covidcxr.data.images.INTERPOLATIONS`; the default averages, since a radiograph shrinks by ten
        and more.
    reading : GreyReading
    workers : int
        Files read at the same time.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, size, size)

    Raises
    ------
    ImageError
        For the first file that cannot be read.
    """
    preprocessing = Preprocessing((size, size), 1, interpolation=interpolation, reading=reading)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        images = list(pool.map(preprocessing.load, files))
    return np.stack(images) if images else np.empty((0, size, size), np.uint8)


def gan_batches(files, size, batch_size, seed, *, channels=3, first_epoch=0, **reading):
    """Give an endless stream of epochs of small images, in an order of its own each time.

    Every file is read once, before the first batch: a set of ten thousand takes 40 MB at 64 × 64. The order
    depends on (seed, epoch) alone. What does not fill a last batch is left out of that epoch, as batch
    normalization of a few images is noise; another order comes with the next.

    Parameters
    ----------
    files : sequence of path-like, or numpy.ndarray of uint8, shape (n, size, size)
        Or images as :func:`small_images` gives them.
    size : int
    batch_size : int
        At most as many as there are images.
    seed : int
        0 or more.
    channels : int
        1, or 3 equal ones.
    first_epoch : int
        Where the stream starts: a resumed run gives the number of finished epochs.
    **reading
        As for :func:`small_images`.

    Returns
    -------
    covidcxr.data.batches.Batches
        Of images, float32 (batch_size, size, size, channels) in -1..1. Endless: give Keras `steps` as
        `steps_per_epoch`.

    Raises
    ------
    ImageError
        For the first file that cannot be read.
    OptionError
        If a value has no meaning, or there are fewer images than a batch takes.
    """
    import tensorflow as tf

    from covidcxr.data.batches import Batches
    from covidcxr.data.pipelines import steady

    _check(len(files), batch_size, seed, channels)
    images = files if isinstance(files, np.ndarray) else small_images(files, size, **reading)
    if images.shape[1:] != (size, size) or images.dtype != np.uint8:
        raise OptionError(
            f"images of shape {images.shape} and type {images.dtype}; give uint8, (n, {size}, {size})"
        )
    images = tf.constant(images)

    def order(epoch):
        # RandomState's permutation is frozen for good; Generator's may change between NumPy versions (NEP 19).
        bits = np.random.MT19937(np.random.SeedSequence([seed, int(epoch)]))
        return np.random.RandomState(bits).permutation(len(images))

    def one_epoch(epoch):
        places = tf.ensure_shape(tf.numpy_function(order, [epoch], tf.int64), [len(images)])
        return tf.data.Dataset.from_tensor_slices(places).batch(batch_size, drop_remainder=True)

    def scaled(places):
        batch = tf.cast(tf.gather(images, places), tf.float32) / 127.5 - 1.0
        return tf.repeat(batch[..., tf.newaxis], channels, axis=-1)

    epochs = tf.data.Dataset.range(first_epoch, _ENDLESS)
    stream = epochs.flat_map(one_epoch).map(scaled).prefetch(2)
    return Batches(steady(stream), len(images) // batch_size)


def _check(count, batch_size, seed, channels):
    if batch_size < 1 or seed < 0:
        raise OptionError(f"batch size ({batch_size}) must be at least 1 and seed ({seed}) 0 or more")
    if channels not in (1, 3):
        raise OptionError(f"channels is {channels!r}; give 1 or 3")
    if count < batch_size:
        raise OptionError(f"{count} images do not fill a batch of {batch_size}; choose a smaller batch size")
