import pytest

from covidcxr.bench.parts import start
from covidcxr.errors import ModelError


@pytest.mark.slow
def test_a_smoke_run_is_timed_phase_by_phase_to_its_first_step(tmp_path):
    phases = start.time_to_first_step(tmp_path / "run")
    assert list(phases) == [name for _, name in start._PHASES]
    assert all(seconds >= 0 for seconds in phases.values())


@pytest.mark.slow
def test_a_run_that_ends_before_a_step_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ModelError, match="ended before its first step"):
        start.time_to_first_step(tmp_path / "file")
