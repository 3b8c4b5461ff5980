"""The results' tables as Markdown: one page a paper, and the short table of the README."""

from covidcxr.evaluation.report import NOT_A_DEVICE, markdown_cell
from covidcxr.papers.reporting.reproduction import cells, store

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
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


def pages(sections):
    """Make a page of each paper.

    Parameters
    ----------
    sections : sequence of covidcxr.papers.reporting.reproduction.sections.Section

    Returns
    -------
    dict of str to str
        File name to Markdown.
    """
    papers = dict.fromkeys(section.recipe.key for section in sections)
    return {f"{key}.md": _page([one for one in sections if one.recipe.key == key]) for key in papers}


def summary(sections):
    """Make the README's table: of each paper and setting the model with the highest printed accuracy.

    Chosen by the paper's figure, so that no figure of ours decides what is shown; of several the first.

    Returns
    -------
    str
        Markdown, from :data:`BEGIN` to :data:`END`.
    """
    lines = [("paper", "model", "images and options", *cells.COLUMNS[1:])]
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
            lines.append((section.recipe.key, group.title, section.setting, *texts[1:]))
    table = _table(lines) if len(lines) > 1 else ["No accuracy that a paper prints was run."]
    return "\n".join([BEGIN, "", *table, "", END])


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


def _page(sections):
    recipe = sections[0].recipe
    lines = [
        f"# {markdown_cell(recipe.key)}: {markdown_cell(recipe.title)}",
        "",
        markdown_cell(recipe.citation),
        "",
        MADE,
        "",
    ]
    lines += [f"**{NOT_A_DEVICE}**", "", cells.NOTE]
    for section in sections:
        lines += ["", f"## {markdown_cell(section.setting)}"]
        for group in section.groups:
            lines += _group(group)
        lines += ["", "### Runs", "", *_runs(section)]
    return "\n".join(lines) + "\n"


def _group(group):
    lines = ["", f"### {markdown_cell(cells.heading(group))}", ""]
    for caution in group.cautions:
        lines += [f"*{markdown_cell(caution)}*", ""]
    rows = [cells.of_row(group, row, first=place == 0) for place, row in enumerate(group.rows)]
    return [*lines, *_table([cells.COLUMNS, *rows])]


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
