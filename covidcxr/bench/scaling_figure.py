"""The scaling part as curves: seconds against the amount of work, and the exponent that fits them."""

import re

import numpy as np

PART = "scaling"
# Keys of facts that are points of a curve: "predict@256"; the curve's title stands before the colon of theirs.
_POINT = re.compile(r"(?P<curve>[\w-]+)@(?P<amount>\d+)$")


def curves_of(report):
    """Gather the points of the scaling part.

    Parameters
    ----------
    report : covidcxr.bench.results.Report

    Returns
    -------
    dict of str to list of (float, float)
        Amounts and seconds of each curve by its title; empty where the part was not measured.
    """
    curves = {}
    for part in report.parts:
        for item in part.items if part.name == PART else ():
            found = _POINT.match(item.key)
            if found:
                point = float(found["amount"]), item.value
                curves.setdefault(item.title.partition(":")[0], []).append(point)
    return curves


def exponent(points):
    """Fit seconds ~ amount ** exponent by least squares on logarithms.

    Parameters
    ----------
    points : sequence of (float, float)
        At least two amounts and their seconds, all above 0.

    Returns
    -------
    float
        1 is linear, below 1 is cheaper, above 1 dearer than that.
    """
    amounts, seconds = np.log(np.asarray(points, dtype=float)).T
    return float(np.polyfit(amounts, seconds, 1)[0])


def draw(curves, path):
    """Draw all curves on logarithmic axes, each against its own smallest amount.

    Parameters
    ----------
    curves : dict
        As of :func:`curves_of`.
    path : path-like
        PNG.

    Raises
    ------
    OutputError
    """
    from matplotlib.figure import Figure

    from covidcxr.atomic import whole_file

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for title, points in curves.items():
        amounts, seconds = np.asarray(sorted(points)).T
        label = f"{title} (exponent {exponent(points):.2f})"
        axes.plot(amounts / amounts[0], seconds / seconds[0], marker="o", label=label)
    ends = np.array([1, max(max(points)[0] / min(points)[0] for points in curves.values())])
    axes.plot(ends, ends, color="0.7", linestyle="--", label="linear")
    axes.set(
        xscale="log", yscale="log", xlabel="work, times the smallest", ylabel="seconds, times the smallest"
    )
    axes.legend(fontsize="small")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
