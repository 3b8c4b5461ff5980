"""How far a measure could be from what was seen: Wilson, patient bootstrap, DeLong, Newcombe."""

from statistics import NormalDist

import numpy as np

from covidcxr.errors import OptionError
from covidcxr.evaluation.metrics import (
    PREVALENCES,
    Tally,
    flatten,
    positive_class,
    predictive_values,
    reason,
)

LEVEL = 0.95
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "precision")
METHODS = ("percentile", "bca")
# Beyond so many patients the acceleration of BCa is taken from blocks of them.
_BLOCKS = 1000
_SAME = "every resample of the patients gives this value"
# Weighted copies of all images that are held at once: 2 million numbers are 16 MB an array.
_CELLS = 2_000_000


def wilson(successes, trials, level=LEVEL):
    """Wilson's score interval of a proportion, for independent trials.

    Parameters
    ----------
    successes, trials : int
        0 <= successes <= trials.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    (float, float)
        NaN, NaN where there is no trial.

    References
    ----------
    Wilson 1927, J. Am. Stat. Assoc. 22, 209.
    """
    if not trials:
        return float("nan"), float("nan")
    z2 = _z(level) ** 2
    rate = successes / trials
    centre = rate + z2 / (2 * trials)
    half = np.sqrt(z2 * (rate * (1 - rate) / trials + z2 / (4 * trials**2)))
    low, high = (centre - half) / (1 + z2 / trials), (centre + half) / (1 + z2 / trials)
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == trials else float(high))


def delong(positive, scores):
    """Area under the ROC curve and its variance, for independent images.

    Parameters
    ----------
    positive : array of bool, shape (n,)
    scores : array of float, shape (n,)
        Higher for positive; ties count half.

    Returns
    -------
    area, variance : float
        NaN where there is no positive or no negative; the variance also where there is only one of either.

    References
    ----------
    DeLong et al. 1988, Biometrics 44, 837; by mid-ranks as in Sun and Xu 2014, IEEE Signal Process. Lett. 21,
    1389.
    """
    positive, scores = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return float("nan"), float("nan")
    ranks = _midranks(scores)
    beaten = (ranks[positive] - _midranks(scores[positive])) / n
    kept = 1 - (ranks[~positive] - _midranks(scores[~positive])) / m
    variance = beaten.var(ddof=1) / m + kept.var(ddof=1) / n if min(m, n) > 1 else np.nan
    return float(beaten.mean()), float(variance)


def delong_interval(positive, scores, level=LEVEL):
    """ROC area with DeLong's normal interval, cut to [0, 1].

    Parameters
    ----------
    positive, scores
        See :func:`delong`.
    level : float

    Returns
    -------
    area, low, high : float
        Where the classes are perfectly separated the variance is zero; the interval is then Newcombe's.
    """
    area, variance = delong(positive, scores)
    if area in (0.0, 1.0):
        return area, *newcombe(area, int(np.sum(positive)), int(np.sum(~np.asarray(positive, bool))), level)
    half = _z(level) * np.sqrt(variance)
    low, high = np.clip([area - half, area + half], 0, 1)
    return area, float(low), float(high)


def newcombe(area, positives, negatives, level=LEVEL):
    """Score-type interval of a ROC area, which keeps a width where the area is 0 or 1.

    Parameters
    ----------
    area : float
        In [0, 1].
    positives, negatives : int
        Independent cases, at least one of each.
    level : float

    Returns
    -------
    (float, float)

    References
    ----------
    Newcombe 2006, Stat. Med. 25, 559, method 5: Hanley and McNeil's variance at the limit itself, with both
    group sizes in its second-order terms replaced by their mean.
    """
    z = _z(level)

    def excess(limit):
        return abs(area - limit) - z * np.sqrt(hanley_mcneil(limit, positives, negatives))

    low = 0.0 if area == 0 else _root(excess, 0.0, area)
    high = 1.0 if area == 1 else _root(excess, 1.0, area)
    return low, high


def hanley_mcneil(area, positives, negatives):
    """Variance of a ROC area under exponential scores, with balanced second-order terms.

    Parameters
    ----------
    area : float
        In [0, 1].
    positives, negatives : int

    Returns
    -------
    float
    """
    mean = (positives + negatives) / 2
    second = (1 - area) / (2 - area) + area / (1 + area)
    return area * (1 - area) * (1 + (mean - 1) * second) / (positives * negatives)


