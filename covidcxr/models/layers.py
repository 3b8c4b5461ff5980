"""Layers that Keras lacks and the networks of khalifa2020 need; any Keras backend runs them."""

import keras
import numpy as np
from keras import ops

_LARGEST_SIZE = 1024


@keras.saving.register_keras_serializable(package="covidcxr")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each activation by a power of the energy of its neighbouring channels.

    ``y[c] = x[c] / (bias + alpha * sum(x[c']**2 for |c' - c| <= size // 2)) ** beta``, channels last
    (Krizhevsky 2012, section 3.3). Caffe and PyTorch divide their `alpha` by `size` first: pass
    ``alpha / size`` to match them.

    Parameters
    ----------
    size : int
        Channels in the window, odd.
    alpha, beta, bias : float
        The paper has 1e-4, 0.75 and 2.
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, bias=2.0, **kwargs):
        super().__init__(**kwargs)
        _check_size(size)
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def call(self, inputs):
        """Normalise `inputs`, (n, rows, columns, channels)."""
        # Squares of early activations exceed float16's largest number (65,504).
        x = ops.cast(inputs, keras.backend.result_type(self.compute_dtype, "float32"))
        radius, channels = self.size // 2, inputs.shape[-1]
        squares = ops.pad(ops.square(x), [[0, 0], [0, 0], [0, 0], [radius, radius]])
        energy = sum(squares[..., shift : shift + channels] for shift in range(self.size))
        return ops.cast(x * ops.power(self.bias + self.alpha * energy, -self.beta), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return what rebuilds the layer."""
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="covidcxr")
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Average a map of any fixed size into `size` x `size` bins, as PyTorch's layer of that name.

    Bin i of n spans rows ``floor(i * h / n)`` to ``ceil((i + 1) * h / n)``; bins overlap where n does not
    divide h, and repeat rows where h is smaller than n.

    Parameters
    ----------
    size : int
        Rows and columns of the output.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        _check_size(size)
        self.size = size

    def call(self, inputs):
        """Pool `inputs`, (n, rows, columns, channels), to (n, size, size, channels)."""
        rows, columns = (
            ops.convert_to_tensor(_averaging(length, self.size), dtype=self.compute_dtype)
            for length in inputs.shape[1:3]
        )
        return ops.einsum("ih,bhwc,jw->bijc", rows, inputs, columns)

    def compute_output_shape(self, input_shape):
        """Return (n, size, size, channels)."""
        return (input_shape[0], self.size, self.size, input_shape[3])

    def get_config(self):
        """Return what rebuilds the layer."""
        return {**super().get_config(), "size": self.size}


def _check_size(size):
    # A description in a file may ask for anything.
    if not isinstance(size, int) or not 0 < size <= _LARGEST_SIZE:
        raise ValueError(f"size is {size!r}; give a whole number from 1 to {_LARGEST_SIZE}")


def _averaging(length, bins):
    matrix = np.zeros((bins, length), "float32")
    for i in range(bins):
        start, stop = i * length // bins, -(-(i + 1) * length // bins)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix
