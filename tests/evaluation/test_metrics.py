"""Each measure against scikit-learn or a hand count; undefined ones are None with a reason."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from covidcxr.errors import DataError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.predictions import Predictions

NAMES = ("covid19", "normal", "pneumonia")


def predictions_of(labels, probabilities, names=NAMES):
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(len(labels))], "label": labels})
    return Predictions.from_arrays(table, names, probabilities)


def drawn(seed, n=120, names=NAMES, decimals=None):
    """Random predictions better than chance; rounding makes ties."""
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(len(names)), rng.integers(len(names), size=n - len(names))]
    values = rng.dirichlet(np.ones(len(names)), n) + 0.6 * np.eye(len(names))[truth]
    if decimals is not None:
        values = np.round(values, decimals) + 0.01
    values /= values.sum(axis=1, keepdims=True)
    return predictions_of([names[i] for i in truth], values, names)


def ece_by_hand(y_true, scores, bins=15):
    """The definition, bin by bin (Guo et al. 2017, eq. 3)."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, row in enumerate(scores) if b / bins < row.max() <= (b + 1) / bins]
        if inside:
            right = np.mean([scores[i].argmax() == y_true[i] for i in inside])
            total += len(inside) / len(scores) * abs(right - np.mean([scores[i].max() for i in inside]))
    return total


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("names", [NAMES, ("covid19", "normal")])
def test_measures_equal_scikit_learn(names, decimals):
    predictions = drawn(3, names=names, decimals=decimals)
    result = metrics.compute(predictions)
    y, p, scores = predictions.y_true, predictions.y_pred, predictions.probabilities
    one_hot = np.eye(len(names))[y]
    precision, recall, f1, _ = sk.precision_recall_fscore_support(y, p)
    expected = {
        "accuracy": sk.accuracy_score(y, p),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p),
        "mcc": sk.matthews_corrcoef(y, p),
        "log_loss": sk.log_loss(y, scores),
        "brier": ((scores - one_hot) ** 2).sum(axis=1).mean() / 2,
        "ece": ece_by_hand(y, scores),
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert result["confusion_matrix"] == sk.confusion_matrix(y, p).tolist()
    areas = [sk.roc_auc_score(y == c, scores[:, c]) for c in range(len(names))]
    averages = [sk.average_precision_score(y == c, scores[:, c]) for c in range(len(names))]
    for c, name in enumerate(names):
        row = result["per_class"][name]
        tn, fp, _, _ = sk.confusion_matrix(y == c, p == c).ravel()
        wanted = {
            "sensitivity": recall[c],
            "specificity": tn / (tn + fp),
            "precision": precision[c],
            "f1": f1[c],
            "accuracy": sk.accuracy_score(y == c, p == c),
            "brier": sk.brier_score_loss(y == c, scores[:, c]),
            "roc_auc": areas[c],
            "average_precision": averages[c],
            "images": (y == c).sum(),
        }
        assert row == pytest.approx(wanted, abs=1e-9)
    macro = {"sensitivity": recall.mean(), "precision": precision.mean(), "f1": f1.mean()}
    macro |= {"roc_auc": np.mean(areas), "average_precision": np.mean(averages)}
    macro["specificity"] = np.mean([row["specificity"] for row in result["per_class"].values()])
    macro["f1_of_means"] = 2 / (1 / macro["precision"] + 1 / macro["sensitivity"])
    assert result["macro"] == pytest.approx(macro, abs=1e-9)
    assert result["undefined"] == {}


def test_two_class_brier_is_the_usual_one():
    predictions = drawn(8, names=("covid19", "normal"))
    usual = sk.brier_score_loss(predictions.y_true == 0, predictions.probabilities[:, 0])
    assert metrics.compute(predictions)["brier"] == pytest.approx(usual, abs=1e-12)


def test_weights_repeat_images():
    predictions = drawn(4, n=30, decimals=1)
    weights = np.random.default_rng(0).integers(0, 4, 30)
    tally = metrics.Tally(predictions, np.arange(30))
    weighted = metrics.flatten(tally.measures(weights[None]), NAMES)
    rows = np.repeat(np.arange(30), weights)
    labels = predictions.table["label"].iloc[rows].tolist()
    repeated = predictions_of(labels, predictions.probabilities[rows])
    plain = metrics.flatten(metrics.Tally(repeated).measures([[1]]), NAMES)
    assert {k: v[0] for k, v in weighted.items()} == pytest.approx(
        {k: v[0] for k, v in plain.items()}, abs=1e-9
    )


def test_ragab_figure_5_style_matrix_by_hand():
    """8 of 8 and 23 of 24 right: sensitivity 1, specificity 23/24, precision 8/9, F1 16/17."""
    labels = ["covid19"] * 8 + ["normal"] * 24
    scores = np.array([[0.9, 0.1]] * 9 + [[0.2, 0.8]] * 23)
    positive = metrics.compute(predictions_of(labels, scores, ("covid19", "normal")))["positive"]
    assert positive["class"] == "covid19"
    picked = [positive[name] for name in ("sensitivity", "specificity", "precision", "f1", "accuracy")]
    assert picked == pytest.approx([1, 23 / 24, 8 / 9, 16 / 17, 31 / 32])


