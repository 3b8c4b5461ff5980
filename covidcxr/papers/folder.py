"""The run folder: what lies where, and who may write there."""

import json
import shutil
from pathlib import Path

from covidcxr.atomic import make_folder, output_errors, write_json
from covidcxr.errors import DataError, OutputError

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

_OURS = (
    CONFIG,
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
)
# Phantom images may stay from one run to the next: they are checked when they are used again.
_HARMLESS = ("phantom",)


def check(folder, *, overwrite, resume):
    """See that a run may use a folder, before anything is written.

    Raises
    ------
    OutputError
        If another run or foreign files stand there, or there is nothing to resume.
    """
    folder = Path(folder)
    with output_errors(folder):
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if resume and CONFIG not in names:
        raise OutputError(
            f"{folder}: no run to resume there (no {CONFIG}); check --out, or leave --resume out"
        )
    foreign = sorted(names - set(_OURS) - set(_HARMLESS))
    if foreign:
        raise OutputError(
            f"{folder}: holds other files ({foreign[0]}); choose an empty or new folder with --out"
        )
    if CONFIG in names and not (overwrite or resume):
        raise OutputError(
            f"{folder}: a run stands there; add --resume or --overwrite, or choose another --out"
        )


def prepare(folder, *, overwrite):
    """Create the folder; with `overwrite`, clear away the run that stands there."""
    folder = make_folder(folder)
    if overwrite:
        with output_errors(folder):
            for name in _OURS:
                _remove(folder / name)
    return folder


def write_config(folder, config):
    """Write config.json."""
    write_json(Path(folder) / CONFIG, config)


def read_config(folder):
    """Read config.json.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    path = Path(folder) / CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable run configuration ({str(error).splitlines()[0]})") from error


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
