"""Batches of images from disk: reproducible, resumable at any epoch, and as small in memory as they look."""

import atexit
import contextlib
import threading
import time
import weakref
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from covidcxr.data.augmentation import make_engine
from covidcxr.errors import OptionError

# The first word of every seed, so that no permutation shares its seed with an image's transform.
_ORDER, _TRANSFORM = 0, 1

_ENDLESS = np.iinfo(np.int64).max
# At the end of a program: how often to look whether the workers are quiet, how often they must be found so in a
# row (once is not enough: on a busy machine all threads may have been asleep), and when to give up.
_LOOK_SECONDS, _LOOKS, _LAST_LOOK = 0.02, 10, 500
_STREAMS = weakref.WeakSet()


@dataclass(frozen=True)
class Shard:
    """The part that this process has of every batch, where several replicas of a model share one.

    A global batch of n images is cut into `replicas` runs of ``ceil(n / replicas)`` images. What the last ones
    lack is filled with the batch's own images, from its first on, which count for nothing: replicas must all
    run, even where a batch has fewer images than there are replicas.

    Attributes
    ----------
    replicas : int
        Of all processes.
    first, count : int
        This process has the replicas `first` to ``first + count - 1``.

    Raises
    ------
    OptionError
        If there are no such replicas.
    """

    replicas: int
    first: int
    count: int

    def __post_init__(self):
        if self.first < 0 or self.count < 1 or self.first + self.count > self.replicas:
            raise OptionError(
                f"replicas {self.first} to {self.first + self.count - 1} are not among the {self.replicas} there are"
            )

    def each(self, images):
        """Return how many images, padding included, a replica has of a batch of `images`."""
        return -(-images // self.replicas)

    def places(self, images, batch_size):
        """Return what this process reads of one epoch, its padding included.

        Parameters
        ----------
        images : int
            In the epoch.
        batch_size : int
            Of the global batch; the epoch's last one has what is left.

        Returns
        -------
        places : numpy.ndarray
            int64, in 0..images-1: places in the epoch's order, batch after batch, replica after replica.
        weights : numpy.ndarray
            float32 of the same length: 1, and 0 for padding.
        """
        places, weights = [], []
        for start in range(0, images, batch_size):
            real = min(batch_size, images - start)
            each = self.each(real)
            own = np.arange(self.first * each, (self.first + self.count) * each)
            places.append(start + own % real)
            weights.append(own < real)
        return np.concatenate(places), np.concatenate(weights).astype(np.float32)


@dataclass(frozen=True)
class Batches:
    """A stream of batches and its length.

    Attributes
    ----------
    dataset : tf.data.Dataset
        For Keras' `fit`, `evaluate` and `predict`.
    steps : int
        Batches in one epoch, the last and possibly smaller one included.
    failures : list of Exception
        What went wrong in the workers, first things first; :func:`clear_errors` reads it.
    shard : Shard or None
        Whose part of every batch this is; None where it is the whole.
    """

    dataset: tf.data.Dataset
    steps: int
    failures: list = field(default_factory=list, repr=False)
    shard: Shard | None = None


@contextlib.contextmanager
def clear_errors(*batches):
    """Raise an image's own error in place of TensorFlow's.

    TensorFlow knows what a worker raised only as the text of a failed assertion, a `tf.errors.OpError`.

    Parameters
    ----------
    *batches : Batches
        Those that are read inside the block.

    Raises
    ------
    ImageError
        If a file could not be read; or whatever else a worker raised.

    Examples
    --------
    >>> with clear_errors(training, validation):  # doctest: +SKIP
    ...     model.fit(training.dataset, steps_per_epoch=training.steps, validation_data=validation.dataset)
    """
    for each in batches:
        each.failures.clear()
    try:
        yield
    except tf.errors.OpError:
        failures = [failure for each in batches for failure in each.failures]
        if failures:
            raise failures[0] from None
        raise


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
    reader = _Reader(files, preprocessing, augmentation, engine, (seed, stream), places, draws)
    rows = _as_targets(targets, files)
    _check_counts(batch_size, workers)

    def order(epoch):
        return epoch_order(len(files), int(epoch), seed=seed, stream=stream)

    def one_epoch(epoch):
        indices = tf.range(len(files), dtype=tf.int64)
        if shuffle:
            indices = reader.calls.numpy_function(order, [epoch], np.zeros(len(files), np.int64))
        return _batched(reader, indices, epoch, rows, batch_size, workers, shard)

    epochs = tf.data.Dataset.range(first_epoch, _ENDLESS)
    return _finish(epochs.flat_map(one_epoch), reader, batch_size, shard)


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
    reader = _Reader(files, preprocessing, augmentation, engine, (seed, stream), places)
    rows = _as_targets(targets, files)
    _check_counts(batch_size, workers)
    indices = np.arange(len(files))
    return _finish(
        _batched(reader, indices, epoch, rows, batch_size, workers, shard), reader, batch_size, shard
    )


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
    reader = _Reader(files, preprocessing, None, "keras", (0, 0))
    _check_counts(batch_size, workers)
    indices = np.arange(len(files))
    return _finish(_batched(reader, indices, 0, None, batch_size, workers), reader, batch_size)


class _Calls:
    """The Python functions that TensorFlow's threads call for one stream.

    A thread that asks for the interpreter while that is being torn down never comes back, and whoever destroys
    its iterator waits for it for ever: a program would hang instead of ending. So before the end the functions
    are made to answer at once, with nothing, until TensorFlow's buffers are full and it asks no more.
    """

    def __init__(self):
        self.failures = []
        self.begun = self.running = 0
        self.closed = False
        self._lock = threading.Lock()
        _STREAMS.add(self)

    def numpy_function(self, function, arguments, nothing):
        """Call `function` as `tf.numpy_function` does; its result has the shape and type of `nothing`."""

        def call(*values):
            with self._lock:
                self.begun += 1
                self.running += 1
            try:
                return nothing if self.closed else function(*values), b""
            # Raised here, it would be logged and passed on with a traceback for a message.
            except Exception as error:
                self.failures.append(error)
                return nothing, str(error) or repr(error)
            finally:
                with self._lock:
                    self.running -= 1

        result, fault = tf.numpy_function(call, arguments, (nothing.dtype, tf.string))
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(fault, ""), [fault])]):
            return tf.ensure_shape(result, nothing.shape)


