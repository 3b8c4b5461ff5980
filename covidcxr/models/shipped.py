"""The models that come with this package: where they lie, which there are, and which is used when none is named.

Readable without TensorFlow, Keras, NumPy or pandas. :mod:`covidcxr.papers.shipping` makes them.
"""

import csv
import math
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from covidcxr.errors import ModelError
from covidcxr.formula_cells import plain

FOLDER_VARIABLE = "COVIDCXR_MODELS"
FOLDER = "saved_models"
INDEX = "index.csv"
MODEL, CARD, METRICS, SPLIT = "model.h5", "model_card.md", "metrics.json", "split.csv"
FILES = (MODEL, CARD, METRICS, SPLIT)
YES = "yes"
# A score is three columns: the value, and the ends of its interval.
SCORES = ("accuracy", "balanced_accuracy", "roc_area")
COLUMNS = (
    "name",
    "default",
    "paper",
    "case",
    "model",
    "protocol",
    "classes",
    "split",
    "images",
    "patients",
    *(f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")),
    "bytes",
    "sha256",
)
_INSTALLED = ("share", "covidcxr", FOLDER)


@dataclass(frozen=True)
class Shipped:
    """A model that comes with the package.

    Attributes
    ----------
    name : str
    folder : pathlib.Path
        With the files of :data:`FILES`.
    row : mapping of str to str
        Its line of index.csv, by :data:`COLUMNS`.
    """

    name: str
    folder: Path
    row: dict

    @property
    def path(self):
        """The model's file."""
        return self.folder / MODEL

    @property
    def classes(self):
        """Class names, in the order of the outputs."""
        return tuple(self.row["classes"].split())

    @property
    def is_default(self):
        """Whether it is used when none is named."""
        return self.row["default"] == YES

    def score(self, name):
        """Return a score with its 95 % interval as text, ``"0.912 [0.850, 0.957]"``.

        Parameters
        ----------
        name : str
            One of :data:`SCORES`.
        """
        value, low, high = (self.row[f"{name}{end}"] for end in ("", "_low", "_high"))
        if not value:
            return "not defined"
        return (
            f"{float(value):.3f} [{float(low):.3f}, {float(high):.3f}]"
            if low and high
            else f"{float(value):.3f}"
        )


def folder():
    """Return the folder with the shipped models.

    The environment variable COVIDCXR_MODELS names it; else it is that of a clone of the repository, else what was
    installed beside the package.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        If no such folder has an index.csv.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        if not (Path(named) / INDEX).is_file():
            raise ModelError(f"{FOLDER_VARIABLE}={named}: no {INDEX} there; name a folder of shipped models")
        return Path(named)
    found = next((place for place in _places() if (place / INDEX).is_file()), None)
    if found is None:
        raise ModelError(
            f"no shipped models beside this installation; name a MODEL.h5, or set {FOLDER_VARIABLE} to a folder of them"
        )
    return found


def listed():
    """Return the shipped models, in the order of their names.

    Returns
    -------
    list of Shipped

    Raises
    ------
    ModelError
        If there is no folder of them, or its index is damaged.
    """
    place = folder()
    path = place / INDEX
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ModelError(f"{path}: not readable ({error}); get the file again") from error
    if not all(_is_whole(row) for row in rows):
        raise ModelError(f"{path}: not an index of shipped models of this version; get the file again")
    rows = [{name: plain(cell) for name, cell in row.items()} for row in rows]
    return sorted((Shipped(row["name"], place / row["name"], row) for row in rows), key=lambda one: one.name)


def default():
    """Return the model that is used when none is named; index.csv marks it (see :mod:`covidcxr.papers.shipping.index`).

    Raises
    ------
    ModelError
        If there is none.
    """
    models = listed()
    chosen = next((one for one in models if one.is_default), None)
    if chosen is None:
        hint = f"name one: {', '.join(one.name for one in models)}" if models else "none is shipped yet"
        raise ModelError(f"no shipped model is the default ({hint}); or name a MODEL.h5")
    return chosen


def find(name):
    """Return the shipped model of a name, None if there is none of that name, or none at all."""
    try:
        return next((one for one in listed() if one.name == name), None)
    except ModelError:
        if os.environ.get(FOLDER_VARIABLE):
            raise
        return None


def model_file(word):
    """Return the file that a word on the command line means: a shipped model's, or the word itself.

    Parameters
    ----------
    word : str
        The name of a shipped model, or a path. A name wins over a file of the same name; write ``./NAME`` for that.

    Returns
    -------
    pathlib.Path or str
    """
    found = find(word)
    return found.path if found else word


def _is_whole(row):
    """Tell whether a line of index.csv has every column, a folder beside it, and numbers where scores stand."""
    if set(row) != set(COLUMNS) or None in row.values() or Path(row["name"]).name != row["name"]:
        return False
    scores = [row[f"{score}{end}"] for score in SCORES for end in ("", "_low", "_high")]
    try:
        return all(math.isfinite(float(text)) for text in scores if text)
    except ValueError:
        return False


def _places():
    """Yield where shipped models may lie: a clone first, then where wheels put them."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        yield root / FOLDER
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    for scheme in schemes:
        yield Path(sysconfig.get_path("data", scheme)).joinpath(*_INSTALLED)
    # pip install --target
    yield root.joinpath(*_INSTALLED)
