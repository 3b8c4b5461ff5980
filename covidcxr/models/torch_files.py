"""PyTorch's `.pth` files read without PyTorch, and without running anything they contain.

A `.pth` file is a Python pickle, which can call any function of the machine that opens it. Here its
operations are read one by one (`pickletools`, which only parses) and carried out by a small machine that
knows dictionaries, lists, tuples, numbers, text and tensors. Whatever else a file asks for is refused, so
nothing is ever called. Both formats are read: the ZIP archive of PyTorch 1.6 and later and the plain stream
before it.
"""

import io
import math
import pickletools
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError

# Four times the largest file read here, AlexNet's 233 MiB.
LARGEST_FILE = 2**30
# GoogLeNet's 364 tensors take 12,803 operations.
MOST_OPERATIONS = 1_000_000
MOST_DIMENSIONS = 16

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# What pickletools, zipfile and NumPy raise on bytes that are not what they seem.
_DAMAGE = (
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)


def read_state_dict(path):
    """Read the named arrays of a state dict.

    Parameters
    ----------
    path : path-like
        A file written by ``torch.save(model.state_dict(), path)``, in either format.

    Returns
    -------
    dict of str to numpy.ndarray
        In the file's order; read-only views of the file's bytes (float64, float32, float16, int64, int32,
        int16, int8 or uint8), so that a small file cannot unfold into large arrays.

    Raises
    ------
    ModelError
        If the file cannot be read, is larger than 1 GiB, is damaged, or holds anything but named tensors.
    """
    path = Path(path)
    try:
        return _read(path)
    except _RefusedError as error:
        reason = str(error)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        reason = f"damaged ({_shown(error)})"
    raise ModelError(f"{path}: not a readable PyTorch state dict: {reason}; fetch the published file again")


class _RefusedError(Exception):
    """The file asks for something that a state dict of tensors does not need."""


@dataclass(frozen=True)
class _Name:
    """A global the pickle named and we admit; never imported."""

    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self):
        return self.numel * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple
    strides: tuple

    def view(self, flat):
        """Return the tensor as a read-only view of its storage's flat array."""
        item = flat.itemsize
        return np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.size, tuple(step * item for step in self.strides), writeable=False
        )


# Little-endian: a file that says otherwise is refused.
_DTYPES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
}


