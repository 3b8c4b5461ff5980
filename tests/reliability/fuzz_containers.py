"""Damage inside zip archives and HDF5 files, checksums and lengths set right, so that readers read on."""

import io
import zipfile

from fuzz_mutations import any_bytes, nodes, one_of

# zip


def members(inside):
    """Return a function that changes a zip archive's files, names and order.

    Parameters
    ----------
    inside : callable
        ``inside(rng, name, content, others)`` gives a file's new content.
    """

    def damage(rng, data, others):
        found = unzipped(data)
        place = int(rng.integers(len(found)))
        name, content = found[place]
        way = rng.random()
        if way < 0.75:
            found[place] = name, inside(rng, name, content, others)
        elif way < 0.8:
            del found[place]
        elif way < 0.85:
            found.append((name, any_bytes(rng, content, others) if content else b"x"))
        elif way < 0.95:
            found[place] = (
                one_of(rng, ("../x", "/x", "", "a\0b", "x" * 60_000, one_of(rng, found)[0], "config.json")),
                content,
            )
        else:
            found[place] = name, bytes(8_000_000)
        return zipped(found, zipfile.ZIP_DEFLATED if way > 0.93 else zipfile.ZIP_STORED)

    return damage


def unzipped(data):
    """Return (name, content) of an archive's files."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def zipped(found, compression=zipfile.ZIP_STORED):
    """Return an archive of (name, content), the same bytes whenever it is made."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in found:
            archive.writestr(_entry(name, compression), content)
    return stream.getvalue()


def _entry(name, compression):
    entry = zipfile.ZipInfo(name)
    entry.compress_type = compression
    return entry


# HDF5


def items(rng, data, others):
    """Change attributes, groups, links and arrays of an HDF5 file; plain damage where that cannot be written."""
    import h5py

    stream = io.BytesIO(data)
    try:
        with h5py.File(stream, "r+") as file:
            for _ in range(int(rng.integers(1, 3))):
                one_of(rng, _HDF5_CHANGES)(rng, file)
    except Exception:
        return any_bytes(rng, data, others)
    return stream.getvalue()


def _paths(file):
    found = []
    file.visit(found.append)
    return found


def _change_attribute(rng, file):
    holders = [file, *(file[path] for path in _paths(file))]
    holder = one_of(rng, [each for each in holders if len(each.attrs)])
    name = one_of(rng, list(holder.attrs))
    value = holder.attrs[name]
    text = value.decode() if isinstance(value, bytes) else value
    if isinstance(text, str) and text.startswith("{") and rng.random() < 0.8:
        holder.attrs[name] = nodes(rng, text.encode(), [])
    else:
        _odd_attribute(rng, holder, name)


def _odd_attribute(rng, holder, name):
    import h5py
    import numpy as np

    values = (
        "",
        "x",
        b"\xff\xfe",
        "x" * 30_000,
        7,
        -1.5,
        np.zeros(3),
        np.array([b"a", b"../b"]),
        h5py.Empty("f4"),
        "[]",
        "null",
    )
    if rng.integers(4):
        holder.attrs[name] = one_of(rng, values)
    else:
        del holder.attrs[name]


def _change_names(rng, file):
    """Write other names into a list of names, which Keras follows from group to group."""
    import numpy as np

    holders = [file, *(file[path] for path in _paths(file))]
    lists = [(each, name) for each in holders for name in each.attrs if name.endswith("_names")]
    holder, name = one_of(rng, lists)
    known = [value.decode() for value in np.ravel(holder.attrs[name]) if isinstance(value, bytes)]
    odd = ("", ".", "..", "/", "../x", "/model_weights", "a/b", "x" * 300, *known)
    changed = [one_of(rng, odd) if rng.random() < 0.3 else value for value in [*known, one_of(rng, odd)]]
    holder.attrs[name] = np.array([value.encode() for value in changed])


def _change_array(rng, file):
    """Put an array of another kind, size or place where one stands."""
    import h5py
    import numpy as np

    arrays = [path for path in _paths(file) if isinstance(file[path], h5py.Dataset)]
    path = one_of(rng, arrays)
    shape = file[path].shape
    del file[path]
    way = int(rng.integers(7))
    if way == 0:
        file[path] = np.zeros((*shape, 2), "f4")
    elif way == 1:
        file[path] = one_of(
            rng, ("text", np.zeros(shape, "S3"), np.zeros(shape, "i8"), np.zeros(shape, "c8"))
        )
    elif way == 2:
        # Declared and never written: a small file of any size.
        side = one_of(rng, (2**20, 2**29, 2**33, 2**40))
        file.create_dataset(path, (side,), "f4", chunks=(1024,))
    elif way == 3:
        file[path] = h5py.Empty("f4")
    elif way == 4:
        file.create_group(path)
    elif way == 5:
        file.create_dataset(path, shape, "f4", external=[("elsewhere.bin", 0, 10_000_000)])
    else:
        file[path] = np.full(shape, one_of(rng, (np.nan, np.inf, 1e30, 0)), "f4")


def _change_link(rng, file):
    import h5py

    path = one_of(rng, _paths(file))
    del file[path]
    links = (
        h5py.SoftLink(path),
        h5py.SoftLink("/"),
        h5py.SoftLink("/nowhere"),
        h5py.ExternalLink("elsewhere.h5", "/"),
    )
    if rng.integers(4):
        file[path] = one_of(rng, links)


_HDF5_CHANGES = (*(_change_attribute,) * 4, _change_names, _change_array, _change_array, _change_link)
