"""Kermany et al. 2018 (Guangzhou, children of one to five years): {train,val,test}/{NORMAL,PNEUMONIA}."""

import re
from pathlib import Path

from covidcxr.data import labels as names
from covidcxr.data.records import Records
from covidcxr.data.sources._listing import folder_names, image_names, split_of
from covidcxr.errors import OptionError

SOURCE = "kermany"
_CLASSES = {"NORMAL": names.NORMAL, "PNEUMONIA": names.PNEUMONIA}
_SUBTYPES = {"bacteria": names.BACTERIAL, "virus": names.VIRAL}
# person1_bacteria_1.jpeg; IM-0115-0001.jpeg, NORMAL2-IM-1427-0001.jpeg; in later releases
# BACTERIA-1351146-0002.jpeg.
_PNEUMONIA_NAME = re.compile(r"(?P<patient>person\d+)_(?P<subtype>bacteria|virus)_\d+", re.IGNORECASE)
_NORMAL_NAME = re.compile(r"(?P<patient>(?:NORMAL\d*-)?IM-\d+)-\d+")
_LATER_NAME = re.compile(r"(?P<subtype>bacteria|virus|normal)-(?P<patient>\d+)-\d+", re.IGNORECASE)
_NAMES = (_PNEUMONIA_NAME, _NORMAL_NAME, _LATER_NAME)


def detect(folder):
    """Tell whether a folder has split folders with the two classes and file names of this data set."""
    classes = _class_folders(folder)
    named = {part.name.upper() for part in classes}
    return named == set(_CLASSES) and any(_match(name) for part in classes for name in image_names(part))


def read(folder, *, labels="detailed"):
    """Read the images; subtype and patient come from the file names.

    Parameters
    ----------
    folder : path-like
    labels : {"detailed", "binary"}
        ``"detailed"``: normal, bacterial_pneumonia, viral_pneumonia. ``"binary"``: normal, pneumonia.

    Returns
    -------
    Records
        With the column `given_split` (train, val, test), as the folders have it. View AP throughout.

    Raises
    ------
    OptionError
        If `labels` is neither of the two.
    """
    if labels not in ("detailed", "binary"):
        raise OptionError(f"labels {labels!r}: the choices are detailed, binary")
    folder = Path(folder)
    rows = [
        _row(part.relative_to(folder), name, labels)
        for part in _class_folders(folder)
        for name in image_names(part)
    ]
    return Records.from_rows(rows, folder, notes=_notes(rows, labels))


def _class_folders(folder):
    folder = Path(folder)
    return [
        folder / split / name
        for split in folder_names(folder)
        if split_of(split)
        for name in folder_names(folder / split)
    ]


def _match(name):
    matches = (pattern.match(Path(name).name) for pattern in _NAMES)
    return next((match for match in matches if match), None)


def _row(part, name, labels):
    parts = _match(name)
    found = parts.groupdict() if parts else {}
    label = _CLASSES.get(part.name.upper(), names.canonical(part.name))
    if labels == "detailed" and label == names.PNEUMONIA:
        label = _SUBTYPES.get(found.get("subtype", "").lower(), label)
    return {
        "path": (part / name).as_posix(),
        "label": label,
        "patient_id": f"{SOURCE}-{found['patient']}" if found else "",
        "view": "AP",
        "source": SOURCE,
        "given_split": split_of(part.parent.name),
    }


def _notes(rows, labels):
    yield f"{SOURCE}: children of one to five years; beside adults a model can learn age instead"
    yield f"{SOURCE}: person numbers recur across splits and subtypes; they are taken for the same child"
    unnamed = sum(not row["patient_id"] for row in rows)
    if unnamed:
        yield f"{SOURCE}: {unnamed} file names tell no patient"
    plain = sum(row["label"] == names.PNEUMONIA for row in rows)
    if plain and labels == "detailed":
        yield f"{SOURCE}: {plain} pneumonia file names tell neither bacterial nor viral"
