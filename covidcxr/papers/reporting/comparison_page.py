"""A report over several runs of one paper: the page, its Markdown, the model card, the checklists, the manifest."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from covidcxr import atomic
from covidcxr.atomic import make_folder, write_csv
from covidcxr.errors import OutputError
from covidcxr.evaluation import checklists
from covidcxr.papers.reporting import comparison, comparison_card, comparison_data, comparison_figures
from covidcxr.papers.running import folder as run_folder

TABLE = "comparison.csv"
_CHECKLISTS = {name: f"checklist-{name.replace('_', '-')}.csv" for name in checklists.TITLES}
_CONTENTS = (
    ("comparison", "The paper's figures and ours"),
    ("claims", "The paper's figures among themselves"),
    ("figures", "Figures"),
    ("subgroups", "Subgroups"),
    ("audits", "Audits"),
    ("deviations", "Differences from the paper"),
    ("data", "Data"),
    ("runs", "Runs"),
    ("environment", "Environment"),
)
_NOTE = (
    "In brackets 95 % intervals: percentiles over 2,000 resamples of the patients (Wilson's or Newcombe's, counting "
    "patients, where every resample agrees); over several models the wider of Student's interval of their mean and the "
    "mean of their own intervals. Where a paper scores augmented images or one batch, the first line is scored its way "
    "(Wilson, counting images), the second on images as they are. "
    "Differences by square-and-add, the two taken as independent. The paper's own figure has an uncertainty too, "
    "which the paper does not print and which is not counted here."
)
_AUDIT_ROWS = 25
_SUBGROUPS = 2


@dataclass(frozen=True)
class Report:
    """A finished report.

    Attributes
    ----------
    folder : pathlib.Path
    rows : list of covidcxr.papers.reporting.comparison.Row
    verdicts, cautions : list of str
    """

    folder: Path
    rows: list
    verdicts: list
    cautions: list

    def print(self):
        """Print the verdicts and where everything lies."""
        from rich.console import Console

        from covidcxr.evaluation.report import CARD, MARKDOWN, REPORT

        console = Console(highlight=False, markup=False, emoji=False)
        for line in [*self.cautions, *self.verdicts]:
            console.print(f"- {line}", soft_wrap=True)
        for word, name in (("report", REPORT), ("markdown", MARKDOWN), ("card", CARD)):
            console.print(f"{word}: {self.folder / name}", soft_wrap=True)
        console.print("Not a medical device: no result here says anything about a patient.")


def check(out, beside=()):
    """See that a report may be written into a folder, before anything is computed.

    Parameters
    ----------
    out : path-like
    beside : sequence of str
        What may lie there besides an earlier report.

    Raises
    ------
    OutputError
        If it cannot be written, or holds anything but an earlier report.
    """
    out = Path(out)
    atomic.check_folder(out)
    with atomic.output_errors(out):
        names = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    foreign = [name for name in names if name not in {*_written(), *beside} and not atomic.is_leftover(name)]
    if run_folder.CONFIG in names or foreign:
        raise OutputError(
            f"{out}: holds other files ({foreign[0]}); choose an empty or new folder with --out"
        )


def write(recipe, runs, externals, out, *, explain=False, seed=0, beside=()):
    """Compare, draw and write.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    runs : sequence of covidcxr.papers.reporting.comparison_runs.Run
    externals : sequence of covidcxr.papers.reporting.comparison_runs.ExternalSet
    out : path-like
        See :func:`check`.
    explain : bool
        Draw attribution maps too: loads each model and needs its images.
    seed : int
        Of the subgroups' bootstrap.
    beside : sequence of str
        See :func:`check`.

    Returns
    -------
    Report

    Raises
    ------
    CovidcxrError
        If a file of a run is damaged, or the report cannot be written.
    """
    from covidcxr.evaluation.report import write_comparison

    check(out, beside)
    atomic.sweep(out)
    for model in (model for run in runs for model in run.models):
        model.read()
    splits = comparison_data.splits_of(runs)
    real = not comparison_data.only_phantom(splits)
    rows = comparison.compare(recipe, runs, externals, real=real)
    audits, missing = _audits(runs, out)
    verdicts = [*comparison.overall(rows, externals, real=real), _audits_in_short(audits)]
    cautions = comparison_data.cautions(recipe, runs, splits)
    out = make_folder(out)
    figures = comparison_figures.draw(recipe, runs, out) + (_explained(runs, out) if explain else [])
    known = comparison_card.answers(
        recipe,
        runs,
        splits,
        externals,
        verdicts,
        audited={audit["name"] for audit in audits},
        explained=explain,
    )
    lists = [comparison_card.checklist(name, known) for name in checklists.TITLES]
    for name, filled in zip(_CHECKLISTS.values(), lists, strict=True):
        write_csv(out / name, pd.DataFrame(filled["items"], columns=list(checklists.COLUMNS)))
    write_csv(out / TABLE, as_table(rows, externals))
    groups = _subgroups(recipe, runs, externals, seed)
    contents = [*_CONTENTS, *((item["id"], item["title"]) for item in lists)]
    claims = _contradictions(recipe.key)
    parts = (("figures", figures), ("subgroups", groups), ("claims", claims))
    empty = {name for name, part in parts if not part}
    context = {
        "title": f"{recipe.key}: the paper beside {_runs_text(runs)}",
        "paper": f"{recipe.title}. {recipe.citation}",
        "cautions": cautions,
        "verdicts": verdicts,
        "contents": [pair for pair in contents if pair[0] not in empty],
        "columns": _columns(rows, externals),
        "rows": [_view(row, externals, _columns(rows, externals)) for row in rows],
        "comparison_note": _NOTE,
        "claims": claims,
        "figures": figures,
        "subgroups": groups,
        "audits": audits,
        "audits_missing": missing,
        "deviations": recipe.deviations,
        "notes": _notes(runs, externals),
        "data": comparison_data.tables(splits),
        "manifest_note": comparison_data.write_manifest(splits, out),
        "runs": [_run_facts(model, out) for run in runs for model in run.models],
        "environments": _environments(runs),
        "checklists": lists,
        "card": comparison_card.card(runs, splits, comparison_data.sources(splits)),
    }
    write_comparison(out, context)
    return Report(out, rows, verdicts, cautions)


def as_table(rows, externals):
    """Lay the comparison out as numbers.

    Returns
    -------
    pandas.DataFrame
        One row a measure: models, measure, where, paper, then value, low, high, images, patients, models of
        `as_paper`, `published`, `sound`, each external set and `change`, then verdict.
    """
    lines = []
    for row in rows:
        line = {"models": row.models, "measure": row.title, "where": row.where, "paper": row.paper}
        parts = {"as_paper": row.as_paper, "published": row.published, "sound": row.sound}
        parts |= {external.name: item for external, item in zip(externals, row.external, strict=True)}
        for name, estimate in {**parts, "change": row.change}.items():
            line |= {
                f"{name}_{field}": getattr(estimate, field, None)
                for field in ("value", "low", "high", "images", "patients", "models")
            }
        lines.append({**line, "verdict": row.verdict, "note": row.note})
    return pd.DataFrame(lines)


def _written():
    from covidcxr.evaluation.report import CARD, MARKDOWN, REPORT

    names = (REPORT, MARKDOWN, CARD, TABLE, comparison_data.MANIFEST, run_folder.FIGURES)
    return {*names, *_CHECKLISTS.values()}


def _runs_text(runs):
    count = sum(len(run.models) for run in runs)
    return f"{count} model" + ("s" if count > 1 else "")


def _columns(rows, externals):
    protocols = [name for name in comparison.PROTOCOLS if any(getattr(row, name) for row in rows)]
    titles = {"published": "published protocol [95 %]", "sound": "sound protocol [95 %]"}
    return [
        "measure",
        "paper",
        *(titles[name] for name in protocols),
        *(f"{item.name} [95 %]" for item in externals),
    ]


def _view(row, externals, columns):
    cells = [[row.title, row.models], [_paper(row), row.where]]
    if any(name.startswith("published") for name in columns):
        cells.append(_published(row))
    if any(name.startswith("sound") for name in columns):
        cells.append(_estimate(row.sound, row))
    cells += [_estimate(estimate, row) for estimate in row.external]
    reading = " ".join(filter(None, (row.verdict, f"Note: {row.note}" if row.note else "")))
    return {"cells": [[line for line in cell if line] for cell in cells], "reading": reading}


def _paper(row):
    return (
        "—"
        if row.paper is None
        else comparison.points(row.paper, row.percent) + ("\u00a0%" if row.percent else "")
    )


def _published(row):
    if row.as_paper is None:
        return _estimate(row.published, row)
    main, small = _estimate(row.as_paper, row)
    plain = _estimate(row.published, row)[0]
    way = " from predicted classes" if row.measure == "roc_auc" else ""
    return [main, f"scored as the paper does{way}, {small}", f"images as they are: {plain}"]


def _estimate(estimate, row):
    if estimate is None:
        return ["—"]
    text = comparison.points(estimate.value, row.percent) + ("\u00a0%" if row.percent else "")
    if estimate.has_interval:
        low, high = (comparison.points(value, row.percent) for value in (estimate.low, estimate.high))
        text += f" [{low},\u00a0{high}]"
    rests = f"n\u00a0=\u00a0{estimate.images:,}"
    if estimate.models > 1:
        spread = comparison.points(estimate.sd, row.percent)
        rests = f"sd {spread} over {estimate.models} models, {rests}"
    return [text, rests]


def _contradictions(key):
    """List what the paper's printed figures contradict among themselves; a user's own paper has no list."""
    from covidcxr.errors import CovidcxrError
    from covidcxr.evaluation.claims import report

    try:
        found = report(key).contradictions
    except CovidcxrError:
        return []
    return [[item.where, item.printed, item.recomputed, f"{item.kind}: {item.how}"] for item in found]


def _audits(runs, out):
    """Return what audits found, and for each run without one how to run it."""
    from covidcxr.evaluation.audits.report import LEAK

    found, missing = [], []
    for run in runs:
        audits = run.audits
        if not audits:
            missing.append(_not_audited(run, out))
        for place, parts in audits.items():
            for audit in parts:
                rows = [{**vars(item), "leak": item.severity == LEAK} for item in audit.findings]
                tables = [_frame(name, table) for name, table in audit.tables.items() if len(table)]
                found.append(
                    {
                        "name": audit.name,
                        "title": f"{audit.title} ({place.name})",
                        "findings": rows,
                        "tables": tables,
                    }
                )
    return found, missing


def _not_audited(run, out):
    if comparison_data.DEIDENTIFIED in run.config:
        return f"{_shown(run.folder, out)}: was not audited."
    return f"{run.folder}: not audited; run `covidcxr audit {run.folder}` and this report again."


def _shown(folder, out):
    """Return a folder as a reader finds it: what lies in the report's own, from there."""
    inside = folder.is_relative_to(out)
    return (folder.relative_to(out) if inside else folder).as_posix()


