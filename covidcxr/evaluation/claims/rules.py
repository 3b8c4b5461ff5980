"""The rules that printed numbers are held to: one small pure function each, on numbers and nothing else.

Tolerance is half a unit of the last printed place, of the number itself and of every printed number that it is
computed from: a rule finds a contradiction only where no values that round to what is printed obey it. Numbers that
obey it once cut off instead of rounded, or rounded and then padded with zeros, are told apart.
"""

import itertools
import math
from dataclasses import dataclass, replace

from covidcxr.evaluation.claims.printed import EPSILON

AGREES, TRUNCATED, PADDED, REMARK, CONTRADICTS = "agrees", "truncated", "padded", "remark", "contradicts"
RULES = {
    "rate_of_counts": "metric from printed counts",
    "average": "average",
    "balanced_accuracy": "balanced accuracy",
    "macro_average": "macro average of the classes",
    "total": "total",
    "sums": "total",
    "about": "text against text",
    "same_order": "text against table",
    "share_of_a_count": "share of the test size",
    "f1": "F1 of precision and recall",
    "between": "accuracy outside sensitivity and specificity",
    "common_share": "one class share for one test set",
    "unit": "fraction among percentages",
    "same": "one number printed twice",
    "same_matrix": "one matrix printed twice",
    "largest": "text against table",
    "at_most": "more than there are",
    "parameters": "known parameter count",
    "share_of_network": "share of the known parameter count",
    "distinct": "row twice or mislabelled",
    "one_class_order": "one order of classes",
    "batches": "steps of an epoch",
    "hard_area": "ROC area",
}


@dataclass(frozen=True)
class Check:
    """What became of holding printed numbers to a rule.

    Attributes
    ----------
    rule : str
        Name of the function.
    numbers : tuple of Printed
        What was held to it.
    verdict : str
        ``agrees``; ``truncated`` or ``padded`` (agrees once that is allowed for); ``remark``; ``contradicts``.
    recomputed : str
        In the printed unit.
    tolerance : float
        In the printed unit.
    how : str
        One line: what was computed from what.
    """

    rule: str
    numbers: tuple
    verdict: str
    recomputed: str
    tolerance: float
    how: str

    @property
    def kind(self):
        """Return the rule in words."""
        return RULES[self.rule]


def rate_of_counts(printed, numerator, denominator, how):
    """Hold a rate to the counts that it is made of.

    Parameters
    ----------
    printed : Printed
    numerator, denominator : int
    how : str

    Returns
    -------
    Check
    """
    return exactly("rate_of_counts", printed, numerator / denominator, f"{how} = {numerator}/{denominator}")


def parameters(printed, count, how, trainable=None):
    """Hold a number of parameters, single or in millions, to the known count of the network.

    Parameters
    ----------
    printed : Printed
    count : int
        Moving statistics included.
    how : str
    trainable : int, optional
        The count without them. A number that agrees with this one only is a remark.

    Returns
    -------
    Check
    """
    per = 1e6 if printed.unit == "millions" else 1
    check = exactly("parameters", printed, count / per, how)
    if check.verdict != CONTRADICTS or trainable is None:
        return check
    counted = exactly(
        "parameters", printed, trainable / per, f"{how}; {trainable:,} without moving statistics"
    )
    return counted if counted.verdict == CONTRADICTS else replace(counted, verdict=REMARK)


def share_of_network(printed, millions, whole, how):
    """Hold a percentage to printed millions of parameters, divided by the known count of the network."""

    def span(loose):
        return tuple(end * 1e6 / whole for end in millions.bounds(loose))

    return _judged("share_of_network", printed, span, millions.value * 1e6 / whole, how)


def exactly(rule, printed, value, how):
    """Hold a number to an exact value, a fraction where the unit is percent."""
    return _judged(rule, printed, lambda loose: (value, value), value, how)


def average(printed, members, how, rule="average", replaced=None):
    """Hold an average of folds, of classes or of sensitivity and specificity to its printed members.

    Parameters
    ----------
    printed : Printed
    members : sequence of Printed
    how : str
    rule : {"average", "balanced_accuracy", "macro_average"}
    replaced : mapping of str to float, optional
        Id to the value (a fraction where the unit is percent) of members that another rule has shown to be misprints.

    Returns
    -------
    Check
    """
    replaced = replaced or {}

    def span(loose):
        ends = [_ends(member, loose, replaced) for member in members]
        return tuple(sum(end) / len(ends) for end in zip(*ends, strict=True))

    centre = sum(replaced.get(member.id, member.value / member.scale) for member in members) / len(members)
    return _judged(rule, printed, span, centre, how)


