"""A paper at a glance: the accuracy of each of its models, run or not, and what was not run."""

from dataclasses import dataclass
from itertools import groupby

from covidcxr.papers.reporting.reproduction import cells, pictures

COLUMNS = ("model", "not as in the paper", *cells.COLUMNS[:-1])
MISSING_COLUMNS = ("model", "the paper's figures", "here", "command")
_MEASURE = "accuracy"


@dataclass(frozen=True)
class Line:
    """One row at a glance.

    Attributes
    ----------
    cells : tuple of str
        In the order of :data:`COLUMNS`.
    model : str
        Key of the network, "" where the paper's figure names none.
    protocols : str
        Those that were run.
    place : str
        Name of the model's pictures, "" where none was run.
    """

    cells: tuple
    model: str
    protocols: str = ""
    place: str = ""


def by_paper(sections):
    """Return each paper's key with its sections.

    Returns
    -------
    list of (str, list of covidcxr.papers.reporting.reproduction.sections.Section)
    """
    return [(key, list(own)) for key, own in groupby(sections, key=lambda section: section.recipe.key)]


def lines(sections, missing):
    """List the accuracies of a paper's models: those that were run, then those that were not.

    Parameters
    ----------
    sections : sequence of covidcxr.papers.reporting.reproduction.sections.Section
        Of one paper.
    missing : sequence of covidcxr.papers.reporting.reproduction.leaving.Missing

    Returns
    -------
    list of Line
        Without figures of single folds.
    """
    run = [line for section in sections for group in section.groups for line in _of(section, group)]
    return run + [line for item in missing for line in _of_missing(item, sections[0].recipe.positive_class)]


def missing_row(item, positive):
    """Return the cells of a model that was not run, in the order of :data:`MISSING_COLUMNS`.

    Parameters
    ----------
    item : covidcxr.papers.reporting.reproduction.leaving.Missing
    positive : str
        The recipe's positive class.
    """
    told = [claim for claim in item.claims if not claim.fold.isdecimal()] or item.claims
    figures = [f"{cells.claim_name(claim, positive)} {cells.claim_figure(claim)}" for claim in told]
    return item.title, ", ".join(dict.fromkeys(figures)), item.reason, item.command


def _of(section, group):
    rows = [row for row in group.rows if row.measure == _MEASURE]
    whole = [row for row in rows if "fold" not in row.models.split()] or rows
    place = pictures.name(section, group)
    protocols = " ".join(sorted(set(group.runs["protocol"])))
    for row in whole:
        texts = cells.of_row(group, row, first=False)[:-1]
        yield Line((group.title, cells.short_changes(group), *texts), group.model, protocols, place)


def _of_missing(item, positive):
    for claim in item.claims:
        if claim.measure == _MEASURE and not claim.fold.isdecimal():
            known = (
                item.title,
                cells.NONE,
                cells.claim_name(claim, positive),
                cells.claim_figure(claim),
                item.reason,
            )
            yield Line((*known, *[cells.NONE] * (len(COLUMNS) - len(known))), item.model)
