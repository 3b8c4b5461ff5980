"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): where the last feature map speaks for a class."""

import numpy as np

from covidcxr.errors import ModelError
from covidcxr.evaluation.explanations.graph import Network

BATCH = 8


def gradcam(model, images, classes, layer=None, batch_size=BATCH):
    """Weigh the channels of a feature map by what they add to a class's score, and keep what speaks for it.

    The weight of a channel is the mean over the map of the derivative of the class's score before the softmax
    (equation 1); the map is the positive part of the weighted sum of the channels (equation 2).

    Parameters
    ----------
    model : keras.Model
        A classifier, nested networks allowed (see :class:`covidcxr.evaluation.explanations.graph.Network`).
    images : array of float32, shape (n, rows, columns, channels)
        As the network is fed them.
    classes : array of int, shape (n,)
        Index of the class to explain, image by image.
    layer : str, optional
        See :meth:`covidcxr.evaluation.explanations.graph.Network.feature_map`.
    batch_size : int, optional
        Images that are in memory at once with all their features.

    Returns
    -------
    numpy.ndarray of float32, shape (n, map rows, map columns)
        At least 0, in units of the score; all 0 where nothing in the map speaks for the class.

    Raises
    ------
    ModelError, OptionError
        If there is no such map, or Keras runs on another backend than TensorFlow.
    """
    parts = []
    network = Network(model)
    point = network.feature_map(layer)
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        features, gradients = feature_gradients(network, point, images[rows], classes[rows])
        weights = gradients.mean(axis=(1, 2), keepdims=True)
        parts.append(np.maximum((weights * features).sum(axis=-1), 0))
    return np.concatenate(parts)


def feature_gradients(network, point, images, classes):
    """Return a feature map and the derivatives of each image's class score with respect to it.

    Parameters
    ----------
    network : covidcxr.evaluation.explanations.graph.Network
    point : covidcxr.evaluation.explanations.graph.Call
    images, classes
        See :func:`gradcam`.

    Returns
    -------
    features, gradients : numpy.ndarray of float32, shape (n, map rows, map columns, map channels)

    Raises
    ------
    ModelError
        If Keras runs on another backend than TensorFlow.
    """
    tf = tensorflow()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        scores, features = network.score(tf.convert_to_tensor(images, "float32"), point, tape)
        picked = tf.gather(tf.cast(scores, "float32"), tf.convert_to_tensor(classes), batch_dims=1)
    gradients = tape.gradient(picked, features, unconnected_gradients="zero")
    return features.numpy().astype(np.float32), gradients.numpy().astype(np.float32)


def tensorflow():
    """Return TensorFlow, if Keras runs on it.

    Raises
    ------
    ModelError
        If it does not.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"gradients need Keras on TensorFlow, not on {keras.backend.backend()}; explain by occlusion"
        )
    import tensorflow as tf

    return tf
