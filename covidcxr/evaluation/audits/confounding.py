"""Confounding: what else than the disease tells the classes apart, as far as tables can show.

Each factor (source, view, age...) is compared between every two classes, one value a patient, since the images of
one patient say the same twice. A factor is flagged where the difference is both too large for chance (p below
`ALPHA` after Bonferroni's correction for the pairs of classes) and large enough to matter.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from covidcxr.data.inventory import ADULT_AGE, PAEDIATRIC_SOURCES
from covidcxr.data.splits import group_names
from covidcxr.evaluation.audits.report import NOTE, WARNING, Audit, Finding

NAME = "confounding"
TITLE = "Confounding: what else than the disease differs between the classes"

ALPHA = 0.001
"""Largest p, after Bonferroni's correction, of a difference that is told of."""
LEAST_V = 0.3
"""Least Cramér's V of two classes and the values of a factor: Cohen's medium effect (w = 0.3)."""
LEAST_AREA = 0.64
"""Least ROC area of a number that tells two classes apart: Cohen's medium effect (d = 0.5)."""
FEWEST = 5
"""Patients of a class with a known value; with fewer nothing is compared."""

AGE_BANDS = ((0, 18, "0-17"), (18, 40, "18-39"), (40, 60, "40-59"), (60, 80, "60-79"), (80, 200, "80+"))

_WORDS = {
    "source": "the data set it comes from",
    "view": "the view",
    "sex": "the patient's sex",
    "age": "the patient's age",
    "children": "whether the patient is a child",
    "size": "the picture's size",
    "aspect": "the picture's aspect ratio",
    "format": "the file's format",
}
_NUMBERS = ("age", "size", "aspect")
_UNKNOWN = "unknown"
_DRAWS = 99_999
_AT_ONCE = 10_000
_TEST_COLUMNS = (
    "factor",
    "class_a",
    "class_b",
    "patients_a",
    "patients_b",
    "measure",
    "effect",
    "p",
    "flagged",
)


@dataclass(frozen=True)
class _Factor:
    """A factor's value of every patient of a class: text, or a number; missing where unknown."""

    name: str
    values: pd.Series
    labels: pd.Series

    @property
    def is_number(self):
        return self.name in _NUMBERS


def audit(records, *, prints=None, say=None, model=None, seed=0, **_options):
    """Compare the classes in everything that tables know and the disease should not decide.

    Parameters
    ----------
    records : Records
        Classes whose label begins with ``other:`` stay in the tables and are left out of the tests.
    prints : pandas.DataFrame, optional
        Of :func:`covidcxr.data.duplicates.fingerprints` for these records: sizes of the pictures. Without it
        size and aspect ratio are not compared.
    say, model
        Not used.
    seed : int
        Of the draws behind a p that the chi-square distribution cannot give (small counts).

    Returns
    -------
    Audit
        Findings of severity ``"warning"``, by the factor's name: `source`, `view`, `age`, `sex`, `children`,
        `size`, `aspect`, `format`; `single_source` for the classes that one of several sources serves alone.
        The note `unknown` names what could not be compared. Tables: ``<factor>`` (its values by class: images
        and patients), `tests` (each factor and pair of classes: effect, p, flagged) and `concentration` (the
        largest source of each class).
    """
    del say, model
    table = _described(records, prints)
    compared = table[~table["label"].str.startswith("other:")]
    units = _by_patient(compared)
    factors = [_Factor(name, units[name], units["label"]) for name in _WORDS]
    generator = np.random.default_rng(seed)
    tests = _tests(factors, generator)
    concentration = _concentration(compared)
    findings = (
        *_flags(factors, tests),
        *_single_source(concentration, tests),
        *_gaps(factors),
    )
    tables = {"tests": tests, "concentration": concentration, **_crossings(table)}
    return Audit(NAME, TITLE, tables, findings)


def _described(records, prints):
    """Put every factor beside each image; "" and NaN are unknown."""
    table = records.table.copy()
    table["patient"] = group_names(records, table["patient_id"])
    child = np.where(table["age"].notna(), np.where(table["age"] < ADULT_AGE, "child", "adult"), "")
    table["children"] = np.where(table["source"].isin(PAEDIATRIC_SOURCES), "child", child)
    table["format"] = [PurePosixPath(path).suffix.lower().replace("jpeg", "jpg") for path in table["path"]]
    table["size"], table["aspect"] = np.nan, np.nan
    if prints is not None:
        sides = prints.set_index("path").loc[table["path"], ["width", "height"]].astype(float)
        sides = sides.where(sides > 0)
        table["size"] = sides.max(axis=1).to_numpy()
        table["aspect"] = (sides["width"] / sides["height"]).to_numpy()
    return table


