"""Bands of resampled curves against scikit-learn's curves with the resample's weights."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from covidcxr.evaluation.curves import GRID, bands, precision_recall_points, roc_points


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    positive = rng.random(60) < 0.4
    # Ties on purpose: images of one score change sides together.
    scores = np.round(np.clip(0.3 + 0.3 * positive + rng.normal(0, 0.2, 60), 0, 1), 1)
    return positive, scores, np.arange(60) // 2


def cumulated(positive, scores, weights):
    thresholds = np.unique(scores)[::-1]
    hits = [(weights * (positive & (scores >= limit))).sum() for limit in thresholds]
    alarms = [(weights * (~positive & (scores >= limit))).sum() for limit in thresholds]
    return np.array(hits), np.array(alarms)


def test_roc_points_are_sklearns_curve(scored):
    positive, scores, _ = scored
    weights = np.random.default_rng(0).integers(0, 3, 60)
    fpr, tpr, _ = roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(
        roc_points(*cumulated(positive, scores, weights)), np.interp(GRID, fpr, tpr), atol=1e-12
    )


def test_precision_points_are_sklearns_at_the_reached_sensitivity(scored):
    positive, scores, _ = scored
    precision, recall, _ = precision_recall_curve(positive, scores)
    found = precision_recall_points(*cumulated(positive, scores, np.ones(60, int)))
    first = next(place for place in range(len(recall) - 2, -1, -1) if recall[place] > 0)
    for wanted, value in zip(GRID, found, strict=True):
        # Recall falls along sklearn's curve: the last threshold that still reaches it.
        place = np.flatnonzero(recall[:-1] >= max(wanted, recall[first]) - 1e-12)[-1]
        assert value == pytest.approx(precision[place])


def test_the_band_is_that_of_resampled_patients(scored):
    positive, scores, patients = scored
    grid, low, high = bands(positive, scores, patients, roc_points, seed=7, resamples=40)
    rng = np.random.default_rng(7)
    drawn = rng.integers(30, size=(40, 30))
    curves = []
    for choice in drawn:
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in choice])
        fpr, tpr, _ = roc_curve(positive[rows], scores[rows], drop_intermediate=False)
        curves.append(np.interp(grid, fpr, tpr))
    np.testing.assert_allclose(low, np.quantile(curves, 0.025, axis=0), atol=1e-12)
    np.testing.assert_allclose(high, np.quantile(curves, 0.975, axis=0), atol=1e-12)


def test_without_two_classes_in_any_resample_there_is_no_band():
    _, low, high = bands(
        np.array([True, True]), np.array([0.1, 0.2]), np.array([0, 1]), roc_points, resamples=5
    )
    assert np.isnan(low).all()
    assert np.isnan(high).all()