def _audits_in_short(audits):
    from covidcxr.evaluation.audits.report import LEAK, WARNING

    if not audits:
        return "No run was audited: leaks and shortcuts are unknown."
    found = [item for audit in audits for item in audit["findings"]]
    named = {
        kind: sorted({item["name"] for item in found if item["severity"] == kind}) for kind in (LEAK, WARNING)
    }
    texts = [f"{kind}s ({', '.join(names).replace('_', ' ')})" for kind, names in named.items() if names]
    return f"The audits found {' and '.join(texts) or 'neither leak nor warning'}."


def _frame(name, table):
    shown = table.head(_AUDIT_ROWS)
    more = f" (first {len(shown)} of {len(table):,} rows)" if len(table) > len(shown) else ""
    rows = [["" if pd.isna(cell) else _short(cell) for cell in row] for row in shown.itertuples(index=False)]
    columns = [str(column) for column in table.columns]
    return {"title": name.replace("_", " ").replace("-", " ") + more, "columns": columns, "rows": rows}


def _short(cell):
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _explained(runs, out):
    models = [model for run in runs for model in run.models][: comparison_figures.MOST]
    return [comparison_figures.explained(model, out, number) for number, model in enumerate(models, 1)]


def _subgroups(recipe, runs, externals, seed):
    from covidcxr.evaluation.subgroups import subgroups, wide

    models = [model for run in runs for model in run.models]
    tables = []
    if len(models) <= _SUBGROUPS:
        for model in models:
            table = subgroups(model.headline, seed=seed, positive=recipe.positive_class)
            tables.append((f"{model.title}, split {model.metrics['headline_split']}", table))
    tables += [
        (item.name, item.subgroups.replace("", None)) for item in externals if item.subgroups is not None
    ]
    parts = [(title, *wide(table)) for title, table in tables if len(table)]
    return [{"title": title, "columns": columns, "rows": rows} for title, columns, rows in parts]


