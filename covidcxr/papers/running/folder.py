"""The run folder: what lies where, and who may write there."""

import os
from pathlib import Path

from covidcxr import json_files
from covidcxr.atomic import check_folder, make_folder, output_errors, sweep, write_json
from covidcxr.errors import DataError, OutputError
from covidcxr.papers.running.lock import LOCK

CONFIG = "config.json"
SPLIT = "split.csv"
PREDICTIONS = "predictions.csv"
METRICS = "metrics.json"
MODEL = "model.h5"
EXCLUSIONS = "exclusions.csv"
FIGURES = "figures"
CHECKPOINT = "checkpoint"
LOGS = "logs"
REPORT = "report.html"
HISTORY = "history.csv"
# Of a run that trains several models.
RESULTS = "results.csv"
MODELS = "models"
MODEL_LIST = "models.csv"
TABLES = "tables"
GENERATED = "generated"
AUDIT = "audit"

_OURS = (
    SPLIT,
    PREDICTIONS,
    METRICS,
    MODEL,
    EXCLUSIONS,
    FIGURES,
    CHECKPOINT,
    LOGS,
    REPORT,
    HISTORY,
    RESULTS,
    MODELS,
    MODEL_LIST,
    TABLES,
    AUDIT,
    # The last to be removed: what it stands beside is a run's.
    CONFIG,
)
# Phantom and generated images may stay from one run to the next: they are checked when they are used again.
_HARMLESS = "phantom"
_INSIDE = {
    CHECKPOINT: ("epoch-*.keras", "state.json"),
    LOGS: ("**/events.out.tfevents.*", "worker-*.log"),
    TABLES: ("*.csv", "*.png", "*.svg"),
    AUDIT: (
        "audit.json",
        "audit-*.csv",
        "cache/*.npz",
        *(f"retrained/**/*.{kind}" for kind in ("png", "svg", "csv", "json", "h5", "keras", "html")),
        "retrained/**/events.out.tfevents.*",
        f"retrained/**/{LOCK}",
    ),
}
_NEEDED = ("paper", "options", "command", "environment")


def check(folder, *, overwrite, resume):
    """See that a run may use a folder, before anything is written.

    Raises
    ------
    OutputError
        If another run or foreign files stand there, it cannot be written, or there is nothing to resume.
    """
    folder = Path(folder)
    check_folder(folder)
    with output_errors(folder):
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if resume:
        if CONFIG not in names:
            raise OutputError(
                f"{folder}: no run to resume there (no {CONFIG}); check --out, or leave --resume out"
            )
        return
    ours = set(_OURS) if _is_run(folder / CONFIG) else set()
    foreign = sorted(name for name in names - ours if not _is_leftover(name) and not _is_harmless(name))
    if foreign:
        raise OutputError(
            f"{folder}: holds other files ({foreign[0]}); choose an empty or new folder with --out"
        )
    if CONFIG in names and not overwrite:
        raise OutputError(
            f"{folder}: a run stands there; add --resume or --overwrite, or choose another --out"
        )


def check_place(folder, records):
    """See that a run folder would not lie among images: its figures would be read as radiographs next time.

    Raises
    ------
    OutputError
        If a folder above it, below the root of the images, holds some of them.
    """
    root = os.path.realpath(records.root)
    # What the run itself generated lies in its folder, and is known by its place there.
    given = records.table["path"][records.table["source"] != GENERATED]
    inside = os.path.relpath(os.path.realpath(folder), root)
    for parent in list(Path(inside).parents)[:-1]:
        if parent.parts[0] != os.pardir and given.str.startswith(f"{parent.as_posix()}/").any():
            raise OutputError(
                f"{folder}: lies among the images of {records.root / parent}; choose a folder outside with --out"
            )


def prepare(folder, *, overwrite):
    """Create the folder; with `overwrite`, clear away the run that stands there, and nothing but it."""
    folder = make_folder(folder)
    with output_errors(folder):
        for entry in list(folder.iterdir()):
            if _is_leftover(entry.name):
                entry.unlink()
            elif entry.is_dir() and _is_swept(entry.name):
                sweep(entry)
        if overwrite:
            _clear(folder)
    return folder


def write_config(folder, config):
    """Write config.json."""
    write_json(Path(folder) / CONFIG, config)


def read_config(folder):
    """Read config.json.

    Raises
    ------
    DataError
        If it is missing or damaged, or of another program.
    """
    path = Path(folder) / CONFIG
    remedy = "choose another --out, or move it away"
    try:
        config = json_files.read(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable run configuration ({reason}); {remedy}") from error
    missing = [name for name in _NEEDED if not isinstance(config, dict) or name not in config]
    if missing:
        raise DataError(f"{path}: not a run configuration (no {missing[0]}); {remedy}")
    return config


def _is_run(path):
    try:
        read_config(path.parent)
    except DataError:
        return False
    return True


def _is_leftover(name):
    """Tell whether a file was being written when a run was killed (see :func:`covidcxr.atomic.whole_file`)."""
    return any(name.startswith(f".{Path(ours).stem}-") for ours in _OURS)


def _is_swept(name):
    """Tell whether a folder is the run's alone; an audit, which is another program, may be writing its own."""
    return name != AUDIT and (name in _OURS or _is_harmless(name))


def _is_harmless(name):
    return name in (_HARMLESS, GENERATED, LOCK) or name.startswith(f"{_HARMLESS}-")


def _clear(folder):
    """Remove what a run wrote; whatever else stands in its folders stays, and so do these."""
    for model in (folder / MODELS).glob("*"):
        if model.is_dir():
            _clear(model)
            # Left by a run of this model alone that was killed: nobody holds it, or we would not be here.
            (model / LOCK).unlink(missing_ok=True)
            _remove_empty(model)
    for path in _written_inside(folder):
        path.unlink(missing_ok=True)
    for part in (*_INSIDE, FIGURES, MODELS):
        _remove_empty(folder / part)
    for name in _OURS:
        if not (folder / name).is_dir():
            (folder / name).unlink(missing_ok=True)


def _written_inside(folder):
    """List the files that a run wrote into its folder's folders."""
    patterns = [(part, pattern) for part, known in _INSIDE.items() for pattern in known]
    patterns += [(FIGURES, f"{name}.{kind}") for name in _figure_names(folder) for kind in ("png", "svg")]
    return [path for part, pattern in patterns for path in (folder / part).glob(pattern)]


def _figure_names(folder):
    """Name the run's figures: one model's metrics list them, those of several models begin like their tables."""
    names = [f"{path.stem}*" for path in (folder / TABLES).glob("*.csv")]
    try:
        drawn = json_files.read(folder / METRICS)["figures"]
        return names + [Path(name).name for name in drawn]
    except (OSError, ValueError, KeyError, TypeError):
        return names


def _remove_empty(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
