"""Leaks: the same patient, the same file or the same picture on both sides of a split.

With a split (a column `split`, else the one that the source's own folders give) everything that two of its parts
share is a leak. Without one, what a split by patient would put on both sides is a warning.
"""

import numpy as np
import pandas as pd

from covidcxr.data import duplicates
from covidcxr.evaluation.audits.report import LEAK, NOTE, WARNING, Audit, Finding

NAME = "leaks"
TITLE = "Leaks: what training and test share"

_GIVEN = "given_split"
_SIDES = ("patient_id", "source", "label", "part")
_PATIENT_COLUMNS = ("patient", "source", "labels", "parts", "images")
_KINDS = {
    "file": ("the same file", "SHA-256 of the bytes"),
    "picture": ("the same picture in another file", "SHA-256 of the grey values"),
    "near_duplicate": (
        "nearly the same picture",
        (
            f"perceptual hash within {duplicates.HASH_DISTANCE} of 64 bits, "
            f"thumbnails correlated at {duplicates.CORRELATION}, fine detail at {duplicates.DETAIL} or more"
        ),
    ),
}
_NAMED = 5


def audit(records, *, prints=None, progress=None, say=None, model=None, seed=0, **_options):
    """Look for patients, files and pictures that two parts of a split, or two patients, share.

    Parameters
    ----------
    records : Records
        With the column `split` where there is a split. Without it, the source's own split (`given_split`) is
        checked where there is one.
    prints : pandas.DataFrame, optional
        Of :func:`covidcxr.data.duplicates.fingerprints` for these records; default: read here.
    progress : callable, optional
        ``progress(done, total)`` while pictures are read.
    say : callable, optional
    model, seed
        Not used: nothing here is random.

    Returns
    -------
    Audit
        Findings of severity ``"leak"``: `patient`, `file`, `picture`, `near_duplicate` (each: across parts of
        the split) and `linked_patient` (two patient ids share a picture, and their images lie in several
        parts). Without a split, ``"warning"``: `linked_patient` (one picture under two patient ids) and
        `across_sources`. Always ``"warning"``: `label` (one picture in two classes). Notes: `unknown_patient`,
        `unreadable`, `several_findings`, `no_split`. Tables `checks`, `patients`, `pairs`.
    """
    del model, seed
    if prints is None:
        (say or _silent)("reading every picture once")
        prints = duplicates.fingerprints(records, progress)
    part, scope = _parts(records.table)
    table = records.table.assign(part=part)
    pairs = _pairs(records, table, prints)
    patients = _spread_patients(table)
    linked = _linked(records, table, pairs[~pairs["a"].isin(_flat(prints))])
    findings = (
        *_patient_leaks(patients, scope),
        *_pair_leaks(pairs, scope),
        *_linked_patients(linked, scope),
        *_across_sources(pairs, scope),
        *_contradictions(pairs),
        *_notes(table, prints, scope),
    )
    tables = {"checks": _checks(table, prints, pairs, patients, scope), "patients": patients, "pairs": pairs}
    return Audit(NAME, TITLE, tables, tuple(findings))


def _silent(_text):
    pass


def _parts(table):
    """Return the part of the split that each image is in ("" for none), and what the split is called."""
    for column, name in (("split", "the split"), (_GIVEN, "the source's own split")):
        if column in table and (part := table[column].fillna("").astype(str)).ne("").any():
            return part, name
    return pd.Series("", index=table.index), ""


def _pairs(records, table, prints):
    """List every picture that is there twice, with whose it is and where it lies."""
    prints = prints.sort_values("path").reset_index(drop=True)
    same = _same_files(prints)
    near = duplicates.near_duplicates(prints)
    pixels = prints.set_index("path")["pixels"]
    equal = pixels.loc[near["a"]].to_numpy() == pixels.loc[near["b"]].to_numpy()
    near["kind"] = np.where(equal, "picture", "near_duplicate")
    near = _confirmed(records, near)
    pairs = pd.concat([same, near] if len(near) else [same], ignore_index=True)
    pairs = pairs.drop_duplicates(["a", "b"])
    rows = table.set_index("path")
    for side in ("a", "b"):
        for column in _SIDES:
            pairs[f"{column}_{side}"] = rows.loc[pairs[side], column].to_numpy()
    return pairs.sort_values(["kind", "a", "b"], kind="stable").reset_index(drop=True)