def f1(printed, precision, recall, how="2PR/(P + R) of the printed precision and recall", folds=1):
    """Hold an F1 to the harmonic mean of a printed precision and recall.

    Parameters
    ----------
    printed, precision, recall : Printed
    how : str
    folds : int
        Of how many folds all three are means. Where precision or recall is 1, and so 1 in every fold, the mean F1
        can be lower than that of the means, at the lowest where one fold has all that the other rate lacks.

    Returns
    -------
    Check
    """
    rates = (precision, recall)
    perfect = any(rate.value == rate.scale for rate in rates)

    def span(loose):
        ends = [_harmonic(*corner) for corner in itertools.product(*(rate.bounds(loose) for rate in rates))]
        return min(ends) - (spread if perfect else 0), max(ends)

    values = [rate.value / rate.scale for rate in rates]
    centre, lowest = _harmonic(*values), max(0.0, 1 - folds * (1 - min(values)))
    spread = max(0.0, centre - (folds - 1 + _harmonic(lowest, 1.0)) / folds)
    if perfect and spread:
        how += f"; {folds} folds with these means cannot have a mean F1 below {centre - spread:.5f}"
    return _judged("f1", printed, span, centre, how)


def total(printed, parts, how):
    """Hold a count to the sum of its parts, each a `Printed` or a plain number."""
    value = sum(getattr(part, "value", part) for part in parts)
    return exactly("total", printed, value, how)


def sums(cells, expected, how):
    """Hold the sum of printed counts to a count made otherwise."""
    found = sum(cell.value for cell in cells)
    verdict = AGREES if found == expected else CONTRADICTS
    return Check("sums", tuple(cells), verdict, f"{found:,.0f} printed, {expected:,.0f} expected", 0.0, how)


def about(printed, value, how, within):
    """Hold a share that a text rounds freely to a value, `within` that much, a fraction."""
    meets = abs(printed.value / printed.scale - value) <= within + EPSILON
    check = _check("about", printed, AGREES if meets else CONTRADICTS, value, how)
    return replace(check, tolerance=within * printed.scale)


def same_order(ordered, how):
    """Hold numbers, in the order that a text puts their rows in, to be descending."""
    values = [number.value for number in ordered]
    verdict = AGREES if values == sorted(values, reverse=True) else CONTRADICTS
    words = " > ".join(number.model for number in sorted(ordered, key=lambda number: -number.value))
    return Check("same_order", tuple(ordered), verdict, words, 0.0, how)


def same(printed, other, how=None):
    """Hold a number to the same number printed elsewhere, at the coarser of the two roundings."""
    how = how or f"{other.place}: {other.printed}"
    return _judged("same", printed, other.bounds, other.value / other.scale, how)


def same_matrix(cells, others, how):
    """Hold the cells of a confusion matrix to those of the same matrix printed elsewhere."""
    agrees = [cell.value for cell in cells] == [cell.value for cell in others]
    recomputed = " ".join(cell.printed for cell in others)
    return Check("same_matrix", tuple(cells), AGREES if agrees else CONTRADICTS, recomputed, 0.0, how)


def share_of_a_count(printed, sizes, how):
    """Ask whether a rate is k/n for a whole k and a stated test size n.

    Parameters
    ----------
    printed : Printed
    sizes : sequence of int
        The test sizes that the paper allows for: one fold's, and all folds' together where an average is printed.
    how : str

    Returns
    -------
    Check
        `recomputed` is the nearest possible rate.
    """
    value = printed.value / printed.scale
    counts = [
        (k, n)
        for n in sizes
        for k in range(math.floor(value * n) - 1, math.ceil(value * n) + 2)
        if 0 <= k <= n
    ]
    nearest = min(counts, key=lambda count: abs(count[0] / count[1] - value))
    rate = nearest[0] / nearest[1]
    for verdict, reading in _verdicts(printed):
        if any(_meets((k / n, k / n), reading) for k, n in counts):
            return _check("share_of_a_count", printed, verdict, rate, how)
    how += f"; nearest is {nearest[0]}/{nearest[1]}"
    smallest = smallest_size(printed)
    how += f"; no size below {smallest} gives it" if smallest > min(sizes) else ""
    return _check("share_of_a_count", printed, CONTRADICTS, rate, how)


