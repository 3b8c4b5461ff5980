"""Batches of images from disk: reproducible, resumable at any epoch, and as small in memory as they look."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from covidcxr.data.augmentation import make_engine
from covidcxr.data.decoded import CachedPreprocessing
from covidcxr.data.memory import Buffers
from covidcxr.data.pipelines import steady
from covidcxr.data.standardizing import Standardizer
from covidcxr.data.streams import Batches, Calls, Shard, clear_errors
from covidcxr.errors import OptionError

__all__ = [
    "Batches",
    "Shard",
    "clear_errors",
    "epoch_order",
    "evaluation_batches",
    "inference_batches",
    "training_batches",
]

# The first word of every seed, so that no permutation shares its seed with an image's transform.
_ORDER, _TRANSFORM = 0, 1

_ENDLESS = np.iinfo(np.int64).max

# One for all streams, as are the threads of :func:`_pool`: TensorFlow keeps the functions of a stream, and what they
# refer to, for as long as the process lives.
_BUFFERS = Buffers()


def training_batches(
    files,
    targets,
    preprocessing,
    batch_size,
    *,
    augmentation=None,
    engine="keras",
    seed=0,
    stream=0,
    first_epoch=0,
    shuffle=True,
    workers=2,
    shard=None,
    places=None,
    draws=None,
):
    """Give an endless stream of epochs, each image once an epoch, in an order of its own each time.

    The order depends on (seed, stream, epoch) alone, and an image's transform on (seed, stream, draw, place),
    where the draw is the epoch and the place that in `files`, unless told otherwise: neither the number of
    workers nor where a run was interrupted changes a single value. Nor does a shard: those of all processes
    together are the batches that one process would have.

    Parameters
    ----------
    files : sequence of path-like
    targets : array-like, (images, classes)
        One-hot rows, in the order of `files`.
    preprocessing : Preprocessing
        Reads and standardises. Its grey image is what is transformed, before it gets its channels.
    batch_size : int
        Images a batch; an epoch's last batch has what is left.
    augmentation : Augmentation, optional
        Its random part is applied; the rest of it must be in `preprocessing` already
        (see :meth:`Augmentation.preprocessing` and :meth:`Augmentation.fit`).
    engine : str
        See :func:`~covidcxr.data.augmentation.make_engine`.
    seed, stream : int
        0 or more. Give each phase, fold or part of one run a stream of its own.
    first_epoch : int
        Where the stream starts: a resumed run gives the number of finished epochs.
    shuffle : bool
        False keeps the order of `files` in every epoch.
    workers : int
        Images read at the same time.
    shard : Shard, optional
        Reads this process's part of every batch alone; `batch_size` stays that of the global batch.
    places : sequence of int, optional
        Each file's number, 0 or more, in a greater whole: several choices of its images (folds, say) then
        transform one image alike.
    draws : int, optional
        Transforms that an image has in all: epoch e takes draw ``e % draws``. Default: another one each epoch.

    Returns
    -------
    Batches
        Of pairs: images float32 (batch, height, width, channels), targets float32 (batch, classes). With a
        `shard` of triples: weights float32 (batch,) too, 1 for an image and 0 for padding.
        Endless: give Keras `steps` as `steps_per_epoch`, and ``shuffle=False``, or it warns.

    Raises
    ------
    OptionError
        If an argument has no meaning, or `preprocessing` lacks what `augmentation` asks for.
    """
    reader = _Reader(files, preprocessing, augmentation, engine, (seed, stream), workers, places, draws)

    def order(epoch):
        return epoch_order(len(files), int(epoch), seed=seed, stream=stream)

    def indices(epoch):
        if shuffle:
            return reader.calls.numpy_function(order, [epoch], (len(files),), np.int64)
        return tf.range(len(files), dtype=tf.int64)

    epochs = tf.data.Dataset.range(first_epoch, _ENDLESS)
    return _batches(epochs, indices, reader, _as_targets(targets, files), batch_size, shard)


def epoch_order(images, epoch, *, seed=0, stream=0):
    """Return the order in which :func:`training_batches` gives an epoch's images.

    Parameters
    ----------
    images, epoch : int
        Of so many, counted from 0.
    seed, stream : int
        As for :func:`training_batches`.

    Returns
    -------
    numpy.ndarray
        int64 (images,): places in `files`.
    """
    return _generator(_ORDER, seed, stream, epoch).permutation(images)


def evaluation_batches(
    files,
    targets,
    preprocessing,
    batch_size,
    *,
    augmentation=None,
    engine="keras",
    seed=0,
    stream=0,
    epoch=0,
    workers=2,
    shard=None,
    places=None,
):
    """Give every image once, in the order of `files`.

    With an `augmentation` (ragab2022 transforms its validation images too) every pass over the dataset draws
    the same transforms, so that two evaluations can be compared.

    Parameters
    ----------
    files, targets, preprocessing, batch_size, augmentation, engine, seed, stream, workers, shard, places
        As for :func:`training_batches`.
    epoch : int
        Which transforms are drawn: another epoch, others.

    Returns
    -------
    Batches
        As :func:`training_batches` gives them, but with an end: the dataset's cardinality is `steps`.

    Raises
    ------
    OptionError
        As :func:`training_batches`.
    """
    reader = _Reader(files, preprocessing, augmentation, engine, (seed, stream), workers, places)
    return _one_pass(reader, epoch, _as_targets(targets, files), batch_size, shard)


def inference_batches(files, preprocessing, batch_size, *, workers=2):
    """Give every image once, in the order of `files`, without targets.

    Parameters
    ----------
    files, preprocessing, batch_size, workers
        As for :func:`training_batches`.

    Returns
    -------
    Batches
        Of images, float32 (batch, height, width, channels); the dataset's cardinality is `steps`.

    Raises
    ------
    OptionError
        As :func:`training_batches`.
    """
    reader = _Reader(files, preprocessing, None, "keras", (0, 0), workers)
    return _one_pass(reader, 0, None, batch_size)


class _Reader:
    """From (epoch, places in `files`) to standardised images; holds no image itself."""

    def __init__(self, files, preprocessing, augmentation, engine, seeds, workers, places=None, draws=None):
        if not len(files):
            raise OptionError("no images to make batches of; give at least one file")
        if min(seeds) < 0:
            raise OptionError(f"seed and stream must be 0 or more, not {seeds}")
        if draws is not None and draws < 1:
            raise OptionError(f"draws is {draws}; give 1 or more, or None for another transform every epoch")
        if workers < 1:
            raise OptionError(f"workers is {workers}; give at least 1")
        self.files = list(files)
        self.workers = workers
        self.calls = Calls()
        self._places = _as_places(places, self.files)
        self._draws = draws
        self._preprocessing = preprocessing
        self._standardizer = Standardizer(preprocessing)
        self._seeds = seeds
        self._pool = _pool(workers)
        self._engine = None
        if augmentation is not None:
            augmentation.check(preprocessing)
        if augmentation is not None and augmentation.is_random:
            self._engine = make_engine(engine, augmentation, (*preprocessing.size, 1))

    def load(self, epoch, indices):
        """Return tensors of a whole batch: one Python call an image would take longer than its transform."""
        shape = (None, *self._preprocessing.size, self._preprocessing.channels)
        return self.calls.numpy_function(self._read, [epoch, indices], shape, np.float32)

    def _read(self, epoch, indices):
        images = self._greys([self.files[index] for index in indices])
        if self._engine:
            # One channel is transformed for all: the result is the same, and costs a third.
            images = self._engine.each(images, [self._parameters(epoch, index) for index in indices])
        shape = (len(indices), *self._preprocessing.size, self._preprocessing.channels)
        return self._standardizer(images, _BUFFERS.take(shape), overwrite=bool(self._engine))

    def _greys(self, files):
        loader = self._preprocessing
        if isinstance(loader, CachedPreprocessing) and loader.has(files):
            return loader.decoded.stack(files)
        return np.stack(list(self._pool.map(loader.load, files)))

    def _parameters(self, epoch, index):
        draw = int(epoch) % self._draws if self._draws else int(epoch)
        words = (_TRANSFORM, *self._seeds, draw, int(self._places[index]))
        return self._engine.draw(_sequence(*words).generate_state(1)[0])


@functools.cache
def _pool(workers):
    return ThreadPoolExecutor(workers)


def _one_pass(reader, epoch, rows, batch_size, shard=None):
    epochs = tf.data.Dataset.from_tensors(np.int64(epoch))
    return _batches(epochs, lambda epoch: np.arange(len(reader.files)), reader, rows, batch_size, shard)


def _batches(epochs, indices, reader, rows, batch_size, shard=None):
    """Give batches of the images that `indices` names for each of a dataset of epochs."""

    def load(epoch, places, *weights):
        images = reader.load(epoch, places)
        return images if rows is None else (images, tf.gather(rows, places), *weights)

    if batch_size < 1:
        raise OptionError(f"batch size is {batch_size}; give at least 1")
    weights, size = (), batch_size
    if shard:
        chosen, *weights = shard.places(len(reader.files), batch_size)
        # All but an epoch's last part are of this size, so the parts are batched as they were cut.
        size = shard.each(batch_size) * shard.count

    def one_epoch(epoch):
        places = indices(epoch)
        parts = (tf.gather(places, chosen) if shard else places, *weights)
        return tf.data.Dataset.from_tensor_slices(parts).batch(size).map(lambda *part: (epoch, *part))

    # Images are read outside of the epochs: the first batches of one while the last of another are still made.
    pieces = epochs.flat_map(one_epoch)
    steps = -(-len(reader.files) // batch_size)
    if epochs.cardinality() == 1:
        pieces = pieces.apply(tf.data.experimental.assert_cardinality(steps))
    dataset = pieces.map(load, num_parallel_calls=reader.workers, deterministic=True)
    return Batches(steady(dataset.prefetch(2)), steps, reader.calls.failures, shard)


def _sequence(*words):
    return np.random.SeedSequence(words)


def _generator(*words):
    # RandomState's permutation is frozen for good; Generator's may change between NumPy versions (NEP 19).
    return np.random.RandomState(np.random.MT19937(_sequence(*words)))


def _as_places(places, files):
    if places is None:
        return np.arange(len(files))
    numbers = np.asarray(places, dtype=np.int64)
    if numbers.shape != (len(files),) or numbers.min() < 0:
        raise OptionError(f"places: give one number, 0 or more, for each of the {len(files)} files")
    return numbers


def _as_targets(targets, files):
    rows = np.asarray(targets, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(files):
        raise OptionError(
            f"targets have shape {rows.shape}; give one one-hot row for each of the {len(files)} files"
        )
    return rows
