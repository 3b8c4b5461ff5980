"""An .h5 of about half the size: large kernels are stored in 16 bits and come back as the 32 that are computed with."""

_WEIGHTS = "model_weights"
# Smaller arrays (biases, batch normalisation, first and depthwise convolutions) are few, and rounding them too moved a
# MobileNetV2's probabilities twelve times as far.
_SMALLEST = 20_000


def write(source, target):
    """Copy a model's .h5, kernels of 20,000 values or more as float16.

    Keras reads every array into a variable of the layer's own type, so the network is a float32 network again. A
    kernel with a value beyond 65504, the largest that float16 holds, stays as it is.

    Parameters
    ----------
    source : path-like
        Of :func:`covidcxr.models.files.save_model`.
    target : path-like
        Overwritten.
    """
    import h5py

    with h5py.File(source, "r") as read, h5py.File(target, "w") as written:
        _copy(read, written, halve=False)


def _copy(read, written, halve):
    import h5py

    written.attrs.update(read.attrs)
    for name, item in read.items():
        if isinstance(item, h5py.Group):
            _copy(item, written.create_group(name), halve or name == _WEIGHTS)
        else:
            written.create_dataset(name, data=_halved(item[()]) if halve else item[()])


def _halved(values):
    import numpy as np

    if values.size < _SMALLEST or values.dtype != np.float32:
        return values
    return values if np.abs(values).max() > np.finfo(np.float16).max else values.astype(np.float16)
