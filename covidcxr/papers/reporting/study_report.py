"""Several models of one paper beside the paper's own numbers: on the terminal, in a notebook, as a page."""

import html

import pandas as pd

from covidcxr.atomic import make_folder
from covidcxr.papers import tables
from covidcxr.papers.reporting import show
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.units import Unit

_COLUMNS = ("where", "models", "measure", "paper", "these runs", "n", "note")
_NOTE = (
    "These runs: mean over the models trained (n), plus or minus one standard deviation where there are several, "
    "scored as the paper scores where that differs. Intervals of each model stand in its own report and in "
    "results.csv."
)
_FRACTIONS = {"accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1"}
_NOT_A_DEVICE = "Not a medical device: no result here says anything about a patient."
_MOST_ROWS = 40


def beside_the_paper(recipe, results):
    """Set every claim that these models can be held against beside their mean.

    Parameters
    ----------
    recipe : Recipe
    results : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        Text, one row a claim: where, models, measure, paper, these runs, n, note.
    """
    measured = tables.headline(results, "published") if len(results) else results
    rows = [_claim_row(recipe, claim, measured, results) for claim in recipe.claims]
    return pd.DataFrame([row for row in rows if row], columns=list(_COLUMNS))


def print_study(study):
    """Print the tables that have anything in them, what was left out, and where everything lies."""
    console = show.wide_console()
    for name, table in study.tables.items():
        _print_frame(console, study.recipe.tables[name].title, table)
    _print_frame(console, "beside the paper", study.table())
    for line in [*_left_out(study), *(f"note: {note}" for note in study.notes)]:
        console.print(line, markup=False, emoji=False)
    for word, name in (("models", run_folder.MODELS), ("report", run_folder.REPORT)):
        console.print(f"{word}: {study.folder / name}", markup=False, emoji=False)
    console.print(_NOT_A_DEVICE)


def as_html(study):
    """Return the tables for a notebook."""
    parts = [(study.recipe.tables[name].title, table) for name, table in study.tables.items()]
    parts.append(("Beside the paper", study.table()))
    body = "".join(
        f"<p>{html.escape(title)}</p>{frame.to_html(index=False, escape=True, na_rep='')}"
        for title, frame in parts
    )
    return f"<b>{html.escape(study.recipe.title)}</b>{body}<p>{_NOT_A_DEVICE}</p>"


def write(study, plans, folders):
    """Write figures and report.html of a run of several models.

    Parameters
    ----------
    study : covidcxr.papers.running.study.StudyResult
    plans : sequence of Plan
    folders : sequence of pathlib.Path
        Of the finished models.
    """
    from covidcxr.evaluation.report import write_run_report

    recipe, config, protocol = study.recipe, study.config, plans[0].protocol
    context = {
        "title": f"{recipe.key}, {len(folders)} models, {plans[0].options.protocol} protocol",
        "paper": f"{recipe.title}. {recipe.citation}",
        "protocol": f"{plans[0].options.protocol}: {protocol.title}",
        "command": config["command"],
        "seed": plans[0].options.seed,
        "notes": [*_left_out(study), *study.notes],
        "tables": _report_tables(study),
        "figures": _figures(study),
        "configuration": {key: value for key, value in config.items() if key != "environment"},
        "environment": config["environment"],
        "deviations": recipe.deviations,
    }
    write_run_report(study.folder, context)


def _claim_row(recipe, claim, measured, results):
    rows = _matching(claim, measured if not claim.split else results, recipe)
    if not len(rows):
        return None
    values = rows["value"].astype(float)
    percent = claim.measure in _FRACTIONS
    spread = f" ± {_text(values.std(ddof=1), percent)}" if len(values) > 1 else ""
    label = f" of {claim.label}" if claim.label else ""
    axes = filter(None, (claim.case, claim.model, claim.arm, _fold_text(claim.fold)))
    return (
        claim.where,
        " ".join(axes),
        f"{claim.measure.replace('_', ' ')}{label}{f' ({claim.split})' if claim.split else ''}",
        _text(claim.value, percent),
        f"{_text(values.mean(), percent)}{spread}",
        str(len(values)),
        claim.note,
    )


def _matching(claim, rows, recipe):
    wanted = rows["measure"] == claim.measure
    for axis in ("case", "model", "arm"):
        if getattr(claim, axis):
            wanted &= rows[axis] == getattr(claim, axis)
    if claim.fold.isdecimal():
        wanted &= rows["fold"] == int(claim.fold)
    if claim.split:
        wanted &= (rows["split"] == claim.split) & (rows["scoring"] == "plain")
    labelled = rows[wanted & (rows["label"] == claim.label)]
    if len(labelled) or claim.label:
        return labelled
    return rows[wanted & (rows["label"] == recipe.positive_class)]


def _fold_text(fold):
    return f"fold {fold}" if fold.isdecimal() else fold


def _text(value, percent):
    if pd.isna(value):
        return "—"
    if percent:
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def _left_out(study):
    rows = study.models[study.models["state"] != "done"]
    return [
        f"left out: {Unit(*row[: len(tables.AXES)]).name}: {row.state}"
        for row in rows.itertuples(index=False)
    ]


def _print_frame(console, title, frame):
    from rich.table import Table

    shown = Table(*map(str, frame.columns), title=title)
    for row in frame.head(_MOST_ROWS).itertuples(index=False):
        shown.add_row(*map(_cell, row))
    console.print(shown)
    if len(frame) > _MOST_ROWS:
        console.print(f"and {len(frame) - _MOST_ROWS} rows more: see the report")


def _cell(value):
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.5g}"
    return "" if value is None else str(value)


def _report_tables(study):
    parts = [(study.recipe.tables[name].title, table, "") for name, table in study.tables.items()]
    parts.append(("Beside the paper", study.table(), _NOTE))
    parts.append(("Models", study.models.drop(columns="folder"), ""))
    return [
        {
            "title": title,
            "columns": [str(name) for name in frame.columns],
            "rows": [[_cell(value) for value in row] for row in frame.itertuples(index=False)],
            **({"note": note} if note else {}),
        }
        for title, frame, note in parts
        if len(frame)
    ]


def _figures(study):
    place = make_folder(study.folder / run_folder.FIGURES)
    drawn = []
    for name, table in study.tables.items():
        kind = study.recipe.tables[name]
        if kind.draw is not None:
            kind.draw(table, place / name)
            drawn.append((f"{run_folder.FIGURES}/{name}.png", kind.title))
    return drawn
