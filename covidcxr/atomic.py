"""Files that are either whole or absent: written beside their place, synced, then renamed over it."""

import contextlib
import errno
import json
import os
import re
import tempfile
from pathlib import Path

from covidcxr import formula_cells
from covidcxr.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another output folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another output folder",
    errno.EACCES: "no permission to write there; choose another output folder",
    errno.EPERM: "no permission to write there; choose another output folder",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another output folder",
    errno.EEXIST: "a file stands where a folder is needed; choose another output folder",
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ENOENT: "there is no such folder; create it, or choose another",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


# How :func:`whole_file` names what it has not finished.
_MARK = "writing"
_LEFTOVER = re.compile(rf"\..*-{_MARK}-[a-z0-9_]{{8}}(\.[^.]*)?")


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
        _check_writable(folder)
    return folder


@contextlib.contextmanager
def folder_for(path):
    """Make a folder for what the block puts into it; where the block fails and left nothing, it is gone again.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    pathlib.Path

    Raises
    ------
    OutputError
        If it cannot be created or cannot be written to.
    """
    path = Path(path)
    made = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    make_folder(path)
    try:
        yield path
    except BaseException:
        for place in made:
            # One that holds something stays, and so do those above it.
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


@contextlib.contextmanager
def whole_file(path):
    """Give a temporary path beside `path`; rename it over `path` only if the block succeeds.

    Parameters
    ----------
    path : path-like
        The final place; the file behind it where it is a link. The temporary name keeps its suffix, since
        writers choose formats by it.

    Yields
    ------
    pathlib.Path
        Where the block is to write.

    Raises
    ------
    OutputError
        If the file cannot be written; `path` is then as it was before.
    """
    given, path = path, Path(os.path.realpath(path))
    with output_errors(given):
        check_target(given)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:40]}-{_MARK}-", suffix=path.suffix, dir=path.parent
        )
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


def is_leftover(name):
    """Tell by its name whether a file was being written by :func:`whole_file` when its process was killed."""
    return _LEFTOVER.fullmatch(name) is not None


def sweep(folder):
    """Remove what killed processes were writing anywhere in a folder, where nothing else writes now."""
    with output_errors(folder):
        for path in Path(folder).rglob(".*"):
            if is_leftover(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def place_folder(made, path):
    """Rename a finished folder to its place on the same disk, once all that it holds is on the disk.

    Parameters
    ----------
    made, path : path-like
        `path` must not stand yet.
    """
    for folder, _, names in os.walk(made, topdown=False):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)
    Path(made).rename(path)
    _sync(Path(path).parent)


def check_target(path):
    """See that a file can be written before the work that is to be put into it is done; write nothing.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    OutputError
        If it is a folder, or its own folder is not there or cannot be written to; if it is a device or pipe,
        which renaming a file over it would replace.
    """
    real = Path(os.path.realpath(path))
    with output_errors(path):
        if real.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        os.stat(os.path.join(real.parent, "."))
        _check_writable(real.parent)
        if real.exists() and not real.is_file():
            raise OutputError(f"cannot write {path}: it is a device or pipe; give the name of a file")


def check_folder(path):
    """See that a folder can be made, or written into where it stands, before the work that is to fill it.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    OutputError
        If it, or what stands of the path to it, is a file or cannot be written to.
    """
    place = Path(os.path.abspath(path))
    while not os.path.lexists(place):
        place = place.parent
    with output_errors(path):
        os.stat(os.path.join(place, "."))
        _check_writable(place)


def write_text(path, text):
    """Write a UTF-8 text file, whole or not at all (see :func:`whole_file`).

    What UTF-8 cannot hold, the odd bytes of a file name, is spelled out as JSON escapes it.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path, value):
    """Write a value as indented JSON, paths as text, whole or not at all (see :func:`whole_file`)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=os.fspath) + "\n")


def write_csv(path, table):
    """Write a `pandas.DataFrame` without its index, whole or not at all (see :func:`whole_file`).

    No text in it is a formula to a spreadsheet; `covidcxr.formula_cells.plain_table` gives back what was written.
    """
    with whole_file(path) as temporary:
        formula_cells.to_csv(table, temporary, errors="backslashreplace")


def _check_writable(folder):
    if os.access(folder, os.W_OK | os.X_OK):
        return
    read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    raise OSError(errno.EROFS if read_only else errno.EACCES, "not writable")


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
