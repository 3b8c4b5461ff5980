"""Settings of input pipelines."""

import tensorflow as tf

from covidcxr.data.pipelines import steady


def test_a_steady_dataset_has_the_same_elements():
    dataset = tf.data.Dataset.range(7).map(lambda value: value**2, num_parallel_calls=2)
    kept = steady(dataset)
    assert list(kept.as_numpy_iterator()) == list(dataset.as_numpy_iterator())
    assert kept.options().autotune.enabled is False
