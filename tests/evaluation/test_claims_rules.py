"""The rules of the claims, against closed forms and random tables that are consistent by construction."""

import math

import numpy as np
import pytest

from covidcxr.evaluation.claims import rules
from covidcxr.evaluation.claims.printed import Printed

FINE = {rules.AGREES, rules.TRUNCATED, rules.PADDED}


def number(text, unit="fraction", decimals=None, **where):
    digits = text.replace(",", "").replace("%", "").strip()
    places = len(digits.partition(".")[2]) if decimals is None else decimals
    return Printed(where.pop("id", text), text, float(digits), places, unit, **where)


def count(value, **where):
    return number(f"{value:,}", "count", **where)


def rounded(value, decimals):
    return f"{value:.{decimals}f}"


def truncated(value, decimals):
    # The addend keeps 0.29 * 100 = 28.999... at 29, as a decimal reading would.
    return f"{math.floor(value * 10**decimals + 1e-7) / 10**decimals:.{decimals}f}"


def padded(value, decimals):
    return f"{value:.{decimals - 1}f}0"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("87.10", "agrees"),
        ("87.09", "truncated"),
        ("87.1", "agrees"),
        ("87.08", "contradicts"),
        ("87.11", "contradicts"),
    ],
)
def test_a_rate_is_held_to_its_counts_with_rounding_and_truncation_told_apart(text, verdict):
    # 27 / 31 = 87.0968 %
    assert rules.rate_of_counts(number(text, "percent"), 27, 31, "").verdict == verdict


def test_a_rate_rounded_and_filled_up_with_zeros_is_padded():
    # 46/47 = 0.978723
    assert rules.rate_of_counts(number("0.97870"), 46, 47, "").verdict == "padded"
    assert rules.rate_of_counts(number("0.97880"), 46, 47, "").verdict == "contradicts"


def test_the_recomputed_value_is_in_the_printed_unit():
    check = rules.rate_of_counts(number("80.83", "percent"), 4015, 4420, "TP / (TP + FN)")
    assert (check.recomputed, check.tolerance) == ("90.837 %", 0.005)
    assert check.how == "TP / (TP + FN) = 4015/4420"


def test_f1_is_the_harmonic_mean():
    precision, recall = number("93.60%", "percent"), number("95.88%", "percent")
    assert rules.f1(number("94.73%", "percent"), precision, recall).verdict == "agrees"
    wrong = rules.f1(number("94.46%", "percent"), precision, recall)
    assert (wrong.verdict, wrong.recomputed) == ("contradicts", "94.726 %")


def test_f1_of_folds_may_lie_between_that_of_the_means_and_that_of_one_bad_fold():
    precision, recall = number("0.901"), number("1", decimals=3)
    # Folds of precision 1, 1, 1, 1 and 0.505: mean F1 (4 + 1.01 / 1.505) / 5 = 0.9342; of the means 0.9479.
    for text in ("0.934", "0.941", "0.948"):
        assert rules.f1(number(text), precision, recall, folds=5).verdict == "agrees"
    assert rules.f1(number("0.920"), precision, recall, folds=5).verdict == "contradicts"
    assert rules.f1(number("0.941"), precision, recall).verdict == "contradicts"


def test_no_mean_f1_of_five_folds_is_below_the_bound():
    rng = np.random.default_rng(3)
    for _ in range(200):
        precisions = rng.uniform(0.6, 1, 5)
        recall = number("1", decimals=6)
        mean_f1 = float(np.mean(2 * precisions / (precisions + 1)))
        printed = number(rounded(mean_f1, 6))
        check = rules.f1(printed, number(rounded(precisions.mean(), 6)), recall, folds=5)
        assert check.verdict in FINE, check


def test_an_average_takes_every_member_within_its_rounding():
    members = [number(text) for text in ("0.1", "0.2", "0.2")]
    assert rules.average(number("0.17"), members, "").verdict == "agrees"
    # (0.05 + 0.15 + 0.15) / 3 to (0.15 + 0.25 + 0.25) / 3
    assert rules.average(number("0.12"), members, "").verdict == "agrees"
    assert rules.average(number("0.24"), members, "").verdict == "truncated"
    assert rules.average(number("0.09"), members, "").verdict == "contradicts"
    assert rules.average(number("0.35"), members, "").verdict == "contradicts"


