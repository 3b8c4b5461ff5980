"""Training on a frozen prefix's features: the steps of `fit` on what trains, many in one compiled call."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

# Features handed to one compiled call: many steps of a small head, a few of large feature maps.
_CALL_BYTES = 64 << 20


@dataclass(frozen=True)
class Pass:
    """Images in the order in which they are read.

    Attributes
    ----------
    features : tuple of numpy.ndarray
        (any number, ...) each: what the prefix says of images.
    rows : numpy.ndarray
        int64 (n,): the images of this pass, as rows of `features`.
    targets : numpy.ndarray
        float32 (n, classes), in the order of `rows`.
    """

    features: tuple
    rows: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class FrozenFeeds:
    """Where features come from.

    Attributes
    ----------
    suffix : keras.Model
        See :class:`covidcxr.models.cutting.Cut`.
    training : callable
        ``training(epoch, data) -> Pass``, the epoch counted from 0 over the whole run; `data` is the stage's.
    validation : callable
        ``validation() -> Pass``, or None where nothing is validated.
    batch_size : int
    """

    suffix: object
    training: Callable
    validation: Callable
    batch_size: int


def fit(model, feeds, data, *, initial_epoch, epochs, callbacks=()):
    """Train a network through its suffix as `keras.Model.fit` trains it on the images.

    Optimiser, loss, order of images, batches and noise are those of the network, so the weights are those of
    `fit`, up to the rounding of float32.

    Parameters
    ----------
    model : keras.Model
        Compiled, its optimiser built; with one loss and accuracy as its metric.
    feeds : FrozenFeeds
        Its suffix is the model's.
    data : str
        What the stage reads.
    initial_epoch, epochs : int
        As Keras'.
    callbacks : sequence of keras.callbacks.Callback
        They are told of the end of every compiled call as of a batch's.

    Returns
    -------
    keras.callbacks.History
    """
    steps = Steps(model, feeds)
    calls = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=model, verbose=0, epochs=epochs, steps=None
    )
    model.stop_training = False
    calls.on_train_begin()
    logs = {}
    for epoch in range(initial_epoch, epochs):
        reading = feeds.training(epoch, data)
        calls.set_params({**calls.params, "steps": -(-len(reading.rows) // feeds.batch_size)})
        calls.on_epoch_begin(epoch)
        logs = steps.train(reading, calls.on_train_batch_end)
        validation = feeds.validation()
        if validation is not None:
            logs.update({f"val_{name}": value for name, value in steps.test(validation).items()})
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end(logs)
    return model.history


class Steps:
    """Compiled passes over features.

    Parameters
    ----------
    model : keras.Model
        As for :func:`fit`.
    feeds : FrozenFeeds
    """

    def __init__(self, model, feeds):
        self._model, self._suffix, self._batch_size = model, feeds.suffix, feeds.batch_size
        features = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in feeds.suffix.inputs]
        signature = (features, tf.TensorSpec((None, model.output_shape[-1]), tf.float32))
        self._train = tf.function(self._train_part, input_signature=signature, autograph=False)
        self._test = tf.function(self._test_part, input_signature=signature, autograph=False)

    def train(self, reading, after=None):
        """Train an epoch; return its mean loss and accuracy.

        Parameters
        ----------
        reading : Pass
        after : callable, optional
            ``after(step, logs)`` when a compiled call has ended, with the number of its last step, from 0.
        """
        sums, seen = np.zeros(2), 0
        for features, targets in self._parts(reading):
            sums += self._train(features, targets).numpy()
            seen += len(targets)
            if after is not None:
                after(-(-seen // self._batch_size) - 1, _means(sums, seen))
        return _means(sums, seen)

    def test(self, reading):
        """Return the mean loss and accuracy of a pass."""
        sums = sum(self._test(*part).numpy().astype(float) for part in self._parts(reading))
        return _means(sums, len(reading.rows))

    def _parts(self, reading):
        each = sum(part[0].nbytes for part in reading.features)
        span = self._batch_size * max(1, _CALL_BYTES // (each * self._batch_size))
        for start in range(0, len(reading.rows), span):
            rows = reading.rows[start : start + span]
            yield [np.take(part, rows, axis=0) for part in reading.features], reading.targets[start:][:span]

    def _train_part(self, features, targets):
        return self._over_batches(features, targets, self._train_step)

    def _test_part(self, features, targets):
        return self._over_batches(features, targets, self._test_step)

    def _over_batches(self, features, targets, step):
        images, size = tf.shape(targets)[0], self._batch_size

        def body(start, sums):
            taken = [each[start : start + size] for each in (*features, targets)]
            return start + size, sums + step(taken[:-1], taken[-1])

        start = tf.zeros((), images.dtype)
        return tf.while_loop(lambda start, _: start < images, body, (start, tf.zeros(2)))[1]

    def _train_step(self, features, targets):
        model, optimizer = self._model, self._model.optimizer
        with tf.GradientTape() as tape:
            predicted = self._suffix(features, training=True)
            loss = model.compute_loss(y=targets, y_pred=predicted, training=True)
            scaled = optimizer.scale_loss(loss)
        weights = model.trainable_weights
        gradients = tape.gradient(scaled, weights)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return _scores(loss, targets, predicted)

    def _test_step(self, features, targets):
        predicted = self._suffix(features, training=False)
        loss = self._model.compute_loss(y=targets, y_pred=predicted, training=False)
        return _scores(loss, targets, predicted)


def _scores(loss, targets, predicted):
    right = tf.cast(keras.metrics.categorical_accuracy(targets, predicted), tf.float32)
    number = tf.cast(tf.shape(targets)[0], tf.float32)
    return tf.stack([tf.cast(loss, tf.float32) * number, tf.reduce_sum(right)])


def _means(sums, images):
    return {"loss": float(sums[0] / images), "accuracy": float(sums[1] / images)}
