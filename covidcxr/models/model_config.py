"""The description of a network inside a model file, read without Keras."""

import contextlib
import json
import zipfile
import zlib

from covidcxr.errors import ModelError
from covidcxr.models import containers

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_CONFIG = "config.json"

# What h5py, zipfile and json raise on bytes that were changed.
_DAMAGE = (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


def is_zip(path):
    """Return whether a model file is a zip (.keras) and not HDF5 (.h5).

    Raises
    ------
    ModelError
        If it is absent, a folder, or neither.
    """
    if path.is_dir():
        inside = " (it holds model.h5)" if (path / "model.h5").is_file() else ""
        raise ModelError(f"{path}: a folder, not a model file{inside}; give the .h5 or .keras file")
    try:
        with open(path, "rb") as file:
            start = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start == HDF5_SIGNATURE:
        return False
    if zipfile.is_zipfile(path):
        return True
    raise ModelError(f"{path}: not a Keras model, or cut short; give a whole .h5 or .keras file")


def read_config(path):
    """Read the network's description, as Keras wrote it.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    config : dict
    keras_version : str
        ``""`` where the file does not say.

    Raises
    ------
    ModelError
        If there is none, or the file is damaged.
    """
    with damage_named(path):
        return _read_zip(path) if is_zip(path) else _read_hdf5(path)


@contextlib.contextmanager
def damage_named(path):
    """Turn whatever a damaged file raises while it is read into one line.

    Raises
    ------
    ModelError
    """
    try:
        yield
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{path}: damaged ({reason}); copy or download it again") from error


def _read_hdf5(path):
    import h5py

    with h5py.File(path, "r") as file:
        text, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
        if text is None:
            what = "holds weights without a network" if _has_weights(file) else "not a Keras model"
            raise ModelError(f"{path}: {what}; give the file of a whole model, as model.save writes it")
    return json.loads(text), _text(version)


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        if _ZIP_CONFIG not in archive.namelist():
            raise ModelError(f"{path}: a zip file, but not a Keras model; give a .h5 or .keras file")
        containers.check_members(path, archive)
        # Keras reads the weights without comparing their checksum.
        if archive.testzip() is not None:
            raise ModelError(f"{path}: damaged (a checksum is wrong); copy or download it again")
        return json.loads(archive.read(_ZIP_CONFIG)), "3"


def _has_weights(file):
    return bool({"layer_names", "layer_names0"} & set(file.attrs)) or "layers" in file


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