def test_an_absent_class_gives_none_and_a_reason():
    scores = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = metrics.compute(predictions_of(["covid19", "covid19", "normal"], scores))
    absent = result["per_class"]["pneumonia"]
    assert absent["images"] == 0
    for name in ("sensitivity", "precision", "f1", "roc_auc", "average_precision"):
        assert absent[name] is None
        assert result["undefined"][f"per_class.pneumonia.{name}"]
    assert absent["specificity"] == 1
    assert result["balanced_accuracy"] is None
    assert result["macro"]["f1"] is None
    assert result["undefined"]["macro.f1"].startswith("undefined for pneumonia")
    assert result["accuracy"] == 1
    json.dumps(result, allow_nan=False)


def test_one_class_only_has_no_specificity_area_or_mcc():
    result = metrics.compute(predictions_of(["covid19"] * 2, [[0.9, 0.1], [0.4, 0.6]], ("covid19", "normal")))
    positive = result["positive"]
    assert positive["sensitivity"] == 0.5
    assert positive["specificity"] is None
    assert positive["roc_auc"] is None
    assert positive["at_prevalence"]["0.05"] == {"ppv": None, "npv": None}
    assert result["mcc"] is None
    assert "mcc" in result["undefined"]


def test_a_class_never_found_is_a_true_zero_not_undefined():
    result = metrics.compute(
        predictions_of(["covid19", "normal"], [[0.1, 0.9], [0.1, 0.9]], ("covid19", "normal"))
    )
    row = result["per_class"]["covid19"]
    assert (row["sensitivity"], row["f1"], row["precision"]) == (0, 0, None)


def test_nothing_to_evaluate():
    empty = Predictions(drawn(1).table.iloc[:0], NAMES)
    with pytest.raises(DataError, match="no predictions"):
        metrics.compute(empty)


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (NAMES, None, "covid19"),
        (("normal", "pneumonia"), None, "pneumonia"),
        (("pneumonia", "normal"), None, "pneumonia"),
        (NAMES, "normal", "normal"),
    ],
)
def test_positive_class(names, wanted, chosen):
    assert metrics.positive_class(names, wanted) == chosen


def test_unknown_positive_class():
    with pytest.raises(DataError, match="'sars' is none of"):
        metrics.positive_class(NAMES, "sars")


def test_predictive_values_by_counting_ten_thousand_people():
    """Prevalence 1 %: 100 ill, 90 found; 9,900 well, 495 falsely positive."""
    ppv, npv = metrics.predictive_values(0.90, 0.95, 0.01)
    assert (ppv, npv) == pytest.approx((90 / (90 + 495), 9405 / (9405 + 10)))
    assert np.isnan(metrics.predictive_values(0.0, 1.0, 0.01)[0])


def test_predictive_values_of_arrays_are_those_of_their_numbers():
    sensitivity, specificity = np.array([0.9, 0.4, 0.0]), np.array([0.95, 0.7, 1.0])
    together = metrics.predictive_values(sensitivity, specificity, 0.2)
    alone = [metrics.predictive_values(*pair, 0.2) for pair in zip(sensitivity, specificity, strict=True)]
    np.testing.assert_array_equal(np.stack(together, axis=1), alone)


@pytest.mark.parametrize(
    ("precision", "recall", "printed"),
    [(96.52, 95.37, 95.94), (98.63, 98.31, 98.47), (98.97, 98.97, 98.97)],
)
def test_khalifa_table_2_prints_the_f1_of_the_means(precision, recall, printed):
    """AlexNet, GoogLeNet and ResNet18; SqueezeNet's 94.46 is not what its two means give."""
    value = metrics.f1_of_means(np.array([[precision]]), np.array([[recall]]))
    assert value[0] == pytest.approx(printed, abs=0.006)


def test_f1_of_means_is_not_the_mean_of_f1():
    """Opitz and Burst 2019: never below it, and above it where the classes differ."""
    macro = metrics.compute(drawn(5))["macro"]
    assert macro["f1_of_means"] > macro["f1"]


def test_class_accuracy_is_rahimzadehs():
    """Their text on fold 1: 26 of 31 COVID-19 cases found, 68 false ones among 11,271 others."""
    labels = ["covid19"] * 31 + ["normal"] * 11271
    found = np.r_[np.arange(31) < 26, np.arange(11271) < 68]
    scores = np.where(found[:, None], [[0.9, 0.1]], [[0.2, 0.8]])
    row = metrics.compute(predictions_of(labels, scores, ("covid19", "normal")))["per_class"]["covid19"]
    assert row["accuracy"] == pytest.approx((26 + 11271 - 68) / 11302, abs=1e-12)


def test_f1_of_means_where_nothing_is_right():
    result = metrics.compute(
        predictions_of(["covid19", "normal"], [[0.1, 0.9], [0.9, 0.1]], ("covid19", "normal"))
    )
    assert result["macro"]["f1_of_means"] is None
    assert "rightly" in result["undefined"]["macro.f1_of_means"]
