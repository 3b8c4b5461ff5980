"""Read what runs and evaluations left behind, for a report over several of them."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from pathlib import Path

import pandas as pd

from covidcxr import json_files
from covidcxr.data.containment import require_inside
from covidcxr.errors import CovidcxrError, DataError, OptionError
from covidcxr.formula_cells import plain_table
from covidcxr.papers.plan import RunOptions
from covidcxr.papers.reporting import comparison
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.units import Unit, chosen

EVALUATION = "evaluation.json"
AUDIT = "audit"
_RUN = "give a folder that `covidcxr train` wrote"
_EVALUATION = "give a folder that `covidcxr evaluate --out` wrote"
_DONE = "done"
# What is said of a run beyond what it cannot be read without.
_KINDS = {
    **dict.fromkeys(("paper", "command", "network", "data_root"), str),
    **dict.fromkeys(("options", "environment", "protocol", "preprocessing", "placement"), dict),
    **dict.fromkeys(("classes", "models", "notes"), list),
    **dict.fromkeys(("parameters", "trainable"), int),
}
_SCORES = ("images", "patients", "classes", "macro", "per_class", "confusion_matrix")
_DAMAGE = (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError)


@dataclass(frozen=True)
class TrainedModel:
    """One finished model of a run.

    Attributes
    ----------
    folder : pathlib.Path
    config, metrics : dict
        config.json and metrics.json.
    unit : Unit
    """

    folder: Path
    config: dict
    metrics: dict
    unit: Unit

    @property
    def protocol(self):
        """``"published"`` or ``"sound"``."""
        return self.config["options"]["protocol"]

    @property
    def title(self):
        """What it is, in a few words: ``B10-hub, sound, seed 0``."""
        return f"{self.unit.name}, {self.protocol}, seed {self.config['options'].get('seed', 0)}"

    @cached_property
    def predictions(self):
        """Predictions of every image outside training."""
        from covidcxr.evaluation.predictions import read_csv

        return read_csv(self.folder / run_folder.PREDICTIONS)

    @property
    def headline(self):
        """Predictions of the split that stands beside the paper's numbers."""
        return self.predictions.subset(self.metrics["headline_split"])

    @cached_property
    def split(self):
        """split.csv, as text."""
        path = self.folder / run_folder.SPLIT
        table = _table(path, _RUN)
        require_inside(table.get("path", pd.Series(dtype=str)).astype(str), path)
        return table

    @cached_property
    def history(self):
        """history.csv."""
        return _table(self.folder / run_folder.HISTORY, _RUN, dtype=None)

    def read(self):
        """Read every table now, so that a damaged one is known before anything is written."""
        return self.split, self.history, self.predictions, self.exclusions

    @cached_property
    def exclusions(self):
        """exclusions.csv, as text; empty where the run has none."""
        path = self.folder / run_folder.EXCLUSIONS
        return _table(path, _RUN) if path.is_file() else pd.DataFrame(columns=["path", "source", "reason"])


@dataclass(frozen=True)
class Run:
    """A run folder: one model, or a study of several.

    Attributes
    ----------
    folder : pathlib.Path
    config : dict
    models : tuple of TrainedModel
    left_out : tuple of str
        Models that could not be trained, and why.
    """

    folder: Path
    config: dict
    models: tuple
    left_out: tuple = ()

    @property
    def audits(self):
        """Folder to the audits (:class:`covidcxr.evaluation.audits.report.Audit`) that lie in it."""
        from covidcxr.evaluation.audits.report import read

        places = [self.folder, *(model.folder for model in self.models if model.folder != self.folder)]
        # By default an audit of a run lies in a folder of its own.
        found = {place: read(place / AUDIT) or read(place) for place in places}
        return {place: audits for place, audits in found.items() if audits}


@dataclass(frozen=True)
class ExternalSet:
    """A model's score on images of another place.

    Attributes
    ----------
    folder : pathlib.Path
    name : str
    metrics : dict
    unit : Unit or None
        Which model of the paper was scored; None where the folder does not say.
    facts : dict
        evaluation.json; empty where there is none.
    """

    folder: Path
    name: str
    metrics: dict
    unit: Unit | None
    facts: dict

    @property
    def subgroups(self):
        """subgroups.csv as text, or None."""
        path = self.folder / "subgroups.csv"
        return _table(path, _EVALUATION) if path.is_file() else None


def read_runs(folders):
    """Read finished runs of one paper.

    Parameters
    ----------
    folders : sequence of path-like

    Returns
    -------
    recipe : covidcxr.papers.recipe.Recipe
    runs : tuple of Run

    Raises
    ------
    DataError
        If a folder holds no finished run, or a file of it is damaged.
    OptionError
        If a folder is given twice, or the runs are of different papers.
    """
    from covidcxr import papers

    places = [Path(folder) for folder in folders]
    seen = [place.resolve() for place in places]
    twice = next((place for place, real in zip(places, seen, strict=True) if seen.count(real) > 1), None)
    if twice is not None:
        raise OptionError(f"{twice}: is given twice; name each run once")
    configs = [_config(place) for place in places]
    first = configs[0]["paper"]
    for place, config in zip(places, configs, strict=True):
        if config["paper"] != first:
            raise OptionError(
                f"{place}: is a run of {config['paper']}, {places[0]} of {first}; report one paper at a time"
            )
    recipe = papers.get(first).recipe
    return recipe, tuple(_run(recipe, place, config) for place, config in zip(places, configs, strict=True))


