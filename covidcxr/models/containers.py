"""The HDF5 or zip file that a model or its weights lie in, looked through before anything is read from it.

HDF5 can point into other files and declare arrays of any size; a zip can name any path and unfold a thousandfold.
Models need neither. Nothing is ever unpacked by the names that a file gives.
"""

import io
import math
import zipfile

from covidcxr.errors import ModelError

WEIGHTS = "model.weights.h5"
# What Keras writes, and this package's own member (see `covidcxr.models.files`).
MEMBERS = ("config.json", "metadata.json", WEIGHTS, "covidcxr.json")
# Keras stores arrays as they are; some weights in circulation are compressed to half.
LARGEST_EXPANSION = 20
# Below this, a file may unfold as it likes: small networks that begin with zeros do.
FREE_BYTES = 2**26
# NASNetLarge has 5,000.
MOST_OBJECTS = 100_000
DEEPEST = 64
_NUMBERS = "biufV"
_WHOLE = "give a file that is whole in itself, as Keras writes it"


def check(path):
    """Refuse a file that points out of itself, holds what no model needs, or declares far more than it holds.

    Parameters
    ----------
    path : pathlib.Path
        HDF5 or zip; without such a beginning, h5py says what is wrong.

    Raises
    ------
    ModelError
        One line.
    OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile
        As h5py and `zipfile` raise them on damaged bytes.
    """
    import h5py

    if not zipfile.is_zipfile(path):
        with h5py.File(path, "r") as file:
            _check_hdf5(path, file, path.stat().st_size)
        return
    with zipfile.ZipFile(path) as archive:
        check_members(path, archive)
        weights = archive.read(WEIGHTS) if WEIGHTS in archive.namelist() else None
    if weights is not None:
        with h5py.File(io.BytesIO(weights), "r") as file:
            _check_hdf5(path, file, len(weights))


def check_members(path, archive):
    """Refuse an archive by its list of files alone.

    Parameters
    ----------
    path : pathlib.Path
    archive : zipfile.ZipFile

    Raises
    ------
    ModelError
    """
    members = archive.infolist()
    strange = next((member.filename for member in members if member.filename not in MEMBERS), None)
    if strange is not None:
        raise ModelError(
            f"{path}: holds {_shown(strange)}, which no model needs; ask for the file as model.save writes it"
        )
    if len({member.filename for member in members}) < len(members):
        raise ModelError(f"{path}: holds two files of one name; ask for the file as model.save writes it")
    _check_size(path, sum(member.file_size for member in members), path.stat().st_size)


def datasets(file):
    """List the arrays of an HDF5 file as (name, dataset), links not followed.

    Parameters
    ----------
    file : h5py.File

    Raises
    ------
    ModelError
        If it points out of itself, or has too many groups or too deep ones.
    """
    return [(name, item) for name, item in _objects(file.filename, file) if item.shape is not None]


def _check_hdf5(path, file, stored):
    declared = 0
    for name, item in _objects(path, file):
        if item.external or item.is_virtual:
            raise ModelError(f"{path}: {_shown(name)} lies in another file; {_WHOLE}")
        if item.dtype.kind not in _NUMBERS:
            raise ModelError(f"{path}: {_shown(name)} holds no numbers; {_WHOLE}")
        # Python's numbers do not overflow, so no shape can pretend to a small product.
        declared += math.prod(item.shape or ()) * item.dtype.itemsize
    _check_size(path, declared, stored)


def _check_size(path, declared, stored):
    if declared > max(FREE_BYTES, LARGEST_EXPANSION * stored):
        raise ModelError(
            f"{path}: declares {declared:,} bytes and holds {stored:,}; ask for the file as model.save writes it"
        )


def _objects(path, file):
    """Yield (name, dataset) of every array that hard links lead to, refusing all other links."""
    import h5py

    groups, seen = [("", file, 0)], 0
    while groups:
        place, group, depth = groups.pop()
        for key in group:
            seen += 1
            name = f"{place}/{key}" if place else key
            if depth >= DEEPEST or seen > MOST_OBJECTS:
                raise ModelError(f"{path}: {_shown(name)} lies too deep, or among too many others; {_WHOLE}")
            kind = group.get(key, getclass=True, getlink=True)
            if kind is not h5py.HardLink:
                elsewhere = "lies in another file" if kind is h5py.ExternalLink else "is a link"
                raise ModelError(f"{path}: {_shown(name)} {elsewhere}; {_WHOLE}")
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((name, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                yield name, item


def _shown(name):
    return ascii(name if len(name) <= 100 else f"{name[:100]}...")
