"""A phantom data set on disk: class folders, `phantom.json` (written first), `phantom.csv` (written last)."""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from covidcxr import atomic, json_files
from covidcxr.data import labels
from covidcxr.data.phantom.confounders import TRAITS, Confounders
from covidcxr.data.phantom.patients import stream
from covidcxr.data.phantom.scene import SIZES, lung_mask, render
from covidcxr.data.records import Records, read_csv
from covidcxr.errors import DataError, OptionError, OutputError

SOURCE = "phantom"
TABLE = "phantom.csv"
PARAMETERS = "phantom.json"
# To be raised when the same parameters no longer give the same pictures.
MODEL = 1
MOST_IMAGES = 1_000_000
_FORMATS = {"png": [cv2.IMWRITE_PNG_COMPRESSION, 4], "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95]}
_NUMBERS = (*TRAITS, "severity", "opacity")
_NOTE = "Phantom images are computed, not taken of patients: results on them say nothing about a disease."


def write(
    folder,
    counts,
    *,
    size=256,
    seed=0,
    images_per_patient=(1, 4),
    confounders=None,
    progress=None,
    image_format="png",
    masks=False,
):
    """Write a phantom data set, or complete or reuse the same one.

    A larger count only adds images: those of a smaller count stay the same, bit for bit.

    Parameters
    ----------
    folder : path-like
        New, empty, or holding this very phantom.
    counts : dict of str to int
        Images of each label, at most 1,000,000.
    size : int
        Pixels a side, 64 to 1024.
    seed : int
    images_per_patient : (int, int)
        Fewest and most; the last patient of a class may have fewer, so that counts are exact.
    confounders : Confounders or dict, optional
        Shortcuts to plant; none by default. A dict names fields: ``{"marker": "covid19"}``.
    progress : callable, optional
        Called as ``progress(done, total)`` after each image.
    image_format : str
        ``"png"`` or ``"jpg"``.
    masks : bool
        Also write the true lung fields to `masks/`, named as the images, as PNG; the column `mask` has
        their paths.

    Returns
    -------
    Records
        As :func:`read` gives it.

    Raises
    ------
    OptionError
        If an option has no meaning.
    OutputError
        If the folder holds something else, or cannot be written.
    """
    confounders = Confounders.of(confounders)
    parameters = _parameters(counts, size, seed, images_per_patient, confounders, image_format, masks)
    folder = atomic.make_folder(folder)
    _claim(folder, parameters)
    rows = _plan(parameters)
    if not (folder / TABLE).is_file() or _missing(folder, rows):
        _fill(folder, rows, parameters, confounders, progress)
    return read(folder)


def detect(path):
    """Tell whether `path` is a phantom data set, finished or not."""
    return (Path(path) / PARAMETERS).is_file() or (Path(path) / TABLE).is_file()


def read(path):
    """Read a phantom data set.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Records
        With the truth of each image in the columns `pattern`, `severity`, `opacity`, `lesion_side`,
        `lesion_centres`, `marker`, `border`, `contrast` (see :func:`covidcxr.data.phantom.render`), and
        `mask`.

    Raises
    ------
    DataError
        If the data set is unfinished or its table cannot be read.
    """
    path = Path(path)
    if not (path / TABLE).is_file():
        raise DataError(
            f"{path / TABLE}: not there, the phantom is unfinished; make it again with the same options"
        )
    records = read_csv(path / TABLE)
    try:
        numbers = {name: pd.to_numeric(records.table[name]) for name in _NUMBERS if name in records.table}
    except ValueError as error:
        raise DataError(
            f"{path / TABLE}: damaged ({error}); make the phantom again in another folder"
        ) from error
    return Records.from_rows(records.table.assign(**numbers), path, notes=(_NOTE,))


def _parameters(counts, size, seed, images_per_patient, confounders, image_format, masks):
    _check_counts(counts)
    fewest, most = images_per_patient
    if not 1 <= fewest <= most:
        raise OptionError(f"images_per_patient={images_per_patient}: needs 1 <= fewest <= most")
    if image_format not in _FORMATS:
        raise OptionError(f"image_format={image_format!r}: use one of {', '.join(_FORMATS)}")
    if not SIZES[0] <= size <= SIZES[1]:
        raise OptionError(f"size={size}: a phantom is {SIZES[0]} to {SIZES[1]} pixels a side")
    if seed < 0:
        raise OptionError(f"seed={seed}: use 0 or more")
    return {
        "model": MODEL,
        "counts": {label: int(counts[label]) for label in labels.LABELS if counts.get(label)},
        "size": int(size),
        "seed": int(seed),
        "images_per_patient": [int(fewest), int(most)],
        "confounders": asdict(confounders),
        "image_format": image_format,
        "masks": bool(masks),
    }


def _check_counts(counts):
    unknown = sorted(set(counts) - set(labels.LABELS))
    if unknown:
        raise OptionError(f"label {unknown[0]!r} is unknown; use some of {', '.join(labels.LABELS)}")
    if min(counts.values(), default=0) < 0 or not sum(counts.values()):
        raise OptionError(f"counts {counts}: ask for at least one image, and for no negative number")
    if max(counts.values()) > MOST_IMAGES:
        raise OptionError(f"counts {counts}: ask for at most {MOST_IMAGES:,} images of a label")


def _claim(folder, parameters):
    """Record the parameters, or make sure that the folder already holds this very phantom."""
    file = folder / PARAMETERS
    if not file.is_file():
        # What a killed process was writing has a hidden name.
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise OutputError(f"{folder}: not empty and no phantom; choose another folder")
        atomic.write_json(file, parameters)
        return
    try:
        found = json_files.read(file)
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: not readable ({error}); choose another folder") from error
    if found != parameters:
        known = found if isinstance(found, dict) else {}
        keys = [key for key, value in parameters.items() if known.get(key) != value]
        other = ", ".join(keys) or "parameters"
        raise OutputError(f"{folder}: holds a phantom of other {other}; choose another folder")


def _plan(parameters):
    """List (label, patient, image, path) of every picture; patient numbers do not depend on the counts."""
    rows = []
    fewest, most = parameters["images_per_patient"]
    for label, count in parameters["counts"].items():
        patient, left = labels.LABELS.index(label) + 1, count
        while left:
            drawn = int(stream(parameters["seed"], "folder", patient).integers(fewest, most + 1))
            for image in range(1, min(drawn, left) + 1):
                name = f"{label}/patient-{patient:04d}-{image:02d}.{parameters['image_format']}"
                rows.append((label, patient, image, name))
            left -= min(drawn, left)
            patient += len(labels.LABELS)
    return rows


def _missing(folder, rows):
    return any(not (folder / name).is_file() for *_, name in rows)


def _fill(folder, rows, parameters, confounders, progress):
    size, seed = parameters["size"], parameters["seed"]
    table = []
    for done, (label, patient, image, name) in enumerate(rows, 1):
        pixels, truth = render(label, patient, image, size=size, seed=seed, confounders=confounders)
        _save(folder / name, pixels, _FORMATS[parameters["image_format"]])
        row = {"path": name, "patient_id": f"{SOURCE}-{patient:04d}", "source": SOURCE} | truth
        if parameters["masks"]:
            row["mask"] = (Path("masks") / name).with_suffix(".png").as_posix()
            _save(folder / row["mask"], lung_mask(patient, image, size=size, seed=seed), _FORMATS["png"])
        table.append(row)
        if progress:
            progress(done, len(rows))
    Records.from_rows(table, folder).write_csv(folder / TABLE)


def _save(path, pixels, options):
    """Write an image, unless it is there: files are whole or absent, and renders are repeatable."""
    if path.is_file():
        return
    atomic.make_folder(path.parent)
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), options)[1]
    with atomic.whole_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
