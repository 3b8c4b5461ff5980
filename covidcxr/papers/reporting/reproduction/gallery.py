"""The results as one page to look at: bars beside the paper's figures, learning curves, confusion matrices."""

import base64
import hashlib

from covidcxr.evaluation.report import NOT_A_DEVICE
from covidcxr.papers.reporting import comparison
from covidcxr.papers.reporting.reproduction import cells, overview, pictures, svg

PAGE = "index.html"
_PACKAGE = "covidcxr.papers.reporting.reproduction"
_UNIT = {"roc_auc", "average_precision"}


def page(sections, results, missing):
    """Make the page.

    Parameters
    ----------
    sections : sequence of covidcxr.papers.reporting.reproduction.sections.Section
    results : covidcxr.papers.reporting.reproduction.store.Results
    missing : dict of str to sequence of covidcxr.papers.reporting.reproduction.leaving.Missing
        By paper.

    Returns
    -------
    str
        HTML; it loads nothing, and without scripts it is one long page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    settings = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=PackageLoader(_PACKAGE), autoescape=True, **settings)
    script, _, _ = environment.loader.get_source(environment, "filter.js")
    drawn = pictures.Pictures(results)
    articles = [_article(section, group, drawn) for section in sections for group in section.groups]
    return environment.get_template("gallery.html").render(
        warning=NOT_A_DEVICE,
        note=cells.NOTE.replace("`", ""),
        columns=cells.COLUMNS,
        overview_columns=overview.COLUMNS,
        missing_columns=overview.MISSING_COLUMNS,
        overviews=[_overview(own, missing[key]) for key, own in overview.by_paper(sections)],
        articles=articles,
        choices=_choices(sections),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _overview(sections, missing):
    recipe = sections[0].recipe
    return {
        "paper": recipe.key,
        "title": f"{recipe.key}: {recipe.title}",
        "citation": recipe.citation,
        "lines": overview.lines(sections, missing),
        "missing": [(item.model, overview.missing_row(item, recipe.positive_class)) for item in missing],
    }


def _article(section, group, pictures_of):
    rows = [cells.of_row(group, row, first=place == 0) for place, row in enumerate(group.rows)]
    drawn = [_drawn(group, row) for row in group.rows]
    drawn = [row for row in drawn if row is not None]
    title = f"{section.recipe.key}, {cells.heading(group)}"
    return {
        "paper": section.recipe.key,
        "network": group.model,
        "place": pictures.name(section, group),
        "protocols": sorted(set(group.runs["protocol"])),
        "title": title,
        "setting": section.setting,
        "cautions": group.cautions,
        "changes": cells.changes(group),
        "bars": svg.bars(drawn, f"{title}: bars from 0 to 1, the paper's figure as a mark")
        if drawn
        else None,
        "rows": rows,
        "parts": pictures_of.of(group),
    }


def _drawn(group, row):
    """Return a row of bars, or None of a measure that has no scale from 0 to 1."""
    if not (row.percent or row.measure in _UNIT):
        return None
    found = [
        ("published, paper's way", svg.AS_PAPER, row.as_paper, "published"),
        ("published", svg.PUBLISHED, row.published, "published"),
        ("sound", svg.SOUND, row.sound, "sound"),
    ]
    found += [
        (name, svg.EXTERNAL, item, "") for name, item in zip(group.externals, row.external, strict=True)
    ]
    if row.measure == "roc_auc" and group.border:
        found.append(("border only", svg.BORDER, group.border.estimate, group.border.protocol))
    shown = [svg.Bar(_cut(name), colour, item, protocol) for name, colour, item, protocol in found if item]
    return cells.name_of(row), row.paper, row.percent, shown


def _choices(sections):
    """List what can be chosen, each as its name and its values."""
    networks = dict.fromkeys(group.model for section in sections for group in section.groups)
    papers = dict.fromkeys(section.recipe.key for section in sections)
    return (("paper", list(papers)), ("protocol", list(comparison.PROTOCOLS)), ("network", sorted(networks)))


def _cut(name):
    return name if len(name) <= 22 else f"{name[:21]}…"
