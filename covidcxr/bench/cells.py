"""Races and facts as the cells of a table, for the terminal and the page alike."""

from covidcxr.bench.measuring import Race

RACE_HEAD = ("race", "ours", "peer", "ratio", "goal", "met")
FACT_HEAD = ("measured", "value", "goal", "met")

_MET = {True: "yes", False: "no", None: ""}


def races(items):
    """Return the races among a part's items."""
    return [item for item in items if isinstance(item, Race)]


def facts(items):
    """Return the facts among a part's items."""
    return [item for item in items if not isinstance(item, Race)]


def race_row(race):
    """Return a race as text: title, both rates, median ratio [smallest .. largest], goal, met."""
    ours, peer = race.rates
    return (
        race.title,
        f"{number(ours)} {race.unit}/s ({race.ours})",
        f"{number(peer)} {race.unit}/s ({race.peer})",
        f"{number(race.ratio)}x [{spread(race.ratios)}]",
        "" if race.goal is None else f"{number(race.goal)}x",
        _MET[race.met],
    )


def fact_row(fact):
    """Return a fact as text: title, median [smallest .. largest] with its unit, goal, met."""
    shown = number(fact.value)
    if len(fact.values) > 1:
        shown += f" [{spread(fact.values)}]"
    return fact.title, f"{shown} {fact.unit}".strip(), fact.goal, _MET[fact.met]


def spread(values):
    """Return the smallest and largest value as ``1.2 .. 3.4``."""
    return f"{number(min(values))} .. {number(max(values))}"


def number(value):
    """Return a number with three digits that count: ``0.0123``, ``1.23``, ``123``, ``1,234``."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    # A decimal point may move up as the last digit is rounded: 9.996 is 10.0.
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - _magnitude(rounded))
    return f"{rounded:.{decimals}f}"


def _magnitude(value):
    return int(f"{abs(value):e}".split("e")[1])
