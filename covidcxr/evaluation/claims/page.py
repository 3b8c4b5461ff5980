"""The report of the checks as text, Markdown and HTML."""

import inspect
import math
import textwrap

from covidcxr.evaluation.claims import rules

_HEADINGS = ("where", "printed", "recomputed", "tolerance", "kind", "how")
_INTRODUCTION = """\
# Claims: the papers' printed numbers, checked

Every number of the papers' result tables, and every number of their texts and abstracts that repeats or adds to them,
is kept as printed in `covidcxr/evaluation/claims/<paper>.csv`, with the place it stands in. `covidcxr report claims`
holds these numbers to arithmetic and makes this page; nothing is trained or downloaded for it.

A contradiction says that two printed numbers, or a printed number and the data set or network that the paper names,
cannot both be right. It does not say which of them is wrong, and it says nothing about a model beyond that. What a rule
takes for granted, such as one test set for all networks or a test size, stands in the last column.

Tolerance is half a unit of the last printed place, of the number and of every printed number that it is computed from.
A number that agrees once it is read as cut off instead of rounded (*truncated*), or as rounded to fewer decimals and
filled up with zeros (*padded*), is not counted as a contradiction. Equal numbers with one and the same fault are listed
once.

Not entered, because they are printed as pictures: the confusion matrices of rahimzadeh2020's Fig. 4, khalifa2020's
Figs. 7 to 10 and yin2020's Fig. 5, the points of yin2020's Fig. 6, and learning curves. In ragab2022's Table 9 the last
row runs together; its sensitivity, specificity and F1 are entered unassigned and not checked."""


def markdown(report):
    """Return the whole page.

    Parameters
    ----------
    report : covidcxr.evaluation.claims.findings.ClaimsReport

    Returns
    -------
    str
        Ends in a newline.
    """
    parts = [_INTRODUCTION, "## Counts", _table(report.summary.columns, report.summary.to_numpy().tolist())]
    parts += ["## Contradictions"]
    for key in report.keys:
        parts += [f"### {key}", *_list(report.contradictions, key)]
    if report.remarks:
        rows = [[found.paper, *_cells(found)] for found in report.remarks]
        parts += ["## Remarks", _table(("paper", *_HEADINGS), rows)]
    parts += ["## Truncated or padded, not rounded", _milder(report), "## Rules", _rules()]
    return "\n\n".join(parts) + "\n"


def text(report):
    """Return counts and contradictions for a terminal."""
    lines = [report.summary.to_string(index=False)]
    for found in report.contradictions:
        lines += ["", f"{found.paper}: {found.where}"]
        words = f"printed {found.printed}; {found.kind}: {found.recomputed}{_within(found)}. {found.how}"
        lines += textwrap.wrap(words, 100, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def html(report):
    """Return two tables, of counts and of contradictions, as escaped HTML without style."""
    found = report.table.drop(columns=["ids", "verdict"])
    found["tolerance"] = [_tolerance(value) for value in found["tolerance"]]
    return "\n".join(table.to_html(index=False, border=0) for table in (report.summary, found))


def _list(contradictions, key):
    rows = [_cells(found) for found in contradictions if found.paper == key]
    return [_table(_HEADINGS, rows)] if rows else ["None."]


def _milder(report):
    rows = {}
    for found in report.milder:
        place = (found.paper, found.where.partition(",")[0], found.kind, found.verdict)
        rows[place] = rows.get(place, 0) + len(found.ids)
    return _table(
        ("paper", "table", "kind", "reading", "numbers"), [[*place, count] for place, count in rows.items()]
    )


def _rules():
    rows = []
    for name, kind in rules.RULES.items():
        function = getattr(rules, name, None) or rules.average
        rows.append([f"`{name}`", kind, inspect.getdoc(function).partition("\n")[0]])
    return _table(("rule", "kind", "what it does"), rows)


def _cells(found):
    return [found.where, found.printed, found.recomputed, _tolerance(found.tolerance), found.kind, found.how]


def _tolerance(value):
    return "" if math.isnan(value) else f"{value:g}"


def _within(found):
    return "" if math.isnan(found.tolerance) or not found.tolerance else f" (tolerance {found.tolerance:g})"


def _table(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
