"""Draw the images that a paper's data set asks for from whatever the data folder holds."""

from dataclasses import replace

import numpy as np

from covidcxr.data.records import Records, concat
from covidcxr.errors import DataError


def draw(records, counts, sources, *, seed, screen):
    """Draw a paper's number of images per class, at random, skipping those that cannot be read.

    Parameters
    ----------
    records : Records
        All images at hand.
    counts : mapping of str to int
        Label to the number of images wanted.
    sources : mapping of str to str
        Label to the source it is taken from, where that source is at hand; else any source serves.
    seed : int
    screen : callable
        ``screen(records) -> records``, with the unreadable ones moved to its exclusions.

    Returns
    -------
    Records
        In a fixed order (by class, then path). To the notes and exclusions of `records` come where fewer
        images than wanted, or another source, had to do, and the unreadable ones.

    Raises
    ------
    DataError
        If a class has no image at all.
    """
    missing = sorted(set(counts) - set(records.table["label"]))
    if missing:
        found = ", ".join(records.classes()) or "none"
        raise DataError(
            f"{records.root}: no image labelled {', '.join(missing)} (classes found: {found}); "
            "add its images, or name the folder or cell after it"
        )
    parts = []
    for number, label in enumerate(sorted(counts)):
        pool, notes = _pool(records, label, sources.get(label))
        rng = np.random.default_rng([seed, number])
        part = _first_readable(pool, rng.permutation(len(pool)), counts[label], screen)
        if len(part) < counts[label]:
            notes = (*notes, f"{label}: {len(part)} images, where the paper has {counts[label]}")
        parts.append(replace(part, notes=part.notes + notes))
    drawn = concat(parts)
    return replace(drawn, exclusions=records.exclusions + drawn.exclusions, notes=records.notes + drawn.notes)


def _pool(records, label, source):
    table = records.table
    wanted = table["label"] == label
    preferred = wanted & (table["source"] == source)
    notes = ()
    if source and not preferred.any():
        others = ", ".join(sorted(table.loc[wanted, "source"].unique()))
        notes = (f"{label}: taken from {others}, where the paper has {source}",)
    chosen = table[preferred if preferred.any() else wanted].sort_values("path", ignore_index=True)
    return Records(chosen, records.root), notes


def _first_readable(pool, order, wanted, screen):
    """Take the first readable images in the drawn order; a tenth more are screened, to replace the broken."""
    spare = -(-wanted // 10) + 1
    drawn = replace(pool, table=pool.table.iloc[order[: wanted + spare]].reset_index(drop=True))
    readable = screen(drawn)
    chosen = readable.table.iloc[:wanted].sort_values("path", ignore_index=True)
    return replace(readable, table=chosen)
