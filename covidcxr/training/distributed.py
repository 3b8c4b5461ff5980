"""Training on several replicas: Keras 3's `fit`, written out over public tf.distribute calls.

Keras 3.15's own `fit` cannot: an epoch's last batch may have fewer images than there are replicas, which it does
not survive, and it reduces what several workers return along an axis that is not there.

What a replica computes is summed over real images and divided by their number in the global batch, so that
losses, accuracies and gradients are those of one device with the same batch, whatever is left for the last one.
Three things differ, as they must:

* Batch normalisation takes its statistics over a replica's own part of the batch, padding included. The moving
  averages, which each replica gathers for itself, are averaged over the replicas at the end of every epoch.
* Dropout draws other noise on every replica; on one device one draw would serve the whole batch.
* Sums are taken in another order: differences of the size of float32's rounding.
"""

import contextlib
import re

import keras
import tensorflow as tf

from covidcxr.errors import CovidcxrError, OptionError

# Seeds of neighbouring replicas are to have nothing in common: 2^32 over the golden ratio, odd.
_SEED_STEP = 2654435769
_SEED_LIMIT = 2**32


def fit(strategy, model, training, validation, *, steps_per_epoch, initial_epoch, epochs, callbacks=()):
    """Train a model on all replicas of a strategy, with the callbacks and logs that Keras' `fit` has.

    Parameters
    ----------
    strategy : tf.distribute.Strategy
    model : keras.Model
        Built and compiled in the strategy's scope: one loss, of one-hot targets, and accuracy as its metric.
    training, validation : covidcxr.data.batches.Batches
        Of this process's shard. `training` is endless; `validation` may be None.
    steps_per_epoch, initial_epoch, epochs : int
    callbacks : sequence of keras.callbacks.Callback
        Get the logs loss, accuracy, val_loss and val_accuracy, the same on every worker.

    Returns
    -------
    keras.callbacks.History

    Raises
    ------
    OptionError
        If the optimiser clips gradients: it would clip each replica's part before they are summed.
    """
    replicas = _Replicas(strategy, model)
    calls = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps_per_epoch, verbose=0
    )
    model.stop_training = False
    stream = iter(training.dataset)
    logs = {}
    calls.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        calls.on_epoch_begin(epoch)
        replicas.part_noise()
        logs = _train_epoch(replicas, stream, training.shard, steps_per_epoch, calls)
        replicas.share_statistics()
        if validation is not None:
            scores = _evaluate(replicas, validation, calls)
            logs = {**logs, **{f"val_{name}": value for name, value in scores.items()}}
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end(logs)
    return model.history


@contextlib.contextmanager
def lost_workers():
    """Raise one clear line in place of TensorFlow's error where another worker has gone.

    Raises
    ------
    CovidcxrError
    """
    try:
        yield
    except _LOST as error:
        # Names of graph nodes, in double braces, mean nothing to a reader.
        message = re.sub(r"\{\{.*?\}\}", "", error.message).strip()
        reason = (message.splitlines() or [type(error).__name__])[0]
        raise CovidcxrError(
            f"another worker of this run was lost; start all workers again with --resume "
            f"(TensorFlow: {reason[:200]})"
        ) from error


_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


def _train_epoch(replicas, stream, shard, steps, calls):
    sums = _Sums()
    for step in range(steps):
        calls.on_train_batch_begin(step)
        sums.add(replicas.train(replicas.spread(next(stream), shard)))
        calls.on_train_batch_end(step, sums.means())
        if replicas.model.stop_training:
            break
    return sums.numbers()


def _evaluate(replicas, validation, calls):
    sums = _Sums()
    calls.on_test_begin()
    for step, batch in enumerate(validation.dataset):
        calls.on_test_batch_begin(step)
        sums.add(replicas.test(replicas.spread(batch, validation.shard)))
        calls.on_test_batch_end(step, sums.means())
    logs = sums.numbers()
    calls.on_test_end(logs)
    return logs


class _Sums:
    """Loss and accuracy of the images so far. Nothing waits for the device until a number is asked for."""

    def __init__(self):
        self._sums = tf.zeros(3, tf.float64)

    def add(self, sums):
        self._sums += tf.cast(sums, tf.float64)

    def means(self):
        return {"loss": self._sums[0] / self._sums[2], "accuracy": self._sums[1] / self._sums[2]}

    def numbers(self):
        return {name: float(value) for name, value in self.means().items()}


