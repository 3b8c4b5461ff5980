"""ROC and precision-recall curves of resampled patients, for the bands around a drawn curve."""

import numpy as np

RESAMPLES = 500
GRID = np.linspace(0, 1, 101)
_CELLS = 2_000_000


def bands(positive, scores, patients, points, *, seed=0, resamples=RESAMPLES, level=0.95):
    """Band of a curve, point by point, from resampled patients.

    Parameters
    ----------
    positive : array of bool, shape (n,)
    scores : array of float, shape (n,)
    patients : array of int, shape (n,)
        Group of each image, from 0 without gaps: whole patients are drawn.
    points : callable
        :func:`roc_points` or :func:`precision_recall_points`.
    seed, resamples : int
    level : float

    Returns
    -------
    grid, low, high : array of float64, shape (101,)
        NaN where no resample has both classes.
    """
    order = np.argsort(-scores, kind="stable")
    positive, patients = positive[order], patients[order]
    # Images of one score are told positive together.
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    groups = int(patients.max()) + 1
    rng = np.random.default_rng(seed)
    curves = []
    for rows in _parts(resamples, max(1, _CELLS // len(positive))):
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)[:, patients]
        hits = np.cumsum(weights * positive, axis=1)[:, last]
        alarms = np.cumsum(weights * ~positive, axis=1)[:, last]
        defined = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
        curves += [points(h, a) for h, a in zip(hits[defined], alarms[defined], strict=True)]
    if not curves:
        return GRID, np.full_like(GRID, np.nan), np.full_like(GRID, np.nan)
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return GRID, low, high


def roc_points(hits, alarms):
    """Sensitivity at each 1 − specificity of the grid.

    Parameters
    ----------
    hits, alarms : array of int, shape (t,)
        True and false positives as the threshold falls; the last is all of them, at least 1.

    Returns
    -------
    array of float64, shape (101,)
    """
    return np.interp(GRID, np.r_[0, alarms / alarms[-1]], np.r_[0, hits / hits[-1]])


def precision_recall_points(hits, alarms):
    """Precision at the highest threshold that reaches each sensitivity of the grid.

    Parameters
    ----------
    hits, alarms
        See :func:`roc_points`.

    Returns
    -------
    array of float64, shape (101,)
        At sensitivity 0 that of the first threshold with a true positive.
    """
    recall = hits / hits[-1]
    reached = np.searchsorted(recall, np.maximum(GRID, recall[hits > 0][0]), side="left")
    return hits[reached] / (hits[reached] + alarms[reached])


def _parts(total, most):
    return [min(most, total - start) for start in range(0, total, most)]
