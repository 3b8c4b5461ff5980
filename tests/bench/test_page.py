from dataclasses import replace

import pytest

from covidcxr.bench import cells, page, scaling_figure
from covidcxr.bench.measuring import Fact
from covidcxr.bench.results import PartResult


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (0.99949, "0.999"),
        (0.9999, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-2.345, "-2.35"),
    ],
)
def test_numbers_have_three_digits_that_count(value, shown):
    assert cells.number(value) == shown


def test_goals_not_reached_stand_before_the_parts(report):
    text = page.render(report)
    missed = text.index("- Part one, a | race: 2.00x of 3.00x. why so")
    assert text.index("## Not reached") < missed < text.index("## Part one")
    assert "- Part two: not measured, failed: ZeroDivisionError: oh" in text
    assert "## Part two" not in text
    assert "- Part three: measured in part, failed: KeyError: second" in text
    assert "## Part three" in text


def test_the_page_says_by_what_and_on_what_it_was_made(report):
    text = page.render(report)
    assert "Made by `covidcxr bench` on 2026-01-02, seed 0, on real radiographs." in text
    assert "| processor | a processor, 2 cores |" in text
    assert "| memory | 8 GiB |" in text
    assert "**Warning:** the machine was busy." in text


def test_a_race_is_a_row_with_its_spread(report):
    row = "| a \\| race | 5.00 images/s (us) | 2.50 images/s (them) | 2.00x [1.00 .. 3.00] | 3.00x | no |"
    assert row in page.render(report)
    assert "| a fact | 2.00 [1.00 .. 3.00] % | below 5 % | yes |" in page.render(report)


def test_a_run_that_met_everything_says_so(report):
    sound = replace(report.parts[0], items=report.parts[0].items[1:])
    assert "Every goal was reached." in page.render(replace(report, parts=(sound,)))


def test_a_run_without_goals_claims_none(report):
    facts = replace(report.parts[0], items=(Fact("f", "a fact", (1.0,), "s"),))
    assert "No goal was set" in page.render(replace(report, parts=(facts,)))


def test_the_scaling_part_brings_a_figure(report, tmp_path):
    points = tuple(
        Fact(f"predict@{amount}", f"predict: {amount} images", (seconds,), "s")
        for amount, seconds in ((64, 1.0), (256, 4.0), (1024, 16.0))
    )
    part = PartResult(
        "scaling", "Scaling", "measured", (*points, Fact("predict-memory", "peak", (1.0,), "MiB"))
    )
    with_curve = replace(report, parts=(part,))
    assert scaling_figure.curves_of(with_curve) == {"predict": [(64.0, 1.0), (256.0, 4.0), (1024.0, 16.0)]}
    page.write(with_curve, tmp_path / "benchmarks.md")
    assert "](images/benchmarks-scaling.png)" in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "images" / "benchmarks-scaling.png").read_bytes().startswith(b"\x89PNG")


def test_the_exponent_is_that_of_a_power_law():
    assert scaling_figure.exponent([(2, 3 * 2**1.5), (8, 3 * 8**1.5), (32, 3 * 32**1.5)]) == pytest.approx(
        1.5
    )