def _notes(runs, externals):
    notes = dict.fromkeys(
        note for run in runs for model in run.models for note in model.config.get("notes", ())
    )
    notes |= dict.fromkeys(f"Left out: {line}" for run in runs for line in run.left_out)
    return [*notes, *(_about(external) for external in externals)]


def _about(external):
    facts, metrics = external.facts, external.metrics
    text = f"External set {external.name}: {metrics['images']:,} images of {metrics['patients']:,} patients"
    mapping = ", ".join(f"{label} counted as {name}" for label, name in (facts.get("mapping") or {}).items())
    dropped = ", ".join(facts.get("dropped") or ())
    absent = ", ".join(facts.get("absent_classes") or ())
    parts = [
        text,
        mapping,
        f"left out by choice: {dropped}" if dropped else "",
        f"no image of {absent}" if absent else "",
    ]
    return "; ".join(filter(None, parts)) + "."


def _run_facts(model, out):
    config, split = model.config, model.folder / run_folder.SPLIT
    facts = [
        ("folder", _shown(model.folder, out)),
        ("command", config["command"]),
        ("protocol", f"{model.protocol}: {config['protocol']['title']}"),
        ("seed", str(config["options"].get("seed", 0))),
        ("started", str(config.get("started", ""))),
        ("network", str(config.get("network", ""))),
        ("parameters", f"{config['parameters']:,}" if config.get("parameters") else ""),
        ("trainable", f"{config['trainable']:,}" if config.get("trainable") else ""),
        ("epochs", str(len(model.history))),
        ("SHA-256 of split.csv", comparison_data.file_hash(split)),
        ("SHA-256 of model.h5", comparison_data.file_hash(model.folder / run_folder.MODEL)),
    ]
    return {"title": model.title, "facts": [pair for pair in facts if pair[1]]}


def _environments(runs):
    from covidcxr import environment
    from covidcxr.evaluation.report import flat

    found = {}
    for model in (model for run in runs for model in run.models):
        known = model.config["environment"]
        found.setdefault(tuple(flat(known)), (known, []))[1].append(model.title)
    shown = [
        {"title": "; ".join(titles[:4]) + ("; ..." if len(titles) > 4 else ""), "facts": list(facts)}
        for facts, (_, titles) in found.items()
    ]
    if len(shown) != 2:
        return shown
    (first, _), (second, _) = found.values()
    differences = environment.differences(first, second)
    facts = [(name, " | ".join(map(_told, values))) for name, *values in differences]
    title = f"What differs: {shown[0]['title']} | {shown[1]['title']}"
    return [{"title": title, "facts": facts}, *shown]


def _told(value):
    return "not recorded" if value is None else str(value)
