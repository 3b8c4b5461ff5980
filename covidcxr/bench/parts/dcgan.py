"""One training step of khalifa2020's DCGAN against the loop that Keras tutorials write."""

import numpy as np

from covidcxr.bench.images import greys
from covidcxr.bench.measuring import race

KEY = "dcgan"
TITLE = "DCGAN training"

_BATCH = 32
_STEPS, _STEPS_QUICK = 16, 4


def measure(bench):
    """Race both on the same real images, with khalifa2020's networks, batch and optimisers.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Returns
    -------
    list of covidcxr.bench.measuring.Race
    """
    import keras

    steps = _STEPS_QUICK if bench.quick else _STEPS
    bench.say(f"DCGAN: {steps} steps of batches of {_BATCH}, in one function and as four calls")
    real = greys(bench, _BATCH * 2, 64)
    keras.utils.set_random_seed(bench.seed)
    return [
        race(
            "dcgan-step",
            f"train khalifa2020's DCGAN (64 x 64 x 3, batches of {_BATCH}, float32)",
            ours=("covidcxr, one compiled step", _ours(real, steps, bench.seed)),
            peer=("predict, two train_on_batch of D, one of D(G)", _peer(real, steps, bench.seed)),
            amount=steps,
            unit="steps",
            repeats=bench.repeats,
            goal=1.3,
            note="both spend nearly all of a step in the same convolutions, on a CPU about as fast as matrix "
            "products run; the peer moves D once for each of its two batches, and its frozen D normalizes by "
            "running statistics while G moves",
        )
    ]


def _ours(real, steps, seed):
    from covidcxr.models.dcgan import DCGAN, gan_batches

    gan = DCGAN(seed=seed)
    gan.compile()
    batches = gan_batches(real, 64, _BATCH, seed).dataset

    def work():
        gan.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)

    return work


def _peer(real, steps, seed):
    """Return Goodfellow's step as tutorials write it, on batches that lie ready in memory."""
    import keras

    from covidcxr.models.dcgan import discriminator, generator

    random = np.random.default_rng(seed)
    up, down = generator(), discriminator()
    images = np.repeat(real[..., None] / np.float32(127.5) - 1, 3, axis=-1)
    batches = np.split(images, len(images) // _BATCH)
    ones, zeros = np.ones((_BATCH, 1), "float32"), np.zeros((_BATCH, 1), "float32")
    _compile(down)
    # Keras 3 decides at the first call what trains: later D would be frozen in its own step too.
    down.train_on_batch(batches[0], ones)
    down.trainable = False
    noise = keras.Input((100,))
    both = keras.Model(noise, down(up(noise)))
    _compile(both)

    def draw():
        return random.standard_normal((_BATCH, 100)).astype("float32")

    def work():
        for step in range(steps):
            fake = up.predict(draw(), verbose=0)
            down.train_on_batch(batches[step % len(batches)], ones)
            down.train_on_batch(fake, zeros)
            both.train_on_batch(draw(), ones)

    return work


def _compile(model):
    import keras

    model.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), keras.losses.BinaryCrossentropy(from_logits=True))
