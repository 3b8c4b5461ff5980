"""The fold files of Rahimzadeh and Attar 2020 (github.com/mr7495/covid19): five folds of eight phases."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from covidcxr.data.labels import canonical
from covidcxr.data.records import Exclusion
from covidcxr.data.sources._listing import read_text_table
from covidcxr.data.splits import EVERY_PHASE
from covidcxr.errors import DataError, OptionError

SOURCE = "rahimzadeh2020-splits"
FOLDS = (1, 2, 3, 4, 5)
PHASES = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Lists:
    """The authors' lists.

    Attributes
    ----------
    images : pandas.DataFrame
        All.csv: columns `name` (file name, unique) and `label`.
    phases : pandas.DataFrame
        Long: columns `fold` (1-5), `phase` (1-8), `name`, `label`; an image that every phase trains on has
        eight rows a fold.
    """

    images: pd.DataFrame
    phases: pd.DataFrame


def detect(folder):
    """Tell whether a folder holds the authors' lists."""
    folder = Path(folder)
    return (folder / "All.csv").is_file() and (folder / "fold1" / "train1.csv").is_file()


def read_lists(folder):
    """Read All.csv and fold1..5/train1..8.csv.

    Parameters
    ----------
    folder : path-like
        The repository's folder prepared_csv_files, under any name.

    Returns
    -------
    Lists

    Raises
    ------
    DataError
        If a list is missing, is no table of filename and class, or names an image that All.csv lacks.
    """
    folder = Path(folder)
    images = _read_list(folder / "All.csv")
    parts = [
        _read_list(folder / f"fold{fold}" / f"train{phase}.csv").assign(fold=fold, phase=phase)
        for fold in FOLDS
        for phase in PHASES
    ]
    phases = pd.concat(parts, ignore_index=True)[["fold", "phase", "name", "label"]]
    stray = phases["name"][~phases["name"].isin(images["name"])]
    if len(stray):
        raise DataError(f"{folder}: a fold lists {stray.iloc[0]}, which All.csv lacks; get the lists again")
    return Lists(images, phases)


def assign(records, lists, fold):
    """Give records the authors' split and phases, matching file names without their suffix.

    The lists name RSNA's images ``<id>.png``; on disk they may be ``.dcm`` or ``.jpg``.

    Parameters
    ----------
    records : Records
        Read covid-chestxray-dataset with `views=None`: upstream later marked two listed images lateral.
    lists : Lists
    fold : int
        1 to 5.

    Returns
    -------
    Records
        The listed images, with the columns `split` (train, test) and `phase` (0 for every phase, as for
        :func:`covidcxr.data.splits.phases`; 1-8; 0 for test images too). `label` is the lists'; where the
        source gave another, a note counts it. Images not listed, and listed names without an image, are
        exclusions.

    Raises
    ------
    DataError
        If no image is on the lists.
    OptionError
        If there is no such fold.
    """
    plan = _plan(lists, fold)
    names = _listed_names(records.table["path"], plan.index)
    listed = records.where(names != "", "not on the authors' lists")
    if not len(listed):
        raise DataError(
            f"{records.root}: none of {len(records)} images is on the lists; add the paper's sources"
        )
    names = names[names != ""]
    first = _first_of_each(names, listed.table["path"])
    kept, names = listed.where(first, "another file of a listed image"), names[first]
    rows = plan.loc[names]
    relabelled = int((rows["label"].to_numpy() != kept.table["label"].to_numpy()).sum())
    result = kept.with_columns(**{column: rows[column].to_numpy() for column in ("label", "split", "phase")})
    return _annotated(result, plan.index[~plan.index.isin(names)], relabelled)


def describe(folder, records):
    """Say in a sentence what the lists in a folder name, and how much of it is among some records."""
    listed = read_lists(folder).images
    here = set(_listed_names(records.table["path"], listed["name"])) - {""}
    found = listed["label"][listed["name"].isin(here)].value_counts()
    shares = ", ".join(f"{found.get(label, 0)} of {number} {label}" for label, number in _totals(listed))
    return f"{folder}: rahimzadeh2020's fold lists; of their images are here {shares}"


def counts(lists, fold):
    """Count what each phase trains on, what is unique to it, and what is tested.

    Parameters
    ----------
    lists : Lists
    fold : int
        1 to 5.

    Returns
    -------
    pandas.DataFrame
        Index `part`: "phase 1" to "phase 8" (all that the phase trains on), "every phase" (in all eight),
        "train" (distinct images), "test", "all". Columns: the labels, and `images`.

    Raises
    ------
    OptionError
        If there is no such fold.
    """
    plan = _plan(lists, fold)
    trained = plan["split"] == "train"
    shared = trained & (plan["phase"] == EVERY_PHASE)
    parts = {f"phase {phase}": shared | (plan["phase"] == phase) for phase in PHASES}
    parts |= {"every phase": shared, "train": trained, "test": ~trained, "all": trained | ~trained}
    rows = [plan["label"][mask].value_counts() for mask in parts.values()]
    table = pd.DataFrame(rows, index=pd.Index(parts, name="part")).fillna(0).astype(int).sort_index(axis=1)
    table.columns.name = None
    return table.assign(images=table.sum(axis=1))


def _read_list(path):
    table = read_text_table(path, ("filename", "class"))
    twice = table["filename"][table["filename"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: lists {twice.iloc[0]} twice; get the lists again")
    return pd.DataFrame({"name": table["filename"], "label": table["class"].map(canonical)})


def _plan(lists, fold):
    """Return label, split and phase of every listed image, by name."""
    if fold not in FOLDS:
        raise OptionError(f"fold {fold}: the authors' folds are 1 to 5")
    chosen = lists.phases[lists.phases["fold"] == fold].groupby("name")["phase"].agg(["size", "first"])
    odd = chosen.index[~chosen["size"].isin((1, len(PHASES)))]
    if len(odd):
        raise DataError(
            f"fold {fold}: {odd[0]} is in some phases, neither in one nor in all; get the lists again"
        )
    phase = np.where(chosen["size"] == 1, chosen["first"], EVERY_PHASE)
    plan = lists.images.set_index("name")
    plan["phase"] = pd.Series(phase, chosen.index).reindex(plan.index, fill_value=EVERY_PHASE)
    return plan.assign(split=np.where(plan.index.isin(chosen.index), "train", "test"))


def _totals(listed):
    return listed["label"].value_counts().sort_index().items()


def _listed_names(paths, listed):
    """Return the listed name of each file, "" if there is none; RSNA's names differ in their suffix."""
    by_stem = {PurePosixPath(name).stem: name for name in listed}
    known = set(listed)
    files = [PurePosixPath(path) for path in paths]
    found = [file.name if file.name in known else by_stem.get(file.stem, "") for file in files]
    return np.array(found, dtype=object)


def _first_of_each(names, paths):
    """Choose one file a name: the one that has the very name, then the first by path."""
    files = pd.DataFrame({"name": names, "path": paths})
    files["other"] = [PurePosixPath(path).name != name for path, name in zip(paths, names, strict=True)]
    ordered = files.sort_values(["other", "path"], kind="stable")
    return ~ordered["name"].duplicated().sort_index().to_numpy()


def _annotated(records, missing, relabelled):
    exclusions = tuple(Exclusion(name, SOURCE, "file missing") for name in missing)
    notes = ()
    if relabelled:
        notes = (f"{SOURCE}: {relabelled} images have another label in their source; the lists are followed",)
    return replace(records, exclusions=records.exclusions + exclusions, notes=records.notes + notes)
