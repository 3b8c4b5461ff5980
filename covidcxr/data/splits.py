"""Splits: a column `split` (train, val, test) of the records, drawn, given or read back.

Every function here returns new records. Rows are put in path order before anything is drawn, so a split
depends on the seed and on which images there are, never on the order in which a file system listed them.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from covidcxr.atomic import write_csv
from covidcxr.data import containment
from covidcxr.data.records import read_csv
from covidcxr.errors import DataError, OptionError

SPLITS = ("train", "val", "test")
EVERY_PHASE = 0
UNKNOWN = "file:"
_WRITTEN = ("path", "label", "patient_id", "group", "source", "split", "fold", "phase", "monitored")


@dataclass(frozen=True)
class Leak:
    """One group (a patient, or patients who share a picture) found in more than one split.

    Attributes
    ----------
    group : str
    paths : dict of str to tuple of str
        The group's images by split.
    """

    group: str
    paths: dict

    def __str__(self):
        where = ", ".join(f"{len(paths)} in {split}" for split, paths in self.paths.items())
        return f"{self.group}: {where}"


def random_split(records, fractions, *, seed, stratify=True, grouped=False, groups=None):
    """Draw a split at random, by image or by patient.

    Parameters
    ----------
    records : Records
    fractions : dict of str to float
        Share of each split, e.g. ``{"val": 0.2}`` or ``{"train": 0.7, "val": 0.1, "test": 0.2}``. `train`
        takes the remainder, so it may be left out.
    seed : int
    stratify : bool
        By image: draw ``int(fraction * n)`` of each class, the rounding of Keras' `validation_split`;
        otherwise of all images together.
    grouped : bool
        Keep every group whole. Class shares are then as near to `fractions` as the groups allow;
        :func:`summary` tells what was reached.
    groups : sequence of str, optional
        Group of each row. Default: the column `group` where there is one (see
        :func:`covidcxr.data.duplicates.linked_groups`), else `patient_id`; ``""`` is a group of its own.

    Returns
    -------
    Records
        With the column `split`.

    Raises
    ------
    DataError
        If there is only one class, or a class has too few images (or groups) to be in every split.
    OptionError
        If the fractions have no meaning.
    """
    shares = _shares(fractions)
    _require_classes(records)
    order, labels, names = _in_order(records, groups if grouped else None)
    if not stratify:
        labels = np.full(len(labels), "all images")
    generator = np.random.default_rng(seed)
    if grouped:
        drawn = _draw_groups(labels, names, shares, generator)
    else:
        drawn = _draw_images(labels, shares, generator)
    return _assigned(records, order, split=drawn)


def filename_order_split(records, fraction):
    """Split as Keras' `flow_from_directory(validation_split=...)` does: nothing is drawn at random.

    The first ``int(fraction * n)`` names of each class, folders and then names in byte order, are `val`.
    Since such names carry patient and date, this puts whole runs of patients into `val` and usually cuts
    one patient in two.

    Parameters
    ----------
    records : Records
        Below one folder a class, as Keras wants them; the label is the class.
    fraction : float
        Between 0 and 1.

    Returns
    -------
    Records
        With the column `split` (`train`, `val`).

    Raises
    ------
    DataError
        If there is only one class, or a class is too small to give `val` an image.
    """
    shares = _shares({"val": fraction})
    _require_classes(records)
    paths = records.table["path"]
    order = sorted(range(len(paths)), key=lambda row: tuple(paths.iloc[row].rpartition("/")[::2]))
    labels = records.table["label"].to_numpy()[order]
    return _assigned(records, order, split=_draw_images(labels, shares, None))


def counted_split(records, counts, *, seed):
    """Draw so many images of each class into each split, as papers print them; leave out the rest.

    Parameters
    ----------
    records : Records
    counts : dict of str to dict of str to int
        Class, split, number: ``{"sars": {"train": 10, "val": 3, "test": 3}}``. Classes not named are left
        out.
    seed : int

    Returns
    -------
    Records
        With the column `split`; images not drawn are exclusions ("not drawn").

    Raises
    ------
    DataError
        If a class has fewer images than asked for.
    OptionError
        If a split has another name than train, val, test.
    """
    _require_split_names({name for parts in counts.values() for name in parts})
    order, labels, _ = _in_order(records)
    generator = np.random.default_rng(seed)
    split = np.full(len(labels), "", dtype=object)
    for label, parts in sorted(counts.items()):
        rows = generator.permutation(np.flatnonzero(labels == label))
        wanted = sum(parts.values())
        if wanted > len(rows):
            raise DataError(
                f"class {label}: {wanted} images asked for, {len(rows)} there; ask for fewer or add a source"
            )
        split[rows[:wanted]] = np.repeat(list(parts), list(parts.values()))
    drawn = _assigned(records, order, split=split)
    return drawn.where(drawn.table["split"] != "", "not drawn")


def counted_group_split(records, counts, *, seed, groups=None):
    """Draw so many images of each class into each split, no patient into two of them.

    Patients are drawn whole. One who has more images than a split still lacks gives only as many as that; the
    numbers are thus met exactly wherever the patients at hand allow it, and never exceeded.

    Parameters
    ----------
    records : Records
    counts : dict of str to dict of str to int
        As for :func:`counted_split`.
    seed : int
    groups : sequence of str, optional
        As in :func:`random_split`.

    Returns
    -------
    Records
        With the column `split`; images not drawn are exclusions ("not drawn"). A note tells of each number
        that whole patients could not meet.

    Raises
    ------
    DataError
        If a class has fewer images than asked for, or too few patients to be in every split.
    OptionError
        If a split has another name than train, val, test.
    """
    _require_split_names({name for parts in counts.values() for name in parts})
    order, labels, names = _in_order(records, groups)
    generator = np.random.default_rng(seed)
    classes = sorted(counts)
    wanted = np.array([[counts[label].get(name, 0) for label in classes] for name in SPLITS])
    sizes, rows = _sizes(labels, names, classes)
    _require_images(classes, wanted, sizes)
    part = _fill_counts(sizes, wanted, generator)
    split = np.full(len(labels), "", dtype=object)
    short = []
    for column, label in enumerate(classes):
        drawn = generator.permutation(np.flatnonzero(labels == label))
        for number, name in enumerate(SPLITS):
            chosen = drawn[part[rows[drawn]] == number][: wanted[number, column]]
            split[chosen] = name
            short += [(label, name, len(chosen), wanted[number, column])]
    done = _assigned(records, order, split=split)
    return _with_shortfalls(done.where(done.table["split"] != "", "not drawn"), short)


def k_fold(records, k, *, seed, stratify=True, grouped=False, groups=None):
    """Give each image the number of the fold in which it is tested.

    Parameters
    ----------
    records : Records
    k : int
        At least 2.
    seed, stratify, grouped, groups
        As in :func:`random_split`.

    Returns
    -------
    Records
        With the column `fold`, integers 1 to `k`; :func:`one_fold` makes a split of one of them.

    Raises
    ------
    DataError
        If there is only one class, or a class has fewer images (or groups) than `k`.
    OptionError
        If `k` is less than 2.
    """
    if k < 2:
        raise OptionError(f"{k} folds: cross-validation needs at least 2")
    _require_classes(records)
    order, labels, names = _in_order(records, groups if grouped else None)
    if not stratify:
        labels = np.full(len(labels), "all images")
    generator = np.random.default_rng(seed)
    shares = dict.fromkeys(range(1, k + 1), 1 / k)
    fold = _draw_groups(labels, names, shares, generator) if grouped else _deal_images(labels, k, generator)
    return _assigned(records, order, fold=fold.astype(int))


def one_fold(records, number, held_out="test"):
    """Make fold `number` the held-out part and the other folds `train`.

    Parameters
    ----------
    records : Records
        With the column `fold` (see :func:`k_fold`).
    number : int
        1 to k.
    held_out : str
        Name of the held-out split.

    Returns
    -------
    Records
        With the column `split`.

    Raises
    ------
    DataError
        If there is no column `fold`, or no image has this number.
    """
    _require_column(records, "fold")
    tested = records.table["fold"].astype(int) == number
    if not tested.any():
        folds = sorted(set(records.table["fold"].astype(int)))
        raise DataError(f"fold {number}: no image has this number; there are folds {folds[0]} to {folds[-1]}")
    return records.with_columns(split=np.where(tested, held_out, "train"))


def phases(records, number, *, shared, seed, per_phase=None, leftover="test"):
    """Spread a large majority over training phases that all share the minority (rahimzadeh2020, section 2.1).

    Parameters
    ----------
    records : Records
        If there is a column `split`, only its `train` rows take part; without one, all rows do.
    number : int
        Phases; the paper has 8.
    shared : sequence of bool
        Rows that every phase trains on (the paper: everything of the COVID-19 data set).
    seed : int
    per_phase : dict of str to int, optional
        Images of each class unique to a phase (the paper: 250 normal, 200 pneumonia). Default: all there
        are, dealt evenly.
    leftover : str or None
        Split of the images that no phase uses; None leaves them out ("in no phase"). The paper tests on
        them. With None and a patient-level split made before, no patient is trained and tested on.

    Returns
    -------
    Records
        With the columns `split` and `phase` (0: every phase, or not trained on; 1 to `number`: that one
        only).

    Raises
    ------
    DataError
        If a class has fewer images than `number` phases need.
    OptionError
        If `number` is less than 1.
    """
    if number < 1:
        raise OptionError(f"{number} phases: at least 1 is needed")
    order, labels, _ = _in_order(records)
    split = _column(records, "split", "train")[order]
    unique = (split == "train") & ~np.asarray(shared, dtype=bool)[order]
    generator = np.random.default_rng(seed)
    phase = np.zeros(len(records), dtype=int)
    for label in sorted(set(labels[unique])):
        rows = generator.permutation(np.flatnonzero(unique & (labels == label)))
        each = _phase_size(label, len(rows), number, per_phase)
        taken = rows[: each * number] if per_phase else rows
        phase[taken] = np.arange(len(taken)) % number + 1
    idle = unique & (phase == 0)
    split[idle] = leftover or ""
    result = _assigned(records, order, split=split, phase=phase)
    return result if leftover else result.where(result.table["split"] != "", "in no phase")


def in_phase(records, number):
    """Return what phase `number` trains on: the shared images and its own."""
    _require_column(records, "phase")
    phase = records.table["phase"].astype(int)
    trained = records.table["split"] == "train"
    return records.where(trained & ((phase == EVERY_PHASE) | (phase == number)))


def given(records):
    """Use the split that the source's own folders or lists give (column `given_split`).

    Raises
    ------
    DataError
        If the source gives none, or gives none for some images.
    """
    _require_column(records, "given_split")
    split = records.table["given_split"]
    _require_known_splits(split, records.table["path"], "the source's own split")
    return records.with_columns(split=split)


def write(records, path):
    """Write the split as a CSV that :func:`from_csv` reads back: path, label, patient, source, split.

    Columns `group`, `fold`, `phase` and `monitored` are written where there are any. Paths are those of the records.
    """
    _require_column(records, "split")
    columns = [column for column in _WRITTEN if column in records.table]
    write_csv(path, records.table[columns].sort_values("path", kind="stable"))


def read(path, root=None):
    """Read a written split as records, without the source it was drawn from.

    Parameters
    ----------
    path : path-like
    root : path-like, optional
        Folder that its paths start from, to read the images from; default the CSV's own folder.

    Returns
    -------
    Records
        With the columns `split` and, where written, `fold` and `phase` (integers) and `monitored` (what a run
        scores after every epoch, where that is not simply the split `val`).

    Raises
    ------
    DataError
        If the file is no table of `path`, `label` and `split`, or a split has another name than train, val,
        test.
    """
    records = read_csv(path, root)
    if root is not None:
        records = containment.without_links_out(records)
    if "split" not in records.table:
        raise DataError(f"{path}: lacks the column split; write one with covidcxr.data.splits.write")
    _require_known_splits(records.table["split"], records.table["path"], path)
    numbered = [name for name in ("fold", "phase") if name in records.table]
    columns = {name: _whole_numbers(records, name, path) for name in numbered}
    if "monitored" in records.table:
        columns["monitored"] = _flags(records, path)
    return records.with_columns(**columns)


def from_csv(records, path):
    """Give records the split written before, matched by path.

    Parameters
    ----------
    records : Records
    path : path-like
        A CSV of :func:`write`.

    Returns
    -------
    Records
        With the columns `split` and, where written, `group`, `fold` and `phase`.

    Raises
    ------
    DataError
        If an image has no row in the CSV or a row has no image, or the file cannot be used (see
        :func:`read`).
    """
    written = read(path).table.set_index("path")
    paths = records.table["path"]
    _require_none(paths[~paths.isin(written.index)], f"{path}: has no row for", "draw the split again")
    _require_none(
        written.index[~written.index.isin(paths)],
        f"{path}: names what is not among the images read:",
        "give the folder and options it was written from",
    )
    columns = [column for column in ("group", "split", "fold", "phase", "monitored") if column in written]
    return records.with_columns(**{name: written.loc[paths, name].to_numpy() for name in columns})


def check(records, groups=None):
    """Find groups (patients, or patients who share a picture) in more than one split.

    Parameters
    ----------
    records : Records
        With the column `split`.
    groups : sequence of str, optional
        As in :func:`random_split`.

    Returns
    -------
    list of Leak
        By group name; empty if the split is sound. Images of unknown patients cannot be checked.
    """
    _require_column(records, "split")
    table = records.table.assign(group=group_names(records, groups))
    spread = table.groupby("group")["split"].transform("nunique") > 1
    return [
        Leak(group, {split: tuple(part["path"]) for split, part in rows.groupby("split")})
        for group, rows in table[spread].groupby("group", sort=True)
    ]


def summary(records, by="split"):
    """Tell what a split reached: images, patients and share of each class in each part.

    Parameters
    ----------
    records : Records
    by : str
        The column: ``"split"``, ``"fold"`` or ``"phase"``.

    Returns
    -------
    pandas.DataFrame
        Columns `label`, `by`, `images`, `patients` (known ones), `fraction` (of the class's images).
    """
    _require_column(records, by)
    patients = records.table["patient_id"]
    known = records.table.assign(patient_id=patients.where(patients != ""))
    parts = known.groupby(["label", by], sort=True)
    table = parts.agg(images=("path", "size"), patients=("patient_id", "nunique")).reset_index()
    return table.assign(fraction=table["images"] / table.groupby("label")["images"].transform("sum"))


def group_names(records, groups=None):
    """Return the group of each row, none of them empty.

    Parameters
    ----------
    records : Records
    groups : sequence of str, optional
        As in :func:`random_split`.

    Returns
    -------
    numpy.ndarray of str
        In row order; ``"file:<path>"`` where the group is unknown, so such an image is a group of its own.

    Raises
    ------
    OptionError
        If there is not one group a row.
    """
    if groups is None:
        groups = records.table["group" if "group" in records.table else "patient_id"]
    names = np.asarray(groups, dtype=object)
    if len(names) != len(records):
        raise OptionError(f"{len(names)} groups for {len(records)} images: one a row is needed")
    return np.where(names == "", UNKNOWN + records.table["path"].to_numpy(dtype=object), names)


def whole_groups(names, wanted, generator, number=None):
    """Choose groups at random whose images add up to a number, exactly where their sizes allow it.

    Parameters
    ----------
    names : sequence of str
        Group of each image (see :func:`group_names`).
    wanted : int
        Images. Where no combination of whole groups has as many, the next smaller number is drawn.
    generator : numpy.random.Generator
    number : int, optional
        Exactly so many groups, where any so many have a number of images up to `wanted`.

    Returns
    -------
    set of str
    """
    groups, sizes = np.unique(np.asarray(names, dtype=str), return_counts=True)
    order = generator.permutation(len(groups))
    sizes = sizes[order]
    reached = _reachable(sizes, max(wanted, 0), number)
    left = number or 0
    if number and not reached[0, left, 1:].any():
        return whole_groups(names, wanted, generator)
    images = int(np.flatnonzero(reached[0, left]).max())
    chosen = set()
    for place, size in enumerate(sizes):
        after = left - bool(number)
        if after >= 0 and images >= size and reached[place + 1, after, images - size]:
            chosen.add(str(groups[order[place]]))
            left, images = after, images - size
    return chosen


def require_classes(records, classes):
    """Check that every expected class has at least one image.

    Raises
    ------
    DataError
        Naming the first class that has none, and the classes there are.
    """
    there = records.classes()
    missing = [label for label in classes if label not in there]
    if missing:
        found = ", ".join(there) or "none"
        raise DataError(f"{records.root}: no image of class {missing[0]} (found: {found}); add its source")


def _shares(fractions):
    shares = {name: float(value) for name, value in fractions.items() if name != "train"}
    _require_split_names(fractions)
    held_out = sum(shares.values())
    in_all = held_out + fractions.get("train", 1 - held_out)
    if not shares or min(shares.values()) <= 0 or held_out >= 1:
        raise OptionError(f"fractions {fractions}: val and test must be above 0 and leave some for train")
    if not np.isclose(in_all, 1):
        raise OptionError(f"fractions {fractions}: they add up to {in_all:g}, not to 1")
    ordered = {name: shares[name] for name in SPLITS if name in shares}
    return {**ordered, "train": 1 - held_out}


def _in_order(records, groups=None):
    order = np.argsort(records.table["path"].to_numpy(dtype=str), kind="stable")
    labels = records.table["label"].to_numpy(dtype=object)[order]
    return order, labels, group_names(records, groups)[order]


def _assigned(records, order, **columns):
    back = np.empty(len(order), dtype=int)
    back[order] = np.arange(len(order))
    return records.with_columns(**{name: values[back] for name, values in columns.items()})


def _draw_images(labels, shares, generator):
    split = np.full(len(labels), "train", dtype=object)
    for label in sorted(set(labels)):
        rows = np.flatnonzero(labels == label)
        if generator is not None:
            rows = generator.permutation(rows)
        start = 0
        for name, fraction in shares.items():
            stop = len(rows) if name == "train" else start + int(fraction * len(rows))
            if stop == start:
                raise DataError(
                    f"class {label}: {len(rows)} images are too few for a {name} part of {fraction:g}; "
                    "add images or leave the class out"
                )
            split[rows[start:stop]] = name
            start = stop
    return split


def _deal_images(labels, k, generator):
    fold = np.empty(len(labels), dtype=int)
    dealt = 0
    for label in sorted(set(labels)):
        rows = generator.permutation(np.flatnonzero(labels == label))
        _require_enough(label, len(rows), k, "images")
        # Dealing goes on where the last class stopped: fold sizes then differ by one image at most.
        fold[rows] = (np.arange(len(rows)) + dealt) % k + 1
        dealt += len(rows)
    return fold


def _draw_groups(labels, names, shares, generator):
    """Give every group to the part that lacks its classes most, the largest groups first."""
    classes, columns = np.unique(labels.astype(str), return_inverse=True)
    groups, rows = np.unique(names.astype(str), return_inverse=True)
    sizes = np.zeros((len(groups), len(classes)))
    np.add.at(sizes, (rows, columns), 1)
    for label, count in zip(classes, (sizes > 0).sum(axis=0), strict=True):
        _require_enough(label, count, len(shares), "patients")
    part = _fill(sizes, np.array(list(shares.values())), generator)
    _complete(sizes, part, len(shares))
    for label, column in zip(classes, sizes.T, strict=True):
        _require_enough(label, len(set(part[column > 0])), len(shares), "separable patients")
    return np.array(list(shares), dtype=object)[part][rows]


def _sizes(labels, names, classes):
    """Return the images of each group in each class, (groups, classes), and the group of each row."""
    groups, rows = np.unique(names.astype(str), return_inverse=True)
    sizes = np.zeros((len(groups), len(classes)), dtype=int)
    for column, label in enumerate(classes):
        np.add.at(sizes[:, column], rows[labels == label], 1)
    return sizes, rows


def _fill_counts(sizes, wanted, generator):
    """Give groups to parts until each has its number of images; -1 for groups that no part needs.

    Groups are drawn at random until there are images enough; these are then dealt largest first, since small
    ones fit everywhere, and what is still missing comes from the others.
    """
    shuffled = generator.permutation(len(sizes))
    before = np.cumsum(sizes[shuffled], axis=0) - sizes[shuffled]
    needed = ((before < wanted.sum(axis=0)) & (sizes[shuffled] > 0)).any(axis=1)
    drawn = shuffled[needed]
    dealt = drawn[np.argsort(-sizes[drawn].sum(axis=1), kind="stable")]
    part, filled = np.full(len(sizes), -1), np.zeros_like(wanted)
    for group in np.concatenate([dealt, shuffled[~needed]]):
        gain = np.minimum(wanted - filled, sizes[group]).sum(axis=1)
        if gain.max() > 0:
            best = np.flatnonzero(gain == gain.max())
            lacking = ((wanted - filled) / np.maximum(wanted, 1))[best] @ sizes[group]
            part[group] = best[lacking.argmax()]
            filled[part[group]] = np.minimum(filled[part[group]] + sizes[group], wanted[part[group]])
    _seat(sizes, part, wanted)
    return part


def _seat(sizes, part, wanted):
    """Give a part that wants a class and has none of it the smallest group of a part with several."""
    for number, column in np.argwhere(wanted > 0):
        having = np.flatnonzero((sizes[:, column] > 0) & (part >= 0))
        held = np.bincount(part[having], minlength=len(wanted))
        if held[number] == 0:
            where = part[having]
            spare = having[(held[where] > 1) | (wanted[where, column] == 0)]
            part[spare[np.argmin(sizes[spare].sum(axis=1))]] = number


def _reachable(sizes, most, number):
    """Tell which sums the groups from each place on have: (places + 1, groups taken, images), boolean.

    Without a `number` of groups they are not counted: the second axis has length 1.
    """
    reached = np.zeros((len(sizes) + 1, (number or 0) + 1, most + 1), dtype=bool)
    reached[-1, 0, 0] = True
    step = 1 if number else 0
    for place in range(len(sizes) - 1, -1, -1):
        size, later = sizes[place], reached[place + 1]
        reached[place] = later
        if size <= most:
            reached[place, step:, size:] |= later[: len(later) - step, : most + 1 - size]
    return reached


def _require_images(classes, wanted, sizes):
    for column, label in enumerate(classes):
        asked, there = wanted[:, column].sum(), sizes[:, column].sum()
        if asked > there:
            raise DataError(
                f"class {label}: {asked} images asked for, {there} there; ask for fewer or add a source"
            )
        _require_enough(label, (sizes[:, column] > 0).sum(), (wanted[:, column] > 0).sum(), "patients")


def _with_shortfalls(records, numbers):
    notes = tuple(
        f"{label}: {reached} {name} images, where {asked} were asked for: patients are kept whole"
        for label, name, reached, asked in numbers
        if reached < asked
    )
    return replace(records, notes=records.notes + notes)


def _fill(sizes, shares, generator):
    totals = sizes.sum(axis=0)
    wanted = shares[:, None] * totals
    filled = np.zeros_like(wanted)
    shuffled = generator.permutation(len(sizes))
    part = np.empty(len(sizes), dtype=int)
    for group in shuffled[np.argsort(-sizes[shuffled].sum(axis=1), kind="stable")]:
        # Squared distance from the wanted counts, each class weighing the same however rare it is.
        before = ((filled - wanted) / totals) ** 2
        after = ((filled + sizes[group] - wanted) / totals) ** 2
        cost = (after - before).sum(axis=1) / shares
        part[group] = np.argmin(cost)
        filled[part[group]] += sizes[group]
    return part


def _complete(sizes, part, parts):
    """Move a small group of a class into each part that has none of it, out of the part with most."""
    classes_in = (sizes > 0).sum(axis=1)
    for column in np.argsort((sizes > 0).sum(axis=0), kind="stable"):
        having = np.flatnonzero(sizes[:, column])
        for target in range(parts):
            if (part[having] == target).any():
                continue
            richest = np.argmax(np.bincount(part[having], minlength=parts))
            spare = having[part[having] == richest]
            # A group of one class alone first: moving it takes nothing from the others.
            part[spare[np.lexsort((sizes[spare].sum(axis=1), classes_in[spare]))[0]]] = target


def _phase_size(label, available, number, per_phase):
    if per_phase is None:
        each = available // number
        if each == 0:
            raise DataError(f"class {label}: {available} images for {number} phases; use fewer phases")
        return each
    each = per_phase.get(label, 0)
    if each * number > available:
        raise DataError(
            f"class {label}: {number} phases of {each} need {each * number} images, {available} there; "
            f"use at most {available // number} a phase"
        )
    return each


def _column(records, name, default):
    if name in records.table:
        return records.table[name].to_numpy(dtype=object).copy()
    return np.full(len(records), default, dtype=object)


def _whole_numbers(records, name, path):
    numbers = pd.to_numeric(records.table[name], errors="coerce")
    if numbers.isna().any() or (numbers % 1 != 0).any():
        raise DataError(f"{path}: column {name} must hold whole numbers; write the split again")
    return numbers.astype(int)


def _flags(records, path):
    words = records.table["monitored"]
    if not words.isin(["True", "False"]).all():
        raise DataError(f"{path}: column monitored must hold True or False; write the split again")
    return words == "True"


def _require_classes(records):
    classes = records.classes()
    if len(classes) < 2:
        raise DataError(
            f"{records.root}: only one class ({', '.join(classes) or 'no images'}); at least two are needed"
        )


def _require_enough(label, count, parts, what):
    if count < parts:
        raise DataError(
            f"class {label}: {count} {what} for {parts} parts; use fewer parts or leave the class out"
        )


def _require_split_names(names):
    unknown = sorted(set(names) - set(SPLITS))
    if unknown:
        raise OptionError(f"split {unknown[0]!r}: the splits are {', '.join(SPLITS)}")


def _require_column(records, name):
    if name not in records.table:
        raise DataError(f"{records.root}: the images have no column {name}; make or read a split first")


def _require_known_splits(split, paths, where):
    wrong = ~split.isin(SPLITS)
    if wrong.any():
        first = wrong.to_numpy().argmax()
        raise DataError(
            f"{where}: {paths.iloc[first]} is in split {split.iloc[first]!r} ({wrong.sum()} such); "
            f"the splits are {', '.join(SPLITS)}"
        )


def _require_none(paths, complaint, remedy):
    if len(paths):
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise DataError(f"{complaint} {sorted(paths)[0]}{more}; {remedy}")
