"""The numbers that Keras would draw, from a generator of one's own."""

import threading

import numpy as np

# A generator takes many times as long to make as to seed anew.
_GENERATORS = threading.local()


def draw_parameters(augmentation, shape, seed):
    """Draw the transform that Keras' `get_random_transform` draws for the same seed.

    Keras draws from NumPy's global generator, which no thread may share; a private generator of the same kind
    gives the same numbers. The order of the draws below is therefore Keras' order.

    Parameters
    ----------
    augmentation : Augmentation
    shape : tuple of int
        Begins with height and width.
    seed : int
        From 0 to 2**32 - 1.

    Returns
    -------
    dict
        See :meth:`Engine.draw`.
    """
    random = _generator(seed)
    theta = _symmetric(random, augmentation.rotation_range)
    tx = _shift(random, augmentation.height_shift_range, shape[0])
    ty = _shift(random, augmentation.width_shift_range, shape[1])
    shear = _symmetric(random, augmentation.shear_range)
    bounds = augmentation.zoom_bounds
    zx, zy = (1, 1) if bounds == (1, 1) else (random.uniform(*bounds), random.uniform(*bounds))
    # Both are drawn even where a flip is off.
    chances = random.random_sample(), random.random_sample()
    shift = augmentation.channel_shift_range
    brightness = augmentation.brightness_range
    return {
        "theta": theta,
        "tx": tx,
        "ty": ty,
        "shear": shear,
        "zx": zx,
        "zy": zy,
        "flip_horizontal": augmentation.horizontal_flip and chances[0] < 0.5,
        "flip_vertical": augmentation.vertical_flip and chances[1] < 0.5,
        "channel_shift_intensity": _symmetric(random, shift) if shift else None,
        "brightness": None if brightness is None else random.uniform(*brightness),
    }


def _generator(seed):
    """Return this thread's generator, in the state of a new one of this seed."""
    if not hasattr(_GENERATORS, "random"):
        _GENERATORS.random = np.random.RandomState(0)
    _GENERATORS.random.seed(seed)
    return _GENERATORS.random


def _symmetric(random, limit):
    return random.uniform(-limit, limit) if limit else 0


def _shift(random, amount, length):
    if not amount:
        return 0
    if isinstance(amount, float):
        pixels, largest = random.uniform(-amount, amount), amount
    else:
        pixels, largest = random.choice(amount) * random.choice([-1, 1]), np.max(amount)
    return pixels * length if largest < 1 else pixels