def _confirmed(records, near):
    """Drop what only looks alike when small; what cannot be read again stays."""
    asked = (near["kind"] == "near_duplicate").to_numpy()
    detail = np.ones(len(near))
    detail[asked] = duplicates.detail_correlations(records, near[asked])
    return near.assign(detail=detail)[~(detail < duplicates.DETAIL)]


def _same_files(prints):
    """Pair each repeated file with the first of its kind."""
    readable = prints[prints["error"] == ""]
    first = readable.groupby("sha256", sort=False)["path"].transform("first")
    again = first != readable["path"]
    pairs = pd.DataFrame({"a": first[again], "b": readable["path"][again]}, dtype=object)
    return pairs.assign(distance=0, correlation=1.0, detail=1.0, kind="file")


def _spread_patients(table):
    """List known patients whose images lie in more than one part."""
    known = table[(table["patient_id"] != "") & (table["part"] != "")]
    groups = known.groupby("patient_id", sort=True)
    spread = groups["part"].nunique()
    rows = known[known["patient_id"].isin(spread.index[spread > 1])]
    listed = [
        (patient, _joined(images["source"]), _joined(images["label"]), _counted(images["part"]), len(images))
        for patient, images in rows.groupby("patient_id", sort=True)
    ]
    return pd.DataFrame(listed, columns=list(_PATIENT_COLUMNS))


def _flat(prints):
    """Name the pictures that show nothing: black ones of two people make no one person of them."""
    return {path for path, thumb in zip(prints["path"], prints["thumb"], strict=True) if len(set(thumb)) < 2}


def _linked(records, table, pairs):
    """List the patient ids that a picture joins: one person, or one mistake, under several names."""
    groups = duplicates.linked_groups(records, pairs)
    rows = table.assign(group=groups.to_numpy())
    rows = rows[rows["patient_id"] != ""]
    several = rows.groupby("group")["patient_id"].nunique()
    rows = rows[rows["group"].isin(several.index[several > 1])]
    return [
        {
            "patients": sorted(set(images["patient_id"])),
            "sources": sorted(set(images["source"])),
            "labels": sorted(set(images["label"])),
            "parts": sorted(set(images["part"]) - {""}),
            "images": len(images),
        }
        for _, images in rows.groupby("group", sort=True)
    ]


def _patient_leaks(patients, scope):
    if len(patients):
        names = list(patients["patient"])
        yield Finding(
            NAME,
            "patient",
            LEAK,
            f"{_number(names, 'patient has', 'patients have')} images in more than one part of {scope}: {_some(names)}",
            {"scope": scope, "patients": names, "images": int(patients["images"].sum())},
        )


def _pair_leaks(pairs, scope):
    crossing = pairs[_crosses(pairs, "part")]
    for kind, (words, method) in _KINDS.items():
        found = crossing[crossing["kind"] == kind]
        if len(found):
            yield Finding(
                NAME,
                kind,
                LEAK,
                f"{words} lies in more than one part of {scope}, {_number(found, 'pair', 'pairs')} ({method}): "
                f"{_some(_pair_names(found))}",
                {"scope": scope, "pairs": _pair_list(found)},
            )


def _linked_patients(linked, scope):
    spread = [group for group in linked if len(group["parts"]) > 1]
    if spread:
        yield Finding(
            NAME,
            "linked_patient",
            LEAK,
            f"{_number(spread, 'group', 'groups')} of patient ids with a picture in common, so of one person, "
            f"in more than one part of {scope}: {_some(_group_names(spread))}",
            {"scope": scope, "groups": spread},
        )
    others = [group for group in linked if len(group["parts"]) <= 1]
    if others:
        yield Finding(
            NAME,
            "linked_patient",
            WARNING,
            f"{_number(others, 'group', 'groups')} of patient ids with a picture in common, so of one person; "
            f"a split by id would leak unless they are kept together: {_some(_group_names(others))}",
            {"scope": scope, "groups": others},
        )


