"""Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): each pixel's part in a probability."""

import numpy as np

from covidcxr.evaluation.explanations.gradcam import tensorflow

STEPS = 32
BATCH = 4


def integrated_gradients(model, images, classes, baseline=0.0, steps=STEPS, batch_size=BATCH):
    """Share the rise of a class's probability, from a baseline to the image, among the pixels.

    The integral of equation 1, by the midpoint rule. The attributions of an image sum to the difference of
    the two probabilities (completeness), up to the error of that rule.

    Parameters
    ----------
    model : keras.Model
    images : array of float32, shape (n, rows, columns, channels)
        As the network is fed them.
    classes : array of int, shape (n,)
        Index of the class to explain, image by image.
    baseline : float or array that broadcasts to an image, optional
        Image without information, as the network is fed it.
    steps : int, optional
        Points on the way from the baseline to the image.
    batch_size : int, optional
        Points that are in memory at once with all their features.

    Returns
    -------
    numpy.ndarray of float32, shape (n, rows, columns)
        Summed over the channels; negative where a pixel speaks against the class.

    Raises
    ------
    ModelError
        If Keras runs on another backend than TensorFlow.
    """
    return np.stack(
        [
            _one(model, np.asarray(image, np.float32), int(target), baseline, steps, batch_size)
            for image, target in zip(images, classes, strict=True)
        ]
    )


def _one(model, image, target, baseline, steps, batch_size):
    start = np.broadcast_to(np.asarray(baseline, np.float32), image.shape)
    way = image - start
    places = (np.arange(steps, dtype=np.float32) + 0.5) / steps
    total = np.zeros(image.shape, np.float64)
    for first in range(0, steps, batch_size):
        part = places[first : first + batch_size, None, None, None]
        total += _gradients(model, start + part * way, target).sum(axis=0)
    return (way * total / steps).sum(axis=-1).astype(np.float32)


def _gradients(model, images, target):
    tf = tensorflow()
    x = tf.convert_to_tensor(images, "float32")
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        probability = model(x, training=False)[:, target]
    return tape.gradient(probability, x, unconnected_gradients="zero").numpy()