def _by_patient(table):
    """Return one row a patient and class: the median of numbers, the commonest of words."""
    known = table.replace({name: {"": None} for name in _WORDS if name not in _NUMBERS})
    groups = known.groupby(["label", "patient"], sort=True)
    values = {name: groups[name].median() for name in _NUMBERS}
    values |= {name: _commonest(known, name) for name in _WORDS if name not in _NUMBERS}
    units = pd.DataFrame(
        values, index=pd.MultiIndex.from_tuples(list(groups.groups), names=["label", "patient"])
    )
    return units.reset_index()


def _commonest(table, name):
    """Return the commonest known value of each patient and class; of two as common the first by name."""
    counts = (
        table.dropna(subset=[name])
        .groupby(["label", "patient", name], sort=True)
        .size()
        .reset_index(name="n")
    )
    counts = counts.sort_values("n", ascending=False, kind="stable")
    return counts.drop_duplicates(["label", "patient"]).set_index(["label", "patient"])[name]


def _tests(factors, generator):
    rows = [row for factor in factors for row in _factor_tests(factor, generator)]
    return pd.DataFrame(rows, columns=list(_TEST_COLUMNS))


def _factor_tests(factor, generator):
    known = factor.values.notna()
    values, labels = factor.values[known], factor.labels[known]
    counts = labels.value_counts()
    classes = sorted(counts.index[counts >= FEWEST])
    pairs = list(combinations(classes, 2))
    for a, b in pairs:
        first, second = values[labels == a], values[labels == b]
        measure, effect, p = _compare(factor, first, second, len(pairs), generator)
        least = LEAST_AREA if factor.is_number else LEAST_V
        flagged = bool(p < ALPHA and effect >= least)
        yield factor.name, a, b, len(first), len(second), measure, effect, p, flagged


def _compare(factor, first, second, pairs, generator):
    """Return the measure's name, the effect and p, corrected for the number of pairs."""
    if factor.is_number:
        effect, p = tell_apart(first.to_numpy(float), second.to_numpy(float))
        return "ROC area", effect, min(1.0, p * pairs)
    kinds, codes = np.unique(pd.concat([first, second]).to_numpy(dtype=str), return_inverse=True)
    sides = (codes[: len(first)], codes[len(first) :])
    counts = np.array([np.bincount(side, minlength=len(kinds)) for side in sides])
    effect, p = association(counts, generator)
    return "Cramér's V", effect, min(1.0, p * pairs)


def tell_apart(first, second):
    """Tell how well a number separates two groups.

    Parameters
    ----------
    first, second : numpy.ndarray
        Finite numbers, at least one each.

    Returns
    -------
    area : float
        ROC area of the number for the better of both directions, 0.5 to 1.
    p : float
        Of the two-sided Mann-Whitney test.
    """
    from scipy.stats import mannwhitneyu

    everything = np.concatenate([first, second])
    if (everything == everything[0]).all():
        return 0.5, 1.0
    test = mannwhitneyu(first, second, alternative="two-sided", method="auto")
    area = float(test.statistic) / (len(first) * len(second))
    return max(area, 1 - area), float(test.pvalue)


def association(counts, generator):
    """Tell how closely rows and columns of a table of counts hang together.

    Parameters
    ----------
    counts : numpy.ndarray of int, shape (r, c)
        No row or column all zero.
    generator : numpy.random.Generator
        For tables of expected counts below 5: tables of the same margins are drawn.

    Returns
    -------
    v : float
        Cramér's V, corrected for bias (Bergsma 2013, doi:10.1016/j.jkss.2012.10.002), 0 to 1.
    p : float
        Of Pearson's chi-square test, without continuity correction; where a count below 5 is expected, the
        share of 99,999 drawn tables that are as far from independence (plus one, over 100,000).
    """
    from scipy.stats import chi2_contingency

    if 1 in counts.shape:
        return 0.0, 1.0
    found = chi2_contingency(counts, correction=False)
    p = float(found.pvalue)
    # Drawing takes a moment, and is worth it only where the answer hangs on it.
    if found.expected_freq.min() < 5 and p < 0.05:
        p = _drawn_p(counts, found.statistic, found.expected_freq, generator)
    return _corrected_v(counts, found.statistic), p


def _drawn_p(counts, statistic, expected, generator):
    from scipy.stats import random_table

    margins = random_table(counts.sum(axis=1), counts.sum(axis=0), seed=generator)
    as_far = 0
    for start in range(0, _DRAWS, _AT_ONCE):
        tables = margins.rvs(min(_AT_ONCE, _DRAWS - start))
        drawn = ((tables - expected) ** 2 / expected).sum(axis=(1, 2))
        as_far += int((drawn >= statistic * (1 - 1e-9)).sum())
    return (1 + as_far) / (1 + _DRAWS)


