"""Thresholds against scikit-learn's operating points and hand counts."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from covidcxr.errors import DataError, OptionError
from covidcxr.evaluation import metrics, thresholds
from covidcxr.evaluation.predictions import Predictions

NAMES = ("covid19", "normal", "pneumonia")


def drawn(seed, n=120, names=NAMES, decimals=2):
    """Random predictions with ties, half of them validation and half test."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(names), size=n)
    values = (
        np.round(rng.dirichlet(np.ones(len(names)), n) + 0.4 * np.eye(len(names))[truth], decimals) + 0.01
    )
    values /= values.sum(axis=1, keepdims=True)
    table = pd.DataFrame({"path": np.arange(n).astype(str), "label": [names[i] for i in truth]})
    table["split"] = np.where(np.arange(n) % 2, "test", "val")
    table["patient_id"] = [f"p{i}" for i in np.arange(n) // 3]
    return Predictions.from_arrays(
        table, names, np.round(values, 3) / np.round(values, 3).sum(1, keepdims=True)
    )


def points(part):
    ill, scores = part.y_true == 0, part.probabilities[:, 0]
    fpr, tpr, cuts = sk.roc_curve(ill, scores, drop_intermediate=False)
    return ill, scores, fpr[1:], tpr[1:], cuts[1:]


@pytest.mark.parametrize("seed", range(4))
def test_youden_is_the_best_point_of_scikit_learns_curve(seed):
    predictions = drawn(seed)
    part = predictions.subset("val")
    _, _, fpr, tpr, cuts = points(part)
    chosen = thresholds.choose(predictions)
    assert (chosen.rule, chosen.split, chosen.positive) == ("youden", "val", "covid19")
    assert (chosen.images, chosen.patients) == (60, 40)
    assert chosen.sensitivity + chosen.specificity - 1 == pytest.approx((tpr - fpr).max(), abs=1e-9)
    place = np.flatnonzero(cuts == chosen.value)[0]
    assert (chosen.sensitivity, 1 - chosen.specificity) == pytest.approx((tpr[place], fpr[place]), abs=1e-9)


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95, 1.0])
def test_fixed_sensitivity_is_the_highest_threshold_that_keeps_it(target):
    predictions = drawn(7)
    _, _, _, tpr, cuts = points(predictions.subset("val"))
    chosen = thresholds.choose(predictions, target)
    assert chosen.rule == f"sensitivity >= {target:g}"
    assert chosen.value == cuts[tpr >= target - 1e-12].max()
    assert chosen.sensitivity >= target


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]])
def test_held_on_test(names):
    predictions = drawn(3, names=names)
    chosen = thresholds.choose(predictions, 0.8)
    result = thresholds.apply(chosen, predictions, seed=1, resamples=200)
    part = predictions.subset("test")
    ill, called = part.y_true == 0, part.probabilities[:, 0] >= chosen.value
    tn, fp, fn, tp = sk.confusion_matrix(ill, called).ravel()
    found = {name: result["measures"][f"per_class.covid19.{name}"] for name in metrics.PER_CLASS}
    expected = {"sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp), "precision": tp / (tp + fp)}
    expected |= {"f1": sk.f1_score(ill, called), "accuracy": sk.accuracy_score(ill, called)}
    expected["roc_auc"] = sk.roc_auc_score(ill, part.probabilities[:, 0])
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert found["sensitivity"]["low"] < expected["sensitivity"] < found["sensitivity"]["high"]
    other = "normal" if len(names) == 2 else "other"
    assert f"per_class.{other}.sensitivity" in result["measures"]
    assert result["threshold"]["value"] == chosen.value
    ppv = result["at_prevalence"]["0.05"]["ppv"]["value"]
    assert ppv == pytest.approx(metrics.predictive_values(tp / (tp + fn), tn / (tn + fp), 0.05)[0], abs=1e-12)


def test_ties_and_the_highest_threshold_by_hand():
    """Scores 0.9 + 0.6 + 0.6 + 0.3 + 0.1; ill are the first, one of the 0.6 and the 0.3."""
    scores = np.array([0.9, 0.6, 0.6, 0.3, 0.1])
    table = pd.DataFrame(
        {"path": list("abcde"), "label": ["covid19", "covid19", "normal", "covid19", "normal"]}
    )
    predictions = Predictions.from_arrays(
        table, ("covid19", "normal"), np.stack([scores, 1 - scores], axis=1)
    )
    # Youden: 1/3 at 0.9, 2/3 - 1/2 at 0.6, 1 - 1/2 at 0.3, 0 at 0.1.
    assert thresholds.choose(predictions, split="").value == 0.3
    assert thresholds.choose(predictions, 2 / 3, split="").value == 0.6
    assert thresholds.choose(predictions, 0.3, split="").value == 0.9


def test_test_images_are_kept_out_of_the_choice():
    predictions = drawn(5)
    with pytest.raises(OptionError, match="not chosen on the test split"):
        thresholds.choose(predictions, split="test")
    chosen = thresholds.choose(predictions)
    with pytest.raises(OptionError, match="where the threshold was chosen"):
        thresholds.apply(chosen, predictions, split="val", seed=0)
    with pytest.raises(DataError, match="no prediction of the split 'external'"):
        thresholds.apply(chosen, predictions, split="external", seed=0)


@pytest.mark.parametrize("rule", ["best", 0, 1.2, True])
def test_rules_without_meaning(rule):
    with pytest.raises(OptionError, match="give 'youden' or a sensitivity"):
        thresholds.choose(drawn(5), rule)


def test_one_kind_only():
    predictions = drawn(5)
    table = predictions.table.assign(label="normal")
    with pytest.raises(DataError, match="0 of 60 images are covid19"):
        thresholds.choose(Predictions(table, NAMES))