def test_a_replaced_member_counts_with_its_exact_value():
    members = [number(text, "percent", id=text) for text in ("99.12", "99.69")]
    printed = number("99.22", "percent")
    assert rules.average(printed, members, "").verdict == "contradicts"
    assert rules.average(printed, members, "", replaced={"99.69": 0.99328}).verdict == "agrees"


def test_a_total_is_the_sum_of_its_parts():
    assert rules.total(count(516), [count(102), 414], "").verdict == "agrees"
    wrong = rules.total(count(512), [count(102), 414], "")
    assert (wrong.verdict, wrong.recomputed, wrong.tolerance) == ("contradicts", "516", 0.0)
    assert rules.total(number("6,240", "count"), [6240], "").verdict == "agrees"


def test_sums_are_held_to_a_count():
    cells = [count(value) for value in (25, 7, 0, 7)]
    assert rules.sums(cells, 39, "").verdict == "agrees"
    assert rules.sums(cells, 32, "").recomputed == "39 printed, 32 expected"


@pytest.mark.parametrize("n", [31, 72, 120, 152])
def test_every_count_of_the_test_size_is_a_share_of_it(n):
    for k in range(n + 1):
        assert (
            rules.share_of_a_count(number(rounded(100 * k / n, 2), "percent"), (n,), "").verdict == "agrees"
        )


def test_a_share_of_no_count_names_the_nearest_and_the_smallest_size():
    check = rules.share_of_a_count(number("98.44", "percent"), (120,), "k/120")
    assert (check.verdict, check.recomputed) == ("contradicts", "98.333 %")
    assert check.how == "k/120; nearest is 118/120"
    check = rules.share_of_a_count(number("0.98913"), (72, 360), "k/72 or k/360")
    assert check.how.endswith("nearest is 356/360; no size below 92 gives it")
    assert rules.share_of_a_count(number("0.98913"), (72, 92), "").verdict == "agrees"


def test_the_smallest_size_agrees_with_trying_every_fraction():
    for text in ("0.98913", "0.97826", "0.123", "0.5", "0.9844"):
        printed = number(text)
        tried = next(
            n
            for n in range(1, 2000)
            if any(abs(k / n - printed.value) <= printed.half + 1e-12 for k in range(n + 1))
        )
        assert rules.smallest_size(printed) == tried


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [("96.8", "contradicts"), ("97.3", "agrees"), ("98.6", "agrees"), ("99.6", "contradicts")],
)
def test_an_accuracy_lies_between_its_rates(accuracy, verdict):
    rates = [number("97.3", "percent"), number("99.4", "percent")]
    assert rules.between(number(accuracy, "percent"), rates, "").verdict == verdict


def test_an_accuracy_of_less_than_one_with_perfect_rates_is_impossible():
    ones = [number("1", decimals=5)] * 2
    assert rules.between(number("0.96739"), ones, "").verdict == "contradicts"
    assert (
        rules.between(number("1", decimals=5), [number("0.97870"), number("0.98000")], "").verdict
        == "contradicts"
    )


def test_the_share_interval_solves_the_mixture():
    accuracy, first, second = (number(text, "percent") for text in ("96.1", "91.8", "98.9"))
    low, high = rules.share_interval(accuracy, first, second, loose=False)
    # Corners of q = (98.9 - 96.1) / (98.9 - 91.8), every figure up to 0.05 off.
    assert low == pytest.approx((98.85 - 96.15) / (98.85 - 91.75), abs=1e-12)
    assert high == pytest.approx((98.95 - 96.05) / (98.95 - 91.85), abs=1e-12)
    assert rules.share_interval(number("90.0", "percent"), first, second) is None
    equal = number("95.0", "percent")
    assert rules.share_interval(equal, equal, equal) == (0.0, 1.0)


def test_rows_of_one_test_set_need_one_class_share():
    def row(name, *texts):
        return tuple(number(text, "percent", model=name) for text in texts)

    alike = [row("a", "96.0", "92.0", "98.7"), row("b", "98.0", "96.0", "99.3")]
    assert rules.common_share(alike, "").verdict == "agrees"
    check = rules.common_share([*alike, row("c", "93.0", "92.0", "98.7")], "")
    assert check.verdict == "contradicts"
    assert "c: " in check.recomputed
    # A row that no share explains is another rule's business.
    assert rules.common_share([*alike, row("d", "50.0", "92.0", "98.7")], "").verdict == "agrees"