class _Replicas:
    """The steps that all replicas take together.

    Attributes
    ----------
    train, test : callable
        ``train(values) -> Tensor``: one step on what :meth:`spread` gives. float32 (3,): over the real images of
        the global batch the summed loss and the number of right answers, and their number.
    part_noise : callable
        Moves the seeds of each replica's noise apart.
    share_statistics : callable
        Averages the moving statistics of batch normalisation, which every replica gathers for itself.
    """

    def __init__(self, strategy, model):
        self.strategy = strategy
        self.model = model
        self._loss = _loss_per_image(model.loss)
        _refuse_clipping(model.optimizer)
        with strategy.scope():
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
        layers = list(model._flatten_layers(include_self=False))
        self._noise = _noise(layers)
        self._statistics = _statistics(layers)
        # XLA is off under tf.distribute, as Keras' "auto" has it.
        self.train = tf.function(lambda values: self._run(self._train, values), autograph=False)
        self.test = tf.function(lambda values: self._run(self._test, values), autograph=False)
        self.part_noise = tf.function(lambda: strategy.run(self._part_noise), autograph=False)
        share = self._share_statistics if self._statistics else lambda: None
        self.share_statistics = tf.function(lambda: strategy.run(share), autograph=False)

    def spread(self, batch, shard):
        """Give each replica of this process its part of a batch."""

        def part(array):
            each = len(array) // shard.count

            def of_replica(context):
                start = (int(context.replica_id_in_sync_group) - shard.first) * each
                return array[start : start + each]

            return self.strategy.experimental_distribute_values_from_function(of_replica)

        return tuple(part(array) for array in batch)

    def _part_noise(self):
        # A layer's seed is the same on all replicas; its count of draws stays as it is.
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for state in self._noise:
            seed, draws = tf.unstack(tf.cast(state.value, tf.int64))
            seed = (seed + tf.cast(replica, tf.int64) * _SEED_STEP) % _SEED_LIMIT
            state.assign(tf.cast(tf.stack([seed, draws]), state.value.dtype))

    def _share_statistics(self):
        # Vectors all, one behind the other: one exchange instead of hundreds.
        own = tf.concat([tf.convert_to_tensor(statistic.value) for statistic in self._statistics], axis=0)
        context = tf.distribute.get_replica_context()
        shared = context.all_reduce(tf.distribute.ReduceOp.MEAN, own)
        lengths = [statistic.shape[0] for statistic in self._statistics]
        for statistic, value in zip(self._statistics, tf.split(shared, lengths), strict=True):
            statistic.assign(value)

    def _run(self, step, values):
        # Every replica returns the same sums.
        return self.strategy.experimental_local_results(self.strategy.run(step, args=values))[0]

    def _train(self, images, targets, weights):
        model, optimizer = self.model, self.model.optimizer
        real = _sum_over_replicas(tf.reduce_sum(weights))
        with tf.GradientTape() as tape:
            predicted = model(images, training=True)
            summed = tf.reduce_sum(weights * self._loss(targets, predicted))
            extra = sum(model.losses)
            loss = optimizer.scale_loss(summed / real + extra / self.strategy.num_replicas_in_sync)
        gradients = tape.gradient(loss, model.trainable_variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _agree_on_overflow(gradients)
        # Keras sums them over the replicas.
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return _sum_over_replicas(_scores(targets, predicted, weights, summed, extra))

    def _test(self, images, targets, weights):
        predicted = self.model(images, training=False)
        summed = tf.reduce_sum(weights * self._loss(targets, predicted))
        scores = _scores(targets, predicted, weights, summed, sum(self.model.losses))
        return _sum_over_replicas(scores)


def _noise(layers):
    generators = [getattr(layer, "seed_generator", None) for layer in layers]
    return [generator.state for generator in generators if generator is not None]


def _statistics(layers):
    trained = [
        each for each in layers if isinstance(each, keras.layers.BatchNormalization) and each.trainable
    ]
    return [statistic for layer in trained for statistic in (layer.moving_mean, layer.moving_variance)]


def _scores(targets, predicted, weights, summed, extra):
    right = weights * tf.cast(keras.metrics.categorical_accuracy(targets, predicted), tf.float32)
    number = tf.reduce_sum(weights)
    # As Keras logs it: what regularisers add is added to every batch's mean.
    return tf.stack([summed + number * extra, tf.reduce_sum(right), number])


def _sum_over_replicas(value):
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def _agree_on_overflow(gradients):
    """Make all replicas skip a step that overflowed on one of them.

    Keras' loss scaling looks at a replica's own gradients only: some would take the step and others would not.
    """
    overflows = [
        tf.reduce_any(~tf.math.is_finite(gradient)) for gradient in gradients if gradient is not None
    ]
    anywhere = _sum_over_replicas(tf.cast(tf.reduce_any(tf.stack(overflows)), tf.float32)) > 0
    return [
        None if gradient is None else tf.where(anywhere, tf.constant(float("inf"), gradient.dtype), gradient)
        for gradient in gradients
    ]


def _loss_per_image(loss):
    function = keras.losses.get(loss)
    if isinstance(function, keras.losses.Loss):
        function = type(function).from_config({**function.get_config(), "reduction": "none"})
    return lambda targets, predicted: tf.cast(function(targets, predicted), tf.float32)


def _refuse_clipping(optimizer):
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for name in ("clipnorm", "clipvalue", "global_clipnorm"):
        if getattr(inner, name) is not None:
            raise OptionError(
                f"the optimiser's {name} cannot be used on several replicas; choose --strategy single"
            )
