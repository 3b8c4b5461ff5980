"""What of runs and evaluations may be given away: their tables with pseudonyms, and settings without any place.

A report is then made from these copies alone, so that it can tell no more than they do. What is kept is named here;
everything else a run holds stays behind: model, checkpoints, logs, pictures of radiographs, notes, commands.
"""

from dataclasses import fields
from pathlib import Path

import pandas as pd

from covidcxr.atomic import check_folder, make_folder, output_errors, write_csv, write_json
from covidcxr.errors import OutputError
from covidcxr.evaluation import predictions
from covidcxr.evaluation.audits import report as audit_report
from covidcxr.evaluation.deidentify import Pseudonyms, settings, sex, shuffled, view
from covidcxr.papers.plan import RunOptions
from covidcxr.papers.reporting import comparison_data
from covidcxr.papers.reporting.comparison_runs import AUDIT, EVALUATION, read_external, read_runs
from covidcxr.papers.running import folder as run_folder

FOLDER = "deidentified"

_DONE, _LEFT_OUT = "done", "left out"
_SETTINGS = (
    "paper",
    "models",
    "network",
    "parameters",
    "trainable",
    "frozen_layers",
    "classes",
    "stages",
    "batch_size",
    "dropout",
    "augmentation",
    "preprocessing",
    "protocol",
    "placement",
    "environment",
)
# Options that are folders or files, or name a user's own sources.
_PLACES = ("data", "weights", "sources", "split", "cache", "out", "overwrite", "resume")
_SUBGROUPS = "subgroups.csv"


def check(out):
    """See that a report may be given away from a folder, before anything is computed.

    Raises
    ------
    OutputError
        If it cannot be written, or holds anything: what an earlier report left there would be given away too.
    """
    out = Path(out)
    check_folder(out)
    with output_errors(out):
        names = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if names:
        raise OutputError(
            f"{out}: holds {names[0]}, which would be given away too; choose an empty or new folder with --out"
        )


def shared(runs, externals, out, *, seed=None):
    """Write de-identified copies of runs and evaluations, and read them as a report does.

    Parameters
    ----------
    runs : sequence of covidcxr.papers.reporting.comparison_runs.Run
    externals : sequence of covidcxr.papers.reporting.comparison_runs.ExternalSet
    out : path-like
        They go to ``deidentified/run-1``, ``deidentified/external-1`` and so on below it.
    seed : int, optional
        See :class:`covidcxr.evaluation.deidentify.Pseudonyms`.

    Returns
    -------
    runs : tuple of covidcxr.papers.reporting.comparison_runs.Run
    externals : list of covidcxr.papers.reporting.comparison_runs.ExternalSet
        In the order given.

    Raises
    ------
    CovidcxrError
        If a table of a run is damaged, or a copy cannot be written.
    """
    sets = [_External(item) for item in externals]
    names = _pseudonyms(runs, sets, seed)
    place = Path(out) / FOLDER
    run_places = [place / f"run-{number}" for number in range(1, len(runs) + 1)]
    set_places = [place / f"external-{number}" for number in range(1, len(sets) + 1)]
    for run, folder in zip(runs, run_places, strict=True):
        _share_run(run, folder, names)
    for item, folder in zip(sets, set_places, strict=True):
        _share_external(item, folder, names)
    recipe, copies = read_runs(run_places)
    return copies, [read_external(folder, recipe) for folder in set_places]


class _External:
    """An evaluation with the tables of its images, where it has them."""

    def __init__(self, external):
        self.external = external
        path = external.folder / run_folder.PREDICTIONS
        self.predictions = predictions.read_csv(path) if path.is_file() else None
        # Two sets may have files of the same name.
        self.place = f"external {external.folder.resolve()}"


def _place(model):
    return str(model.config.get("data_root", ""))


def _pseudonyms(runs, sets, seed):
    """Gather every name that stands in the tables."""
    models = [model for run in runs for model in run.models]
    parts = [(_place(model), table) for model in models for table in _tables(model)]
    parts += [(item.place, item.predictions.table) for item in sets if item.predictions is not None]
    columns = {name: _gathered(parts, name) for name in ("patient_id", "group", "source", "view", "sex")}
    audited = [
        table
        for run in runs
        for audits in run.audits.values()
        for audit in audits
        for table in audit.tables.values()
    ]
    for name in ("source", "view", "sex"):
        columns[name] |= {str(value) for table in audited if name in table for value in table[name].dropna()}
    odd = {
        word for name, read in (("view", view), ("sex", sex)) for word in columns[name] if read(word) != word
    }
    groups = {name for name in columns["group"] if not name.startswith("file:")}
    return Pseudonyms(
        images={(place, path) for place, table in parts for path in table["path"]},
        patients=columns["patient_id"] | groups,
        sources=columns["source"],
        hidden=odd | {text for model in models for text in _places_of(model)},
        shown={name for model in models for name in model.config["classes"]},
        seed=seed,
    )


