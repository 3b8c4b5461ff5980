"""Optimisers as they were in the papers' time, where Keras 3's of the same name computes something else.

Held against `tf_keras.optimizers.legacy`, which is what TensorFlow 2.0 to 2.10 called `tf.keras.optimizers`:

=========  ==============================================================================================
Nadam      The momentum's schedule grew by 0.96^(0.004 t); Keras 3 has 0.96^t. See :class:`LegacyNadam`.
RMSprop    Epsilon was added to the root, not under it. See :class:`LegacyRMSprop`.
Adam       The same step, epsilon included (Kingma and Ba's "epsilon hat", added to the root of the
           uncorrected second moment).
SGD        The same step, plain, with momentum and with Nesterov's.
`decay`    Keras 3 ignores this argument of all of them; it divided the learning rate by 1 + decay t, t from
           0. See :class:`covidcxr.training.optimizers.OptimizerSpec`.
=========  ==============================================================================================

Keras 2.2 and 2.3 without TensorFlow's name before it took the same steps; its Nadam's default rate was 0.002.
"""

import keras
from keras import ops

_BASE = 0.96


@keras.saving.register_keras_serializable(package="covidcxr")
class LegacyNadam(keras.optimizers.Optimizer):
    """Adam with Nesterov momentum, with the momentum schedule of Keras 1 and 2 (Dozat 2015).

    Step t, from 1, has the momentum ``mu_t = beta_1 (1 - 0.5 * 0.96 ** (schedule_decay * t))`` and
    ``P_t = mu_1 * ... * mu_t``; with gradient g::

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g^2
        m_bar = (1 - mu_t) g / (1 - P_t) + mu_{t+1} m / (1 - P_{t+1})
        w = w - learning_rate * m_bar / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
        The old class took no schedule.
    beta_1, beta_2 : float
    epsilon : float
    schedule_decay : float
        0.004, which tf.keras also called `decay`. With 1 this is Keras 3's `Nadam`.
    **kwargs
        As for every `keras.optimizers.Optimizer`: `clipnorm`, `weight_decay`, `name`...
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        schedule_decay=0.004,
        name="legacy_nadam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon = epsilon
        self.schedule_decay = schedule_decay

    def build(self, variables):
        """Create the two moments of every variable and the product of the momenta so far."""
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        # Each replica multiplies by the same factor: without an aggregation TensorFlow refuses to assign there.
        self._product = self.add_variable(
            shape=(),
            initializer="ones",
            dtype="float32",
            aggregation="only_first_replica",
            name="momentum_product",
        )

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable."""
        # The betas are rounded before they are taken from 1, as they were: 1 - float32(0.999) is 0.00100005.
        now, following, product, beta_1, beta_2, rate, step, gradient = (
            ops.cast(value, variable.dtype)
            for value in (
                self._momentum(1),
                self._momentum(2),
                self._product,
                self.beta_1,
                self.beta_2,
                learning_rate,
                self.iterations + 1,
                gradient,
            )
        )
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        self.assign(m, beta_1 * m + (1 - beta_1) * gradient)
        self.assign(v, beta_2 * v + (1 - beta_2) * ops.square(gradient))
        m_bar = (1 - now) * gradient / (1 - product) + following * m / (1 - product * following)
        v_hat = v / (1 - ops.power(beta_2, step))
        self.assign_sub(variable, rate * m_bar / (ops.sqrt(v_hat) + self.epsilon))

    def get_config(self):
        """Return what rebuilds the optimiser."""
        names = ("beta_1", "beta_2", "epsilon", "schedule_decay")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Once a step, before its variables: Keras' own Nadam keeps its product here too.
        self.assign(self._product, ops.multiply(self._product, self._momentum(1)))
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _momentum(self, ahead):
        step = ops.cast(self.iterations + ahead, "float32")
        return self.beta_1 * (1.0 - 0.5 * ops.power(_BASE, self.schedule_decay * step))


@keras.saving.register_keras_serializable(package="covidcxr")
class LegacyRMSprop(keras.optimizers.RMSprop):
    """RMSprop with epsilon where it stood before TensorFlow 2.11.

    Without momentum ``w -= learning_rate * g / (sqrt(v) + epsilon)``. Keras 3 divides by
    ``sqrt(v + epsilon)``: at the default 1e-7 no gradient is divided by less than 3.2e-4, so weights with
    small gradients move less than they did. With momentum the old class used a fused kernel of TensorFlow,
    whose epsilon is under the root, so there the two agree.

    Parameters
    ----------
    learning_rate, rho, momentum, epsilon, centered, **kwargs
        As for `keras.optimizers.RMSprop`.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable."""
        if self.momentum > 0:
            super().update_step(gradient, variable, learning_rate)
            return
        rho, rate, gradient = (
            ops.cast(value, variable.dtype) for value in (self.rho, learning_rate, gradient)
        )
        index = self._get_variable_index(variable)
        velocity = self._velocities[index]
        self.assign(velocity, rho * velocity + (1 - rho) * ops.square(gradient))
        power = velocity
        if self.centered:
            mean = self._average_gradients[index]
            self.assign(mean, rho * mean + (1 - rho) * gradient)
            power = velocity - ops.square(mean)
        self.assign_sub(variable, rate * gradient / (ops.sqrt(power) + self.epsilon))
