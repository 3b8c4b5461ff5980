"""Settings of tf.data that every pipeline of the package wants."""

import tensorflow as tf


def steady(dataset):
    """Return a dataset whose iterators end at once.

    TensorFlow's tuner of input pipelines sleeps 10 ms, 20 ms, 40 ms... up to a minute, and an iterator that is
    closed may have to wait until it wakes: an epoch of validation, or a short `fit`, can take twice its time.
    Only for a dataset that leaves nothing to tune, such as a number of workers.

    Parameters
    ----------
    dataset : tf.data.Dataset

    Returns
    -------
    tf.data.Dataset
        With the same elements.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
