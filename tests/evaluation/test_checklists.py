"""Checklists: complete, numbered as their statements number them, and never answered without an answer."""

import pytest

from covidcxr.evaluation import checklists


def test_claim_has_its_44_items():
    assert [int(item["item"]) for item in checklists.items("claim")] == list(range(1, 45))


def test_tripod_ai_has_27_items_in_52_parts():
    found = [item["item"] for item in checklists.items("tripod_ai")]
    assert len(found) == len(set(found)) == 52
    assert sorted({int(item.rstrip("abcdefg")) for item in found}) == list(range(1, 28))


@pytest.mark.parametrize("name", checklists.TITLES)
def test_only_what_the_run_knows_is_answered(name):
    keys = {item["answer"] for item in checklists.items(name)} - {""}
    rows = checklists.filled(name, {key: f"told {key}" for key in keys})
    for item, row in zip(checklists.items(name), rows, strict=True):
        expected = f"told {item['answer']}" if item["answer"] else checklists.OPEN
        assert (row["answer"], row["state"]) == (expected, "from the run" if item["answer"] else "open")
    assert {row["state"] for row in checklists.filled(name, dict.fromkeys(keys, ""))} == {"open"}
