"""Streams of batches: which part of them a process has, what went wrong in them, and how they end."""

import atexit
import contextlib
import threading
import time
import weakref
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from covidcxr.errors import OptionError

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


class Calls:
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

    def numpy_function(self, function, arguments, shape, kind):
        """Call `function` as `tf.numpy_function` does.

        Parameters
        ----------
        function : callable
        arguments : sequence of tf.Tensor
        shape : tuple
            Of the result, with None for what is not known before.
        kind : numpy.dtype or type
            Of the result.

        Returns
        -------
        tf.Tensor
        """
        nothing = np.zeros([side or 0 for side in shape], kind)

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
            return tf.ensure_shape(result, shape)


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