def _read(path):
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise _RefusedError("not a file")
    if facts.st_size > LARGEST_FILE:
        raise _RefusedError(f"{facts.st_size:,} bytes are more than the {LARGEST_FILE:,} allowed")
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic == b"PK\x03\x04":
            tensors, storages = _read_archive(file, facts.st_size)
        else:
            tensors, storages = _read_stream(file.read(facts.st_size))
    return {name: tensor.view(storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_archive(file, size):
    with zipfile.ZipFile(file) as archive:
        entries = _entries(archive, size)
        root = _root(entries)
        if f"{root}/byteorder" in entries and archive.read(f"{root}/byteorder") != b"little":
            raise _RefusedError("its numbers are not little-endian")
        machine = _Machine()
        tensors = _named_tensors(machine.run(io.BytesIO(archive.read(f"{root}/data.pkl"))))
        storages = {}
        for storage in {tensor.storage for tensor in tensors.values()}:
            content = _member(archive, entries, f"{root}/data/{storage.key}", storage)
            storages[storage.key] = np.frombuffer(content, storage.dtype, storage.numel)
    return tensors, storages


def _entries(archive, size):
    """List the archive's files; PyTorch compresses none, so together they cannot exceed the archive."""
    entries = {}
    for info in archive.infolist():
        if info.filename in entries:
            raise _RefusedError(f"the archive has two files {_shown(info.filename)}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise _RefusedError(f"the archive's file {_shown(info.filename)} is compressed")
        entries[info.filename] = info
    if sum(info.file_size for info in entries.values()) > size:
        raise _RefusedError("the archive's files overlap")
    return entries


def _root(entries):
    roots = [
        name[: -len("/data.pkl")] for name in entries if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    if len(roots) != 1:
        raise _RefusedError("the archive has no data.pkl, or more than one")
    return roots[0]


def _member(archive, entries, name, storage):
    if name not in entries:
        raise _RefusedError(f"the archive lacks {_shown(name)}")
    if entries[name].file_size < storage.nbytes:
        raise _RefusedError(f"{_shown(name)} has fewer than the {storage.nbytes:,} bytes declared")
    return archive.read(name)


def _read_stream(data):
    stream = io.BytesIO(data)
    machine = _Machine()
    if machine.run(stream) != _LEGACY_MAGIC or machine.run(stream) != _LEGACY_PROTOCOL:
        raise _RefusedError("neither of PyTorch's file formats")
    system = machine.run(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _RefusedError("its numbers are not little-endian")
    tensors = _named_tensors(machine.run(stream))
    keys = machine.run(stream)
    if not isinstance(keys, list) or {type(key) for key in keys} - {str} or len(set(keys)) != len(keys):
        raise _RefusedError("the list of its storages is malformed")
    storages = {}
    for key in keys:
        storage = machine.storages.get(key)
        if storage is None or int.from_bytes(stream.read(8), "little") != storage.numel:
            raise _RefusedError(f"storage {_shown(key)} is not the one declared")
        # A view of the file's own bytes; NumPy raises ValueError where they end early.
        storages[key] = np.frombuffer(data, storage.dtype, storage.numel, stream.tell())
        stream.seek(storage.nbytes, io.SEEK_CUR)
    if missing := {tensor.storage.key for tensor in tensors.values()} - set(storages):
        raise _RefusedError(f"storage {_shown(min(missing))} is missing")
    return tensors, storages


def _named_tensors(value):
    if not isinstance(value, dict) or not value:
        raise _RefusedError("it holds no dictionary of tensors")
    for name, tensor in value.items():
        if not isinstance(tensor, _Tensor):
            raise _RefusedError(f"{_shown(name)} is not a tensor; save model.state_dict() alone")
    return value


class _Machine:
    """Carry out the operations of a pickle on plain values; refuse those a state dict has no use for."""

    def __init__(self):
        self.storages = {}

    def run(self, stream):
        """Read one pickle from the stream's position to its STOP and return its value."""
        self.stack, self.marks, self.memo = [], [], {}
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MOST_OPERATIONS:
                raise _RefusedError(f"more than {MOST_OPERATIONS:,} pickle operations")
            if opcode.name == "STOP":
                break
            operation = _OPERATIONS.get(opcode.name)
            if operation is None:
                raise _RefusedError(f"the pickle operation {opcode.name} is not allowed")
            operation(self, argument)
        return self.pop()

    def pop(self):
        """Take the top value."""
        return self.stack.pop()

    def pop_mark(self):
        """Take the values above the last mark, and the mark."""
        place = self.marks.pop()
        values = self.stack[place:]
        del self.stack[place:]
        return values

    def mark(self):
        """Note where the values of the next collection begin."""
        self.marks.append(len(self.stack))

    def push(self, value):
        """Put a value on top."""
        self.stack.append(value)

    def remember(self, place):
        """Note the top value under a number; the next free one if None."""
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def top(self, kind):
        """Return the top value, which must be of this type."""
        if type(self.stack[-1]) is not kind:
            raise _RefusedError(f"a {type(self.stack[-1]).__name__} stands where a {kind.__name__} must")
        return self.stack[-1]

    def set_items(self, values):
        """Put alternating keys and values into the dictionary on top."""
        target = self.top(dict)
        keys = values[::2]
        if len(values) % 2 or not all(type(key) is str for key in keys):
            raise _RefusedError("a dictionary has keys that are not text")
        target.update(zip(keys, values[1::2], strict=True))

    def set_state(self):
        """Drop what is attached to a dictionary (`_metadata`) or tensor (old flags): not needed."""
        self.pop()
        if not isinstance(self.stack[-1], (dict, _Tensor)):
            raise _RefusedError("state is set on something that is no tensor")

    def name(self, text):
        """Admit a global by its name."""
        if text not in _DTYPES and text not in _REBUILDERS:
            raise _RefusedError(f"it names {_shown(text)}, which no tensor needs")
        self.push(_Name(text))

    def call(self):
        """Rebuild a tensor or dictionary by our own function for that name."""
        arguments, function = self.pop(), self.pop()
        if (
            not isinstance(function, _Name)
            or function.text not in _REBUILDERS
            or type(arguments) is not tuple
        ):
            raise _RefusedError("it calls something that rebuilds no tensor")
        self.push(_REBUILDERS[function.text](*_fitting(function.text, arguments)))

    def persistent(self):
        """Note a storage: ('storage', type, key, place, number of elements[, view])."""
        match self.pop():
            case ("storage", _Name(text=text), str(key), str(), int(numel), *view) if (
                text in _DTYPES and type(numel) is int and numel >= 0 and view in ([], [None])
            ):
                storage = _Storage(key, _DTYPES[text], numel)
            case _:
                raise _RefusedError("a storage is declared in an unknown way")
        if self.storages.setdefault(key, storage) != storage:
            raise _RefusedError(f"storage {_shown(key)} is declared twice, differently")
        self.push(storage)


def _rebuild_dictionary(pairs=()):
    if type(pairs) not in (list, tuple) or not all(
        type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) is str for pair in pairs
    ):
        raise _RefusedError("a dictionary is made of something other than named values")
    return dict(pairs)


def _rebuild_tensor(storage, offset, size, strides, *_flags):
    if (
        not isinstance(storage, _Storage)
        or not _naturals((offset,))
        or not _naturals(size)
        or not _naturals(strides)
    ):
        raise _RefusedError("a tensor is declared in an unknown way")
    if len(size) != len(strides) or len(size) > MOST_DIMENSIONS:
        raise _RefusedError(f"a tensor has {len(size)} dimensions and {len(strides)} strides")
    elements = math.prod(size)
    # A stride along one element is never taken, whatever it says.
    strides = tuple(step if length > 1 else 0 for length, step in zip(size, strides, strict=True))
    last = offset + sum((length - 1) * step for length, step in zip(size, strides, strict=True))
    # More elements than the storage has would let a small file unfold into a huge array.
    if elements > storage.numel or (elements and last >= storage.numel):
        raise _RefusedError("a tensor reaches beyond its storage")
    return _Tensor(storage, offset if elements else 0, size, strides)


def _rebuild_parameter(tensor, *_flags):
    if not isinstance(tensor, _Tensor):
        raise _RefusedError("a parameter is made of something other than a tensor")
    return tensor


def _naturals(values):
    return type(values) is tuple and all(type(value) is int and value >= 0 for value in values)


# Name in the file -> our function; below, the numbers of arguments that PyTorch gives it.
_REBUILDERS = {
    "collections OrderedDict": _rebuild_dictionary,
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
    "torch.nn.parameter Parameter": _rebuild_parameter,
}
_ARGUMENTS = {
    "collections OrderedDict": (0, 1),
    "torch._utils _rebuild_tensor": (4,),
    "torch._utils _rebuild_tensor_v2": (6, 7),
    "torch._utils _rebuild_parameter": (3,),
    "torch.nn.parameter Parameter": (1, 2),
}


def _fitting(name, arguments):
    if len(arguments) not in _ARGUMENTS[name]:
        raise _RefusedError(f"{name.split()[1]} is given {len(arguments)} arguments")
    return arguments


def _tuple_of(count):
    def operation(machine, _):
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return operation


_PLAIN_VALUES = """
    BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINSTRING SHORT_BINSTRING
"""

_OPERATIONS = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(_PLAIN_VALUES.split(), _Machine.push),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": _tuple_of(0),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": lambda machine, _: machine.name(" ".join([_text(machine), _text(machine)][::-1])),
    "REDUCE": lambda machine, _: machine.call(),
    "BINPERSID": lambda machine, _: machine.persistent(),
    "BUILD": lambda machine, _: machine.set_state(),
}


def _append(machine, values):
    machine.top(list).extend(values)


def _text(machine):
    machine.top(str)
    return machine.pop()


def _shown(value):
    """Return foreign text on one line, escaped and cut."""
    text = ascii(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
