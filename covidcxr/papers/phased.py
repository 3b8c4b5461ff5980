"""rahimzadeh2020's images: a rare class and a few others in every training phase, two large classes dealt out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr.errors import DataError

_TESTED = -1
_LISTED = "listed_fold"
_HOMEPAGE = "github.com/mr7495/covid19"
# Streams of random numbers beside those of the pools, which are numbered from 0.
_STAND_INS, _VALIDATION, _DEALING, _MONITORED = 90, 91, 92, 93


@dataclass(frozen=True)
class Shared:
    """Images that every phase trains on, but for those of some patients, who are tested.

    Attributes
    ----------
    label : str
    images : int
        As printed.
    tested : tuple of int
        Images tested in each fold.
    source : str
        The public set they come from.
    patients : int or None
        How many patients are tested; None for as many as it takes.
    anew : bool
        Whether each fold draws its own patients.
    """

    label: str
    images: int
    tested: tuple
    source: str
    patients: int | None = None
    anew: bool = True


@dataclass(frozen=True)
class Dealt:
    """Images of which each phase trains on its own, and most are tested.

    Attributes
    ----------
    label : str
    images : int
        As printed.
    trained : int
        Images of all phases together.
    """

    label: str
    images: int
    trained: int


@dataclass(frozen=True)
class FoldsOfPhases:
    """Folds whose training images are dealt over phases; whatever no phase trains on is tested.

    Where fewer images are at hand than the paper has, every number shrinks in proportion, and a note says so.

    Attributes
    ----------
    pools : tuple of (Shared or Dealt)
        Drawn in this order.
    grouped : bool
        True takes a validation part of whole patients out of the training images, and trains on no picture that
        a tested patient shares. The tested images are the same either way.
    phases : int
    validation : float
        Share of each class's training images.
    monitored : mapping of str to int
        Tested images of each class that are scored after every epoch where there is no validation part; all of
        a class that is not named.
    """

    pools: tuple
    grouped: bool
    phases: int = 8
    validation: float = 0.15
    monitored: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, records, plan):
        """Return the records with the columns `split` and `phase`, and `monitored` where there is no `val`.

        Raises
        ------
        DataError
            If a class has too few images or patients to train and to test.
        """
        fold = plan.unit.fold
        column = f"{_LISTED}{fold}"
        listed = column in records.table
        if listed:
            records = _as_listed(records, column)
            shared = records.table["phase"].to_numpy() == 0
        else:
            records, shared = _drawn(records, self.pools, fold, plan.seed, self.phases)
            records = records.with_columns(shared=shared)
        if self.grouped:
            records = _with_validation(records, self.validation, [plan.seed, _VALIDATION, fold])
        if not listed:
            records = _dealt(records, self.phases, [plan.seed, _DEALING, fold])
            records = _with_numbers(records, self.pools, fold, self.phases)
        _require_both(records)
        return records if self.grouped else self._watched(records, [plan.seed, _MONITORED, fold])

    def _watched(self, records, seed):
        generator = np.random.default_rng(seed)
        split, labels, paths = (
            records.table[name].to_numpy(dtype=object) for name in ("split", "label", "path")
        )
        chosen = np.zeros(len(records), dtype=bool)
        for label in records.classes():
            rows = np.flatnonzero((split == "test") & (labels == label))
            rows = generator.permutation(rows[np.argsort(paths[rows].astype(str), kind="stable")])
            chosen[rows[: self.monitored.get(label, len(rows))]] = True
        return records.with_columns(monitored=chosen)


def select(records, plan, pools):
    """Draw the images of each pool, for a data set that is split anew (see `DataSet.select`).

    Parameters
    ----------
    records : Records
    plan : Plan
        Its data set's counts and sources are followed.
    pools : sequence of (Shared or Dealt)

    Returns
    -------
    Records
        Readable images; what is missing or stands in for the paper's source is noted.

    Raises
    ------
    DataError
        If a class has no image.
    """
    from covidcxr.data import selection, splits
    from covidcxr.data.records import concat

    data_set = plan.data_set
    splits.require_classes(records, sorted(data_set.counts))
    bare = replace(records, exclusions=(), notes=())
    parts = []
    for pool, mask, number in _wanted(bare, pools, data_set.counts):
        first = isinstance(pool, Shared) and mask.any() and (bare.table["source"][mask] == pool.source).all()
        source = pool.source if first else data_set.sources.get(pool.label)
        options = {"seed": plan.seed, "screen": _screen(plan)}
        parts.append(selection.draw(bare.where(mask), {pool.label: number}, {pool.label: source}, **options))
    drawn = concat(parts)
    return replace(drawn, exclusions=records.exclusions + drawn.exclusions, notes=records.notes + drawn.notes)


def select_listed(records, plan):
    """Take the images that the authors' fold files name, for a data set that they split (see `DataSet.select`).

    Returns
    -------
    Records
        Readable images, with one column a fold that tells the phase.

    Raises
    ------
    DataError
        If the data folder has no sub-folder with these files, or none of their images.
    """
    from covidcxr.data import selection
    from covidcxr.data.sources import rahimzadeh

    lists = rahimzadeh.read_lists(_lists_folder(plan.options.data))
    assigned = [rahimzadeh.assign(records, lists, fold) for fold in rahimzadeh.FOLDS]
    columns = {
        f"{_LISTED}{fold}": np.where(each.table["split"] == "test", _TESTED, each.table["phase"].astype(int))
        for fold, each in zip(rahimzadeh.FOLDS, assigned, strict=True)
    }
    listed = assigned[0].with_columns(**columns)
    return selection.draw(listed, plan.data_set.counts, {}, seed=plan.seed, screen=_screen(plan))


def _lists_folder(data):
    from covidcxr.data.sources import rahimzadeh

    root = Path(str(data))
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in folders:
        if rahimzadeh.detect(folder):
            return folder
    raise DataError(
        f"{data}: no sub-folder with the authors' fold files (All.csv, fold1/train1.csv); put {_HOMEPAGE}'s "
        "folder prepared_csv_files there, or use --case rebuilt"
    )


def _screen(plan):
    from covidcxr.data import screening

    reading = plan.recipe.reading
    return partial(screening.screen, **({} if reading is None else {"reading": reading}))


def _wanted(records, pools, counts):
    """Yield each pool that is at hand, its rows and the number of images to draw of them."""
    labels = records.table["label"].to_numpy(dtype=object)
    first = _first_set(records, pools)
    for pool in pools:
        of_label = [other for other in pools if other.label == pool.label]
        rows, whole = labels == pool.label, sum(other.images for other in of_label)
        if len(of_label) > 1 and first.any():
            rows = rows & (first if isinstance(pool, Shared) else ~first)
            number = max(1, round(counts[pool.label] * pool.images / whole))
        elif len(of_label) > 1 and isinstance(pool, Shared):
            continue
        else:
            number = counts[pool.label]
        yield pool, rows, number


def _first_set(records, pools):
    """Return the rows of the shared pool of a class that another pool deals out; none if it has one source only."""
    dealt = {pool.label for pool in pools if isinstance(pool, Dealt)}
    labels, sources = (records.table[name].to_numpy(dtype=object) for name in ("label", "source"))
    rows = np.zeros(len(records), dtype=bool)
    for pool in pools:
        if isinstance(pool, Shared) and pool.label in dealt:
            mine = (labels == pool.label) & (sources == pool.source)
            if mine.any() and not mine[labels == pool.label].all():
                rows |= mine
    return rows


def _as_listed(records, column):
    phase = records.table[column].to_numpy(dtype=int)
    split = np.where(phase == _TESTED, "test", "train")
    return records.with_columns(split=split, phase=np.maximum(phase, 0))


def _drawn(records, pools, fold, seed, phases):
    """Split whole patients into train and test, pool by pool; also tell which rows every phase may train on."""
    from covidcxr.data import splits

    names = splits.group_names(records, records.table["patient_id"]).astype(str)
    records, first = _with_stand_ins(records, pools, names, seed)
    labels = records.table["label"].to_numpy(dtype=object)
    dealt = {pool.label for pool in pools if isinstance(pool, Dealt)}
    shared = first | ~np.isin(labels.astype(str), sorted(dealt))
    held = {}
    for number, pool in enumerate(pools):
        is_shared = isinstance(pool, Shared)
        rows = names[(labels == pool.label) & (shared == is_shared)]
        part, other = ("test", "train") if is_shared else ("train", "test")
        known = np.array([held.get(name, "") for name in rows], dtype=object)
        free = rows[known == ""]
        wanted = _tested(pool, rows, fold) if is_shared else _trained(pool, rows, phases)
        generator = np.random.default_rng([seed, number, fold if not is_shared or pool.anew else 0])
        patients = pool.patients if is_shared else None
        chosen = splits.whole_groups(free, wanted - int((known == part).sum()), generator, patients)
        held.update({name: part if name in chosen else other for name in free})
    return records.with_columns(split=[held[name] for name in names]), shared


def _tested(pool, rows, fold):
    """Return how many images of a shared pool to test: at least one patient's, where there are two."""
    sizes = np.unique(rows, return_counts=True)[1]
    if len(sizes) < 2:
        return 0
    return max(round(len(rows) * pool.tested[fold - 1] / pool.images), int(sizes.min()))


