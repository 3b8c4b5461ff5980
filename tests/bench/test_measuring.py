import pytest

from covidcxr.bench.measuring import Fact, Race, race


def a_race(**changes):
    fields = {
        "amount": 10,
        "unit": "images",
        "ours_seconds": (1.0, 2.0, 4.0),
        "peer_seconds": (2.0, 6.0, 4.0),
    }
    return Race("key", "title", "ours", "peer", **(fields | changes))


def test_the_ratio_is_the_median_over_pairs_not_the_ratio_of_medians():
    found = a_race(peer_seconds=(2.0, 6.0, 40.0))
    assert found.ratios == (2.0, 3.0, 10.0)
    assert found.ratio == 3.0
    assert found.rates == (10 / 2.0, 10 / 6.0)


def test_a_peer_timed_on_a_share_of_the_work_is_scaled_to_the_whole():
    found = a_race(peer_amount=2)
    assert found.ratios == (10.0, 15.0, 5.0)
    assert found.rates[1] == 2 / 4.0


def test_sides_with_different_numbers_of_runs_are_refused():
    with pytest.raises(ValueError, match="zip"):
        _ = a_race(peer_seconds=(1.0,)).ratio


@pytest.mark.parametrize(("goal", "met"), [(None, None), (1.9, True), (2.0, True), (2.1, False)])
def test_a_goal_is_met_when_the_median_reaches_it(goal, met):
    assert a_race(goal=goal).met is met


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        ("", None),
        ("as small as can be", None),
        ("below 2.5 %", True),
        ("below 2 %", False),
        ("above 1 %", True),
        ("above 2", False),
    ],
)
def test_a_fact_is_judged_by_the_bound_its_goal_names(goal, met):
    assert Fact("key", "title", (1.0, 9.0, 2.0), "%", goal).met is met


def test_both_sides_are_warmed_up_once_and_then_take_turns():
    calls = []
    found = race(
        "key",
        "title",
        ours=("us", lambda: calls.append("ours")),
        peer=("them", lambda: calls.append("peer")),
        amount=1,
        unit="steps",
        repeats=2,
    )
    assert calls == ["ours", "peer", "ours", "peer", "peer", "ours"]
    assert len(found.ours_seconds) == len(found.peer_seconds) == 2
    assert (found.ours, found.peer) == ("us", "them")
