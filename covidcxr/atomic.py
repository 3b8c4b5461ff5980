"""Files that are either whole or absent: written beside their place, synced, then renamed over it."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path

from covidcxr.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another output folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another output folder",
    errno.EACCES: "no permission to write there; choose another output folder",
    errno.EPERM: "no permission to write there; choose another output folder",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another output folder",
    errno.EEXIST: "a file stands where a folder is needed; choose another output folder",
}


@contextlib.contextmanager
def output_errors(path):
    """Turn an operating-system error while writing `path` into one clear line.

    Parameters
    ----------
    path : path-like
        What is being written; named in the message.

    Raises
    ------
    OutputError
        In place of any `OSError` raised inside the block.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno, error.strerror or str(error))
        raise OutputError(f"cannot write {path}: {remedy}") from error


def make_folder(path):
    """Create a folder and its parents.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pathlib.Path

    Raises
    ------
    OutputError
        If it cannot be created or cannot be written to.
    """
    folder = Path(path)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable")
    return folder


@contextlib.contextmanager
def whole_file(path):
    """Give a temporary path beside `path`; rename it over `path` only if the block succeeds.

    Parameters
    ----------
    path : path-like
        The final place. The temporary name keeps its suffix, since writers choose formats by it.

    Yields
    ------
    pathlib.Path
        Where the block is to write.

    Raises
    ------
    OutputError
        If the file cannot be written; `path` is then as it was before.
    """
    path = Path(path)
    with output_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path, text):
    """Write a UTF-8 text file, whole or not at all (see :func:`whole_file`)."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write a value as indented JSON, paths as text, whole or not at all (see :func:`whole_file`)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=os.fspath) + "\n")


def write_csv(path, table):
    """Write a `pandas.DataFrame` without its index, whole or not at all (see :func:`whole_file`)."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask():
    current = os.umask(0)
    os.umask(current)
    return current
