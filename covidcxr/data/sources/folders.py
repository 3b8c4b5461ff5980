"""Any folder with one sub-folder a class, or with such folders below train, val and test."""

from collections import Counter
from pathlib import Path

from covidcxr.data.labels import LABELS, canonical
from covidcxr.data.records import Exclusion, Records
from covidcxr.data.sources._listing import folder_names, has_images, image_names, split_of
from covidcxr.errors import DataError

_LAYOUT = "put the images into one sub-folder a class, such as covid19/ and normal/"


def detect(folder):
    """Tell whether a folder has a class folder with images, directly or below a split folder."""
    folder = Path(folder)
    return any(_is_class(folder / part) for parts in _layout(folder).values() for part in parts)


def read(folder):
    """Read a folder of class folders; labels from the folders' names, patients unknown.

    Parameters
    ----------
    folder : path-like
        ``<class>/<image>`` or ``<split>/<class>/<image>``, the split train(ing), val(id, idation) or
        test(ing). Images in folders further down belong to the class too, except below a folder `masks`.

    Returns
    -------
    Records
        `source` is the folder's name. With split folders, their split is the column `given_split`.

    Raises
    ------
    DataError
        If images lie beside the class folders only, a class folder is empty, or there is one class only.
    """
    folder = Path(folder)
    source = folder.resolve().name
    layout = _layout(folder)
    found = {(split, part): image_names(folder / part) for split, parts in layout.items() for part in parts}
    _require_classes(folder, found)
    rows = [
        {
            "path": (part / name).as_posix(),
            "label": canonical(part.name),
            "source": source,
            **({"given_split": split} if split else {}),
        }
        for (split, part), names in found.items()
        for name in names
    ]
    masks = ["masks" in row["path"].split("/")[:-1] for row in rows]
    exclusions = [
        Exclusion(row["path"], source, "mask") for row, mask in zip(rows, masks, strict=True) if mask
    ]
    rows = [row for row, mask in zip(rows, masks, strict=True) if not mask]
    return Records.from_rows(rows, folder, exclusions, _notes(source, rows, found))


def explain(folder):
    """Return why a folder cannot be read as class folders: one clause with the remedy, or None if it can."""
    folder = Path(folder)
    if detect(folder):
        return None
    if has_images(folder):
        return f"images lie directly in it, so their classes are unknown; {_LAYOUT}"
    return f"no image in its sub-folders; {_LAYOUT}"


def _layout(folder):
    """Return the class folders, relative, by split ("" where there are no split folders)."""
    names = folder_names(folder)
    splits = [name for name in names if split_of(name) and not has_images(folder / name)]
    if not splits:
        return {"": [Path(name) for name in names]}
    layout = {}
    for split in splits:
        parts = [Path(split, name) for name in folder_names(folder / split)]
        layout.setdefault(split_of(split), []).extend(parts)
    return layout


def _is_class(folder):
    """Images must be near, or the name a class's: a/covid19/ and b/covid19/ make no classes a and b."""
    near = has_images(folder) or has_images(folder / "images")
    return near or (canonical(folder.name) in LABELS and bool(image_names(folder)))


def _require_classes(folder, found):
    if not any(found.values()):
        raise DataError(f"{folder}: {explain(folder)}")
    sizes = Counter()
    for (_, part), names in found.items():
        sizes[part.name] += len(names)
    empty = [name for name, size in sizes.items() if not size]
    if empty:
        raise DataError(f"{folder}: class folder {empty[0]} has no image; add some or remove the folder")
    if len({canonical(name) for name in sizes}) == 1:
        raise DataError(
            f"{folder}: only one class ({next(iter(sizes))}); add a sub-folder for each further class"
        )


def _notes(source, rows, found):
    yield f"{source}: folders tell no patient; a patient with several images is not seen as one"
    merged = Counter(canonical(name) for name in {part.name for _, part in found})
    for label, count in merged.items():
        if count > 1:
            yield f"{source}: {count} folder names are read as one class, {label}"
    places = Counter(row["path"].rpartition("/")[2] for row in rows)
    twice = [name for name, count in places.items() if count > 1]
    if twice:
        yield f"{source}: {len(twice)} file names stand in more than one folder ({twice[0]}); look for copies"