def smallest_size(printed):
    """Return the smallest n for which some k/n rounds to a printed rate."""
    low, high = printed.bounds()
    return next(n for n in itertools.count(1) if math.floor(high * n + EPSILON) >= low * n - EPSILON)


def between(printed, rates, how):
    """Hold an accuracy to lie between the rates that it is a mixture of, whatever the share of each class.

    Parameters
    ----------
    printed : Printed
    rates : sequence of Printed
        Sensitivity and specificity, or the recall of every class.
    how : str

    Returns
    -------
    Check
        `recomputed` is the nearest end.
    """

    def span(loose):
        ends = [rate.bounds(loose) for rate in rates]
        return min(low for low, _ in ends), max(high for _, high in ends)

    values = [rate.value / rate.scale for rate in rates]
    nearest = min(max(printed.value / printed.scale, min(values)), max(values))
    return _judged("between", printed, span, nearest, how)


def share_interval(accuracy, first, second, loose=True):
    """Solve accuracy = q * first + (1 - q) * second for the share q of the first class.

    Parameters
    ----------
    accuracy, first, second : Printed
    loose : bool
        Allow for truncation and padding of all three.

    Returns
    -------
    tuple of float or None
        Lowest and highest share within [0, 1] that the rounding allows; None where there is none.
    """
    (a_low, a_high), (f_low, f_high), (s_low, s_high) = (
        number.bounds(loose) for number in (accuracy, first, second)
    )
    low, high = 0.0, 1.0
    # q * slope <= limit, twice: the lowest mixture is not above, the highest not below the printed accuracy.
    for slope, limit in ((f_low - s_low, a_high - s_low), (s_high - f_high, s_high - a_low)):
        if abs(slope) <= EPSILON:
            if limit < -EPSILON:
                return None
        elif slope > 0:
            high = min(high, limit / slope)
        else:
            low = max(low, limit / slope)
    return (low, high) if low <= high + EPSILON else None


def common_share(rows, how):
    """Ask whether accuracies on one test set are mixtures of their rates by one share of the classes.

    Rows that are no mixture at all are left to `between`.

    Parameters
    ----------
    rows : sequence of (Printed, Printed, Printed)
        Accuracy, rate of the first class, rate of the second.
    how : str

    Returns
    -------
    Check
        `recomputed` names the share that each row needs.
    """
    found = [(row, share_interval(*row)) for row in rows]
    found = [(row, share) for row, share in found if share]
    agrees = _intersect(share for _, share in found) is not None
    if agrees:
        return Check("common_share", tuple(row[0] for row, _ in found), AGREES, "", math.nan, how)
    needed = {}
    for row, share in found:
        if not all(_meets(share, other) for _, other in found):
            needed.setdefault(f"{100 * share[0]:.1f} to {100 * share[1]:.1f} %", []).append(row[0])
    words = "; ".join(
        f"{', '.join(number.model or number.row for number in numbers)}: {share}"
        for share, numbers in needed.items()
    )
    numbers = tuple(number for part in needed.values() for number in part)
    return Check("common_share", numbers, CONTRADICTS, words, math.nan, how)


def unit(printed, accuracy, other, share, how):
    """Ask whether a rate that no common share allows is a fraction printed among percentages.

    Parameters
    ----------
    printed : Printed
        Rate of the first class, percent as printed.
    accuracy, other : Printed
        The accuracy that it is part of, and the rate of the second class.
    share : tuple of float
        The share of the first class that the other rows of the test set agree on.
    how : str

    Returns
    -------
    Check
    """
    as_printed = share_interval(accuracy, printed, other)
    if as_printed and _meets(as_printed, share):
        return _check("unit", printed, AGREES, printed.value / printed.scale, how)
    scale = printed.scale
    need = sorted((accuracy.value - (1 - q) * other.value) / scale / q for q in share)
    read = (printed.value - printed.half, printed.value + printed.half)
    word = "; read as a fraction it agrees" if _meets(need, read) else ""
    return _check("unit", printed, CONTRADICTS, sum(need) / 2, how + word)


def largest(printed, members, how):
    """Hold a number that a text calls the highest to the largest of a table's."""
    top = max(members, key=lambda member: member.value / member.scale)
    return _judged("largest", printed, top.bounds, top.value / top.scale, how)


