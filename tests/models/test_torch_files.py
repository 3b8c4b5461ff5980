"""Reading `.pth` files: ones written by hand here, ones written by PyTorch where it is, and hostile ones."""

import contextlib
import io
import os
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import torch_files
from covidcxr.models.torch_files import read_state_dict

PROTOCOL_2, STOP = b"\x80\x02", b"."
NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
DTYPES = {"FloatStorage": "f4", "LongStorage": "i8", "HalfStorage": "f2", "DoubleStorage": "f8"}


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def call(function, *arguments):
    return function + tuple_of(*arguments) + b"R"


def dictionary(items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(numel, key="0", kind="FloatStorage", *more):
    return tuple_of(text("storage"), name("torch", kind), text(key), text("cpu"), number(numel), *more) + b"Q"


def tensor(held, offset, size, strides, *more):
    numbers = [tuple_of(*map(number, values)) for values in (size, strides)]
    flags = more or (FALSE, call(name("collections", "OrderedDict")))
    return call(name("torch._utils", "_rebuild_tensor_v2"), held, number(offset), *numbers, *flags)


def pickled(body):
    return PROTOCOL_2 + body + STOP


def archive(path, body, files, root="net", compression=zipfile.ZIP_STORED, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", compression) as target:
        target.writestr(f"{root}/data.pkl", body if body[:1] == b"\x80" else pickled(body))
        target.writestr(f"{root}/byteorder", byteorder)
        for key, content in files.items():
            target.writestr(f"{root}/data/{key}", content)
    return path


def stream(path, body, storages, little=TRUE, numels=None):
    head = pickled(number(0x1950A86A20F9469CFC6C)) + pickled(number(1001))
    system = pickled(dictionary({"protocol_version": number(1001), "little_endian": little}))
    keys = pickled(b"](" + b"".join(map(text, storages)) + b"e")
    data = b"".join(
        struct.pack("<q", (numels or {}).get(key, len(array))) + array.tobytes()
        for key, array in storages.items()
    )
    path.write_bytes(head + system + pickled(body) + keys + data)
    return path


ARRAY = np.arange(12, dtype="<f4")
GOOD = dictionary(
    {"weight": tensor(storage(12), 0, (3, 4), (4, 1)), "part": tensor(storage(12), 2, (2, 3), (1, 3))}
)


@pytest.mark.parametrize("write", [archive, stream])
def test_strides_and_offsets_are_honoured(write, tmp_path):
    content = ARRAY if write is stream else ARRAY.tobytes()
    state = read_state_dict(write(tmp_path / "a.pth", GOOD, {"0": content}))
    assert list(state) == ["weight", "part"]
    np.testing.assert_array_equal(state["weight"], ARRAY.reshape(3, 4))
    np.testing.assert_array_equal(state["part"], [[2, 5, 8], [3, 6, 9]])
    assert state["weight"].dtype == np.float32
    assert not state["weight"].flags.writeable


def test_old_parameters_metadata_and_python_2_dictionaries(tmp_path):
    held = tensor(storage(12), 0, (12,), (1,))
    parameter = call(name("torch.nn.parameter", "Parameter"), held) + tuple_of(TRUE, FALSE, NONE) + b"b"
    rebuilt = call(name("torch._utils", "_rebuild_parameter"), held, TRUE, NONE)
    pairs = b"]" + tuple_of(text("a"), parameter) + b"a" + tuple_of(text("b"), rebuilt) + b"a"
    body = call(name("collections", "OrderedDict"), pairs)
    body += dictionary({"_metadata": dictionary({"": dictionary({"version": number(1)})})}) + b"b"
    state = read_state_dict(stream(tmp_path / "a.pth", body, {"0": ARRAY}))
    assert list(state) == ["a", "b"]
    np.testing.assert_array_equal(state["a"], ARRAY)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pytorch_writes(tmp_path, legacy, protocol):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0)
    state = {
        "transposed": base.reshape(4, 6).t(),
        "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
        "slice": base[5:11:2],
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "half": torch.randn(3).half(),
        "double": torch.randn(3).double(),
        "count": torch.tensor(7),
        "int": torch.tensor([1, -2], dtype=torch.int32),
        "bytes": torch.tensor([1, 200], dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
        "one": torch.zeros(1, 1, 5)[:, :, :1],
    }
    path = tmp_path / "a.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    read = read_state_dict(path)
    assert list(read) == list(state)
    for key, expected in state.items():
        expected = expected.detach().numpy()
        assert read[key].dtype == expected.dtype
        np.testing.assert_array_equal(read[key], expected)


class Canary:
    """Unpickled by Python itself, this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_would_run_a_command_is_refused(tmp_path, protocol, nested):
    canary = tmp_path / "canary"
    hostile = {"weight": Canary(canary)} if nested else Canary(canary)
    body = pickle.dumps(hostile, protocol)
    pickle.loads(body)  # noqa: S301 - our own bytes: the bait must be shown to work
    assert canary.exists()
    canary.unlink()
    path = tmp_path / "a.pth"
    for content in (body, _zipped(body)):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not a readable PyTorch state dict"):
            read_state_dict(path)
        assert not canary.exists()


def _zipped(body):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("net/data.pkl", body)
    return buffer.getvalue()


HELD = storage(12)
HUGE = struct.pack("<Q", 2**62)
REFUSED = {
    "eval": (call(name("builtins", "eval"), text("1")), "names 'builtins eval'"),
    "python 2 eval": (call(name("__builtin__", "eval"), text("1")), "names '__builtin__ eval'"),
    "system": (call(name("posix", "system"), text("true")), "names 'posix system'"),
    "nested pickle": (name("torch.storage", "_load_from_bytes"), "names 'torch.storage _load_from_bytes'"),
    "dotted": (name("collections", "OrderedDict.__init__"), "names 'collections OrderedDict.__init__'"),
    "spaced": (name("torch", "FloatStorage "), "names 'torch FloatStorage '"),
    "stack global": (text("os") + text("system") + b"\x93", "names 'os system'"),
    "stack global numbers": (number(1) + number(2) + b"\x93", "a int stands where a str must"),
    "instance": (b"(ios\nsystem\n", "operation INST is not allowed"),
    "object": (b"(" + name("collections", "OrderedDict") + b"o", "operation OBJ is not allowed"),
    "new object": (name("collections", "OrderedDict") + b")\x81", "operation NEWOBJ is not allowed"),
    "new object with keywords": (
        name("collections", "OrderedDict") + b")}\x92",
        "operation NEWOBJ_EX is not",
    ),
    "extension": (b"\x82\x01", "operation EXT1 is not allowed"),
    "old persistent id": (b"P../../etc/passwd\n", "operation PERSID is not allowed"),
    "duplicate": (number(1) + b"2", "operation DUP is not allowed"),
    "byte array": (b"\x96" + HUGE, "damaged"),
    "long text": (b"\x8d" + HUGE + b"a", "damaged"),
    "frame": (b"\x95" + HUGE, "damaged"),
    "memo": (number(1) + b"r\xff\xff\xff\xff", "no dictionary of tensors"),
    "unknown memo": (b"j\xff\xff\xff\xff", "damaged"),
    "underflow": (b"0", "operation POP is not allowed"),
    "empty stack": (b"t", "damaged"),
    "call of a storage": (call(name("torch", "FloatStorage"), number(8)), "calls something"),
    "call of text": (call(text("os.system"), text("true")), "calls something"),
    "call without tuple": (name("collections", "OrderedDict") + b"]R", "calls something"),
    "dictionary of text": (call(name("collections", "OrderedDict"), text("ab")), "other than named values"),
    "dictionary of number": (call(name("collections", "OrderedDict"), number(3)), "other than named values"),
    "dictionary of three": (call(name("collections", "OrderedDict"), NONE, NONE, NONE), "given 3 arguments"),
    "number as key": (b"}" + number(1) + number(2) + b"s", "keys that are not text"),
    "odd items": (b"}(" + text("a") + b"u", "keys that are not text"),
    "items of a list": (b"](" + text("a") + number(1) + b"u", "a list stands where a dict must"),
    "append to a dictionary": (b"}" + number(1) + b"a", "a dict stands where a list must"),
    "state of text": (text("a") + b"}b", "state is set"),
    "parameter of text": (call(name("torch.nn.parameter", "Parameter"), text("a")), "other than a tensor"),
    "tensor of text": (tensor(text("0"), 0, (1,), (1,)), "declared in an unknown way"),
    "tensor of few": (tensor(HELD, 0, (1,), (1,), NONE), "given 5 arguments"),
    "text offset": (
        call(name("torch._utils", "_rebuild_tensor"), HELD, text("0"), tuple_of(), tuple_of()),
        "declared in an unknown way",
    ),
    "list as size": (
        call(name("torch._utils", "_rebuild_tensor"), HELD, number(0), b"]", tuple_of()),
        "declared in an unknown way",
    ),
    "boolean size": (
        call(name("torch._utils", "_rebuild_tensor"), HELD, number(0), tuple_of(TRUE), tuple_of(TRUE)),
        "declared in an unknown way",
    ),
    "negative offset": (tensor(HELD, -1, (1,), (1,)), "declared in an unknown way"),
    "negative size": (tensor(HELD, 0, (-1,), (1,)), "declared in an unknown way"),
    "negative stride": (tensor(HELD, 11, (2,), (-1,)), "declared in an unknown way"),
    "beyond the end": (tensor(HELD, 1, (12,), (1,)), "beyond its storage"),
    "beyond by stride": (tensor(HELD, 0, (2, 2), (11, 1)), "beyond its storage"),
    "beyond by offset": (tensor(HELD, 2**62, (1,), (1,)), "beyond its storage"),
    "unfolded": (tensor(HELD, 0, (2**40,), (0,)), "beyond its storage"),
    "unfolded in two": (tensor(HELD, 0, (2**31, 2**31), (0, 0)), "beyond its storage"),
    "size and strides": (tensor(HELD, 0, (3, 4), (1,)), "2 dimensions and 1 strides"),
    "many dimensions": (tensor(HELD, 0, (1,) * 40, (0,) * 40), "40 dimensions"),
    "storage of nothing": (tuple_of() + b"Q", "storage is declared"),
    "storage of text": (text("../../etc/passwd") + b"Q", "storage is declared"),
    "storage of objects": (
        tuple_of(text("module"), text("a"), text("b"), text("c")) + b"Q",
        "storage is declared",
    ),
    "negative storage": (storage(-1), "storage is declared"),
    "storage view": (
        storage(12, "0", "FloatStorage", tuple_of(text("v"), number(0), number(1))),
        "storage is decl",
    ),
    "storage twice": (tuple_of(storage(12), storage(13)), "declared twice"),
    "unknown storage": (storage(12, "0", "QUInt8Storage"), "names 'torch QUInt8Storage'"),
    "not a dictionary": (tensor(HELD, 0, (1,), (1,)), "no dictionary of tensors"),
    "empty dictionary": (b"}", "no dictionary of tensors"),
    "checkpoint": (dictionary({"state_dict": GOOD, "epoch": number(3)}), "'state_dict' is not a tensor"),
    "two lines": (name("os", "system\r\x1b[31m"), r"names 'os system\\r\\x1b"),
}


@pytest.mark.parametrize("write", [archive, stream])
@pytest.mark.parametrize("case", REFUSED)
def test_whatever_else_a_pickle_asks_for_is_refused_in_one_line(tmp_path, case, write):
    body, message = REFUSED[case]
    path = write(tmp_path / "a.pth", body, {"0": ARRAY if write is stream else ARRAY.tobytes()})
    tracemalloc.start()
    with pytest.raises(ModelError, match=message) as caught:
        read_state_dict(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()
    assert peak < 20_000_000, f"{peak} bytes for a file of {path.stat().st_size}"


@pytest.mark.parametrize("key", ["../../../etc/passwd", "/etc/passwd", "..", "net/data.pkl", "\n"])
def test_names_of_storages_never_leave_the_archive(tmp_path, key):
    body = dictionary({"weight": tensor(storage(4, key), 0, (4,), (1,))})
    with pytest.raises(ModelError, match="the archive lacks"):
        read_state_dict(archive(tmp_path / "a.pth", body, {"0": bytes(16)}))
    with pytest.raises(ModelError, match="is missing"):
        read_state_dict(stream(tmp_path / "b.pth", body, {}))


def test_archives_that_are_not_what_they_seem(tmp_path):
    good = archive(tmp_path / "good.pth", GOOD, {"0": ARRAY.tobytes()})
    cases = {
        "compressed": archive(
            tmp_path / "bomb.pth", GOOD, {"0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED
        ),
        "fewer than the 48 bytes": archive(tmp_path / "short.pth", GOOD, {"0": bytes(47)}),
        "not little-endian": archive(tmp_path / "big.pth", GOOD, {"0": ARRAY.tobytes()}, byteorder=b"big"),
        "no data.pkl": archive(tmp_path / "deep.pth", GOOD, {}, root="a/b"),
    }
    cases["two files 'net/data/0'"] = archive(tmp_path / "twice.pth", GOOD, {"0": ARRAY.tobytes()})
    with zipfile.ZipFile(cases["two files 'net/data/0'"], "a") as target:
        target.NameToInfo.clear()
        target.writestr("net/data/0", bytes(48))
    inner = tmp_path / "nested.pth"
    inner.write_bytes(_zipped(good.read_bytes()))
    cases["damaged"] = inner
    cases["exhausted before seeing STOP"] = archive(tmp_path / "endless.pth", PROTOCOL_2 + NONE * 10, {})
    for message, path in cases.items():
        with pytest.raises(ModelError, match=message):
            read_state_dict(path)


def test_an_archive_whose_files_overlap_is_refused(tmp_path):
    path = tmp_path / "overlap.pth"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("net/data.pkl", pickled(GOOD))
        target.writestr("net/data/0", bytes(5000))
        first = target.getinfo("net/data/0")
        for number_of_copy in range(1, 20):
            copy = zipfile.ZipInfo(f"net/data/{number_of_copy}")
            for field in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(copy, field, getattr(first, field))
            target.filelist.append(copy)
            target.NameToInfo[copy.filename] = copy
    with pytest.raises(ModelError, match="overlap"):
        read_state_dict(path)


def test_streams_that_are_not_what_they_seem(tmp_path):
    cases = {
        "not little-endian": stream(tmp_path / "big.pth", GOOD, {"0": ARRAY}, little=FALSE),
        "'0' is not the one declared": stream(tmp_path / "n.pth", GOOD, {"0": ARRAY}, numels={"0": 11}),
        "'1' is not the one declared": stream(tmp_path / "k.pth", GOOD, {"1": ARRAY}),
        "'0' is missing": stream(tmp_path / "m.pth", GOOD, {}),
        "damaged": stream(tmp_path / "s.pth", GOOD, {"0": ARRAY[:11]}, numels={"0": 12}),
    }
    for message, path in cases.items():
        with pytest.raises(ModelError, match=message):
            read_state_dict(path)


def test_a_declared_size_takes_no_memory(tmp_path):
    body = dictionary({"weight": tensor(storage(2**40), 0, (2**40,), (1,))})
    tracemalloc.start()
    with pytest.raises(ModelError, match="fewer than"):
        read_state_dict(archive(tmp_path / "a.pth", body, {"0": bytes(16)}))
    with pytest.raises(ModelError, match="damaged"):
        read_state_dict(stream(tmp_path / "b.pth", body, {"0": ARRAY}, numels={"0": 2**40}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_limits_on_operations_and_bytes(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.pth", GOOD, {"0": ARRAY.tobytes()})
    monkeypatch.setattr(torch_files, "MOST_OPERATIONS", 20)
    with pytest.raises(ModelError, match="more than 20 pickle operations"):
        read_state_dict(path)
    monkeypatch.setattr(torch_files, "LARGEST_FILE", 100)
    with pytest.raises(ModelError, match="more than the 100 allowed"):
        read_state_dict(path)


def test_a_deeply_nested_value_is_refused_without_recursion(tmp_path):
    body = b")" + b"\x85" * 200_000
    with pytest.raises(ModelError, match="no dictionary of tensors"):
        read_state_dict(archive(tmp_path / "a.pth", body, {}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"hello", b"<html>404</html>"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a readable PyTorch state dict"):
        read_state_dict(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(ModelError, match="not a file"):
        read_state_dict(tmp_path)
    with pytest.raises(ModelError, match="not a file"):
        read_state_dict("/dev/zero")


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("write", [archive, stream])
def test_damage_anywhere_raises_only_the_one_error(write, tmp_path):
    content = write(
        tmp_path / "a.pth", GOOD, {"0": ARRAY if write is stream else ARRAY.tobytes()}
    ).read_bytes()
    path = tmp_path / "b.pth"
    rng = random.Random(11)
    unharmed = 0
    for trial in range(1500):
        damaged = bytearray(content[: rng.randrange(len(content))] if trial % 5 == 0 else content)
        for _ in range(rng.choice((1, 1, 2, 8)) if damaged else 0):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        # Anything but the one error fails the test.
        with contextlib.suppress(ModelError):
            state = read_state_dict(path)
            assert all(array.nbytes <= len(content) for array in state.values())
            unharmed += 1
    assert unharmed < 1000
