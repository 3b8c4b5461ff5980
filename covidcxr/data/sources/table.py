"""A CSV of one's own: path and label, and whatever else is known of each image."""

import os
from pathlib import Path, PurePosixPath

from covidcxr.data.labels import canonical
from covidcxr.data.records import Exclusion, Records
from covidcxr.data.sources._listing import read_text_table, split_of
from covidcxr.errors import DataError
from covidcxr.formula_cells import plain_table

_SPELLINGS = {
    "path": ("path", "filename", "file_name", "file", "image", "image_path", "filepath"),
    "label": ("label", "class", "finding", "diagnosis"),
    "patient_id": ("patient_id", "patientid", "patient"),
    "view": ("view", "viewposition", "view_position"),
    "source": ("source",),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "offset": ("offset",),
    "given_split": ("given_split", "split"),
}


def detect(path):
    """Tell whether a path is a CSV file."""
    path = Path(path)
    return path.suffix.lower() == ".csv" and path.is_file()


def read(path):
    """Read the images a CSV lists; their paths start from the CSV's folder.

    Parameters
    ----------
    path : path-like
        With the columns path (or filename...) and label (or class...); optionally patient_id, view, source,
        sex, age, offset, split. Other columns are kept. A cell that :mod:`covidcxr.formula_cells` marked is
        plain again.

    Returns
    -------
    Records
        Files that are not there are exclusions. A column split becomes `given_split`. Without a column
        source, the folder's name is the source, and the prefix of the patient ids.

    Raises
    ------
    DataError
        If a column is missing or given twice, a cell is empty, a path leaves the folder, a split has no known
        name, an image is listed twice, or none of the files is there.
    """
    path = Path(path)
    table = plain_table(read_text_table(path, ()))
    table = table.rename(columns=_renaming(path, list(table.columns)))
    if not len(table):
        raise DataError(f"{path}: has column names but no row; list at least one image")
    table["path"] = [_inside(path, cell) for cell in table["path"]]
    table["label"] = [_label(path, cell) for cell in table["label"]]
    if "given_split" in table:
        table["given_split"] = [_split(path, cell) for cell in table["given_split"]]
    table = _with_source(table, path.resolve().parent.name)
    _require_each_once(path, table["path"])
    there = [os.path.isfile(path.parent / cell) for cell in table["path"]]
    if not any(there):
        raise DataError(
            f"{path}: none of its {len(table)} files is below {path.parent}; paths start from there"
        )
    records = Records.from_rows(table, path.parent)
    missing = [
        Exclusion(row.path, row.source, "file missing")
        for row, found in zip(records.table.itertuples(), there, strict=True)
        if not found
    ]
    kept = records.table[there]
    return Records.from_rows(kept, path.parent, missing)


def _renaming(path, columns):
    renaming = {}
    for name, spellings in _SPELLINGS.items():
        found = [spelling for spelling in spellings if spelling in columns]
        if name == "label" and "label" in columns:
            # Beside a label, a finding or diagnosis is what the source said, not the class.
            found = ["label"]
        if len(found) > 1 and name in ("path", "label"):
            raise DataError(f"{path}: columns {found[0]} and {found[1]} both mean {name}; keep one")
        if found:
            renaming[found[0]] = name
    missing = {"path", "label"} - set(renaming.values())
    if missing:
        raise DataError(
            f"{path}: lacks the column(s) {', '.join(sorted(missing))}; found {', '.join(columns) or 'none'}"
        )
    return renaming


def _inside(path, cell):
    relative = PurePosixPath(cell.replace("\\", "/"))
    # A letter and a colon begin an absolute path on Windows.
    if relative.is_absolute() or ".." in relative.parts or cell[1:2] == ":":
        raise DataError(
            f"{path}: {cell} leaves the CSV's folder; put the CSV above all images, with paths below it"
        )
    if not relative.parts:
        raise DataError(f"{path}: a row has no path; give every row one")
    return str(relative)


def _label(path, cell):
    if not cell:
        raise DataError(f"{path}: a row has no label; give every row one or remove it")
    return cell if cell.startswith("other:") else canonical(cell)


def _split(path, cell):
    split = split_of(cell)
    if split is None:
        raise DataError(
            f"{path}: split {cell!r} is none of train, val, test; correct it or remove the column"
        )
    return split


def _require_each_once(path, cells):
    twice = cells[cells.duplicated()]
    if len(twice):
        raise DataError(
            f"{path}: {twice.iloc[0]} is listed twice ({len(twice)} such rows); keep one row an image"
        )


def _with_source(table, source):
    if "source" in table:
        return table
    table = table.assign(source=source)
    if "patient_id" in table:
        prefixed = [f"{source}-{patient}" if patient else "" for patient in table["patient_id"]]
        table = table.assign(patient_id=prefixed)
    return table
