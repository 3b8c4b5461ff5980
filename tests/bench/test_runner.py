import pytest

from covidcxr.bench import runner, session
from covidcxr.bench.measuring import Bench
from covidcxr.bench.results import load
from covidcxr.errors import OptionError


@pytest.fixture
def bench(tmp_path):
    said = []
    return Bench(tmp_path, quick=True, say=said.append), said


def test_a_part_is_measured_in_a_folder_of_its_own_and_says_its_steps(package, bench):
    settings, said = bench
    found = runner.run_part("sound", settings, package)
    assert (found.state, found.title) == ("measured", "A sound part")
    assert [item.key for item in found.items] == ["r", "s", "f"]
    assert found.items[1].ratio == 5.0
    assert said == ["warming up"]


@pytest.mark.parametrize(
    ("name", "state", "problem"),
    [
        ("refusing", "refused", "albumentations is not installed; install the extra bench"),
        ("raising", "failed", "ZeroDivisionError: oh no (raising.py:5)"),
        ("crashing", "failed", "its process ended with exit code 7: last words"),
        ("broken", "failed", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("absent", "failed", "ModuleNotFoundError: No module named 'fake_parts.absent'"),
    ],
)
def test_a_part_that_cannot_be_measured_is_named_with_the_reason(package, bench, name, state, problem):
    found = runner.run_part(name, bench[0], package)
    assert found.state == state
    assert found.problem.startswith(problem)
    assert found.items == ()


def test_what_a_part_gave_before_it_broke_is_kept(package, bench):
    found = runner.run_part("halting", bench[0], package)
    assert (found.state, found.extent) == ("failed", "measured in part")
    assert found.problem.startswith("KeyError: 'second'")
    assert [item.key for item in found.items] == ["f"]


def test_numbers_of_numpy_come_back_as_numbers(package, bench):
    assert runner.run_part("numbers", bench[0], package).items[0].values == (0.5, 2.0)


def test_the_others_go_on_and_all_is_saved(package, tmp_path):
    settings = {"quick": True, "data": None, "weights": "none", "seed": 3}
    shown = []
    report = session.run(
        settings, ("raising", "sound"), tmp_path / "b.json", say=print, show=shown.append, package=package
    )
    assert [part.state for part in shown] == ["failed", "measured"]
    assert load(tmp_path / "b.json") == report
    assert report.about["command"] == "covidcxr bench --quick --only raising,sound --seed 3"


def test_the_command_names_no_folder_of_the_machine(tmp_path):
    settings = {"quick": False, "data": tmp_path, "weights": str(tmp_path), "seed": 0}
    assert session.command(settings, None) == "covidcxr bench --data DIR --weights DIR"


def test_parts_keep_the_benchmarks_order():
    assert runner.choose("start,input") == ("input", "start")
    assert runner.choose(None) == runner.PARTS


@pytest.mark.parametrize("only", ["speed", "input,,start", "Input"])
def test_an_unknown_part_is_refused(only):
    with pytest.raises(OptionError, match="there is no part"):
        runner.choose(only)
