"""The comparison's arithmetic: against printed examples and closed forms, and the words that follow from it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from covidcxr.evaluation.intervals import wilson
from covidcxr.papers.reporting import comparison
from covidcxr.papers.reporting.comparison import Estimate, Row, difference, overall

ROW = Row("B", "accuracy", "accuracy", 0.98, "Table 1", None, None, None, (), None, "", "")


def proportion(hits, total):
    return Estimate(hits / total, *wilson(hits, total), images=total)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    # Newcombe 1998, Table II, method 10: cases a, c and h.
    [
        ((48, 80), (56, 70), (0.2, 0.0524, 0.3339)),
        ((3, 10), (9, 10), (0.6, 0.1705, 0.8090)),
        ((0, 10), (10, 10), (1.0, 0.6075, 1.0)),
    ],
)
def test_the_difference_is_newcombes(first, second, expected):
    found = difference(proportion(*first), proportion(*second))
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=5e-5)


def test_no_interval_no_interval():
    found = difference(Estimate(0.5), proportion(9, 10))
    assert found.value == pytest.approx(0.4)
    assert not found.has_interval


def of_models(values, low=np.nan, high=np.nan):
    rows = {"value": values, "low": low, "high": high, "images": 10, "patients": 9, "method": ""}
    return comparison.estimate_of(pd.DataFrame(rows))


def test_several_models_have_students_interval_of_their_mean():
    values = [0.9, 0.8, 0.95, 0.85]
    found = of_models(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.models, found.images, found.patients) == (4, 40, 36)
    assert found.sd == pytest.approx(np.std(values, ddof=1))


def test_an_interval_of_shares_ends_at_all_of_them():
    rows = pd.DataFrame({"value": [0.99, 0.9], "low": np.nan, "high": np.nan, "images": 10, "patients": 9})
    shares = comparison.estimate_of(rows.assign(method="", measure="accuracy"))
    assert (shares.low, shares.high) == (pytest.approx(0.945 - 12.706205 * 0.045), 1.0)
    assert comparison.estimate_of(rows.assign(method="", measure="log_loss")).high > 1


def test_models_that_agree_are_no_surer_than_each_alone():
    found = of_models([0.9, 0.9], low=[0.8, 0.7], high=[0.95, 0.97])
    assert (found.low, found.high) == pytest.approx((0.75, 0.96))
    assert not of_models([0.9, 0.9]).has_interval


def test_counts_of_one_batch_give_intervals():
    block = {
        "classes": ["covid19", "normal"],
        "confusion_matrix": [[6, 2], [4, 20]],
        "positive": {"class": "covid19"},
    }
    found = comparison._intervals_of_counts(block)
    assert found["sensitivity"] == wilson(6, 8)
    assert found["precision"] == wilson(6, 10)
    # F1 = 2 * 6 / (8 + 10); its limits belong to the share 6 of 12 of hits among ill or called.
    low, high = found["f1"]
    assert low < 12 / 18 < high
    assert [limit / (2 - limit) for limit in (low, high)] == pytest.approx(wilson(6, 12))
    low, high = comparison._half_sum(block)
    ill, well = wilson(6, 8), wilson(20, 24)
    assert low == pytest.approx((6 / 8 + 20 / 24) / 2 - np.hypot(6 / 8 - ill[0], 20 / 24 - well[0]) / 2)
    assert high == pytest.approx((6 / 8 + 20 / 24) / 2 + np.hypot(6 / 8 - ill[1], 20 / 24 - well[1]) / 2)


def judged(**fields):
    row = replace(ROW, **fields)
    if row.published and row.sound:
        row = replace(row, change=difference(row.published, row.sound))
    return comparison._judged(row, True)


@pytest.mark.parametrize(
    ("hits", "place"),
    [(980, "inside"), (900, "above"), (999, "below")],
)
def test_where_the_papers_figure_lies(hits, place):
    row = judged(published=proportion(hits, 1000))
    assert row.verdict == f"The paper's figure is {place} the published protocol's interval."
    (text, *_) = overall([row])
    assert text.startswith(f"{int(place == 'inside')} of 1 printed figures lie inside")
    assert (f"1 {place} it" in text) == (place != "inside")


def test_a_clear_fall_under_sound_is_said_with_its_size():
    row = judged(published=proportion(980, 1000), sound=proportion(800, 1000))
    limits = f"[{100 * row.change.low:+.2f}, {100 * row.change.high:+.2f}]"
    assert f"Under sound it falls: -18.00 points {limits}." in row.verdict
    assert "most accuracy: -18.00 points" in overall([row])[1]


def test_what_chance_explains_is_no_fall_and_hides_one():
    row = judged(published=proportion(45, 50), sound=proportion(43, 50))
    assert "Under sound no difference can be told" in row.verdict
    assert "little can be concluded" in row.verdict
    low = row.change.low
    assert f"a fall of the accuracy by {-100 * low:.2f} points could be hidden" in overall([row])[1]


def test_a_greater_loss_is_worse_not_better():
    published, sound = Estimate(0.1, 0.08, 0.12, images=1000), Estimate(0.5, 0.4, 0.6, images=1000)
    row = judged(measure="loss", title="loss", paper=None, published=published, sound=sound)
    assert "it rises" in row.verdict
    assert "1 are worse" in overall([row])[1]


def test_of_phantoms_nothing_is_said_about_the_paper():
    row = comparison._judged(replace(ROW, published=proportion(980, 1000)), False)
    assert row.verdict == ""
    assert "neither borne out nor refuted" in overall([row], real=False)[0]


def test_one_protocol_alone_is_no_comparison():
    assert "cannot be compared" in overall([judged(sound=proportion(98, 100))])[1]
