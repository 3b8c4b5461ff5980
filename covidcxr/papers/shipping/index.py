"""index.csv: one line for each shipped model, and which of them is used when none is named."""

from pathlib import Path

from covidcxr import json_files
from covidcxr.atomic import write_text
from covidcxr.data import labels
from covidcxr.errors import DataError
from covidcxr.formula_cells import escaped
from covidcxr.models import shipped

_MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "roc_area": "macro.roc_auc"}
_OTHER_PNEUMONIA = {labels.PNEUMONIA, labels.BACTERIAL, labels.VIRAL}


def write(folder):
    """Write index.csv anew from the models that lie in a folder.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of dict
        Its rows.

    Raises
    ------
    DataError
        If a model's metrics.json is missing or damaged.
    """
    rows = made(folder)
    lines = [
        ",".join(shipped.COLUMNS),
        *(",".join(escaped(row[name]) for name in shipped.COLUMNS) for row in rows),
    ]
    write_text(Path(folder) / shipped.INDEX, "\n".join(lines) + "\n")
    return rows


def made(folder):
    """Return the rows of index.csv that the models in a folder make.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of dict of str to str
        In the order of their names.

    Raises
    ------
    DataError
        As :func:`write`.
    """
    rows = [_row(place) for place in places(folder)]
    chosen = best(rows)
    for row in rows:
        row["default"] = shipped.YES if row["name"] == chosen else ""
    return rows


def places(folder):
    """Return the folders of the shipped models in a folder, in the order of their names.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of pathlib.Path
        Those with a model card: a run has none.
    """
    return sorted(path.parent for path in Path(folder).glob(f"[!.]*/{shipped.CARD}"))


def best(rows):
    """Choose the model that is used when none is named. The rule is older than the models.

    Of the models trained under the sound protocol that know COVID-19, normal and some other pneumonia (a network
    without a class for that must call every such image one of the other two), the one whose 95 % interval of
    balanced accuracy on its test split has the highest lower end; of equal ones the first by name.

    Parameters
    ----------
    rows : sequence of mapping
        As of :func:`made`.

    Returns
    -------
    str or None
        Its name.
    """
    fit = [row for row in rows if row["protocol"] == "sound" and _complete(set(row["classes"].split()))]
    measured = [row for row in fit if row["balanced_accuracy_low"]]
    if not measured:
        return None
    return min(measured, key=lambda row: (-float(row["balanced_accuracy_low"]), row["name"]))["name"]


def _complete(classes):
    return {labels.COVID19, labels.NORMAL} <= classes and bool(classes & _OTHER_PNEUMONIA)


def _row(place):
    path = place / shipped.METRICS
    try:
        metrics = json_files.read(path)
        about, measures = metrics["model"], metrics["intervals"]["measures"]
        row = {name: str(about[name] or "") for name in ("paper", "case", "model", "protocol")}
        row.update(split=metrics["split"], classes=" ".join(metrics["classes"]), name=place.name)
        row.update({name: str(metrics[name]) for name in ("images", "patients")})
        row.update(bytes=str(about["bytes"]), sha256=about["sha256"])
        for score, measure in _MEASURES.items():
            row.update(_numbers(score, measures[measure]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the scores of a shipped model ({error}); ship the run again") from error
    return row


def _numbers(score, entry):
    ends = {"": entry["value"], "_low": entry["low"], "_high": entry["high"]}
    return {f"{score}{end}": "" if value is None else f"{value:.6f}" for end, value in ends.items()}