def test_a_fraction_among_percentages_is_found_by_the_share_that_it_needs():
    accuracy, specificity = number("85.57", "percent"), number("99.99", "percent")
    share = (0.1558, 0.1570)
    check = rules.unit(number("0.08", "percent"), accuracy, specificity, share, "")
    assert check.verdict == "contradicts"
    assert check.how.endswith("read as a fraction it agrees")
    # (85.57 - (1 - q) 99.99) / q at q = 0.1564
    assert float(check.recomputed.rstrip(" %")) == pytest.approx(7.79, abs=0.03)
    assert rules.unit(number("7.79", "percent"), accuracy, specificity, share, "").verdict == "agrees"


def test_one_number_printed_twice_may_be_rounded_twice():
    assert rules.same(number("99", "percent"), number("99.0%", "percent")).verdict == "agrees"
    assert rules.same(number("91.4%", "percent"), number("91.40", "percent")).verdict == "agrees"
    assert rules.same(number("0.99"), number("98.69", "percent")).verdict == "agrees"
    assert rules.same(number("95.8%", "percent"), number("95.08%", "percent")).verdict == "contradicts"


def test_matrices_orders_and_names_are_compared():
    one, other = [count(value) for value in (25, 7, 0, 7)], [count(value) for value in (8, 0, 0, 24)]
    assert rules.same_matrix(one, one, "").verdict == "agrees"
    assert rules.same_matrix(one, other, "").recomputed == "8 0 0 24"
    falling = [number(text, "percent", model=text) for text in ("99.0", "98.6", "96.1")]
    assert rules.same_order(falling, "").verdict == "agrees"
    assert rules.same_order(falling[::-1], "").recomputed == "99.0 > 98.6 > 96.1"
    rows = [number("1", id=name, row=name) for name in ("1 VGG16", "2 VGG19", "3 vgg16")]
    check = rules.distinct(rows, 3, "")
    assert (check.verdict, check.recomputed, check.numbers) == ("contradicts", "2 different", (rows[2],))
    assert rules.distinct(rows[:2], 2, "").verdict == "agrees"


def test_the_largest_of_a_table():
    members = [number(text, "percent") for text in ("99.3", "97.3")]
    assert rules.largest(number("99.3%", "percent"), members, "").verdict == "agrees"
    assert rules.largest(number("97.3%", "percent"), members, "").recomputed == "99.30 %"


def test_counts_have_limits():
    assert rules.at_most(count(10), 10, "").verdict == "agrees"
    assert rules.at_most(count(11), 10, "").verdict == "contradicts"
    matrices = [([count(v) for v in (19, 2, 0, 11)], (41, 20)), ([count(v) for v in (25, 0, 0, 7)], (82, 20))]
    assert rules.one_class_order(matrices, "").verdict == "agrees"
    swapped = ([count(v) for v in (8, 0, 0, 24)], (82, 20))
    assert rules.one_class_order([swapped], "").verdict == "agrees"
    assert rules.one_class_order([*matrices, swapped], "").verdict == "contradicts"


def test_steps_are_images_over_batch_rounded_up():
    assert rules.batches(count(13), 414, count(32), "").verdict == "agrees"
    assert rules.batches(count(13), 414, count(30), "").recomputed == "14 steps"


def test_parameters_in_millions_with_and_without_moving_statistics():
    assert rules.parameters(number("6.4", "millions"), 60_419_944, "").recomputed == "60.42"
    assert rules.parameters(number("60.4", "millions"), 60_419_944, "").verdict == "agrees"
    assert rules.parameters(number("3,538,984", "count"), 3_538_984, "").verdict == "agrees"
    assert rules.parameters(number("3,538,983", "count"), 3_538_984, "").verdict == "contradicts"
    assert rules.parameters(number("44.6", "millions"), 44_707_176, "", 44_601_832).verdict == "remark"
    assert rules.parameters(number("44.5", "millions"), 44_707_176, "", 44_601_832).verdict == "contradicts"
    percent, millions = number("23.6", "percent"), number("4.72", "millions")
    assert rules.share_of_network(percent, millions, 20_024_384, "").verdict == "agrees"
    assert rules.share_of_network(percent, millions, 143_667_240, "").verdict == "contradicts"