def _across_sources(pairs, scope):
    found = pairs[_crosses(pairs, "source")]
    if len(found):
        yield Finding(
            NAME,
            "across_sources",
            WARNING,
            f"{_number(found, 'picture comes', 'pictures come')} from two sources, so testing on one "
            f"of them is no external test of a model trained on the other: {_some(_pair_names(found))}",
            {"scope": scope, "pairs": _pair_list(found)},
        )


def _contradictions(pairs):
    found = pairs[_crosses(pairs, "label")]
    if len(found):
        yield Finding(
            NAME,
            "label",
            WARNING,
            f"{_number(found, 'picture is', 'pictures are')} in two classes: {_some(_pair_names(found))}",
            {"pairs": _pair_list(found)},
        )


def _notes(table, prints, scope):
    if not scope:
        yield Finding(
            NAME,
            "no_split",
            NOTE,
            "there is no split to check (no column split, no --split CSV): only what any split would meet is told",
        )
    unplaced = int((table["part"] == "").sum())
    if scope and unplaced:
        yield Finding(
            NAME,
            "no_split",
            NOTE,
            f"{_number(unplaced, 'image is', 'images are')} in no part of {scope}",
            {"images": unplaced},
        )
    unknown = int((table["patient_id"] == "").sum())
    if unknown:
        yield Finding(
            NAME,
            "unknown_patient",
            NOTE,
            f"{_number(unknown, 'image', 'images')} without a known patient: only pictures could be compared there",
            {"images": unknown},
        )
    yield from _several_findings(table)
    bad = prints[prints["error"] != ""]
    if len(bad):
        first = bad.iloc[0]
        yield Finding(
            NAME,
            "unreadable",
            NOTE,
            f"{_number(bad, 'picture', 'pictures')} could not be read, so not compared; "
            f"first {first['path']} ({first['error']})",
            {"images": bad["path"].tolist()},
        )


def _several_findings(table):
    classes = table[table["patient_id"] != ""].groupby("patient_id")["label"].nunique()
    several = sorted(classes.index[classes > 1])
    if several:
        yield Finding(
            NAME,
            "several_findings",
            NOTE,
            f"{_number(several, 'patient is', 'patients are')} in more than one class: {_some(several)}",
            {"patients": several},
        )


def _checks(table, prints, pairs, patients, scope):
    """Tell for each check how much was looked at and what was found, the zeros too."""
    readable = int((prints["error"] == "").sum())
    known = table.loc[table["patient_id"] != "", "patient_id"].nunique()
    rows = [("patient", "patient id", f"{known} patients", len(patients), len(patients) if scope else None)]
    crosses = _crosses(pairs, "part")
    for kind, (_, method) in _KINDS.items():
        of_kind = pairs["kind"] == kind
        leaking = int((of_kind & crosses).sum()) if scope else None
        rows.append((kind, method, f"{readable} images", int(of_kind.sum()), leaking))
    checks = pd.DataFrame(rows, columns=["check", "method", "checked", "found", "across_parts"])
    return checks.astype({"across_parts": "Int64"}).assign(split=scope or "none")


def _crosses(pairs, column):
    """Tell the pairs that lie on two sides of a column; where a side is unknown they do not."""
    a, b = pairs[f"{column}_a"], pairs[f"{column}_b"]
    return (a != b) & (a != "") & (b != "")


def _pair_list(pairs):
    return pairs[["a", "b", "kind"]].to_dict("records")


def _pair_names(pairs):
    """Name pairs by their patients where these are known; the paths are in the evidence and the table."""
    return list(dict.fromkeys(_pair_name(row) for row in pairs.itertuples()))


def _pair_name(pair):
    if not (pair.patient_id_a and pair.patient_id_b):
        return f"{pair.a} = {pair.b}"
    if pair.patient_id_a == pair.patient_id_b:
        return f"{pair.patient_id_a} twice"
    return f"{pair.patient_id_a} = {pair.patient_id_b}"


def _group_names(groups):
    return [" = ".join(group["patients"]) for group in groups]


def _number(things, one, several):
    count = things if isinstance(things, int) else len(things)
    return f"{count} {one if count == 1 else several}"


def _some(names):
    shown = ", ".join(map(str, names[:_NAMED]))
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _joined(values):
    return " | ".join(sorted(set(values)))


def _counted(values):
    return ", ".join(f"{count} in {name}" for name, count in values.value_counts().sort_index().items())
