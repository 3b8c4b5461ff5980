import json

import pytest

from covidcxr.bench import results
from covidcxr.errors import DataError


def test_a_report_comes_back_whole(report, tmp_path):
    results.save(report, tmp_path / "b.json")
    assert results.load(tmp_path / "b.json") == report


def test_other_readers_find_seconds_ratios_and_verdicts(report, tmp_path):
    results.save(report, tmp_path / results.FILE)
    saved = json.loads((tmp_path / results.FILE).read_text())
    race, share, fact = saved["parts"][0]["items"]
    assert race["ours_seconds"] == [1.0, 2.0, 4.0]
    assert (race["ratio"], race["met"]) == (2.0, False)
    assert (share["ratio"], share["met"]) == (5.0, True)
    assert (fact["value"], fact["met"]) == (2.0, True)
    assert saved["parts"][1]["problem"] == "ZeroDivisionError: oh"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": 99, "parts": []}',
        '{"format": 1, "parts": [{"items": []}]}',
    ],
)
def test_a_file_that_is_no_benchmark_is_named_in_one_line(text, tmp_path):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError, match=r"b\.json: .*measure again") as caught:
        results.load(tmp_path / "b.json")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"benchmarks\.json: cannot be read"):
        results.load(tmp_path)


def test_the_missed_goals_are_found(report):
    assert [item.key for _, item in report.missed()] == ["r"]