def at_most(printed, limit, how):
    """Hold a count to a limit that it cannot exceed."""
    verdict = AGREES if printed.value <= limit else CONTRADICTS
    return Check("at_most", (printed,), verdict, f"at most {limit:,}", 0.0, how)


def distinct(rows, expected, how):
    """Hold named rows to be as many different ones as a table claims.

    Parameters
    ----------
    rows : sequence of Printed
        One number of each row; `row` is the name as printed, after its number if it has one.
    expected : int
    how : str

    Returns
    -------
    Check
        `numbers` are the rows whose name came before.
    """
    names, again = [], []
    for number in rows:
        name = number.row.lstrip("0123456789 ").casefold()
        again += [number] if name in names else []
        names.append(name)
    found = len(set(names))
    verdict = AGREES if found == expected else CONTRADICTS
    return Check("distinct", tuple(again) or tuple(rows[:1]), verdict, f"{found} different", 0.0, how)


def one_class_order(matrices, how):
    """Ask whether one order of two classes lets every matrix hold no more images of a class than there are.

    Parameters
    ----------
    matrices : sequence of (sequence of Printed, (int, int))
        The four cells, row by row, and the images there are of the one and of the other class.
    how : str

    Returns
    -------
    Check
    """

    def fits(order):
        return all(
            cells[0].value + cells[1].value <= there[order[0]]
            and cells[2].value + cells[3].value <= there[order[1]]
            for cells, there in matrices
        )

    agrees = fits((0, 1)) or fits((1, 0))
    numbers = tuple(cell for cells, _ in matrices for cell in cells)
    return Check("one_class_order", numbers, AGREES if agrees else CONTRADICTS, "neither order", 0.0, how)


def batches(printed, images, batch, how):
    """Hold the steps of an epoch to the images divided by a printed batch size, rounded up."""
    steps = math.ceil(images / batch.value)
    verdict = AGREES if printed.value == steps else CONTRADICTS
    return Check("batches", (batch, printed), verdict, f"{steps} steps", 0.0, how)


def hard_area(printed, cells, how):
    """Find an ROC area that is the balanced accuracy of the hard labels: no score was ranked.

    Parameters
    ----------
    printed : Printed
    cells : sequence of Printed
        The two-by-two matrix, row by row.
    how : str

    Returns
    -------
    Check
        A ``remark`` where they are the same; ``agrees`` (nothing can be said) where they are not, or where the
        matrix has no errors.
    """
    a, b, c, d = (cell.value for cell in cells)
    area = (a / (a + b) + d / (c + d)) / 2
    hard = b + c > 0 and _meets((area, area), printed.bounds())
    return _check("hard_area", printed, REMARK if hard else AGREES, area, how)


def _harmonic(first, second):
    return 2 * first * second / (first + second) if first + second else 0.0


def _ends(member, loose, replaced):
    known = replaced.get(member.id)
    return member.bounds(loose) if known is None else (known, known)


def _meets(first, second):
    return first[0] <= second[1] + EPSILON and second[0] <= first[1] + EPSILON


def _intersect(intervals):
    lows, highs = zip(*intervals, strict=True)
    return (max(lows), min(highs)) if max(lows) <= min(highs) + EPSILON else None


def _verdicts(printed):
    names = {"rounded": AGREES, "truncated": TRUNCATED, "padded": PADDED}
    return [(names[name], reading) for name, reading in printed.readings().items()]


def _judged(rule, printed, span, centre, how):
    """Give the mildest verdict: rounding first, then one habit of the number itself, then those of its inputs."""
    strict = span(False)
    for verdict, reading in _verdicts(printed):
        if _meets(strict, reading):
            return _check(rule, printed, verdict, centre, how)
    if _meets(span(True), printed.bounds(loose=True)):
        return _check(rule, printed, TRUNCATED, centre, how)
    return _check(rule, printed, CONTRADICTS, centre, how)


def _check(rule, printed, verdict, value, how):
    tolerance = 0.0 if printed.unit == "count" else printed.half
    return Check(rule, (printed,), verdict, _in_print(printed, value), tolerance, how)


def _in_print(printed, value):
    """Write a value in the unit of a printed number, to one decimal more where it is no count."""
    if printed.unit == "count":
        return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    sign = " %" if printed.unit == "percent" else ""
    # As many decimals as it takes to see that it is not the printed one.
    return f"{value * printed.scale:.{printed.decimals + 1}f}{sign}"
