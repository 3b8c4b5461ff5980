"""The results as one page to look at: bars beside the paper's figures, learning curves, confusion matrices."""

import base64
import hashlib

from covidcxr.evaluation.report import NOT_A_DEVICE
from covidcxr.papers.reporting import comparison
from covidcxr.papers.reporting.reproduction import cells, store, svg
from covidcxr.papers.reporting.reproduction.collect import SEEN

PAGE = "index.html"
_PACKAGE = "covidcxr.papers.reporting.reproduction"
_UNIT = {"roc_auc", "average_precision"}


def page(sections, results):
    """Make the page.

    Parameters
    ----------
    sections : sequence of covidcxr.papers.reporting.reproduction.sections.Section
    results : covidcxr.papers.reporting.reproduction.store.Results

    Returns
    -------
    str
        HTML; it loads nothing, and without scripts it is one long page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    settings = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=PackageLoader(_PACKAGE), autoescape=True, **settings)
    script, _, _ = environment.loader.get_source(environment, "filter.js")
    history, confusion = results.numbers("history"), results.numbers("confusion")
    articles = [
        _article(section, group, history, confusion) for section in sections for group in section.groups
    ]
    return environment.get_template("gallery.html").render(
        warning=NOT_A_DEVICE,
        note=cells.NOTE,
        columns=cells.COLUMNS,
        articles=articles,
        choices=_choices(sections),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _article(section, group, history, confusion):
    rows = [cells.of_row(group, row, first=place == 0) for place, row in enumerate(group.rows)]
    drawn = [_drawn(group, row) for row in group.rows]
    drawn = [row for row in drawn if row is not None]
    title = f"{section.recipe.key}, {cells.heading(group)}"
    return {
        "paper": section.recipe.key,
        "network": group.model,
        "protocols": sorted(set(group.runs["protocol"])),
        "title": title,
        "setting": section.setting,
        "citation": section.recipe.citation,
        "cautions": group.cautions,
        "bars": svg.bars(drawn, f"{title}: bars from 0 to 1, the paper's figure as a mark") if drawn else "",
        "rows": rows,
        "parts": [
            part for protocol in comparison.PROTOCOLS for part in _parts(group, protocol, history, confusion)
        ],
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


def _parts(group, protocol, history, confusion):
    runs = group.runs[group.runs["protocol"] == protocol]
    names = list(runs[store.RUN])
    own = [history[history[store.RUN] == name] for name in names]
    own = [table for table in own if len(table)]
    count = f"{len(names)} model" + ("s" if len(names) > 1 else "")
    if own:
        caption = f"Learning curves, {protocol}, {count}: dashed in training, solid on images scored after each epoch"
        if (runs["epoch_kept"] == SEEN).any():
            caption += ", by which the epoch was chosen"
        yield {
            "protocol": protocol,
            "caption": f"{caption}.",
            "picture": svg.curves(own, caption, svg.COLOURS[protocol]),
        }
    splits = dict(runs[[store.RUN, "headline_split"]].itertuples(index=False, name=None))
    for scoring, words in (("as_paper", "scored on augmented images"), ("plain", "images as they are")):
        rows = confusion[
            (confusion["scoring"] == scoring) & (confusion["split"] == confusion[store.RUN].map(splits))
        ]
        if len(rows):
            caption = f"Confusion matrix, {protocol}, {words}, sum over {count}"
            yield {"protocol": protocol, "caption": f"{caption}.", "picture": _matrix(rows, caption)}
    rows = confusion[(confusion["scoring"] == "external") & confusion[store.RUN].isin(names)]
    for name, part in rows.groupby("split", sort=True):
        caption = f"Confusion matrix, {protocol}, external set {name}"
        yield {"protocol": protocol, "caption": f"{caption}.", "picture": _matrix(part, caption)}


def _matrix(rows, title):
    labels = sorted(set(rows["true"]) | set(rows["predicted"]))
    summed = rows.groupby(["true", "predicted"])["images"].sum()
    counts = [[int(summed.get((true, predicted), 0)) for predicted in labels] for true in labels]
    return svg.confusion(labels, counts, title)


def _choices(sections):
    """List what can be chosen, each as its name and its values."""
    networks = dict.fromkeys(group.model for section in sections for group in section.groups)
    papers = dict.fromkeys(section.recipe.key for section in sections)
    return (("paper", list(papers)), ("protocol", list(comparison.PROTOCOLS)), ("network", sorted(networks)))


def _cut(name):
    return name if len(name) <= 22 else f"{name[:21]}…"
