"""Sources: one module a public data set, all with one face (:class:`Source`); :func:`read` reads them all."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from covidcxr.data import containment
from covidcxr.data.records import concat
from covidcxr.data.sources import covid_chestxray, folders, kermany, phantom, rahimzadeh, rsna, table
from covidcxr.data.sources._listing import folder_names, image_names
from covidcxr.errors import DataError, OptionError


@dataclass(frozen=True)
class Source:
    """A data set that can be read from its own layout on disk.

    Attributes
    ----------
    key : str
    title : str
        As its authors call it.
    homepage : str
        "" for a user's own images.
    licence : str
    access : str
        How to get it.
    detect : callable
        ``detect(path) -> bool``: whether `path` is such a data set. Reads names, never an image.
    read : callable
        ``read(path, **options) -> Records``: decodes no image. Options differ; see the module.
    """

    key: str
    title: str
    homepage: str
    licence: str
    access: str
    detect: Callable
    read: Callable

    @property
    def options(self):
        """Names of the options that `read` knows."""
        parameters = inspect.signature(self.read).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


_OWN = {"homepage": "", "licence": "the owner's", "access": "your own images"}

SOURCES = {
    source.key: source
    for source in (
        Source(
            "covid-chestxray-dataset",
            "COVID-19 Image Data Collection (Cohen et al. 2020)",
            "https://github.com/ieee8023/covid-chestxray-dataset",
            "each image's own, in the column license (CC BY, BY-SA, BY-NC-SA, BY-NC-ND or none stated)",
            "open: covidcxr data download covid-chestxray-dataset --out DIR",
            covid_chestxray.detect,
            covid_chestxray.read,
        ),
        Source(
            "rsna",
            "RSNA Pneumonia Detection Challenge 2018",
            "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
            "the challenge's rules and the terms of use of RSNA and NIH",
            "needs a Kaggle account: covidcxr data download rsna --out DIR tells how",
            rsna.detect,
            rsna.read,
        ),
        Source(
            "kermany",
            "Chest X-Ray Images (Pneumonia), Kermany, Zhang and Goldbaum 2018",
            "https://data.mendeley.com/datasets/rscbjbr9sj/2",
            "CC BY 4.0",
            "needs a Kaggle account: covidcxr data download kermany --out DIR tells how",
            kermany.detect,
            kermany.read,
        ),
        Source(
            "phantom",
            "Phantom radiographs, computed from a physical model",
            "",
            "none needed; no patient is shown",
            "covidcxr data prepare phantom --out DIR makes it",
            phantom.detect,
            phantom.read,
        ),
        Source("table", "A CSV with path and label", detect=table.detect, read=table.read, **_OWN),
        Source("folders", "One folder a class", detect=folders.detect, read=folders.read, **_OWN),
    )
}


def find(root):
    """Find the data sets at a path: it is one itself, or its direct sub-folders are.

    Public data sets come first. A path that holds some is not taken for a folder of classes; its other
    sub-folders then may be such folders.

    Parameters
    ----------
    root : path-like
        A folder, or a CSV file.

    Returns
    -------
    list of (Source, pathlib.Path)
        Sub-folders in the order of their names; empty if nothing is recognised.

    Raises
    ------
    DataError
        If there is nothing at `root`, or it cannot be listed.
    """
    root = Path(root)
    if not os.path.exists(root):
        raise DataError(f"{root}: no such file or folder, or no permission to see it; check the path")
    if root.is_file():
        return _recognised([root], [SOURCES["table"]])
    names = folder_names(root)
    own = [SOURCES["folders"]]
    public = [source for key, source in SOURCES.items() if key not in ("table", "folders")]
    itself = _recognised([root], public)
    if itself:
        return itself
    children = [root / name for name in names]
    if _recognised(children, public):
        return _recognised(children, [*public, *own])
    return _recognised([root], own) or _recognised(children, own)


def read(root, **options):
    """Read every data set found at a path (see :func:`find`) and join them.

    Parameters
    ----------
    root : path-like
    **options
        Each goes to the sources that know it: `views`, `findings` (covid-chestxray-dataset), `labels`
        (kermany), `headers`, `progress` (rsna).

    Returns
    -------
    Records
        A note names each sub-folder with images that was not read.

    Raises
    ------
    DataError
        If nothing is recognised, or a data set that is recognised cannot be read or gives no image.
    OptionError
        If no source knows an option.
    """
    root = Path(root)
    known = {name for source in SOURCES.values() for name in source.options}
    unknown = sorted(set(options) - known)
    if unknown:
        raise OptionError(f"option {unknown[0]!r}: no source knows it; there are {', '.join(sorted(known))}")
    found = find(root)
    if not found:
        raise DataError(f"{root}: {_why_nothing(root)}")
    parts = [_read_one(source, path, options) for source, path in found]
    return _completed(concat(parts), root, [path for _, path in found])


def _recognised(paths, sources):
    found = []
    for path in paths:
        source = next((source for source in sources if source.detect(path)), None)
        if source:
            found.append((source, path))
    return found


def _read_one(source, path, options):
    wanted = {name: options[name] for name in source.options if name in options}
    records = containment.without_links_out(source.read(path, **wanted))
    if not len(records):
        reasons = [item.reason for item in records.exclusions]
        first = max(sorted(set(reasons)), key=reasons.count, default="")
        left_out = (
            f"all {len(reasons)} images are left out (most: {first})" if reasons else "there is no image"
        )
        raise DataError(
            f"{path}: is {source.title}, but {left_out}; check that it is complete, and the options"
        )
    return records


def _why_nothing(root):
    if root.is_file():
        return "not a CSV table; give a .csv with the columns path,label, or a folder"
    return (
        f"{folders.explain(root)}. No data set is recognised there or one folder further down (looked for "
        f"{covid_chestxray.TABLE} with images/, {rsna.CLASS_TABLE} or {rsna.IMAGE_FOLDER}/, "
        "train/NORMAL with Kermany's file names, phantom.csv)"
    )


def _completed(records, root, read_paths):
    """Fill the text columns that only some of the sources have, and name what was left unread."""
    gaps = {
        name: column.fillna("")
        for name, column in records.table.items()
        if column.isna().any() and not pd.api.types.is_numeric_dtype(column)
    }
    left = (
        []
        if root in read_paths
        else [root / name for name in folder_names(root) if root / name not in read_paths]
    )
    notes = tuple(
        f"{path}: holds images but no known data set; not read" for path in left if image_names(path)
    ) + tuple(rahimzadeh.describe(path, records) for path in left if rahimzadeh.detect(path))
    return replace(records.with_columns(**gaps), notes=records.notes + notes)
