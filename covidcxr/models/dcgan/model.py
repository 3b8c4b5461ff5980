"""Both networks as one Keras model: trained together, saved together, resumed together."""

import keras
import numpy as np
from keras import ops

from covidcxr.errors import ModelError, OptionError
from covidcxr.models.dcgan import networks
from covidcxr.models.dcgan.sheets import mosaic, write_grey
from covidcxr.models.fused_batchnorm import fused_batchnorm

_BATCH = 64
_SEED_STATE = "noise_state"


@keras.saving.register_keras_serializable(package="covidcxr")
class DCGAN(keras.Model):
    """A generator and a discriminator that learn from each other.

    One training step, compiled whole, is algorithm 1 of Goodfellow 2014 with k = 1: the discriminator moves
    on real images and on images from fresh noise, each a batch of its own (so that batch normalization never
    mixes them), then the generator moves on fresh noise through the new discriminator. Only TensorFlow runs
    the step, on one device; any backend generates.

    A .keras file holds both networks, both optimisers and the state of the noise, so that ``load_model`` and
    `fit` from the next epoch give what an uninterrupted run would have. `generator` and `discriminator` are
    plain models that can be saved alone, as .h5 too.

    Parameters
    ----------
    size, channels, latent, width : int
        See :func:`covidcxr.models.dcgan.generator`.
    ema : float, optional
        Momentum, 0 to below 1, of a moving average of the generator's weights that then draws the images in
        the generator's place; 0.999 is usual. Early averages are shorter: momentum at step t is at most
        ``(1 + t) / (10 + t)``, as in `tf.train.ExponentialMovingAverage`.
    seed : int
        Of the noise of training. Weights at first follow `keras.utils.set_random_seed`.

    Attributes
    ----------
    generator, discriminator : keras.Model
    averaged_generator : keras.Model or None

    Examples
    --------
    >>> batches = gan_batches(files, 64, 64, seed=1)  # doctest: +SKIP
    >>> gan = DCGAN()  # doctest: +SKIP
    >>> gan.compile()  # doctest: +SKIP
    >>> gan.fit(batches.dataset, steps_per_epoch=batches.steps, epochs=200)  # doctest: +SKIP
    >>> images = gan.generate(2808, seed=1)  # doctest: +SKIP
    """

    def __init__(self, size=64, channels=3, latent=100, width=64, ema=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        if ema is not None and not 0 <= ema < 1:
            raise OptionError(f"ema is {ema}; give a momentum from 0 to below 1, or none")
        self.size, self.channels, self.latent, self.width = size, channels, latent, width
        self.ema, self.seed = ema, seed
        self.generator = networks.generator(size, channels, latent, width)
        self.discriminator = networks.discriminator(size, channels, width)
        self.averaged_generator = None
        if ema is not None:
            self.averaged_generator = networks.generator(size, channels, latent, width)
            self.averaged_generator.set_weights(self.generator.get_weights())
            self.averaged_generator.trainable = False
        self.noise_source = keras.random.SeedGenerator(seed)
        self.discriminator_optimizer = None
        self.measures = {name: keras.metrics.Mean(name=name) for name in _MEASURES}
        self.built = True

    def compile(self, generator_optimizer=None, discriminator_optimizer=None, **options):
        """Set the optimisers.

        Parameters
        ----------
        generator_optimizer, discriminator_optimizer : keras.optimizers.Optimizer, optional
            Default Adam of rate 2e-4 and beta_1 0.5 each (Radford 2015, section 4).
        **options
            `run_eagerly`, `jit_compile` and `steps_per_execution`, as for every Keras model.

        Raises
        ------
        ModelError
            If Keras runs on another backend than TensorFlow, or in float16, where the losses would need
            scaling (bfloat16 does not).
        """
        if keras.config.dtype_policy().compute_dtype == "float16":
            raise ModelError("a DCGAN is not trained in float16; choose float32 or mixed_bfloat16")
        if keras.backend.backend() != "tensorflow":
            raise ModelError(
                f"a DCGAN is trained with TensorFlow, not {keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
            )
        super().compile(optimizer=generator_optimizer or _adam("generator_adam"), **options)
        self.discriminator_optimizer = discriminator_optimizer or _adam("discriminator_adam")
        # Now, not at the first step: their state can then be read from a file.
        self.optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def call(self, noise, training=False):
        """Return images of `noise` (n, latent): float32 (n, size, size, channels) in -1..1."""
        return self._drawing()(noise, training=training)

    def train_step(self, real):
        """Move both networks once.

        Parameters
        ----------
        real : tensor of float32, shape (n, size, size, channels)
            Values -1..1.

        Returns
        -------
        dict of str to tensor
            Means of the epoch so far: `discriminator_loss` (real plus generated, each a mean cross-entropy in
            nats), `generator_loss`, `real_score` and `fake_score`, the mean probabilities of being real that
            the discriminator gives to real images, D(x), and to generated ones, D(G(z)), before its step.
        """
        with fused_batchnorm(self.generator, self.discriminator):
            losses, logits = self._move(real)
        self._average()
        return self._record(*losses, *(ops.mean(ops.sigmoid(each)) for each in logits))

    def generate(self, n, seed):
        """Draw images.

        Parameters
        ----------
        n : int
        seed : int
            0 or more. The same seed gives the same images, and the first of more are those of fewer.

        Returns
        -------
        numpy.ndarray of uint8, shape (n, size, size)
            Grey: three channels are averaged. Batch normalization uses its running statistics, so that an
            image does not depend on those drawn with it.

        Raises
        ------
        OptionError
            If `n` or `seed` is below 0.
        """
        if min(n, seed) < 0:
            raise OptionError(f"{n} images of seed {seed}; both must be 0 or more")
        # RandomState's stream is frozen for good, and the same under every backend.
        random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
        images = np.empty((n, self.size, self.size), np.uint8)
        for start in range(0, n, _BATCH):
            # Whole batches always: the last digits of a convolution may depend on a batch's size.
            noise = random.standard_normal((_BATCH, self.latent)).astype(np.float32)
            drawn = _to_uint8(self._drawing().predict_on_batch(noise))
            images[start : start + _BATCH] = drawn[: n - start]
        return images

    def sample_sheet(self, path, rows=8, columns=8, seed=0):
        """Write a page of generated images as an image file, whole or not at all."""
        write_grey(path, mosaic(self.generate(rows * columns, seed), columns))

    def get_config(self):
        """Return what rebuilds the model."""
        names = ("size", "channels", "latent", "width", "ema", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def get_compile_config(self):
        """Return what compiles it again, `None` before it is compiled."""
        if not self.compiled:
            return None
        return {
            "generator_optimizer": keras.optimizers.serialize(self.optimizer),
            "discriminator_optimizer": keras.optimizers.serialize(self.discriminator_optimizer),
            "run_eagerly": self.run_eagerly,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        """Compile as :meth:`get_compile_config` tells."""
        optimizers = ("generator_optimizer", "discriminator_optimizer")
        self.compile(
            **{**config, **{name: keras.optimizers.deserialize(config[name]) for name in optimizers}}
        )

    def save_own_variables(self, store):
        """Store where the noise of training stands; Keras leaves seed generators out."""
        store[_SEED_STATE] = ops.convert_to_numpy(self.noise_source.state)

    def load_own_variables(self, store):
        """Set where the noise of training stands."""
        self.noise_source.state.assign(np.array(store[_SEED_STATE]))

    def _drawing(self):
        return self.averaged_generator or self.generator

    def _move(self, real):
        """Move the discriminator, then the generator; return their losses, and what the former said of its images."""
        import tensorflow as tf

        count = ops.shape(real)[0]
        fake = self.generator(self._noise(count), training=True)
        with tf.GradientTape() as tape:
            on_real = self.discriminator(real, training=True)
            on_fake = self.discriminator(fake, training=True)
            discriminator_loss = _cross_entropy(on_real, 1.0) + _cross_entropy(on_fake, 0.0)
        _step(tape, discriminator_loss, self.discriminator, self.discriminator_optimizer)
        noise = self._noise(count)
        with tf.GradientTape() as tape:
            fooled = self.discriminator(self.generator(noise, training=True), training=True)
            generator_loss = _cross_entropy(fooled, 1.0)
        _step(tape, generator_loss, self.generator, self.optimizer)
        return (discriminator_loss, generator_loss), (on_real, on_fake)

    def _noise(self, count):
        return keras.random.normal((count, self.latent), seed=self.noise_source)

    def _average(self):
        if self.averaged_generator is None:
            return
        step = ops.cast(self.optimizer.iterations, "float32")
        share = 1.0 - ops.minimum(self.ema, (1.0 + step) / (10.0 + step))
        learnt = {id(variable) for variable in self.generator.trainable_variables}
        for mean, now in zip(self.averaged_generator.variables, self.generator.variables, strict=True):
            mean.assign(mean + share * (now - mean) if id(now) in learnt else now)

    def _record(self, *values):
        for measure, value in zip(self.measures.values(), values, strict=True):
            measure.update_state(value)
        return {name: measure.result() for name, measure in self.measures.items()}


_MEASURES = ("discriminator_loss", "generator_loss", "real_score", "fake_score")


def _adam(name):
    return keras.optimizers.Adam(2e-4, beta_1=0.5, name=name)


def _cross_entropy(logits, target):
    logits = ops.cast(logits, "float32")
    return ops.mean(ops.binary_crossentropy(ops.full_like(logits, target), logits, from_logits=True))


def _step(tape, loss, network, optimizer):
    variables = network.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def _to_uint8(images):
    grey = np.asarray(images, dtype=np.float32).mean(axis=-1)
    return np.clip(np.rint((grey + 1.0) * 127.5), 0, 255).astype(np.uint8)
