"""Caffe's `.caffemodel` files read without Caffe or protobuf's generated classes.

A `.caffemodel` is one protobuf message, ``NetParameter`` of Caffe's ``caffe.proto``. Of it only the layers'
names, types and arrays are read, in both forms in circulation: ``layer`` (field 100, since late 2014) and
``layers`` (field 2, before). Everything else is stepped over. Arrays are views of the file's bytes, so that a
small file cannot unfold into large ones.
"""

import math
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError

# Twenty times GoogLeNet's 51 MiB.
LARGEST_FILE = 2**30
# A network has some hundred layers with some dozen fields each.
MOST_FIELDS = 1_000_000
MOST_DIMENSIONS = 8
_LONGEST_NAME = 256

# Wire types of protobuf: https://protobuf.dev/programming-guides/encoding/
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_FIXED = {_FIXED_64: 8, _FIXED_32: 4}

# Field numbers of caffe.proto.
_NET_LAYER, _NET_OLD_LAYER = 100, 2
_NAME, _TYPE, _BLOBS = "name", "type", "blobs"
_LAYER = {1: _NAME, 2: _TYPE, 7: _BLOBS}
_OLD_LAYER = {4: _NAME, 5: _TYPE, 6: _BLOBS}
_BLOB_OLD_SHAPE = (1, 2, 3, 4)
_BLOB_SHAPE = 7
_BLOB_DATA = {5: "<f4", 8: "<f8"}
_SHAPE_DIM = 1


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of a Caffe network.

    Attributes
    ----------
    kind : str
        Its type, such as ``"Convolution"``; in files of the older form the number of the type.
    blobs : tuple of numpy.ndarray
        float32 or float64, read-only; of a convolution (out, in, rows, columns) and (out,), of an inner
        product (out, in) and (out,). Older files put ones before these shapes, to four dimensions.
    """

    kind: str
    blobs: tuple


def read_layers(path):
    """Read the layers that have arrays.

    Parameters
    ----------
    path : path-like
        A binary ``NetParameter``, as Caffe's solver writes it.

    Returns
    -------
    dict of str to CaffeLayer
        By layer name, in the file's order.

    Raises
    ------
    ModelError
        If the file cannot be read, is larger than 1 GiB, is damaged, or holds no such layer.
    """
    path = Path(path)
    try:
        return _read(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except _RefusedError as error:
        raise ModelError(
            f"{path}: not a readable caffemodel: {error}; fetch the published file again"
        ) from error


class _RefusedError(Exception):
    """The bytes are not those of a network's arrays."""


def _read(path):
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise _RefusedError("not a file")
    if facts.st_size > LARGEST_FILE:
        raise _RefusedError(f"{facts.st_size:,} bytes are more than the {LARGEST_FILE:,} allowed")
    with path.open("rb") as file:
        message = _Message(file.read(facts.st_size))
    layers = {}
    for number, value in message.fields(message.data):
        if number in (_NET_LAYER, _NET_OLD_LAYER):
            name, layer = _layer(message, value, _LAYER if number == _NET_LAYER else _OLD_LAYER)
            if layer.blobs and layers.setdefault(name, layer) is not layer:
                raise _RefusedError(f"two layers are called {name!a}")
    if not layers:
        raise _RefusedError("it holds no layer with arrays")
    return layers


class _Message:
    """Step through the fields of a message and of those inside it, counting them all."""

    def __init__(self, data):
        self.data = memoryview(data)
        self._left = MOST_FIELDS

    def fields(self, data):
        """Yield (field number, value): an int, or a view of the bytes."""
        place = 0
        while place < len(data):
            if not self._left:
                raise _RefusedError(f"more than {MOST_FIELDS:,} fields")
            self._left -= 1
            key, place = _varint(data, place)
            value, place = _value(data, place, key & 7)
            yield key >> 3, value


def _value(data, place, wire_type):
    if wire_type == _VARINT:
        return _varint(data, place)
    if wire_type == _LENGTH:
        length, place = _varint(data, place)
    elif wire_type in _FIXED:
        length = _FIXED[wire_type]
    else:
        raise _RefusedError(f"a field of the unknown wire type {wire_type}")
    if length > len(data) - place:
        raise _RefusedError("it ends inside a field")
    return data[place : place + length], place + length


def _varint(data, place):
    number = 0
    # Ten groups of seven bits hold the 64 that a number may have.
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise _RefusedError("it ends inside a number")
        byte, place = data[place], place + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise _RefusedError("a number is longer than 64 bits")


def _layer(message, data, meanings):
    name, kind, blobs = "", "", []
    for number, value in message.fields(_bytes(data)):
        meaning = meanings.get(number)
        if meaning == _NAME:
            name = _text(value)
        elif meaning == _TYPE:
            kind = str(value) if isinstance(value, int) else _text(value)
        elif meaning == _BLOBS:
            blobs.append(_blob(message, _bytes(value)))
    return name, CaffeLayer(kind, tuple(blobs))


def _blob(message, data):
    old_shape, shape, values = dict.fromkeys(_BLOB_OLD_SHAPE, 0), None, None
    for number, value in message.fields(data):
        if number in _BLOB_DATA:
            if values is not None:
                raise _RefusedError("an array is in pieces")
            values = _array(_bytes(value), _BLOB_DATA[number])
        elif number == _BLOB_SHAPE:
            shape = _dimensions(message, _bytes(value))
        elif number in old_shape:
            old_shape[number] = _whole(value)
    shape = tuple(old_shape.values()) if shape is None else shape
    count = 0 if values is None else len(values)
    # Python's numbers do not overflow, so no shape can pretend to the right product.
    if math.prod(shape) != count:
        raise _RefusedError(f"an array of {count:,} numbers has the shape {shape}")
    return (np.zeros(0, "<f4") if values is None else values).reshape(shape)


def _array(data, dtype):
    if len(data) % np.dtype(dtype).itemsize:
        raise _RefusedError("an array ends inside a number")
    return np.frombuffer(data, dtype)


def _dimensions(message, data):
    dimensions = []
    for number, value in message.fields(data):
        if number != _SHAPE_DIM:
            continue
        dimensions += [value] if isinstance(value, int) else _packed(value)
        if len(dimensions) > MOST_DIMENSIONS:
            raise _RefusedError(f"an array has more than {MOST_DIMENSIONS} dimensions")
    return tuple(dimensions)


def _packed(data):
    numbers, place = [], 0
    while place < len(data) and len(numbers) <= MOST_DIMENSIONS:
        number, place = _varint(data, place)
        numbers.append(number)
    return numbers


def _text(value):
    data = _bytes(value)
    if len(data) > _LONGEST_NAME:
        raise _RefusedError(f"a name of {len(data):,} bytes")
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RefusedError("a name is not text") from error


def _bytes(value):
    if isinstance(value, int):
        raise _RefusedError("a number stands where bytes must")
    return value


def _whole(value):
    if not isinstance(value, int):
        raise _RefusedError("bytes stand where a number must")
    return value
