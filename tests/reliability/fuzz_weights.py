"""Small valid weight files of other frameworks and caches, and how the commands read them."""

import runpy
import struct
from pathlib import Path

import numpy as np
from fuzz_containers import members, unzipped, zipped
from fuzz_images import jpegs
from fuzz_mutations import any_bytes

_PTH = Path(__file__).parents[1] / "models" / "test_torch_files.py"
_DECODED = {}


# Weights of other frameworks


def torch_weights(folder):
    """Return state dicts in both of PyTorch's formats."""
    made = runpy.run_path(str(_PTH))
    good, array = made["GOOD"], made["ARRAY"]
    archive = made["archive"](folder / "archive.pth", good, {"0": array.tobytes()}).read_bytes()
    stream = made["stream"](folder / "stream.pth", good, {"0": array}).read_bytes()
    return [("archive.pth", zipped(unzipped(archive))), ("stream.pth", stream)]


def inside_torch(rng, data, others):
    """Damage a state dict: in the archive's files where it is one."""
    if data[:2] != b"PK":
        return any_bytes(rng, data, others)
    return members(lambda rng, name, content, others: any_bytes(rng, content, others))(rng, data, others)


def read_torch(folder, place):
    """Read a state dict, and touch every number of it."""
    from covidcxr.models.torch_files import read_state_dict

    return {name: float(np.sum(array)) for name, array in read_state_dict(folder / place).items()}


def caffe_weights(folder):
    """Return caffemodels of both forms."""
    kernel, bias = np.arange(24, dtype="<f4"), np.arange(4, dtype="<f4")
    new = _blob(kernel, _field(7, _field(1, b"".join(map(_varint, (4, 3, 2)))))) + _blob(
        bias, _field(7, _field(1, b"\4"))
    )
    layer = _field(1, b"conv") + _field(2, b"Convolution") + new
    shape = b"".join(
        _varint(number << 3) + _varint(side) for number, side in ((1, 4), (2, 3), (3, 2), (4, 1))
    )
    old = _field(4, b"conv") + _varint(5 << 3) + _varint(4) + _blob(kernel, shape, 6)
    return [
        ("new.caffemodel", _field(1, b"net") + _field(100, layer)),
        ("old.caffemodel", _field(1, b"net") + _field(2, old)),
    ]


def _varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def _field(number, body):
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _blob(array, shape, number=7):
    return _field(number, shape + _field(5, struct.pack(f"<{array.size}f", *array)))


def read_caffe(folder, place):
    """Read the layers, and touch every number of them."""
    from covidcxr.models.caffe_files import read_layers

    return {
        name: [float(blob.sum()) for blob in layer.blobs]
        for name, layer in read_layers(folder / place).items()
    }


# Caches


def decoded(folder):
    """Return a cache of decoded images."""
    for name, data in jpegs(folder)[:3]:
        (folder / name).write_bytes(data)
    _DECODED["images"] = read_decoded(folder, None)
    (cache,) = folder.glob("cache/*.npy")
    return [(f"cache/{cache.name}", cache.read_bytes())]


def read_decoded(folder, _place):
    """Open the cache as a run does: whatever became of it, the images are the same."""
    from covidcxr.data.decoded import Decoded
    from covidcxr.data.preprocessing import Preprocessing

    files = sorted(folder.glob("*.jpg"))
    images = Decoded.open(files, Preprocessing((16, 16)), folder / "cache").stack(files)
    if "images" in _DECODED:
        np.testing.assert_array_equal(images, _DECODED["images"])
    return images


def features(folder):
    """Return a cache of frozen features."""
    from covidcxr.models import features as module

    module._keep(folder, "net", "key", np.arange(12.0, dtype="f4").reshape(3, 4))
    return [(path.name, path.read_bytes()) for path in folder.glob("*.npz")]


def inside_features(rng, data, others):
    """Damage the arrays inside the archive."""
    return members(lambda rng, name, content, others: any_bytes(rng, content, others))(rng, data, others)


def read_features(folder, _place):
    """Read the cache as an audit does: what is damaged counts as not there."""
    from covidcxr.models import features as module

    return module._read(folder, "net", "key")