def bootstrap(tally, *, seed, resamples=2000):
    """Draw the tally's groups with replacement and recompute every measure.

    Parameters
    ----------
    tally : covidcxr.evaluation.metrics.Tally
        Grouped by patient: images of one patient are alike, so patients are what is drawn.
    seed : int
    resamples : int
        At least 1.

    Returns
    -------
    dict of str to array
        As :meth:`Tally.measures` gives them, with r = `resamples`.

    Raises
    ------
    OptionError
        If `resamples` is less than 1.
    """
    if resamples < 1:
        raise OptionError(f"{resamples} bootstrap resamples make no interval; ask for 1,000 or more")
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS // len(tally.groups))
    parts = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(tally.size, size=(rows, tally.size)) + tally.size * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * tally.size).reshape(rows, tally.size)
        parts.append(tally.measures(weights))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def jackknife(tally, blocks=_BLOCKS):
    """Recompute every measure without one group after another, for :func:`bca`.

    Parameters
    ----------
    tally : covidcxr.evaluation.metrics.Tally
    blocks : int
        Where there are more groups, every so many-th is left out together with it: the skewness that BCa
        needs is a sum over groups, and blocks of independent groups estimate the same.

    Returns
    -------
    dict of str to array
        As :meth:`Tally.measures` gives them, with r = the number of groups or `blocks`, if that is less.
    """
    count = min(blocks, tally.size)
    at_once = max(1, _CELLS // len(tally.groups))
    parts = []
    for start in range(0, count, at_once):
        block = np.arange(start, min(start + at_once, count))[:, None]
        parts.append(tally.measures(np.arange(tally.size) % count != block))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentile(drawn, level=LEVEL):
    """Percentile interval of bootstrap values.

    Parameters
    ----------
    drawn : array of float, shape (r,)
    level : float

    Returns
    -------
    (float, float)
    """
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca(value, drawn, left_out, level=LEVEL):
    """Bias-corrected and accelerated interval of bootstrap values.

    Parameters
    ----------
    value : float
        Of the measure, nothing resampled.
    drawn : array of float, shape (r,)
        Bootstrap values; ties with `value` count half.
    left_out : array of float, shape (m,)
        Jackknife values.
    level : float

    Returns
    -------
    (float, float)
        NaN, NaN where it is not defined: all of `drawn` on one side of `value`, or a jackknife value missing
        or all of them equal.

    References
    ----------
    Efron 1987, J. Am. Stat. Assoc. 82, 171; as in Efron and Tibshirani 1993, equations 14.9 to 14.15.
    """
    normal = NormalDist()
    below = float(np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    pulls = left_out.mean() - left_out
    energy = float((pulls**2).sum())
    if not (0 < below < 1 and np.ptp(left_out) > 1e-12):
        return float("nan"), float("nan")
    bias, acceleration = normal.inv_cdf(below), float((pulls**3).sum()) / (6 * energy**1.5)
    sums = [bias + normal.inv_cdf((1 + sign * level) / 2) for sign in (-1, 1)]
    shares = [normal.cdf(bias + each / (1 - acceleration * each)) for each in sums]
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)


def summarise(
    predictions,
    *,
    seed,
    resamples=2000,
    level=LEVEL,
    positive=None,
    method="percentile",
    prevalences=PREVALENCES,
):
    """Give every measure with its interval.

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled, n >= 1 rows.
    seed : int
        Of the bootstrap.
    resamples : int
    level : float
        Confidence level in (0, 1).
    positive : str, optional
        See :func:`covidcxr.evaluation.metrics.positive_class`.
    method : {"percentile", "bca"}
        BCa mends the percentile interval's bias and skewness, at the price of a jackknife; where it is not
        defined the percentile interval stands, and the entry's ``method`` says so.
    prevalences : sequence of float
        Each in (0, 1).

    Returns
    -------
    dict
        ``images``, ``patients``, ``seed``, ``resamples``, ``level``, ``positive_class``, ``at_prevalence`` (for each
        prevalence, ``"0.01"``, an entry of ``ppv`` and one of ``npv``, of the positive
        class: those of a test with its sensitivity and specificity) and ``measures``: for
        the dotted name of each measure in metrics.json (``"per_class.covid19.sensitivity"``) a dictionary of
        ``value``, ``low``, ``high`` and ``method``; None where undefined, with a ``reason``;
        ``undefined_resamples`` counts the resamples left out because a class was missing from them.

        Intervals are percentiles over resampled patients. Where every resample gives the same value (no error
        at all, or no success) these have no width and would promise certainty; then a proportion gets
        Wilson's interval and a ROC area Newcombe's, both counting patients, not images, and any other measure
        none. The calibration error grows with the noise that resampling adds, so the interval of a small one
        can lie above its value.

    Raises
    ------
    DataError
        If there is nothing to evaluate.
    OptionError
        If `resamples` is less than 1, there is no such method, or a prevalence is out of range.
    """
    outside = [value for value in prevalences if not 0 < value < 1]
    if outside:
        raise OptionError(f"prevalence {outside[0]}: give a share above 0 and below 1")
    if method not in METHODS:
        raise OptionError(f"interval method {method!r}: choose one of {', '.join(METHODS)}")
    names = predictions.class_names
    tally = Tally(predictions, predictions.patients)
    point = flatten(tally.measures(np.ones((1, tally.size))), names)
    drawn = flatten(bootstrap(tally, seed=seed, resamples=resamples), names)
    left_out = flatten(jackknife(tally), names) if method == "bca" else {}
    values = {name: None if np.isnan(value[0]) else float(value[0]) for name, value in point.items()}
    counts = _patients_behind(tally, names)
    measures = {name: _entry(name, values, drawn[name], counts, level, left_out.get(name)) for name in values}
    chosen = positive_class(names, positive)
    return {
        "images": len(predictions),
        "patients": tally.size,
        "seed": seed,
        "resamples": resamples,
        "level": level,
        "positive_class": chosen,
        "at_prevalence": _at_prevalences(chosen, (point, drawn, left_out), prevalences, level),
        "measures": measures,
    }


def spread(values):
    """Describe one measure over folds or seeds.

    Parameters
    ----------
    values : sequence of float
        One a run, at least one.

    Returns
    -------
    dict
        ``runs``, ``mean``, ``sd`` (n - 1 in the denominator; None for one run), ``low`` and ``high`` (the
        least and the greatest).
    """
    values = np.asarray(values, dtype=np.float64)
    return {
        "runs": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "low": float(values.min()),
        "high": float(values.max()),
    }


def _entry(name, values, drawn, counts, level, left_out=None):
    value = values[name]
    if value is None:
        return {"value": None, "low": None, "high": None, "method": None, "reason": reason(name, values)}
    if np.ptp(drawn[~np.isnan(drawn)]) < 1e-12:
        return {"value": value, **_without_spread(name, value, counts.get(name), level)}
    return _spread_entry(value, drawn, left_out, level)


def _spread_entry(value, drawn, left_out, level):
    defined = drawn[~np.isnan(drawn)]
    low, high = (np.nan, np.nan) if left_out is None else bca(value, defined, left_out, level)
    method = "patient bootstrap, BCa"
    if np.isnan(low):
        (low, high), method = percentile(defined, level), "patient bootstrap"
    entry = {"value": value, "low": low, "high": high, "method": method}
    missing = len(drawn) - len(defined)
    return entry | ({"undefined_resamples": missing} if missing else {})


def _at_prevalences(label, tables, prevalences, level):
    """Predictive values of one class at stated prevalences, from its sensitivity and specificity."""
    pairs = [
        [table.get(f"per_class.{label}.{name}") for name in ("sensitivity", "specificity")]
        for table in tables
    ]
    result = {}
    for prevalence in prevalences:
        point, drawn, left_out = (
            predictive_values(*pair, prevalence) if pair[0] is not None else (None, None) for pair in pairs
        )
        result[f"{prevalence:g}"] = {
            name: _predictive_entry(float(point[i][0]), drawn[i], left_out[i], level)
            for i, name in enumerate(("ppv", "npv"))
        }
    return result


def _predictive_entry(value, drawn, left_out, level):
    defined = drawn[~np.isnan(drawn)]
    blank = {"value": None if np.isnan(value) else value, "low": None, "high": None, "method": None}
    if np.isnan(value):
        return blank | {"reason": "sensitivity or specificity is undefined, or no test would come out so"}
    if np.ptp(defined) < 1e-12:
        return blank | {"reason": _SAME}
    return _spread_entry(value, drawn, left_out, level)


def _without_spread(name, value, count, level):
    measure = name.rsplit(".", 1)[-1]
    if count and value in (0.0, 1.0) and measure in PROPORTIONS:
        low, high = wilson(round(value * count), count, level)
        return {"low": low, "high": high, "method": f"Wilson, {count} patients"}
    if count and value in (0.0, 1.0) and measure == "roc_auc":
        low, high = newcombe(value, *count, level)
        return {"low": low, "high": high, "method": f"Newcombe, {count[0]} and {count[1]} patients"}
    return {
        "low": None,
        "high": None,
        "method": None,
        "reason": _SAME,
    }


def _patients_behind(tally, names):
    """How many patients each proportion (one number) or ROC area (two) rests on."""
    k = len(names)
    matrices = tally.confusions.reshape(-1, k, k)
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    others = true.sum(axis=1, keepdims=True) - true
    counts = {"accuracy": tally.size}
    for i, label in enumerate(names):
        ill, rest, called = (int((part[:, i] > 0).sum()) for part in (true, others, predicted))
        counts |= {
            f"per_class.{label}.accuracy": tally.size,
            f"per_class.{label}.sensitivity": ill,
            f"per_class.{label}.specificity": rest,
            f"per_class.{label}.precision": called,
            f"per_class.{label}.roc_auc": (ill, rest),
        }
    return counts


def _midranks(values):
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _root(function, outside, inside):
    """Halve the bracket between a point where `function` is positive or zero and one where it is not."""
    for _ in range(100):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if function(middle) > 0 else (outside, middle)
    return (outside + inside) / 2


def _z(level):
    return NormalDist().inv_cdf((1 + level) / 2)
