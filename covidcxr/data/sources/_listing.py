"""What the sources share: names in a folder, a table read as text, the names of splits."""

import os
import re
from pathlib import Path

from covidcxr.data.images import IMAGE_SUFFIXES, list_images
from covidcxr.data.records import read_text_csv
from covidcxr.errors import DataError

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_BY_SPLIT_NAME = {name: split for split, names in _SPLIT_NAMES.items() for name in names}


def split_of(name):
    """Return ``"train"``, ``"val"`` or ``"test"`` for a folder or cell that names a split, else None."""
    return _BY_SPLIT_NAME.get(str(name).strip().lower())


def folder_names(folder):
    """Return the sorted names of a folder's sub-folders, without hidden ones and archives' left-overs."""
    with _scan(folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith((".", "__MACOSX")))
    # Not the entry's own is_dir: it raises for a link that leads round in a circle.
    return [name for name in names if os.path.isdir(os.path.join(folder, name))]


def image_names(folder):
    """Return the sorted POSIX paths of the images below a folder; none if there is no such folder."""
    folder = Path(folder)
    return [file.relative_to(folder).as_posix() for file in list_images(folder)] if folder.is_dir() else []


def has_images(folder):
    """Tell whether a folder directly holds at least one image file, without listing all of it."""
    if not Path(folder).is_dir():
        return False
    with _scan(folder) as entries:
        return any(
            os.path.splitext(e.name)[1].lower() in IMAGE_SUFFIXES and not e.name.startswith(".")
            for e in entries
        )


def read_text_table(path, needed):
    """Read a CSV with every cell as stripped text and lower-case column names.

    Parameters
    ----------
    path : path-like
    needed : sequence of str
        Columns that must be there, in lower case.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        If the file is no readable table or lacks a needed column.
    """
    table = read_text_csv(path)
    table.columns = [column.strip().lower() for column in table.columns]
    missing = [column for column in needed if column not in table]
    if missing:
        raise DataError(
            f"{path}: lacks the column(s) {', '.join(missing)}; found {', '.join(table.columns[:12])}"
        )
    # A row shorter than the header reads as missing cells even with keep_default_na=False.
    return table.fillna("").apply(lambda column: column.str.strip())


def letters(name):
    """Reduce a name to its letters and digits in lower case, so that ``Lung_Opacity`` is ``Lung Opacity``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _scan(folder):
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be listed ({error.strerror}); check the path and its permissions"
        ) from error