def _trained(pool, rows, phases):
    return phases * max(1, round(len(rows) * pool.trained / pool.images / phases))


def _with_stand_ins(records, pools, names, seed):
    """Return which rows are the first set's; without any, patients of the other set stand in for them."""
    from covidcxr.data import splits

    first = _first_set(records, pools)
    if first.any():
        return records, first
    labels = records.table["label"].to_numpy(dtype=object)
    dealt = {pool.label: pool for pool in pools if isinstance(pool, Dealt)}
    notes = records.notes
    for pool in (pool for pool in pools if isinstance(pool, Shared) and pool.label in dealt):
        rows = names[labels == pool.label]
        smallest = int(np.unique(rows, return_counts=True)[1].min())
        share = pool.images / (pool.images + dealt[pool.label].images)
        generator = np.random.default_rng([seed, _STAND_INS])
        chosen = splits.whole_groups(rows, max(round(len(rows) * share), smallest), generator)
        first |= np.isin(names, sorted(chosen)) & (labels == pool.label)
        note = f"{pool.label}: none from {pool.source} beside others, so {first.sum()} stand in for its {pool.images}"
        notes = (*notes, note)
    return replace(records, notes=notes), first


def _with_validation(records, share, seed):
    """Take whole patients out of training, and drop training pictures that a tested patient shares."""
    from covidcxr.data import splits

    names = splits.group_names(records)
    split = records.table["split"].to_numpy(dtype=object)
    linked = (split == "train") & np.isin(names.astype(str), names[split == "test"].astype(str))
    records = records.where(~linked, "a tested patient's picture")
    training = records.where(records.table["split"] == "train")
    drawn = splits.random_split(training, {"val": share}, seed=seed, grouped=True).table
    parts = dict(zip(drawn["path"], drawn["split"], strict=True))
    return records.with_columns(split=[parts.get(path, "test") for path in records.table["path"]])


