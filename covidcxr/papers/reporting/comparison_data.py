"""Which images a report rests on: counts, hashes and exclusions."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from covidcxr import handles
from covidcxr.atomic import write_csv
from covidcxr.papers.running import folder as run_folder

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = (
    "split_sha256",
    "path",
    "label",
    "patient_id",
    "source",
    "split",
    "state",
    "reason",
    "sha256",
)

DEIDENTIFIED = "deidentified"
"""Key of config.json that tells a copy with pseudonyms from a run."""

_MADE = ("phantom", run_folder.GENERATED)
_BLOCK = 1 << 20
_DEIDENTIFIED = (
    "De-identified: images and patients have numbers drawn at random; names, folders, dates, notes, image hashes and "
    "pictures of radiographs are left out. Class, sex, age in years (90 for all above 89) and view stay, and so do "
    "sources that are public: judge whether they point to someone where patients are few."
)


def splits_of(runs):
    """Gather the different splits of the runs.

    Parameters
    ----------
    runs : sequence of covidcxr.papers.reporting.comparison_runs.Run

    Returns
    -------
    dict of str to list of TrainedModel
        SHA-256 of split.csv to the models that were trained on it.
    """
    found = {}
    for model in (model for run in runs for model in run.models):
        found.setdefault(file_hash(model.folder / run_folder.SPLIT), []).append(model)
    return found


def file_hash(path):
    """Return the SHA-256 of a file as hexadecimal digits, or "" where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        if handles.spent(error):
            raise
        return ""
    return digest.hexdigest()


def write_manifest(splits, out):
    """Write manifest.csv: every image used, its hash and its split, and every one left out with the reason.

    Parameters
    ----------
    splits : dict
        Of :func:`splits_of`.
    out : pathlib.Path

    Returns
    -------
    str
        A sentence on what is in it.
    """
    table = pd.concat([_part(name, models[0]) for name, models in splits.items()], ignore_index=True)
    write_csv(out / MANIFEST, table[list(MANIFEST_COLUMNS)])
    used = table[table["state"] == "used"]
    gone = int((used["sha256"] == "").sum())
    text = f"{MANIFEST} lists {len(used):,} rows of images used, with SHA-256, and {len(table) - len(used):,} left out."
    if any(DEIDENTIFIED in models[0].config for models in splits.values()):
        return text.replace(", with SHA-256,", "") + " Hashes are left out: they would name published images."
    return text + (f" {gone:,} files are no longer where the run read them: no hash." if gone else "")


def tables(splits):
    """Return tables of counts and exclusions for the report.

    Returns
    -------
    list of dict
        `title`, `columns`, `rows`, `numbers` (places of columns with numbers).
    """
    from covidcxr.evaluation.tables import count_cells

    parts = []
    for name, models in splits.items():
        records = models[0].split
        used = ", ".join(dict.fromkeys(model.title for model in models[:3])) + (
            ", ..." if len(models) > 3 else ""
        )
        counts = records.groupby(["split", "label"]).size().reset_index(name="images")
        header, rows = count_cells(counts)
        parts.append(_table(f"Images by split and class: {used} (split.csv {name[:12]}…)", header, rows))
        parts.append(_sources(records))
        parts += _exclusions(models[0])
    return parts


def sources(splits):
    """Return the sources of all images used, in alphabetical order."""
    return sorted({source for models in splits.values() for source in models[0].split["source"]})


def only_phantom(splits):
    """Tell whether no radiograph is among the images: computed and generated ones only."""
    return only_made(sources(splits))


def only_made(sources):
    """Tell whether sources are of computed and generated images only."""
    return set(sources) <= set(_MADE)


def cautions(recipe, runs, splits):
    """Say where the runs are not what the paper did, so that no figure is taken for more than it is."""
    made = only_phantom(splits)
    found = []
    if made:
        found.append(
            "Phantom radiographs: these runs were trained and scored on computed pictures. Their figures show "
            "that the machinery works; beside the paper's they mean nothing."
        )
    models = [model for run in runs for model in run.models]
    if any(model.config["options"].get("preset") for model in models):
        found.append("Smoke preset: few images, small inputs and two epochs; no figure is a result.")
    if any(DEIDENTIFIED in model.config for model in models):
        found.append(_DEIDENTIFIED)
    unpaired = {model.protocol for model in models}
    if unpaired == {"published"}:
        found.append(
            "Published protocol only: add a run with --protocol sound to see what is left when patients do not "
            "stand on both sides of the split."
        )
    if not made:
        found += _too_few(recipe, models)
    return found


def _too_few(recipe, models):
    lines = [fewer_images(recipe, model.unit.case, model.split["label"].value_counts()) for model in models]
    return list(filter(None, dict.fromkeys(lines)))


def fewer_images(recipe, case, given):
    """Say which classes have fewer images than the paper prints.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    case : str
    given : mapping of str to int
        Label to images.

    Returns
    -------
    str
        "" where none has.
    """
    short = short_classes(recipe, case, given)
    return f"Fewer images than the paper used ({case}): {', '.join(short)}." if short else ""


def short_classes(recipe, case, given):
    """List the classes that have fewer images than the paper prints, each such as ``"20 of 102 covid19"``.

    Parameters
    ----------
    recipe, case, given
        As of :func:`fewer_images`.

    Returns
    -------
    list of str
    """
    known = recipe.cases.get(case)
    printed = recipe.data_sets[known.data_set].counts if known else {}
    return [
        f"{given.get(label, 0)} of {count} {label}"
        for label, count in printed.items()
        if given.get(label, 0) < count
    ]


def _part(name, model):
    used = model.split.assign(state="used", reason="", split_sha256=name)
    if DEIDENTIFIED in model.config:
        used["sha256"] = ""
    else:
        root = Path(model.config.get("data_root", ""))
        with ThreadPoolExecutor() as pool:
            used["sha256"] = list(pool.map(file_hash, [root / path for path in used["path"]]))
    left_out = model.exclusions.assign(state="left out", split_sha256=name)
    both = pd.concat([used, left_out], ignore_index=True)
    return both.reindex(columns=list(MANIFEST_COLUMNS)).fillna("")


def _sources(records):
    grid = pd.crosstab(records["source"], records["label"])
    rows = [
        [str(source), *map("{:,}".format, row)]
        for source, row in zip(grid.index, grid.to_numpy(), strict=True)
    ]
    return _table("Images by source and class", ["source", *map(str, grid.columns)], rows)


def _exclusions(model):
    counts = model.exclusions.groupby(["source", "reason"]).size()
    rows = [[*map(str, key), f"{count:,}"] for key, count in counts.items()]
    return [_table("Images left out", ["source", "reason", "images"], rows, first=2)] if rows else []


def _table(title, columns, rows, first=1):
    return {"title": title, "columns": columns, "rows": rows, "numbers": range(first, len(columns))}