def _gathered(parts, column):
    return {str(value) for _, table in parts if column in table for value in table[column].dropna()}


def _tables(model):
    return model.split, model.exclusions, model.predictions.table


def _places_of(model):
    """Name the folders and files that a text about a run may hold, as given and in full; words are too common."""
    options = model.config["options"]
    given = [options.get(name) for name in ("data", "weights", "split", "out")]
    paths = [Path(text) for text in (model.config.get("data_root"), *given, model.folder) if text]
    return {str(path) for each in paths for path in (each, each.absolute()) if len(path.parts) > 1}


def _share_run(run, folder, names):
    make_folder(folder)
    if "models" in run.config:
        write_json(folder / run_folder.CONFIG, _config(run.config))
        write_csv(folder / run_folder.MODEL_LIST, _model_list(run))
    for model in run.models:
        _share_model(model, folder / model.folder.relative_to(run.folder), names)
    roots = {model.folder: _place(model) for model in run.models}
    for place, audits in run.audits.items():
        root = roots.get(place, _place(run.models[0]))
        shared = [_audit(audit, names, root) for audit in audits]
        audit_report.write(shared, folder / place.relative_to(run.folder) / AUDIT)


def _share_model(model, folder, names):
    place = _place(model)
    make_folder(folder)
    write_json(folder / run_folder.CONFIG, _config(model.config))
    write_csv(folder / run_folder.SPLIT, shuffled(names.table(model.split, place)))
    write_csv(folder / run_folder.EXCLUSIONS, shuffled(names.table(model.exclusions, place)))
    write_csv(folder / run_folder.PREDICTIONS, shuffled(names.predictions(model.predictions, place).table))
    write_csv(folder / run_folder.HISTORY, model.history)
    write_json(folder / run_folder.METRICS, {**settings(model.metrics), "figures": []})


def _share_external(item, folder, names):
    make_folder(folder)
    external = item.external
    write_json(folder / run_folder.METRICS, settings(external.metrics))
    write_json(folder / EVALUATION, names.facts(external.facts))
    if item.predictions is not None:
        table = names.predictions(item.predictions, item.place).table
        write_csv(folder / run_folder.PREDICTIONS, shuffled(table))
    if external.subgroups is not None:
        write_csv(folder / _SUBGROUPS, names.subgroups(external.subgroups))


def _config(config):
    options = {name: value for name, value in config["options"].items() if name not in _PLACES}
    kept = {name: config[name] for name in _SETTINGS if name in config}
    weights = config.get("weights")
    if isinstance(weights, dict):
        kept["weights"] = {"source": _weights(weights), "sha256": weights.get("sha256", "")}
    words = [config["paper"], *(f"--{name.replace('_', '-')} {value}" for name, value in _chosen(options))]
    return {
        **settings({**kept, "options": options}),
        "command": " ".join(["covidcxr train", *words]),
        comparison_data.DEIDENTIFIED: True,
    }


def _weights(weights):
    if not weights.get("source"):
        return ""
    return f"a file of SHA-256 {weights['sha256']}" if weights.get("sha256") else "a file"


def _chosen(options):
    """Return the options that are not what they are by default."""
    usual = {field.name: field.default for field in fields(RunOptions)}
    return [(name, value) for name, value in options.items() if name in usual and value != usual[name]]


def _model_list(run):
    table = pd.read_csv(run.folder / run_folder.MODEL_LIST, dtype=str, keep_default_na=False)
    # Why a model could not be trained may name a file.
    state = table["state"].where(table["state"] == _DONE, _LEFT_OUT)
    return table.assign(state=state)


def _audit(audit, names, place):
    """Return an audit with pseudonyms; the evidence repeats what text and tables tell."""
    findings = tuple(
        audit_report.Finding(item.audit, item.name, item.severity, _told(item, names, place))
        for item in audit.findings
    )
    tables = {name: names.table(table, place) for name, table in audit.tables.items()}
    return audit_report.Audit(audit.name, audit.title, tables, findings)


def _told(finding, names, place):
    # Why an audit was not done is an error's text, with the place of a file.
    return "could not be done" if finding.name == "not_done" else names.text(finding.text, place)
