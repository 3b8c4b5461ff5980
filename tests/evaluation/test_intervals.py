"""Intervals against SciPy, textbook definitions, and the loops that the fast forms stand for."""

import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import roc_auc_score

from covidcxr.errors import OptionError
from covidcxr.evaluation import intervals, metrics
from covidcxr.evaluation.predictions import Predictions

NAMES = ("covid19", "normal", "pneumonia")


def drawn(seed, n, names=NAMES, patients=None, lift=0.6):
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(len(names)), rng.integers(len(names), size=n - len(names))]
    values = rng.dirichlet(np.ones(len(names)), n) + lift * np.eye(len(names))[truth]
    values /= values.sum(axis=1, keepdims=True)
    ids = [""] * n if patients is None else [f"p{i}" for i in rng.integers(patients, size=n)]
    table = pd.DataFrame(
        {"path": np.arange(n).astype(str), "label": [names[i] for i in truth], "patient_id": ids}
    )
    return Predictions.from_arrays(table, names, values)


@pytest.mark.parametrize(("hits", "n"), [(0, 24), (1, 7), (30, 31), (31, 31), (10800, 11302)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_scipy(hits, n, level):
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert intervals.wilson(hits, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials_is_undefined():
    assert np.isnan(intervals.wilson(0, 0)).all()


def textbook_delong(positive, scores):
    """DeLong et al. 1988 by definition: every pair compared."""
    x, y = scores[positive], scores[~positive]
    wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    area = wins.mean()
    s10 = ((v10 - area) ** 2).sum() / (len(x) - 1)
    s01 = ((v01 - area) ** 2).sum() / (len(y) - 1)
    return area, s10 / len(x) + s01 / len(y)


@pytest.mark.parametrize("decimals", [8, 1])
def test_delong_equals_the_textbook(decimals):
    rng = np.random.default_rng(2)
    positive = rng.random(90) < 0.3
    scores = np.round(rng.normal(size=90) + positive, decimals)
    assert intervals.delong(positive, scores) == pytest.approx(textbook_delong(positive, scores), abs=1e-12)
    area, low, high = intervals.delong_interval(positive, scores)
    assert area == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    half = 1.959963984540054 * textbook_delong(positive, scores)[1] ** 0.5
    assert (low, high) == pytest.approx((area - half, min(1, area + half)), abs=1e-12)


def test_delong_with_one_class_is_undefined():
    assert np.isnan(intervals.delong([True, True], [0.1, 0.2])).all()
    area, low, high = intervals.delong_interval([True, False, False], [0.5, 0.6, 0.1])
    assert area == 0.5
    assert np.isnan([low, high]).all()


def test_hanley_mcneil_equals_their_formula_for_equal_groups():
    """Hanley and McNeil 1982, with their Q1 and Q2."""
    theta, n = 0.893, 51
    q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
    expected = (theta * (1 - theta) + (n - 1) * (q1 + q2 - 2 * theta**2)) / n**2
    assert intervals.hanley_mcneil(theta, n, n) == pytest.approx(expected, rel=1e-12)


def test_newcombe_limits_are_where_the_distance_is_z_standard_errors():
    low, high = intervals.newcombe(0.9, 20, 83)
    for limit in (low, high):
        error = np.sqrt(intervals.hanley_mcneil(limit, 20, 83))
        assert abs(0.9 - limit) == pytest.approx(1.959963984540054 * error, rel=1e-9)
    assert 0 < low < 0.9 < high < 1


def test_newcombe_keeps_a_width_at_one():
    few, many = intervals.newcombe(1.0, 8, 24), intervals.newcombe(1.0, 80, 240)
    assert few[1] == many[1] == 1
    assert 0.5 < few[0] < many[0] < 0.999
    assert intervals.newcombe(0.0, 8, 24) == pytest.approx((0, 1 - few[0]))


def test_resamples_are_whole_patients():
    """The fast form against a loop that copies rows: same draws, same measures."""
    predictions = drawn(1, 60, patients=20)
    tally = metrics.Tally(predictions, predictions.patients)
    fast = metrics.flatten(intervals.bootstrap(tally, seed=9, resamples=25), NAMES)
    rng = np.random.default_rng(9)
    rows_of = [np.flatnonzero(predictions.patients == p) for p in range(tally.size)]
    for r in range(25):
        rows = np.concatenate([rows_of[p] for p in rng.integers(tally.size, size=tally.size)])
        copied = predictions.table.iloc[rows].reset_index(drop=True)
        plain = metrics.Tally(Predictions(copied, NAMES)).measures([[1]])
        for name, values in metrics.flatten(plain, NAMES).items():
            assert fast[name][r] == pytest.approx(values[0], abs=1e-9, nan_ok=True), name


def test_interval_agrees_with_scipys_bootstrap():
    predictions = drawn(6, 150)
    hits = (predictions.y_true == predictions.y_pred).astype(float)
    theirs = bootstrap((hits,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    ours = intervals.summarise(predictions, seed=1, resamples=4000)["measures"]["accuracy"]
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bca_equals_scipys_on_the_same_resamples():
    """SciPy's BCa of a skewed mean, given our resamples: its bias, its jackknife, its quantiles."""
    values = np.random.default_rng(3).exponential(size=40)
    drawn = values[np.random.default_rng(4).integers(40, size=(999, 40))].mean(axis=1)
    left_out = (values.sum() - values) / 39
    for level in (0.9, 0.95):
        ours = intervals.bca(values.mean(), drawn, left_out, level)
        theirs = bootstrap(
            (values,),
            np.mean,
            n_resamples=0,
            method="BCa",
            confidence_level=level,
            bootstrap_result=SimpleNamespace(bootstrap_distribution=drawn),
        ).confidence_interval
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        assert ours != pytest.approx(intervals.percentile(drawn, level), abs=1e-3)


def test_bca_of_ungrouped_predictions_equals_scipys():
    """Through `summarise`: accuracy and the mean squared error of images without patients."""
    predictions = drawn(6, 70)
    tally = metrics.Tally(predictions, predictions.patients)
    resampled = intervals.bootstrap(tally, seed=1, resamples=500)
    ours = intervals.summarise(predictions, seed=1, resamples=500, method="bca")["measures"]
    hits = (predictions.y_true == predictions.y_pred).astype(float)
    errors = ((predictions.probabilities - np.eye(3)[predictions.y_true]) ** 2).sum(axis=1) / 2
    for name, values in (("accuracy", hits), ("brier", errors)):
        given = SimpleNamespace(bootstrap_distribution=resampled[name])
        theirs = bootstrap((values,), np.mean, n_resamples=0, method="BCa", bootstrap_result=given)
        limits = theirs.confidence_interval
        assert ours[name]["method"] == "patient bootstrap, BCa"
        assert (ours[name]["low"], ours[name]["high"]) == pytest.approx((limits.low, limits.high), abs=1e-9)


def test_jackknife_leaves_whole_patients_out():
    predictions = drawn(8, 50, patients=12)
    tally = metrics.Tally(predictions, predictions.patients)
    left_out = metrics.flatten(intervals.jackknife(tally), NAMES)
    for patient in range(tally.size):
        rest = predictions.table[predictions.patients != patient].reset_index(drop=True)
        plain = metrics.flatten(metrics.Tally(Predictions(rest, NAMES)).measures([[1]]), NAMES)
        for name, values in plain.items():
            assert left_out[name][patient] == pytest.approx(values[0], abs=1e-9, nan_ok=True), name


def test_blocks_of_patients_estimate_the_same_acceleration():
    """3,000 skewed values: leaving one out, and leaving a 500th out, pull the limits alike."""
    values = np.random.default_rng(2).lognormal(sigma=1.2, size=3000)
    sample = values[np.random.default_rng(4).integers(3000, size=(800, 3000))].mean(axis=1)
    sums = np.bincount(np.arange(3000) % 500, values)
    one = intervals.bca(values.mean(), sample, (values.sum() - values) / 2999)
    block = intervals.bca(values.mean(), sample, (values.sum() - sums) / 2994)
    width = one[1] - one[0]
    assert block == pytest.approx(one, abs=0.05 * width)
    tally = metrics.Tally(drawn(1, 30), np.arange(30))
    assert len(intervals.jackknife(tally, blocks=7)["accuracy"]) == 7


def test_bca_without_meaning_is_undefined():
    varied, same = np.array([0.1, 0.2, 0.3]), np.full(3, 0.2)
    assert np.isnan(intervals.bca(0.5, varied, varied)).all()
    assert np.isnan(intervals.bca(0.2, varied, same)).all()
    assert np.isnan(intervals.bca(0.2, varied, np.array([0.1, np.nan, 0.3]))).all()


def test_bca_falls_back_and_says_so():
    """A class of one patient: without it, its area is undefined, and so is the jackknife."""
    table = pd.DataFrame(
        {"path": list("abcde"), "label": ["covid19", "normal", "normal", "normal", "normal"]}
    )
    scores = [[0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.65, 0.35]]
    predictions = Predictions.from_arrays(table, ("covid19", "normal"), scores)
    entry = intervals.summarise(predictions, seed=0, resamples=200, method="bca")
    assert entry["measures"]["per_class.covid19.roc_auc"]["method"] == "patient bootstrap"
    with pytest.raises(OptionError, match="'bcb': choose one of percentile, bca"):
        intervals.summarise(predictions, seed=0, method="bcb")


@pytest.mark.parametrize("method", intervals.METHODS)
def test_predictive_values_at_a_prevalence_have_intervals(method):
    """Bayes' rule resample by resample, by its own words."""
    predictions = drawn(9, 80, patients=30)
    summary = intervals.summarise(predictions, seed=5, resamples=300, method=method)
    tally = metrics.Tally(predictions, predictions.patients)
    resampled = metrics.flatten(intervals.bootstrap(tally, seed=5, resamples=300), NAMES)
    sensitivity, specificity = (
        resampled[f"per_class.covid19.{name}"] for name in ("sensitivity", "specificity")
    )
    plain = metrics.compute(predictions)["positive"]["at_prevalence"]
    assert set(summary["at_prevalence"]) == {"0.01", "0.05", "0.2"}
    for key, entries in summary["at_prevalence"].items():
        ill = float(key)
        ppv = sensitivity * ill / (sensitivity * ill + (1 - specificity) * (1 - ill))
        assert entries["ppv"]["value"] == pytest.approx(plain[key]["ppv"], abs=1e-12)
        assert entries["npv"]["value"] == pytest.approx(plain[key]["npv"], abs=1e-12)
        assert entries["ppv"]["low"] < entries["ppv"]["value"] < entries["ppv"]["high"]
        if method == "percentile":
            limits = np.quantile(ppv[~np.isnan(ppv)], [0.025, 0.975])
            assert (entries["ppv"]["low"], entries["ppv"]["high"]) == pytest.approx(limits, abs=1e-12)


def test_prevalences_are_the_users():
    predictions = drawn(9, 80)
    given = intervals.summarise(predictions, seed=5, resamples=40, prevalences=(0.3,))["at_prevalence"]
    assert list(given) == ["0.3"]
    with pytest.raises(OptionError, match="prevalence 30: give a share"):
        intervals.summarise(predictions, seed=5, resamples=40, prevalences=(30,))


def test_predictive_values_of_a_perfect_score_have_no_interval():
    table = pd.DataFrame({"path": list("abcd"), "label": ["covid19", "covid19", "normal", "normal"]})
    scores = np.array([[0.9, 0.1]] * 2 + [[0.2, 0.8]] * 2)
    predictions = Predictions.from_arrays(table, ("covid19", "normal"), scores)
    entry = intervals.summarise(predictions, seed=0, resamples=60)["at_prevalence"]["0.05"]["ppv"]
    assert (entry["value"], entry["low"]) == (1.0, None)
    assert entry["reason"]


def test_images_of_one_patient_widen_the_interval():
    """Each patient's images are four copies: the interval must be as wide as with one image a patient."""
    one = drawn(3, 80)
    table = pd.concat([one.table.assign(patient_id="p" + one.table["path"])] * 4, ignore_index=True)
    table["path"] = np.arange(len(table)).astype(str)
    by_patient = intervals.summarise(Predictions(table, NAMES), seed=2, resamples=500)["measures"]["accuracy"]
    by_image = table.assign(patient_id="")
    naive = intervals.summarise(Predictions(by_image, NAMES), seed=2, resamples=500)["measures"]["accuracy"]
    single = intervals.summarise(one, seed=2, resamples=500)["measures"]["accuracy"]
    assert by_patient["low"] == pytest.approx(single["low"], abs=1e-9)
    assert by_patient["high"] - by_patient["low"] > 1.7 * (naive["high"] - naive["low"])


def test_summary_is_seeded_and_agrees_with_metrics():
    predictions = drawn(7, 90, patients=40)
    first = intervals.summarise(predictions, seed=4, resamples=200)
    assert first == intervals.summarise(predictions, seed=4, resamples=200)
    assert first != intervals.summarise(predictions, seed=5, resamples=200)
    plain = metrics.compute(predictions)
    assert first["patients"] == plain["patients"] <= 40
    for name, entry in first["measures"].items():
        value = plain
        for part in name.split("."):
            value = value[part]
        assert entry["value"] == pytest.approx(value, abs=1e-12), name
        assert entry["low"] <= entry["high"]


def test_a_perfect_score_on_32_images_is_not_certain():
    """ragab2022 Fig. 14: 8 + 24 all right. The interval must say how little 32 images show."""
    labels = ["covid19"] * 8 + ["normal"] * 24
    table = pd.DataFrame({"path": np.arange(32).astype(str), "label": labels})
    scores = np.array([[0.9, 0.1]] * 8 + [[0.2, 0.8]] * 24)
    predictions = Predictions.from_arrays(table, ("covid19", "normal"), scores)
    measures = intervals.summarise(predictions, seed=0, resamples=50)["measures"]
    expected = binomtest(8, 8).proportion_ci(method="wilson")
    sensitivity = measures["per_class.covid19.sensitivity"]
    assert (sensitivity["low"], sensitivity["high"]) == pytest.approx((expected.low, 1.0))
    assert sensitivity["method"] == "Wilson, 8 patients"
    area = measures["per_class.covid19.roc_auc"]
    assert (area["low"], area["high"]) == intervals.newcombe(1.0, 8, 24)
    assert measures["macro.f1"]["low"] is None
    assert measures["macro.f1"]["reason"]


def test_undefined_measures_have_no_interval():
    table = pd.DataFrame({"path": ["a", "b"], "label": ["covid19", "covid19"]})
    predictions = Predictions.from_arrays(table, ("covid19", "normal"), [[0.9, 0.1], [0.4, 0.6]])
    entry = intervals.summarise(predictions, seed=0, resamples=20)["measures"]["per_class.covid19.roc_auc"]
    assert entry["value"] is entry["low"] is None
    assert "another" in entry["reason"]


def test_resamples_that_lose_a_class_are_counted():
    table = pd.DataFrame({"path": list("abcd"), "label": ["covid19", "normal", "normal", "normal"]})
    scores = [[0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9]]
    predictions = Predictions.from_arrays(table, ("covid19", "normal"), scores)
    entry = intervals.summarise(predictions, seed=0, resamples=400)["measures"]["per_class.covid19.roc_auc"]
    # A resample of four misses the one COVID-19 image with probability (3/4)^4, and the others with (1/4)^4.
    assert entry["undefined_resamples"] / 400 == pytest.approx(0.75**4 + 0.25**4, abs=0.08)


@pytest.mark.parametrize("method", ["percentile", pytest.param("bca", marks=pytest.mark.slow)])
def test_the_largest_test_set_of_the_papers_takes_seconds(method):
    """rahimzadeh2020: 11,302 test images, 2,000 resamples; the bound is loose for a busy machine."""
    predictions = drawn(11, 11302)
    started = time.perf_counter()
    intervals.summarise(predictions, seed=0, method=method)
    seconds = time.perf_counter() - started
    print(f"{method}: {seconds:.1f} s")
    assert seconds < 30


def test_zero_resamples_is_refused():
    with pytest.raises(OptionError, match="0 bootstrap resamples"):
        intervals.summarise(drawn(1, 10), seed=0, resamples=0)


def test_spread_over_folds():
    """rahimzadeh2020's five folds are summarised so: mean and sample standard deviation."""
    assert intervals.spread([1.0, 2.0, 3.0, 6.0]) == pytest.approx(
        {"runs": 4, "mean": 3.0, "sd": (14 / 3) ** 0.5, "low": 1.0, "high": 6.0}
    )
    assert intervals.spread([0.5])["sd"] is None
