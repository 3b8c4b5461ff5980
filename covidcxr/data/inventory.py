"""What is in a set of records, and what in it would flatter a classifier."""

import json
import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidcxr.atomic import make_folder, write_csv
from covidcxr.data.duplicates import near_duplicates

PAEDIATRIC_SOURCES = ("kermany",)
"""Sources of children only that state no age for each image."""

ADULT_AGE = 18

_SIZE_RATIO = 1.5
_CHILD_SHARE_GAP = 0.5


@dataclass(frozen=True)
class Inventory:
    """Tables about a set of records; all in a settled order, so two inventories can be compared line by line.

    Attributes
    ----------
    root : str
        Folder the paths start from.
    images, patients : int
        Images used; patients known.
    hashed : bool
        Whether the pictures were read; without, `sizes` and `duplicates` are empty.
    tables : dict of str to pandas.DataFrame
        `counts` (label, source, view; images, patients, images of unknown patients); `exclusions` (source,
        reason, images) and `excluded` (each of them); `single_source` (classes that one source alone
        serves); `ages` (label, source; images, known, median, youngest and oldest in years, children);
        `changing` (patients with more than one finding); `reused` (patients in more than one of the splits
        the source gives); `sizes` (label, source; quartiles of width and height, px); `duplicates` (the
        same picture twice, whose, and how alike); `unusable` (files missing or unreadable).
    warnings : tuple of str
        What a user should know before training on this set.
    notes : tuple of str
        What the sources say about themselves.
    """

    root: str
    images: int
    patients: int
    hashed: bool
    tables: dict
    warnings: tuple
    notes: tuple

    def as_dict(self):
        """Return the inventory as what JSON can hold; unknown numbers are None."""
        tables = {name: json.loads(rows.to_json(orient="records")) for name, rows in self.tables.items()}
        head = {"root": self.root, "images": self.images, "patients": self.patients, "hashed": self.hashed}
        return {**head, "warnings": list(self.warnings), "notes": list(self.notes), **tables}

    def write_csv(self, folder):
        """Write each table as `<name>.csv` into a folder, made if need be."""
        folder = make_folder(folder)
        for name, table in self.tables.items():
            write_csv(folder / f"{name}.csv", table)


def build(records, prints=None):
    """Take stock of records.

    Parameters
    ----------
    records : Records
    prints : pandas.DataFrame, optional
        Of :func:`covidcxr.data.duplicates.fingerprints`, for picture sizes and repeated pictures. Without
        it no picture is opened; only whether the files are there is looked up.

    Returns
    -------
    Inventory
    """
    table = records.table
    tables = {
        "counts": _counts(table),
        **_exclusions(records.exclusions),
        "single_source": _single_source(table),
        "ages": _ages(table),
        "changing": _changing(table),
        "reused": _reused(table),
        "sizes": _sizes(table, prints),
        "duplicates": _duplicates(table, prints),
        "unusable": _unusable(records, prints),
    }
    tables = {name: value.reset_index(drop=True) for name, value in tables.items()}
    patients = int(_known(table["patient_id"]).nunique())
    warnings = tuple(_warnings(tables))
    notes = tuple(records.notes)
    return Inventory(str(records.root), len(table), patients, prints is not None, tables, warnings, notes)


def _known(texts):
    return texts.where(texts != "")


def _counts(table):
    groups = table.assign(known=_known(table["patient_id"])).groupby(["label", "source", "view"], sort=True)
    counts = groups["known"].agg(images="size", patients="nunique", named="count").reset_index()
    unknown = counts["images"] - counts["named"]
    return counts.drop(columns="named").assign(unknown_patient=unknown)


def _exclusions(exclusions):
    rows = [(item.path, item.source, item.reason) for item in exclusions]
    each = pd.DataFrame(rows, columns=["path", "source", "reason"], dtype=object)
    each = each.sort_values(["source", "reason", "path"], kind="stable")
    counted = each.groupby(["source", "reason"], sort=True).size().reset_index(name="images")
    return {"exclusions": counted, "excluded": each}


def _single_source(table):
    classes = table.groupby("label", sort=True)["source"].agg(["nunique", "first", "size"]).reset_index()
    alone = classes[classes["nunique"] == 1].drop(columns="nunique")
    return alone.set_axis(["label", "source", "images"], axis=1)


def _ages(table):
    child = (table["age"] < ADULT_AGE) | table["source"].isin(PAEDIATRIC_SOURCES)
    groups = table.assign(child=child).groupby(["label", "source"], sort=True)
    return groups.agg(
        images=("path", "size"),
        known=("age", "count"),
        median=("age", "median"),
        youngest=("age", "min"),
        oldest=("age", "max"),
        children=("child", "sum"),
    ).reset_index()


def _changing(table):
    finding = table["finding"].fillna("") if "finding" in table else table["label"]
    return _spread(table, finding.where(finding != "", table["label"]), "findings")


def _reused(table):
    split = table["given_split"].fillna("") if "given_split" in table else table["path"].str[:0]
    return _spread(table, _known(split), "splits")


