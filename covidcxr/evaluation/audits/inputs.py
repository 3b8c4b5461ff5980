"""What is audited: the images of a folder or table with the split they have, or those of a run."""

import os
from pathlib import Path

import pandas as pd

from covidcxr import json_files
from covidcxr.data import sources, splits
from covidcxr.data.records import Records
from covidcxr.errors import CovidcxrError, DataError

CONFIG = "config.json"
SPLIT = "split.csv"
MODELS = "models"

_PHANTOM = "phantom"
_META = ("view", "sex", "age", "offset")


def is_run(path):
    """Tell whether a path is the folder of a run, of one model or of several."""
    path = Path(path)
    return (path / CONFIG).is_file() and ((path / SPLIT).is_file() or (path / MODELS).is_dir())


def run_folders(path):
    """List the folders of a run's models: the folder itself, or those of a study in the order of their names.

    Raises
    ------
    DataError
        If no model of a study has a split.
    """
    path = Path(path)
    if (path / SPLIT).is_file():
        return [path]
    found = sorted(folder for folder in (path / MODELS).iterdir() if (folder / SPLIT).is_file())
    if not found:
        raise DataError(f"{path / MODELS}: no model there has a {SPLIT} yet; let the run finish first")
    return found


def run_records(folder, data=None):
    """Read the images of one model's run, with its split and what their source knows of them.

    Parameters
    ----------
    folder : path-like
        With config.json and split.csv.
    data : path-like, optional
        Where the images are now; default where they were.

    Returns
    -------
    Records
        Of all images of the split. `view`, `sex`, `age` come from the source; a note tells if it is not there.

    Raises
    ------
    DataError
        If a file of the run is missing or damaged, or the images are not where they were.
    """
    folder = Path(folder)
    config = _config(folder)
    given = config["options"].get("data", "")
    root = Path(data or config["data_root"])
    if not root.exists():
        raise DataError(f"{root}: the images of {folder} are not there; say where they are now with --data")
    records = splits.read(folder / SPLIT, root if root.is_dir() else root.parent)
    place = root if data or given == _PHANTOM or not os.path.exists(given) else Path(given)
    return _described(records, place)


def data_records(data, split_file=None):
    """Read the images of a folder or table, and those of them that a split names.

    Parameters
    ----------
    data : path-like
    split_file : path-like, optional
        A split.csv; images outside it are left out.

    Returns
    -------
    Records

    Raises
    ------
    DataError
        If the images or the split cannot be read, or the split names what is not there.
    """
    records = sources.read(data)
    if not split_file:
        return records
    listed = set(splits.read(split_file).table["path"])
    inside = records.table["path"].isin(listed)
    return splits.from_csv(records.where(inside, reason=f"not in {split_file}"), split_file)


def with_own_split(records):
    """Give records that have no split the one of their source, if it says for every image where it belongs."""
    if "split" in records.table or "given_split" not in records.table:
        return records
    named = records.table["given_split"].fillna("").isin(splits.SPLITS)
    return splits.given(records) if named.all() else records


def _config(folder):
    path = folder / CONFIG
    try:
        config = json_files.read(path)
        given = config["options"].get("data", "")
        if isinstance(given, str) and isinstance(config["data_root"], str):
            return config
        raise ValueError("data or data_root of another kind")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable run configuration ({reason}); train again") from error


def _described(records, place):
    """Fill in what split.csv does not keep, from the source that the images were read from."""
    try:
        known = sources.read(place)
    except CovidcxrError as error:
        return _noted(records, f"view, sex and age are unknown: {error}")
    kept = [name for name in _META if name not in records.table or not _filled(records.table[name])]
    rows = known.table.set_index(pd.Index([os.path.abspath(path) for path in known.files()]))
    wanted = [os.path.abspath(path) for path in records.files()]
    columns = {name: rows[name].reindex(wanted).to_numpy() for name in kept}
    missing = len(set(wanted) - set(rows.index))
    found = records.with_columns(**columns)
    if missing:
        return _noted(found, f"{missing} images of the split are not among those that {place} holds now")
    return found


def _filled(column):
    return bool((column.notna() & (column.astype(str) != "")).any())


def _noted(records, note):
    return Records(records.table, records.root, records.exclusions, (*records.notes, note))
