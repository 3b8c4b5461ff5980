"""What the checks of the papers' printed numbers came to: contradictions, milder habits, remarks, counts."""

import importlib
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import pandas as pd

from covidcxr.evaluation.claims import page, rules
from covidcxr.evaluation.claims.printed import COLUMNS, KEYS, load

MILDER = (rules.TRUNCATED, rules.PADDED)


@dataclass(frozen=True)
class Contradiction:
    """Printed numbers that a rule finds fault with; equal numbers with equal faults are one.

    Attributes
    ----------
    paper : str
        Key.
    ids : tuple of str
        Of the numbers, in :func:`covidcxr.evaluation.claims.printed.load`.
    where : str
        Places of the paper.
    printed, recomputed : str
        In the printed unit.
    tolerance : float
        In the printed unit: half a unit of the last printed place; 0 for counts and names; NaN where it is that of
        every number that the rule takes.
    kind : str
        The rule in words.
    how : str
        One line: what was computed from what.
    verdict : str
        ``contradicts``, or the milder ``truncated`` (not rounded), ``padded`` (with zeros), ``remark``.
    """

    paper: str
    ids: tuple
    where: str
    printed: str
    recomputed: str
    tolerance: float
    kind: str
    how: str
    verdict: str


class ClaimsReport:
    """The numbers of one paper or several, and every check of them.

    Parameters
    ----------
    papers : mapping of str to (Numbers, list of Check)

    Attributes
    ----------
    numbers : pandas.DataFrame
        One row a printed number: `paper`, then the columns of the CSV files.
    checks : pandas.DataFrame
        One row a check: `paper`, `rule`, `kind`, `ids`, `printed`, `recomputed`, `tolerance`, `verdict`, `how`.
    contradictions, milder, remarks : list of Contradiction
    table : pandas.DataFrame
        The contradictions, one a row.
    summary : pandas.DataFrame
        One row a paper: numbers entered, checks made, checks that agree, milder, remarks, contradictions.
    """

    def __init__(self, papers):
        self._papers = papers

    @property
    def keys(self):
        """Return the papers' keys."""
        return list(self._papers)

    @cached_property
    def numbers(self):
        """Return every printed number."""
        rows = [
            {"paper": key, **{column: getattr(number, column) for column in COLUMNS}}
            for key, (numbers, _) in self._papers.items()
            for number in numbers.values()
        ]
        return pd.DataFrame(rows, columns=["paper", *COLUMNS]).astype({"n": "Int64"})

    @cached_property
    def checks(self):
        """Return every check."""
        rows = [
            {
                "paper": key,
                "rule": check.rule,
                "kind": check.kind,
                "ids": " ".join(number.id for number in check.numbers),
                "printed": " ".join(number.printed for number in check.numbers),
                "recomputed": check.recomputed,
                "tolerance": check.tolerance,
                "verdict": check.verdict,
                "how": check.how,
            }
            for key, (_, checks) in self._papers.items()
            for check in checks
        ]
        return pd.DataFrame(rows)

    @cached_property
    def contradictions(self):
        """Return what no rounding explains."""
        return self._found(rules.CONTRADICTS)

    @cached_property
    def milder(self):
        """Return what agrees once cutting off or padding with zeros is allowed for."""
        return self._found(*MILDER)

    @cached_property
    def remarks(self):
        """Return what is no contradiction, but a reader should know."""
        return self._found(rules.REMARK)

    @property
    def rows(self):
        """Return the contradictions as a list of dicts, all values text but the tolerance: for a page's template."""
        return [{**asdict(found), "ids": " ".join(found.ids)} for found in self.contradictions]

    @property
    def table(self):
        """Return the contradictions, one a row."""
        return pd.DataFrame(self.rows, columns=[field.name for field in fields(Contradiction)])

    @cached_property
    def summary(self):
        """Return the counts, one row a paper."""
        rows = []
        for key, (numbers, checks) in self._papers.items():
            verdicts = [check.verdict for check in checks]
            rows.append(
                {
                    "paper": key,
                    "numbers": len(numbers),
                    "checks": len(checks),
                    "agree": verdicts.count(rules.AGREES),
                    "truncated or padded": sum(verdicts.count(verdict) for verdict in MILDER),
                    "remarks": verdicts.count(rules.REMARK),
                    "contradictions": sum(found.paper == key for found in self.contradictions),
                }
            )
        return pd.DataFrame(rows)

    def print(self, file=None):
        """Print the counts and the contradictions as text.

        Parameters
        ----------
        file : text stream, optional
            Standard output by default.
        """
        print(page.text(self), file=file)

    def to_markdown(self):
        """Return the page as Markdown."""
        return page.markdown(self)

    def to_html(self):
        """Return the counts and the contradictions as two HTML tables, escaped."""
        return page.html(self)

    def _found(self, *verdicts):
        found = []
        for key, (_, checks) in self._papers.items():
            groups = {}
            for check in checks:
                if check.verdict in verdicts:
                    groups.setdefault(_alike(check), []).append(check)
            found += [_merged(key, group) for group in groups.values()]
        return found


def report(key=None):
    """Check the printed numbers of one paper, or of all five.

    Parameters
    ----------
    key : str, optional
        Of a paper.

    Returns
    -------
    ClaimsReport

    Raises
    ------
    covidcxr.errors.OptionError
        If there is no such paper.
    """
    papers = {}
    for name in [key] if key else KEYS:
        numbers = load(name)
        module = importlib.import_module(f"{__package__}.{name}")
        papers[name] = (numbers, list(module.checks(numbers)))
    return ClaimsReport(papers)


def _alike(check):
    """Say what makes two checks of one paper the same finding."""
    values = tuple((number.value, number.decimals) for number in check.numbers)
    return check.rule, values, check.recomputed, check.how, check.verdict


def _merged(key, checks):
    numbers = list({number.id: number for check in checks for number in check.numbers}.values())
    first = checks[0]
    values = [number.printed for number in first.numbers]
    return Contradiction(
        paper=key,
        ids=tuple(number.id for number in numbers),
        where=_places(numbers),
        printed=" ".join(dict.fromkeys(values) if first.rule == "common_share" else values),
        recomputed=first.recomputed,
        tolerance=first.tolerance,
        kind=first.kind,
        how=first.how,
        verdict=first.verdict,
    )


def _places(numbers):
    """Name the places: one in full, several by table and what of it differs."""
    if len(numbers) == 1:
        return numbers[0].place
    tables = {}
    for number in numbers:
        if number.table == "text":
            tables.setdefault(number.place, [])
        else:
            part = number.row if number.row not in ("", number.subset) else number.subset
            tables.setdefault(number.table, []).append(part or number.column)
    words = (
        f"{table}, {'; '.join(dict.fromkeys(parts))}" if any(parts) else table
        for table, parts in tables.items()
    )
    return "; ".join(words)