def _corrected_v(counts, statistic):
    n, (rows, columns) = counts.sum(), counts.shape
    phi = max(0.0, statistic / n - (rows - 1) * (columns - 1) / (n - 1))
    least = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(phi / least))) if least > 0 else 0.0


def _concentration(table):
    """Name the source with most of each class, and its share."""
    counts = table.groupby(["label", "source"], sort=True).size().reset_index(name="images")
    counts["share"] = counts["images"] / counts.groupby("label")["images"].transform("sum")
    counts["sources"] = counts.groupby("label")["source"].transform("size")
    largest = counts.sort_values("images", ascending=False, kind="stable").drop_duplicates("label")
    columns = ["label", "source", "images", "share", "sources"]
    return largest.sort_values("label")[columns].reset_index(drop=True)


def _crossings(table):
    """Cross each factor with the classes: images and patients; numbers in bands."""
    shown = table.assign(
        age=[_band(age) for age in table["age"]],
        size=_rounded(table["size"]),
        aspect=_aspects(table["aspect"]),
    )
    return {name: _crossing(shown, name) for name in _WORDS}


def _crossing(table, name):
    values = table[name].replace("", _UNKNOWN)
    rows = table.assign(value=values).groupby(["value", "label"], sort=True)
    counts = rows.agg(images=("path", "size"), patients=("patient", "nunique")).reset_index()
    counts["share_of_class"] = counts["images"] / counts.groupby("label")["images"].transform("sum")
    return counts.rename(columns={"value": name})


def _band(age):
    return next((name for low, high, name in AGE_BANDS if low <= age < high), "")


def _rounded(sizes):
    """Put sizes into bands of doubling width: 224 px is in 128-255."""
    exponents = np.floor(np.log2(sizes))
    return [
        "" if power != power else f"{2 ** int(power)}-{2 ** int(power + 1) - 1} px" for power in exponents
    ]


def _aspects(aspects):
    return ["" if aspect != aspect else f"{np.floor(aspect * 5) / 5:.1f}-" for aspect in aspects]


def _flags(factors, tests):
    for factor in factors:
        rows = tests[(tests["factor"] == factor.name) & tests["flagged"]]
        if len(rows):
            worst = rows.sort_values("effect", ascending=False, kind="stable").iloc[0]
            yield Finding(
                NAME,
                factor.name,
                WARNING,
                _sentence(factor, worst, len(rows)),
                {"pairs": rows.drop(columns=["factor", "flagged"]).to_dict("records")},
            )


def _sentence(factor, worst, number):
    pair = f"{worst['class_a']} from {worst['class_b']}"
    more = f" (and {number - 1} more pairs of classes)" if number > 1 else ""
    if factor.is_number:
        sides = (factor.values[factor.labels == worst[name]].median() for name in ("class_a", "class_b"))
        detail = "medians {:.4g} and {:.4g}".format(*sides)
    else:
        detail = " and ".join(_usual(factor, worst[name]) for name in ("class_a", "class_b"))
    return (
        f"{_WORDS[factor.name]} tells {pair}: {detail}; {worst['measure']} {worst['effect']:.2f}, "
        f"p {'<' if worst['p'] < 1e-4 else '='} {max(worst['p'], 1e-4):.1g}{more}"
    )


def _usual(factor, label):
    values = factor.values[(factor.labels == label) & factor.values.notna()]
    commonest = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return f"{commonest.index[0]} {commonest.iloc[0] / len(values):.0%} of {label}"


def _single_source(concentration, tests):
    alone = concentration[concentration["sources"] == 1]
    flagged = tests[(tests["factor"] == "source") & tests["flagged"]]
    decided = set(flagged["class_a"]) | set(flagged["class_b"])
    for source, rows in alone.groupby("source", sort=True):
        classes = [label for label in rows["label"] if label in decided]
        if classes:
            yield Finding(
                NAME,
                "single_source",
                WARNING,
                f"all of {', '.join(classes)} comes from {source}: a model may learn the source and not the disease",
                {"source": source, "classes": classes},
            )


def _gaps(factors):
    """Tell which factor is unknown for whom: what is not known is not compared."""
    few = {}
    for factor in factors:
        counts = factor.values.notna().groupby(factor.labels).sum()
        counts = counts[counts < FEWEST]
        if len(counts) and factor.name != "children":
            few[factor.name] = {label: int(number) for label, number in counts.items()}
    if few:
        words = "; ".join(f"{name} of {', '.join(classes)}" for name, classes in few.items())
        text = f"not compared, since known of fewer than {FEWEST} patients: {words}"
        yield Finding(NAME, "unknown", NOTE, text, few)