@atexit.register
def _close_streams():
    streams = list(_STREAMS)
    for stream in streams:
        stream.closed = True
    begun, quiet = None, 0
    for _ in range(_LAST_LOOK if streams else 0):
        before, begun = begun, sum(stream.begun for stream in streams)
        still = begun == before and not any(stream.running for stream in streams)
        quiet = quiet + 1 if still else 0
        if quiet == _LOOKS:
            return
        time.sleep(_LOOK_SECONDS)


class _Reader:
    """From (epoch, place in `files`) to a standardised image; holds no image itself."""

    def __init__(self, files, preprocessing, augmentation, engine, seeds, places=None, draws=None):
        if not len(files):
            raise OptionError("no images to make batches of; give at least one file")
        if min(seeds) < 0:
            raise OptionError(f"seed and stream must be 0 or more, not {seeds}")
        if draws is not None and draws < 1:
            raise OptionError(f"draws is {draws}; give 1 or more, or None for another transform every epoch")
        self.files = list(files)
        self._places = _as_places(places, self.files)
        self._draws = draws
        self.preprocessing = preprocessing
        self.calls = _Calls()
        self._seeds = seeds
        self._engine = None
        if augmentation is not None:
            augmentation.check(preprocessing)
        if augmentation is not None and augmentation.is_random:
            self._engine = make_engine(engine, augmentation, (*preprocessing.size, 1))

    def load(self, epoch, index):
        nothing = np.zeros((*self.preprocessing.size, self.preprocessing.channels), np.float32)
        return self.calls.numpy_function(self._read, [epoch, index], nothing)

    def _read(self, epoch, index):
        grey = self.preprocessing.load(self.files[int(index)])
        if self._engine:
            draw = int(epoch) % self._draws if self._draws else int(epoch)
            words = (_TRANSFORM, *self._seeds, draw, int(self._places[int(index)]))
            seed = _sequence(*words).generate_state(1)[0]
            # One channel is transformed for all: the result is the same, and costs a third.
            image = np.asarray(grey, np.float32)[..., np.newaxis]
            grey = self._engine.apply(image, self._engine.draw(seed))[..., 0]
        return self.preprocessing.standardize(self.preprocessing.expand(grey))


def _batched(reader, indices, epoch, rows, batch_size, workers, shard=None):
    # One image a call, not one batch: as fast as any other way measured, and the images of one batch share
    # the workers.
    def load(index, *weight):
        image = reader.load(epoch, index)
        return image if rows is None else (image, tf.gather(rows, index), *weight)

    parts = (indices,)
    if shard:
        places, weights = shard.places(len(reader.files), batch_size)
        parts = (tf.gather(indices, places), weights)
        # All but an epoch's last part are of this size, so the parts are batched as they were cut.
        batch_size = shard.each(batch_size) * shard.count
    images = tf.data.Dataset.from_tensor_slices(parts)
    return images.map(load, num_parallel_calls=workers, deterministic=True).batch(batch_size)


def _finish(dataset, reader, batch_size, shard=None):
    steps = -(-len(reader.files) // batch_size)
    return Batches(dataset.prefetch(2), steps, reader.calls.failures, shard)


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


def _check_counts(batch_size, workers):
    if batch_size < 1 or workers < 1:
        raise OptionError(f"batch size ({batch_size}) and workers ({workers}) must both be at least 1")
