"""Every file that a killed command has left under a final name must open, and be whole."""

import csv
import io
import json
import re
import zipfile

import numpy as np
from PIL import Image

# As `covidcxr.atomic` names what is not finished, and `tempfile` the folders of exports.
_HIDDEN = re.compile(r"\..+")
# A text, and no file of the matrix's formats: who is at work.
_LOCK = "run.lock"


def left_in(folder):
    """Return the files under final names below a folder, and how many hidden ones there are."""
    shown, hidden = [], 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        if any(_HIDDEN.fullmatch(part) for part in path.relative_to(folder).parts):
            hidden += 1
        elif path.name != _LOCK:
            shown.append(path)
    return shown, hidden


def check(path):
    """Open a file as its readers do; raise `AssertionError`, naming it, if anything is wrong with it."""
    kind = "tfevents" if ".tfevents." in path.name else path.suffix
    try:
        _READERS[kind](path)
    except Exception as error:
        raise AssertionError(f"{path}: opens wrong ({type(error).__name__}: {error})") from error


def _h5(path):
    import covidcxr

    model = covidcxr.load_model(path)
    assert model.count_params() > 0


def _keras(path):
    import h5py

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, "a checksum is wrong"
        json.loads(archive.read("config.json"))
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            weights.visititems(lambda name, each: each[()] if isinstance(each, h5py.Dataset) else None)


def _csv(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n"), "its last line is cut"
    header, *rows = csv.reader(io.StringIO(text))
    assert header
    assert all(len(row) == len(header) for row in rows), "a row is cut"


def _npy(path):
    np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).tobytes()


def _npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays:
            arrays[name].tobytes()


def _png(path):
    # Pillow takes a picture that lacks nothing but its end.
    assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), "its end is missing"
    with Image.open(path) as image:
        image.load()


def _ends_with(*endings):
    def read(path):
        assert path.read_text(encoding="utf-8").rstrip().endswith(endings), "its end is missing"

    return read


def _tfevents(path):
    # Appended to: TensorBoard and we read up to a torn record, and what it lacks is written anew on resuming.
    from covidcxr.training.logs import _logged_in

    list(_logged_in(path))


def _protobuf(path):
    assert path.stat().st_size > 0


def _onnx(path):
    import onnx

    onnx.checker.check_model(onnx.load(path))


_READERS = {
    ".h5": _h5,
    ".keras": _keras,
    ".csv": _csv,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".npy": _npy,
    ".npz": _npz,
    ".png": _png,
    ".svg": _ends_with("</svg>"),
    ".html": _ends_with("</html>"),
    ".md": _ends_with(""),
    ".onnx": _onnx,
    # A SavedModel appears whole, as a folder; what is inside it TensorFlow reads.
    ".pb": _protobuf,
    ".index": _protobuf,
    ".data-00000-of-00001": _protobuf,
    "tfevents": _tfevents,
}
