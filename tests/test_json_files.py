"""JSON of strangers: a value, or one of two errors."""

import json

import pytest

from covidcxr import json_files


@pytest.mark.parametrize("value", [None, 1, "ä", [], {}, {"a": [1, {"b": [None, 2.5]}]}])
def test_what_json_holds_comes_back(value, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    assert json_files.read(tmp_path / "a.json") == value


def nested(depth, opening="[", closing="]"):
    return opening * depth + "1" + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_limited_before_it_ends_the_program(opening, closing):
    assert json_files.parse(nested(json_files.DEEPEST - 1, opening, closing))
    for depth in (json_files.DEEPEST + 1, 900, 100_000):
        with pytest.raises(ValueError, match="levels deep"):
            json_files.parse(nested(depth, opening, closing))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[1,]", b"9" * 5000])
def test_what_is_no_json_is_a_value_error(data, tmp_path):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        json_files.read(tmp_path / "a.json")
    with pytest.raises(OSError, match="No such file"):
        json_files.read(tmp_path / "nowhere.json")
