"""Which images of a data set lie inside its folder, and which a table or a link would fetch from elsewhere."""

import os
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np

from covidcxr.errors import DataError

OUTSIDE = "a link out of the data folder"
# Folders of a path that may be links: the set's, and a class's or split's in it.
_LINKED = 2


def leaves(path):
    """Tell whether a path in a table leaves the folder that it starts from.

    Parameters
    ----------
    path : str
        POSIX; on Windows its own spelling too.

    Returns
    -------
    bool
    """
    kinds = (PurePosixPath, PureWindowsPath) if os.name == "nt" else (PurePosixPath,)
    return any(kind(path).is_absolute() or kind(path).drive or ".." in kind(path).parts for kind in kinds)


def require_inside(paths, table):
    """Refuse a table with a path that leaves the folder its paths start from.

    Parameters
    ----------
    paths : iterable of str
    table : path-like
        For the message.

    Raises
    ------
    DataError
        Naming the first such path.
    """
    outside = next((path for path in paths if leaves(path)), None)
    if outside is not None:
        raise DataError(f"{table}: {outside} leaves the folder of the images; give paths inside it")


def without_links_out(records):
    """Leave out images that are reached through a link out of the data folder.

    Folders in the data folder, and folders in those, may be links: so a user puts together sets, or classes, that lie
    in several places. What any other link fetches from elsewhere belongs to none of them.

    Parameters
    ----------
    records : Records

    Returns
    -------
    Records
        What was left out is among the exclusions, with the reason :data:`OUTSIDE`.

    Raises
    ------
    DataError
        If no image is left.
    """
    parents, allowed = {}, {}
    inside = [_is_inside(records.root, path, parents, allowed) for path in records.table["path"]]
    if all(inside):
        return records
    if not any(inside):
        raise DataError(
            f"{records.root / records.table['path'].iloc[0]}: is {OUTSIDE}, like all images there; "
            "give the folder that they lie in, or copy them"
        )
    return records.where(np.array(inside), OUTSIDE)


def _is_inside(root, path, parents, allowed):
    file = root / path
    folder = file.parent
    if folder not in parents:
        parents[folder] = os.path.realpath(folder)
    real = os.path.realpath(file) if os.path.islink(file) else os.path.join(parents[folder], file.name)
    return any(_is_below(real, place) for place in _allowed(root, path, allowed))


def _allowed(root, path, known):
    """Return the real places of the data folder and of the two folders in it that a path begins with."""
    begin = PurePosixPath(path).parent.parts[:_LINKED]
    if begin not in known:
        known[begin] = {os.path.realpath(root.joinpath(*begin[:count])) for count in range(len(begin) + 1)}
    return known[begin]


def _is_below(path, folder):
    return path.startswith(folder.rstrip(os.sep) + os.sep)