def _dealt(records, phases, seed):
    from covidcxr.data import splits

    table = records.table
    rare = table[(table["split"] == "train") & ~table["shared"].astype(bool)]["label"].value_counts()
    for label, number in rare.items():
        if number < phases:
            raise DataError(
                f"{records.root}: {number} images of {label} to train on are too few for {phases} phases; "
                "add images"
            )
    return splits.phases(records, phases, shared=table["shared"].astype(bool), seed=seed)


def _with_numbers(records, pools, fold, phases):
    """Note the numbers of each phase and of the test where they are not the paper's."""
    at_hand = records.table["label"].value_counts()
    printed = (
        pd.Series([pool.images for pool in pools], [pool.label for pool in pools]).groupby(level=0).sum()
    )
    if all(at_hand.get(label, 0) >= number for label, number in printed.items()):
        return records
    from covidcxr.data import splits

    first = splits.in_phase(records, 1).table["label"].value_counts()
    tested = records.table.loc[records.table["split"] == "test", "label"].value_counts()
    numbers = ", ".join(
        f"{label} {first.get(label, 0)} a phase and {tested.get(label, 0)} tested"
        for label in sorted(first.index)
    )
    note = f"fold {fold}: fewer images than the paper's, its numbers in proportion over {phases} phases: {numbers}"
    return replace(records, notes=(*records.notes, note))


def _require_both(records):
    for split in ("train", "test"):
        there = set(records.table.loc[records.table["split"] == split, "label"])
        missing = sorted(set(records.classes()) - there)
        if missing:
            raise DataError(
                f"{records.root}: no image of {missing[0]} is left to {split}; add images of other patients"
            )
