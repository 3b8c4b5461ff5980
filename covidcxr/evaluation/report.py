"""One HTML page a run: everything needed to judge it, with nothing to fetch."""

import base64
import json
import re
from collections import Counter
from pathlib import Path

from covidcxr.atomic import write_text
from covidcxr.errors import DataError
from covidcxr.evaluation.tables import RESULT_COLUMNS, count_cells, result_cells

REPORT = "report.html"
MARKDOWN = "report.md"
CARD = "MODEL_CARD.md"
NOT_A_DEVICE = (
    "Not a medical device. These numbers describe a model on public images; "
    "they say nothing about a patient and must not guide care."
)
_PLAIN = ("title", "paper", "protocol", "command", "seed", "results_note")
_LISTS = ("notes", "tables", "deviations")
_MADE = ("results", "counts", "exclusions", "figures", "configuration", "environment")
_MEDIA = {".png": "image/png", ".svg": "image/svg+xml"}


def write_run_report(run_folder, context):
    """Write report.html into a run folder.

    Parameters
    ----------
    run_folder : path-like
    context : dict
        `title` (str), and any of:

        - `paper` (str): its reference;
        - `protocol`, `command` (str), `seed` (int);
        - `results` (rows of :func:`covidcxr.evaluation.tables.result_rows`), `results_note` (str): how the
          intervals were made;
        - `notes` (sequence of str): what a reader must know about the data;
        - `counts` (``Records.counts("split", "label")``);
        - `exclusions` (sequence of :class:`covidcxr.data.records.Exclusion`), counted by source and reason;
        - `figures` (sequence of (path, caption)): .png or .svg, relative to the run folder;
        - `tables` (sequence of dict with `title`, `columns`, `rows`, optional `note`): audits and the like;
        - `configuration` (dict, may be nested);
        - `environment` (dict; see :func:`covidcxr.environment.describe`);
        - `deviations` (sequence of str): numbered differences from the paper.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DataError
        If a figure cannot be read.
    OutputError
        If the page cannot be written.
    TypeError
        If `context` has a key that the page does not know.
    """
    unknown = sorted(set(context).difference(_PLAIN, _LISTS, _MADE))
    if unknown:
        raise TypeError(f"unknown in the report's context: {', '.join(unknown)}")
    folder = Path(run_folder)
    write_text(folder / REPORT, _template("run.html").render(_view(folder, context)))
    return folder / REPORT


def write_comparison(folder, context):
    """Write what a report over several runs is read from: report.html, report.md and MODEL_CARD.md.

    Parameters
    ----------
    folder : path-like
    context : dict
        Text and rows of text, as the templates comparison.html, comparison.md and card.md name them (see
        :mod:`covidcxr.papers.reporting.comparison_page`, which makes it); `figures` are dictionaries with `path` (.png
        or .svg, relative to the folder), `caption` and `wide`.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    DataError
        If a figure cannot be read.
    OutputError
        If a file cannot be written.
    """
    folder = Path(folder)
    figures = [
        {**figure, **_figure(folder, figure["path"], figure["caption"])} for figure in context["figures"]
    ]
    view = {**context, "figures": figures, "warning": NOT_A_DEVICE}
    written = {REPORT: "comparison.html", MARKDOWN: "comparison.md", CARD: "card.md"}
    for name, template in written.items():
        write_text(folder / name, _template(template).render(view))
    return [folder / name for name in written]


def flat(value):
    """List a nested dictionary as pairs of a dotted name and text."""
    return list(_flat(value))


def _view(folder, context):
    """Make of every value what the template prints: text, or rows of text."""
    counts = context.get("counts")
    return {
        **{
            key: context.get(key) for key in ("title", "paper", "protocol", "command", "seed", "results_note")
        },
        "warning": NOT_A_DEVICE,
        "result_columns": RESULT_COLUMNS,
        "results": [result_cells(row) for row in context.get("results") or ()],
        "counts": None if counts is None or counts.empty else count_cells(counts),
        "exclusions": _exclusion_rows(context.get("exclusions") or ()),
        "figures": [_figure(folder, *figure) for figure in context.get("figures") or ()],
        "configuration": list(_flat(context.get("configuration") or {})),
        "environment": list(_flat(context.get("environment") or {})),
        **{key: list(context.get(key) or ()) for key in _LISTS},
    }


def _exclusion_rows(exclusions):
    tally = Counter((item.source, item.reason) for item in exclusions)
    return [(source, reason, f"{count:,}") for (source, reason), count in sorted(tally.items())]


def _figure(folder, path, caption):
    full = folder / path
    if full.suffix not in _MEDIA:
        raise DataError(f"{full}: the report can show .png and .svg figures only; draw it as one of these")
    try:
        data = base64.b64encode(full.read_bytes()).decode("ascii")
    except OSError as error:
        raise DataError(f"{full}: figure not readable ({error.strerror}); draw it again") from error
    return {"source": f"data:{_MEDIA[full.suffix]};base64,{data}", "caption": caption}


def _flat(value, prefix=""):
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{name}.")
        else:
            yield name, item if isinstance(item, str) else json.dumps(item, default=str, ensure_ascii=False)


def _template(name):
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("covidcxr.evaluation")
    settings = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=loader, autoescape=name.endswith(".html"), **settings)
    environment.filters["cell"] = markdown_cell
    return environment.get_template(name)


def markdown_cell(text):
    """Return a text as one line that Markdown reads neither as markup nor as the end of a table's cell.

    Angle brackets become entities: Python-Markdown, which makes the documentation's pages, knows no backslash before
    them.
    """
    line = " ".join(str(text).split())
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*_\[\]{}])", r"\\\1", line)
