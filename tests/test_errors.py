"""Errors are one line each, whatever they quote."""

import pytest

from covidcxr.errors import CovidcxrError, DataError, is_out_of_memory


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\x1b[2Jx", "\udcff.png", "a\0b", "\u2028", "x" * 5000])
def test_a_message_is_one_line_that_a_terminal_does_not_obey(text):
    line = str(DataError(f"t.csv: {text}; mend it"))
    assert line.isprintable()
    assert len(line) < 1100
    assert line.startswith("t.csv: ")
    assert line.endswith("; mend it")


def test_a_plain_message_stays_as_it_is():
    assert str(CovidcxrError("Größe: 3 × 4 µm")) == "Größe: 3 × 4 µm"


def test_memory_that_ran_out_is_told_from_a_full_disk():
    exhausted = type("ResourceExhaustedError", (Exception,), {})
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(exhausted("OOM when allocating"))
    assert not is_out_of_memory(exhausted("No space left on device"))
    assert not is_out_of_memory(ValueError("OOM"))
