"""No damaged file gives a traceback, a crash, a hang or a full memory: 10,000 of them, a few hundred in the fast test.

    pytest -m slow -n 0 tests/reliability/test_fuzz.py

COVIDCXR_FUZZ_INPUTS and COVIDCXR_SEED choose others; ``python tests/reliability/fuzz.py`` does the same without pytest,
and makes one input again by its target and number.
"""

import importlib
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INPUTS = int(os.environ.get("COVIDCXR_FUZZ_INPUTS", 10_000))
SEED = int(os.environ.get("COVIDCXR_SEED", 0))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs select on pipes and signals")


@pytest.fixture(scope="module")
def fuzz():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        # Tests are no package: what they share is found by its name while they run.
        yield importlib.import_module("fuzz")


def _judged(fuzz, tallies, capsys):
    with capsys.disabled():
        print(f"\n{fuzz.table(tallies | {'in all': fuzz.in_all(tallies)})}")
    assert not [finding for tally in tallies.values() for finding in tally.findings]
    for name, tally in tallies.items():
        assert tally.read + tally.refused == tally.inputs, name
        # Damage that every reader shrugs off, or refuses at the door, would prove nothing.
        assert min(tally.read, tally.refused) > 0 or tally.inputs < 30 or name in _ONE_SIDED, name


# A cache is made anew, whatever is wrong with it.
_ONE_SIDED = ("decoded cache", "feature cache")


def test_a_few_hundred_damaged_files_are_read_or_refused_in_a_line(fuzz, tmp_path, capsys):
    _judged(fuzz, fuzz.run(300, SEED, tmp_path, groups=["files"]), capsys)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_damaged_files_are_read_or_refused_in_a_line(fuzz, tmp_path, capsys):
    tallies = fuzz.run(INPUTS, SEED, tmp_path)
    assert sum(tally.inputs for tally in tallies.values()) >= INPUTS * 0.99
    _judged(fuzz, tallies, capsys)


FAULTS = {
    "exception": "KeyError: \"'x'\" at no line of the package",
    "two lines": "not one line: 'one\\ntwo'",
    "crash": "ended by SIGSEGV",
    "exit": "ended with exit code 0",
    "hang": "took more than 5 s",
    "memory": "took 11",
    "much at once": "asks for more than 4096 MiB",
}


@pytest.mark.slow
def test_the_harness_finds_every_fault_and_goes_on(fuzz, tmp_path):
    tallies = fuzz.run(9, 0, tmp_path, module="fuzz_planted", limit=5)
    assert {name: tally.inputs for name, tally in tallies.items()} == dict.fromkeys(tallies, 1)
    assert (tallies["value"].read, tallies["refusal"].refused) == (1, 1)
    for name, words in FAULTS.items():
        found = tallies[name].findings
        assert [finding["number"] for finding in found] == [0], name
        for finding in found:
            assert finding["what"].startswith(words), finding
            assert Path(finding["file"]).read_bytes() != b"valid"
    assert not tallies["value"].findings + tallies["refusal"].findings


def test_an_input_is_made_again_by_its_number(fuzz, tmp_path):
    first, second = (
        fuzz.run(27, seed, tmp_path / str(turn), module="fuzz_planted", only=["exception"])
        for turn, seed in enumerate((7, 7))
    )
    other = fuzz.run(27, 8, tmp_path / "other", module="fuzz_planted", only=["exception"])
    contents = [
        [Path(finding["file"]).read_bytes() for finding in tallies["exception"].findings]
        for tallies in (first, second, other)
    ]
    assert len(contents[0]) == 27
    assert contents[0] == contents[1] != contents[2]
