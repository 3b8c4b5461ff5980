"""The texts of the results' tables: the same words in Markdown and in the gallery."""

from itertools import pairwise

from covidcxr.papers.reporting import comparison

COLUMNS = (
    "row",
    "paper",
    "published protocol [95 %]",
    "sound protocol [95 %]",
    "border-only control",
    "external",
    "what explains the difference",
)
NONE = "—"
_OF_A_CLASS = {"sensitivity", "specificity", "precision", "f1", "roc_auc"}
NOTE = (
    "In brackets 95 % intervals: bootstrap over patients, or Wilson's where every resample agrees; over several models "
    "the wider of Student's interval of their mean and the mean of their own. Where a paper scores augmented images or "
    "one batch, its way stands first and images as they are after the semicolon. Border-only control: ROC area of a "
    "probe that sees no more than the images' border (`covidcxr audit`). The last column says once a model what the "
    "protocols do that a figure can come from."
)


def of_row(group, row, *, first):
    """Return the cells of one row, in the order of :data:`COLUMNS`.

    Parameters
    ----------
    group : covidcxr.papers.reporting.reproduction.sections.Group
    row : covidcxr.papers.reporting.comparison.Row
    first : bool
        Whether it is the model's first: that one tells the reasons.

    Returns
    -------
    tuple of str
    """
    return (
        name_of(row),
        paper(row),
        published(row),
        estimate(row.sound, row.percent),
        border(group.border),
        external(group, row),
        explanation(group, row, first=first),
    )


def name_of(row):
    """Return the measure in words, with the fold where the paper prints it by fold."""
    fold = [f"fold {word}" for mark, word in pairwise(row.models.split()) if mark == "fold"]
    return ", ".join([row.title, *fold])


def paper(row):
    """Return the printed figure and its place."""
    if row.paper is None:
        return NONE
    return _printed(row.paper, row.where, row.percent)


def published(row):
    """Return the published protocol's figure, the paper's way of scoring first."""
    plain = estimate(row.published, row.percent)
    return plain if row.as_paper is None else f"{estimate(row.as_paper, row.percent)}; as they are: {plain}"


def estimate(found, percent):
    """Return a figure with its interval, and over how many models."""
    if found is None:
        return NONE
    text = _figure(found.value, percent)
    if found.has_interval:
        low, high = (comparison.points(value, percent) for value in (found.low, found.high))
        text += f" [{low}, {high}]"
    return text + (f", {found.models} models" if found.models > 1 else "")


def border(found):
    """Return the ROC area that borders alone give."""
    if found is None:
        return "not audited"
    return f"{estimate(found.estimate, False)} ({found.label}; {found.protocol})"


def external(group, row):
    """Return the figure on each external set."""
    pairs = zip(group.externals, row.external, strict=True)
    return "; ".join(f"{name}: {estimate(found, row.percent)}" for name, found in pairs if found) or NONE


def explanation(group, row, *, first):
    """Return the verdict on a row, after the reasons where it is the first."""
    reasons = f"{'; '.join(group.reasons)}." if first and group.reasons else ""
    note = f"Note: {row.note}" if row.note else ""
    return " ".join(filter(None, (reasons[:1].upper() + reasons[1:], row.verdict, note))) or NONE


def short_changes(group):
    """List what was done otherwise than the recipe says, for a cell."""
    return "; ".join(group.changes) or NONE


def changes(group):
    """Say what was done otherwise than the recipe says, "" where nothing was."""
    return f"Not the paper's setting: {'; '.join(group.changes)}." if group.changes else ""


def claim_name(item, positive):
    """Return the measure of a printed figure in words.

    Parameters
    ----------
    item : covidcxr.papers.recipe.Claim
    positive : str
        The recipe's positive class, which measures of a class are of where the paper names none.
    """
    label = item.label or (positive if item.measure in _OF_A_CLASS else "")
    return comparison.title_of(item.measure, label, item.split)


def claim_figure(item):
    """Return a printed figure and its place."""
    return _printed(item.value, item.where, item.measure in comparison.FRACTIONS)


def heading(group):
    """Return the model's name with the protocols and seeds that were run."""
    counts = {name: int((group.runs["protocol"] == name).sum()) for name in comparison.PROTOCOLS}
    told = [f"{count} {name}" for name, count in counts.items() if count]
    return f"{group.title} ({' and '.join(told)})"


def _printed(value, where, percent):
    return f"{_figure(value, percent)} ({where})" if where else _figure(value, percent)


def _figure(value, percent):
    return comparison.points(value, percent) + (" %" if percent else "")