def _spread(table, values, name):
    """Name the known patients with more than one distinct value."""
    rows = table[["patient_id", "source"]].assign(value=values)
    rows = rows[rows["patient_id"] != ""].dropna()
    groups = rows.groupby("patient_id", sort=True)
    several = groups["value"].nunique() > 1
    kept = groups.agg(
        source=("source", "first"),
        images=("value", "size"),
        value=("value", lambda found: " | ".join(sorted(set(found)))),
    )
    return kept[several].reset_index().rename(columns={"value": name})


def _sizes(table, prints):
    quartiles = {"q1": 0.25, "median": 0.5, "q3": 0.75}
    columns = ["label", "source", "images"]
    columns += [f"{side}_{name}" for side in ("width", "height") for name in quartiles]
    if prints is None:
        return pd.DataFrame(columns=columns)
    measured = table[["label", "source"]].assign(width=prints["width"].array, height=prints["height"].array)
    groups = measured[measured["width"] > 0].groupby(["label", "source"], sort=True)
    parts = [groups.size()]
    parts += [groups[side].quantile(share) for side in ("width", "height") for share in quartiles.values()]
    return pd.concat(parts, axis=1).reset_index().set_axis(columns, axis=1)


def _duplicates(table, prints):
    columns = [
        "relation",
        "a",
        "b",
        "patient_a",
        "patient_b",
        "label_a",
        "label_b",
        "distance",
        "correlation",
    ]
    if prints is None:
        return pd.DataFrame(columns=columns)
    pairs = near_duplicates(prints.sort_values("path"))
    rows = table.set_index("path")
    for side in ("a", "b"):
        pairs[f"patient_{side}"] = rows.loc[pairs[side], "patient_id"].to_numpy()
        pairs[f"label_{side}"] = rows.loc[pairs[side], "label"].to_numpy()
    unknown = (pairs["patient_a"] == "") | (pairs["patient_b"] == "")
    same = np.where(pairs["patient_a"] == pairs["patient_b"], "one patient", "two patients")
    pairs["relation"] = np.where(unknown, "patient unknown", same)
    return pairs[columns].sort_values(["relation", "a", "b"], ascending=[False, True, True], kind="stable")


def _unusable(records, prints):
    if prints is None:
        reasons = ["" if os.path.exists(path) else "file missing" for path in records.files()]
    else:
        reasons = prints["error"].tolist()
    rows = records.table[["path", "source"]].assign(reason=reasons)
    return rows[rows["reason"] != ""].sort_values("path", kind="stable")


def _warnings(tables):
    """Put what the tables show into sentences, the gravest first."""
    yield from _unusable_warning(tables["unusable"])
    yield from _source_warnings(tables["counts"], tables["single_source"])
    yield from _child_warning(tables["ages"])
    yield from _size_warning(tables["sizes"])
    yield from _patient_warnings(tables)


def _unusable_warning(unusable):
    if len(unusable):
        first = unusable.iloc[0]
        yield f"{len(unusable)} images cannot be used, first {first['path']} ({first['reason']})"


def _source_warnings(counts, single):
    if counts["label"].nunique() == 1:
        yield f"there is only one class, {counts['label'].iloc[0]}; a classifier needs two"
    if counts["source"].nunique() > 1:
        for source, rows in single.groupby("source", sort=True):
            classes = ", ".join(rows["label"])
            yield f"{source} alone has {classes}: the source can stand in for the finding"


def _child_warning(ages):
    classes = ages[~_beside(ages)].groupby("label", sort=True)[["children", "images"]].sum()
    share = classes["children"] / classes["images"]
    if len(share) and share.max() - share.min() >= _CHILD_SHARE_GAP:
        shares = ", ".join(f"{label} {value:.0%}" for label, value in share.items())
        yield f"children, as far as known: {shares}: age can stand in for the finding"


def _size_warning(sizes):
    if not len(sizes):
        return
    # A class is as large as the pictures of the source that has most of it.
    typical = sizes[~_beside(sizes)].sort_values("images", kind="stable").groupby("label", sort=True).tail(1)
    longest = typical.set_index("label")[["width_median", "height_median"]].max(axis=1).sort_index()
    if len(longest) and longest.max() >= _SIZE_RATIO * longest.min():
        sides = ", ".join(f"{label} {value:.0f}" for label, value in longest.items())
        yield f"usual longer side in pixels: {sides}: resolution can stand in for the finding"


def _beside(table):
    """Tell the rows of findings that no paper classifies, which would drown the others."""
    return table["label"].astype(str).str.startswith("other:")


def _patient_warnings(tables):
    relations = tables["duplicates"]["relation"].value_counts()
    unknown = int(tables["counts"]["unknown_patient"].sum())
    sentences = (
        (
            "pairs of one picture under two patient ids",
            relations.get("two patients", 0),
            "a split by patient leaks",
        ),
        (
            "pairs of one picture, patient unknown",
            relations.get("patient unknown", 0),
            "link them before splitting",
        ),
        ("pairs of one picture within a patient", relations.get("one patient", 0), "they count as two"),
        ("patients in several of their source's own splits", len(tables["reused"]), "those splits leak"),
        ("patients with several findings", len(tables["changing"]), "one person stands in several classes"),
        ("images of unknown patients", unknown, "no split by patient can group them"),
    )
    return [f"{what}: {count}; {meaning}" for what, count, meaning in sentences if count]