def test_a_freely_rounded_share():
    assert rules.about(number("10%", "percent"), 624 / 5863, "", 0.01).verdict == "agrees"
    check = rules.about(number("19%", "percent"), 624 / 5863, "", 0.01)
    assert (check.verdict, check.recomputed, check.tolerance) == ("contradicts", "10.6 %", 1.0)


def test_an_area_of_hard_labels_is_remarked_on():
    from sklearn.metrics import roc_auc_score

    cells = [count(value) for value in (19, 2, 0, 11)]
    hard = roc_auc_score([0] * 21 + [1] * 11, [0] * 19 + [1] * 13)
    assert rules.hard_area(number(rounded(hard, 2)), cells, "").verdict == "remark"
    assert rules.hard_area(number("0.99"), cells, "").verdict == "agrees"
    assert rules.hard_area(number("1.00"), [count(value) for value in (25, 0, 0, 7)], "").verdict == "agrees"


def _consistent(rng):
    """Draw the counts of three classifiers on one test set of two classes."""
    positives, negatives = (int(value) for value in rng.integers(5, 400, 2))
    rows = []
    for _ in range(3):
        tp, tn = int(rng.integers(1, positives + 1)), int(rng.integers(1, negatives + 1))
        rows.append((tp, positives - tp, negatives - tn, tn))
    return rows


def _rates(tp, fn, fp, tn):
    return {
        "accuracy": (tp + tn, tp + fn + fp + tn),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "precision": (tp, tp + fp),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }


@pytest.mark.parametrize("write", [rounded, truncated, padded])
@pytest.mark.parametrize("unit", ["fraction", "percent"])
def test_random_consistent_tables_raise_no_false_alarm(write, unit):
    rng = np.random.default_rng(20)
    for _ in range(200):
        decimals = int(rng.integers(2, 6))
        scale = 100 if unit == "percent" else 1
        table = []
        for counts in _consistent(rng):
            rates = _rates(*counts)
            row = {name: number(write(scale * k / n, decimals), unit) for name, (k, n) in rates.items()}
            balanced = (
                rates["sensitivity"][0] / rates["sensitivity"][1] + counts[3] / (counts[3] + counts[2])
            ) / 2
            row["balanced"] = number(write(scale * balanced, decimals), unit)
            table.append((row, rates))
        for check in _every_check(table):
            assert check.verdict in FINE, check


def _every_check(table):
    for row, rates in table:
        for name, quotient in rates.items():
            yield rules.rate_of_counts(row[name], *quotient, "")
            yield rules.share_of_a_count(row[name], (quotient[1],), "")
        ends = [row["sensitivity"], row["specificity"]]
        yield rules.f1(row["f1"], row["precision"], row["sensitivity"])
        yield rules.average(row["balanced"], ends, "", "balanced_accuracy")
        yield rules.between(row["accuracy"], ends, "")
    rows = [tuple(row[name] for name in ("accuracy", "sensitivity", "specificity")) for row, _ in table]
    yield rules.common_share(rows, "")


def test_the_true_class_share_is_within_its_interval():
    rng = np.random.default_rng(21)
    for _ in range(200):
        for counts in _consistent(rng):
            rates = _rates(*counts)
            names = ("accuracy", "sensitivity", "specificity")
            printed = [number(rounded(rates[name][0] / rates[name][1], 3)) for name in names]
            low, high = rules.share_interval(*printed)
            assert low - 1e-9 <= rates["sensitivity"][1] / rates["accuracy"][1] <= high + 1e-9


def test_a_figure_two_places_off_is_always_found():
    rng = np.random.default_rng(22)
    for _ in range(200):
        n = int(rng.integers(100, 5000))
        k = int(rng.integers(n // 10, n - n // 10))
        step = rng.choice([-2, 2]) / 100
        wrong = number(rounded(float(rounded(100 * k / n, 2)) + step, 2), "percent")
        verdicts = {rules.rate_of_counts(wrong, k, n, "").verdict}
        # A last zero may be a filled-up place, which only its own coarser rounding excuses.
        assert verdicts == {"contradicts"} or (wrong.printed.endswith("0") and verdicts == {"padded"})


def test_random_averages_over_folds_raise_no_false_alarm():
    rng = np.random.default_rng(23)
    for _ in range(200):
        values = rng.uniform(0, 100, 5)
        for write in (rounded, truncated):
            members = [number(write(value, 2), "percent") for value in values]
            assert rules.average(number(write(values.mean(), 2), "percent"), members, "").verdict in FINE
