"""Every image decoded once before a run, so that a broken file is known by name and not met in epoch 3."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from covidcxr.data.images import DEFAULT_READING, read_grey
from covidcxr.data.records import Exclusion
from covidcxr.errors import DataError, ImageError

# Images in flight at once: bounds the work lost to Ctrl-C and keeps memory flat.
_CHUNK = 64
_NARROW = 20


def screen(records, reading=DEFAULT_READING, progress=None, max_bad_fraction=0.1, workers=2):
    """Decode every image and move those that cannot be read to the exclusions.

    Parameters
    ----------
    records : Records
    reading : GreyReading
    progress : callable, optional
        Called as ``progress(done, total)`` after each group of images.
    max_bad_fraction : float
        Largest part of the images, 0 to 1, that may be unreadable.
    workers : int
        Threads that decode; each holds one image.

    Returns
    -------
    Records
        The readable images, in their order. Each exclusion's reason begins with ``"unreadable: "``; a note
        tells of constant images and of images whose values span fewer than 20 of the 256 grey levels.

    Raises
    ------
    DataError
        If no image of a class, or less than 1 - `max_bad_fraction` of all, can be read; it names the first
        such file.
    """
    faults, spans = _decode_all(records.files(), reading, progress, workers)
    _check_loss(records, faults, max_bad_fraction)
    paths, sources = list(records.table["path"]), list(records.table["source"])
    excluded = tuple(
        Exclusion(paths[row], sources[row], f"unreadable: {faults[row]}") for row in sorted(faults)
    )
    readable = np.array([row not in faults for row in range(len(records))], dtype=bool)
    kept = records.where(readable)
    notes = _range_notes(paths, spans)
    return replace(kept, exclusions=kept.exclusions + excluded, notes=kept.notes + notes)


def _decode_all(files, reading, progress, workers):
    """Return the faults and the narrow spans of grey levels, both by row; keep no image."""
    faults, spans = {}, {}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            for row, (fault, span) in enumerate(pool.map(lambda path: _examine(path, reading), chunk), start):
                if fault:
                    faults[row] = fault
                elif span < _NARROW:
                    spans[row] = span
            if progress:
                progress(start + len(chunk), len(files))
    return faults, spans


def _examine(path, reading):
    """Return (fault, None), the fault without path and remedy, or (None, the span of grey levels)."""
    try:
        grey = read_grey(path, reading)
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ").rpartition("; ")[0], None
    return None, int(grey.max()) - int(grey.min())


def _check_loss(records, faults, max_bad_fraction):
    labels = list(records.table["label"])
    total, lost = Counter(labels), Counter(labels[row] for row in faults)
    for label in sorted(lost):
        if lost[label] == total[label]:
            rows = [row for row in sorted(faults) if labels[row] == label]
            raise DataError(_loss(records, faults, rows[0], f"all {total[label]} images of {label!r}"))
    if len(faults) > max_bad_fraction * len(labels):
        what = f"{len(faults)} of {len(labels)} images (more than {max_bad_fraction:.0%})"
        raise DataError(_loss(records, faults, min(faults), what))


def _loss(records, faults, row, what):
    return (
        f"{records.files()[row]}: {faults[row]}; {what} cannot be read, this is the first: "
        "check the folder, or download the set again"
    )


def _range_notes(paths, spans):
    constant = [paths[row] for row, span in spans.items() if span == 0]
    narrow = [paths[row] for row, span in spans.items() if span > 0]
    notes = []
    if constant:
        notes.append(f"{_images(constant)} one grey level only, the first is {constant[0]}")
    if narrow:
        notes.append(f"{_images(narrow)} fewer than {_NARROW} grey levels' span, the first is {narrow[0]}")
    return tuple(notes)


def _images(paths):
    return "1 image has" if len(paths) == 1 else f"{len(paths)} images have"