def read_external(folder, recipe):
    """Read what `covidcxr evaluate --out` wrote.

    Raises
    ------
    DataError
        If it is no such folder, or damaged.
    OptionError
        If it is of a model of another paper.
    """
    folder = Path(folder)
    if (folder / run_folder.CONFIG).is_file():
        raise DataError(f"{folder}: is a run, not an evaluation; name it without --external")
    metrics = _json(folder / run_folder.METRICS, _EVALUATION)
    if not isinstance(metrics, dict) or not {"intervals", *_SCORES} <= set(metrics):
        raise DataError(f"{folder / run_folder.METRICS}: not the scores of an evaluation; {_EVALUATION}")
    facts = _json(folder / EVALUATION, _EVALUATION) if (folder / EVALUATION).is_file() else {}
    try:
        paper = facts.get("paper", recipe.key)
        unit = Unit(**facts["unit"]) if facts.get("unit") else None
    except (AttributeError, TypeError) as error:
        raise DataError(f"{folder / EVALUATION}: damaged ({error}); {_EVALUATION}") from error
    if paper != recipe.key:
        raise OptionError(f"{folder}: scores a model of {paper}, the runs are of {recipe.key}")
    try:
        _check_measures(comparison.external_measures(unit or Unit("", ""), metrics))
    except _DAMAGE as error:
        raise DataError(
            f"{folder / run_folder.METRICS}: damaged ({_reason(error)}); {_EVALUATION}"
        ) from error
    return ExternalSet(folder, folder.resolve().name, metrics, unit, facts)


def _config(folder):
    if not (folder / run_folder.CONFIG).is_file():
        what = "no such folder" if not folder.exists() else f"not a run folder (no {run_folder.CONFIG})"
        raise DataError(f"{folder}: {what}; {_RUN}")
    config = _json(folder / run_folder.CONFIG, _RUN)
    needed = ("paper", "options", "environment")
    missing = [name for name in needed if not isinstance(config, dict) or name not in config]
    if missing:
        raise DataError(f"{folder / run_folder.CONFIG}: not a run configuration (no {missing[0]}); {_RUN}")
    damaged = next(
        (name for name, kind in _KINDS.items() if not isinstance(config.get(name, kind()), kind)), None
    )
    if damaged:
        raise DataError(f"{folder / run_folder.CONFIG}: damaged ({damaged} is of another kind); {_RUN}")
    return config


def _run(recipe, folder, config):
    if "models" not in config:
        return Run(folder, config, (_model(recipe, folder, config),))
    listed = folder / run_folder.MODEL_LIST
    table = _table(listed, _RUN) if listed.is_file() else pd.DataFrame({"state": []})
    if len(table) < len(config["models"]):
        raise DataError(
            f"{folder}: {len(table)} of {len(config['models'])} models are trained; "
            f"go on with `covidcxr train {recipe.key} --resume --out {folder}`"
        )
    done = table[table["state"] == _DONE]
    require_inside(done.get("folder", pd.Series(dtype=str)).astype(str), listed)
    models = [_model(recipe, folder / name, _config(folder / name)) for name in done["folder"]]
    others = table[table["state"] != _DONE]
    left_out = [f"{row['case']} {row['model']}: {row['state']}" for _, row in others.iterrows()]
    return Run(folder, config, tuple(models), tuple(left_out))


def _model(recipe, folder, config):
    path = folder / run_folder.METRICS
    if not path.is_file():
        raise DataError(
            f"{folder}: the run is not finished (no {run_folder.METRICS}); "
            f"go on with `covidcxr train {recipe.key} --resume --out {folder}`"
        )
    metrics = _json(path, "train the run anew")
    try:
        block = metrics["splits"][metrics["headline_split"]]
        block["intervals"]["measures"]["accuracy"]["value"]
        _ = [block[name] for name in _SCORES]
        model = TrainedModel(folder, config, metrics, _unit(recipe, config["options"]))
        _check_measures(comparison.measures(model))
        return model
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged ({_reason(error)}); train the run anew") from error
    except CovidcxrError as error:
        raise DataError(f"{folder / run_folder.CONFIG}: {error}") from error


def _unit(recipe, options):
    known = {field.name for field in fields(RunOptions)}
    (unit,) = chosen(recipe, RunOptions(**{name: options[name] for name in options if name in known}))
    return unit


def _json(path, remedy):
    try:
        return json_files.read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else _reason(error)
        raise DataError(f"{path}: not readable ({reason}); {remedy}") from error


def _table(path, remedy, dtype=str):
    try:
        return plain_table(pd.read_csv(path, dtype=dtype, keep_default_na=dtype is None))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable table ({_reason(error)}); {remedy}") from error


def _check_measures(table):
    """Raise `ValueError` or `TypeError` where a figure that is compared and drawn is no number."""
    for column in ("value", "low", "high", "images", "patients"):
        odd = [value for value in table[column] if value is not None and not isinstance(value, Real)]
        if odd:
            raise TypeError(f"{column} is {odd[0]!r}")
    for column in ("images", "patients"):
        if not all(map(math.isfinite, table[column])):
            raise ValueError(f"{column} is no number")


def _reason(error):
    words = str(error).strip().splitlines()
    return f"no {error}" if isinstance(error, KeyError) else words[0] if words else type(error).__name__
