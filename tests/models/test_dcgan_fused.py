"""A training step's fused operations against Keras' own layers, and whole steps against the algorithm as it is read."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr.models.dcgan import DCGAN, discriminator, generator
from covidcxr.models.fused_batchnorm import fused_batchnorm

# Of plain gradient descent: Adam's usual epsilon lets a gradient near nought move its weight by its rounding's sign.
# The generator's gradients are large at first, and a large step would blow rounding up.
UP_RATE, DOWN_RATE = 1e-3, 0.1


def nets():
    keras.utils.set_random_seed(4)
    return {
        "generator": (generator(64, 3, 8, width=4), (6, 8)),
        "generator of 128": (generator(128, 1, 8, width=2), (3, 8)),
        "discriminator": (discriminator(64, 3, width=4), (6, 64, 64, 3)),
    }


def passed(network, inputs, run):
    """Outputs, gradients of inputs and weights, and the statistics that the pass leaves."""
    inputs = tf.Variable(inputs)
    with tf.GradientTape() as tape:
        outputs = run(network, inputs)
        loss = tf.reduce_mean(tf.sin(3.0 * outputs))
    gradients = tape.gradient(loss, [inputs, *(v.value for v in network.trainable_variables)])
    return [outputs, *gradients, *(v.value for v in network.non_trainable_variables)]


def forward(network, inputs):
    with fused_batchnorm(network):
        return network(inputs, training=True)


@pytest.mark.parametrize("name", nets())
def test_a_pass_is_that_of_the_layers(name):
    network, shape = nets()[name]
    twin = keras.models.clone_model(network)
    twin.set_weights(network.get_weights())
    inputs = np.random.default_rng(0).normal(size=shape).astype("float32")
    found = passed(network, inputs, forward)
    expected = passed(twin, inputs, lambda net, x: net(x, training=True))
    for one, other in zip(found, expected, strict=True):
        size = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * size)
    assert np.abs(network.non_trainable_variables[0].numpy()).max() > 0


def cross_entropy(logits, real):
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.fill(tf.shape(logits), real), logits=logits)
    )


def move(network, optimizer, tape, loss):
    gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    optimizer.apply(gradients, network.trainable_variables)


def plain_training(gan, batches):
    """Algorithm 1 of Goodfellow 2014, k = 1, as it is read, with Keras' layers and nothing compiled."""
    up, down, noise = gan.generator, gan.discriminator, keras.random.SeedGenerator(gan.seed)
    up_steps, down_steps = keras.optimizers.SGD(UP_RATE), keras.optimizers.SGD(DOWN_RATE)
    for real in batches:
        fake = up(keras.random.normal((len(real), gan.latent), seed=noise), training=True)
        with tf.GradientTape() as tape:
            loss = cross_entropy(down(real, training=True), 1.0) + cross_entropy(
                down(fake, training=True), 0.0
            )
        move(down, down_steps, tape, loss)
        fresh = keras.random.normal((len(real), gan.latent), seed=noise)
        with tf.GradientTape() as tape:
            loss = cross_entropy(down(up(fresh, training=True), training=True), 1.0)
        move(up, up_steps, tape, loss)


def test_compiled_steps_end_where_the_plain_algorithm_does():
    real = np.random.default_rng(3).uniform(-1, 1, size=(2, 6, 64, 64, 1)).astype("float32")
    gans = []
    for _ in range(2):
        keras.utils.set_random_seed(2)
        gans.append(DCGAN(channels=1, latent=8, width=4, seed=9))
    compiled, plain = gans
    start = [network.get_weights() for network in (plain.generator, plain.discriminator)]
    compiled.compile(keras.optimizers.SGD(UP_RATE), keras.optimizers.SGD(DOWN_RATE))
    compiled.fit(tf.data.Dataset.from_tensor_slices(real), epochs=1, shuffle=False, verbose=0)
    plain_training(plain, real)
    for name, begun in zip(("generator", "discriminator"), start, strict=True):
        found, expected = (getattr(gan, name).get_weights() for gan in gans)
        # As one vector: rounding may move a unit across the kink of its ReLU, and with it a weight or two.
        assert distance(found, expected) < 1e-3 * distance(expected, begun)


def distance(one, other):
    return np.sqrt(sum(np.square(a - b).sum() for a, b in zip(one, other, strict=True)))


@pytest.mark.slow
def test_the_step_is_traced_once():
    traces = []

    class Counted(DCGAN):
        def train_step(self, real):
            traces.append(real.shape)
            return super().train_step(real)

    gan = Counted(channels=1, latent=4, width=2)
    gan.compile()
    real = np.zeros((8, 4, 64, 64, 1), "float32")
    for epochs in (2, 1):
        gan.fit(tf.data.Dataset.from_tensor_slices(real), epochs=epochs, shuffle=False, verbose=0)
    assert len(traces) == 1
