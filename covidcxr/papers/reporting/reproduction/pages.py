"""The results' tables as Markdown: one page a paper, and the short table of the README."""

from collections import Counter

from covidcxr.evaluation.report import NOT_A_DEVICE, markdown_cell
from covidcxr.papers.reporting.reproduction import cells, overview, pictures, store

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FIGURES = "figures"
"""Folder of the pictures, beside that of the pages."""
MISSING = "The paper prints figures of these models; collecting a run of the command puts ours beside them."
MADE = (
    "Made by `covidcxr report reproduce` from the CSV files in the folder above; change those, not this page."
)
_RUN_COLUMNS = {
    "run": store.RUN,
    "protocol": "protocol",
    "images scored": "images_scored",
    "patients": "patients_scored",
    "images trained on": "images_trained",
    "epochs": "epochs",
    "seconds": "seconds",
    "weights of": "weights_of",
    "devices": "devices",
    "environment": "environment",
    "command": "command",
}


def pages(sections, missing):
    """Make a page of each paper.

    Parameters
    ----------
    sections : sequence of covidcxr.papers.reporting.reproduction.sections.Section
    missing : dict of str to sequence of covidcxr.papers.reporting.reproduction.leaving.Missing
        By paper.

    Returns
    -------
    dict of str to str
        File name to Markdown.
    """
    return {f"{key}.md": _page(own, missing[key]) for key, own in overview.by_paper(sections)}


def summary(sections, missing, tables):
    """Make the README's table: of each paper and setting the model with the highest printed accuracy.

    Chosen by the paper's figure, so that no figure of ours decides what is shown; of several the first.

    Parameters
    ----------
    sections, missing
        As of :func:`pages`.
    tables : str
        Folder of the pages, as the README names it.

    Returns
    -------
    str
        Markdown, from :data:`BEGIN` to :data:`END`.
    """
    lines = [("paper", "model", "images", "not as in the paper", *cells.COLUMNS[1:])]
    for section in sections:
        claimed = [
            (row.paper, group, row)
            for group in section.groups
            for row in group.rows
            if row.measure == "accuracy" and row.paper is not None
        ]
        if claimed:
            # The first of the highest.
            _, group, row = max(claimed, key=lambda item: item[0])
            texts = cells.of_row(group, row, first=True)
            lines.append((section.recipe.key, group.title, *_setting(section, group), *texts[1:]))
    table = _table(lines) if len(lines) > 1 else ["No accuracy that a paper prints has been run yet."]
    others = [_others(key, missing[key], tables) for key, _ in overview.by_paper(sections)]
    return "\n".join([BEGIN, "", *table, *([""] if others else []), *others, "", END])


def replaced(text, table):
    """Put the table between the markers of a text.

    Returns
    -------
    str or None
        None where the text has not both markers, in their order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        return None
    return text[:begin] + table + text[end + len(END) :]


def _setting(section, group):
    images = [word for word in section.setting.split("; ") if not word.startswith("--")]
    return "; ".join(images), cells.short_changes(group)


def _others(key, missing, tables):
    reasons = Counter(item.reason for item in missing)
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    left = f"; of the models that it prints figures of, {counts}" if counts else ""
    return f"- [All models of {key}]({tables}/{key}.md){left}"


def _page(sections, missing):
    recipe = sections[0].recipe
    lines = [
        f"# {markdown_cell(recipe.key)}: {markdown_cell(recipe.title)}",
        "",
        markdown_cell(recipe.citation),
        "",
        MADE,
        "",
    ]
    lines += [f"**{NOT_A_DEVICE}**", "", cells.NOTE, "", "## Accuracy at a glance", ""]
    lines += _table([overview.COLUMNS, *(line.cells for line in overview.lines(sections, missing))])
    for section in sections:
        lines += ["", f"## {markdown_cell(section.setting)}"]
        for group in section.groups:
            lines += _group(section, group)
        lines += ["", "### Runs", "", *_runs(section)]
    if missing:
        rows = [overview.missing_row(item, recipe.positive_class) for item in missing]
        lines += ["", "## Not run", "", MISSING, "", *_table([overview.MISSING_COLUMNS, *rows])]
    return "\n".join(lines) + "\n"


def _group(section, group):
    lines = ["", f"### {markdown_cell(cells.heading(group))}", ""]
    for caution in filter(None, [cells.changes(group), *group.cautions]):
        lines += [f"*{markdown_cell(caution)}*", ""]
    rows = [cells.of_row(group, row, first=place == 0) for place, row in enumerate(group.rows)]
    shown = f"{pictures.TITLE[0].upper()}{pictures.TITLE[1:]} of {markdown_cell(group.title)}"
    picture = f"![{shown}](../{FIGURES}/{pictures.name(section, group)}.svg)"
    return [*lines, *_table([cells.COLUMNS, *rows]), "", picture]


def _runs(section):
    rows = [
        tuple(_plain(value) for value in row)
        for group in section.groups
        for row in group.runs[list(_RUN_COLUMNS.values())].itertuples(index=False, name=None)
    ]
    return _table([tuple(_RUN_COLUMNS), *rows])


def _plain(value):
    if isinstance(value, float):
        return "" if value != value else f"{value:g}" if value % 1 else f"{value:.0f}"
    return str(value)


def _table(rows):
    head, *others = ([markdown_cell(cell) for cell in row] for row in rows)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others)]
