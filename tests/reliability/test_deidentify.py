"""Pseudonyms: the same numbers by patient, an order that says nothing, and texts without names, folders and dates."""

import numpy as np
import pandas as pd
import pytest

from covidcxr.evaluation import intervals
from covidcxr.evaluation.deidentify import Pseudonyms, shuffled, without_places
from covidcxr.evaluation.predictions import Predictions


def scored(patients=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "path": [f"SECRET-17/{number:03d}.png" for number in range(2 * patients)],
            "label": np.repeat(["covid19", "normal"], patients),
            "patient_id": [f"x-{number // 2}" for number in range(2 * patients)],
            "source": "Secret Hospital",
            "split": "test",
        }
    )
    positive = rng.uniform(size=len(rows))
    return Predictions.from_arrays(rows, ("covid19", "normal"), np.stack([positive, 1 - positive], axis=1))


def names_of(predictions, seed=None):
    table = predictions.table
    return Pseudonyms([("", path) for path in table["path"]], table["patient_id"], table["source"], seed=seed)


def test_intervals_by_patient_are_the_same_bit_for_bit():
    before = scored()
    after = names_of(before).predictions(before)
    assert "x-1" not in set(after.table["patient_id"])
    assert intervals.summarise(after, seed=0) == intervals.summarise(before, seed=0)
    mixed = Predictions(shuffled(after.table), after.class_names)
    first, second = (intervals.summarise(item, seed=0)["measures"]["accuracy"] for item in (before, mixed))
    # Other resamples of the same patients.
    assert second["value"] == first["value"]
    assert [second["low"], second["high"]] == pytest.approx([first["low"], first["high"]], abs=0.03)


def test_numbers_say_nothing_of_the_order_and_nobody_can_draw_them_again():
    before = scored()
    drawn = [names_of(before).predictions(before).table for _ in range(2)]
    assert not drawn[0]["path"].is_monotonic_increasing
    assert drawn[0]["path"].tolist() != drawn[1]["path"].tolist()
    again = [names_of(before, seed=3).predictions(before).table for _ in range(2)]
    pd.testing.assert_frame_equal(*again)


def test_texts_keep_their_sense_and_lose_their_names():
    names = Pseudonyms(
        images=[("", "covid19/a b.png"), ("", "normal/a b.png"), ("", "normal/c.png"), ("x", "normal/d.png")],
        patients=["ieee8023-2", "ieee8023-25", "7"],
        sources=["Secret Hospital", "kermany", "data"],
        hidden=["/home/Jane Doe/data", "as Dr. Doe asked"],
        shown=["covid19"],
        seed=0,
    )
    two, more = names.patient("ieee8023-2"), names.patient("ieee8023-25")
    assert names.text("1 in both: ieee8023-25, ieee8023-2.") == f"1 in both: {more}, {two}."
    assert names.text("normal/c.png = normal/d.png") == f"{names.image('normal/c.png')} = normal/d.png"
    assert names.text("a b.png, c.png") == f"[file], {names.image('normal/c.png')}"
    assert names.text("of Secret Hospital and kermany, data") == "of source-1 and kermany, data"
    assert names.text("/home/Jane Doe/data: as Dr. Doe asked") == "[left out]: [left out]"
    assert names.text("covid19 of 7") == f"covid19 of {names.patient('7')}"
    assert names.label("covid19") == "covid19"
    assert names.label("other:Doe's lung") == "other"
    assert names.label("doe") == "another label"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("on 2020-03-14, 20200314 and 14.03.2020", "on [date], [date] and [date]"),
        ("see /home/jane/x.png or C:\\Users\\jane", "see [folder] or [folder]"),
        ("--xla_dump_to=/home/jane/dump", "--xla_dump_to=[folder]"),
        ("series 1.2.826.0.1.3680043.8.498.1", "series [number]"),
        ("Keras 3.15.1, Linux-5.15.0-91, and/or 1/2", "Keras 3.15.1, Linux-5.15.0-91, and/or 1/2"),
        ("/job:localhost/replica:0/task:0/device:CPU:0", "/job:localhost/replica:0/task:0/device:CPU:0"),
        ("1,234,567 parameters; 0.20, 12-14 years", "1,234,567 parameters; 0.20, 12-14 years"),
    ],
)
def test_dates_folders_and_unique_identifiers_are_known_by_their_look(text, left):
    assert without_places(text) == left


def test_tables_lose_what_could_name_someone():
    names = Pseudonyms(
        images=[("", "a.png"), ("", "b.png")], patients=["x", "7"], sources=["Hospital"], seed=0
    )
    table = pd.DataFrame(
        {
            "path": ["a.png", "b.png"],
            "patient_id": ["x", ""],
            "group": ["x", "file:b.png"],
            "source": ["Hospital", "rsna"],
            "view": ["AP", "for Dr. Doe"],
            "sex": ["F", "Jane"],
            "age": [95.5, 0.5],
            "offset": [3, 4],
            "date": ["2020-03-14", "2020-03-14"],
            "labels": ["covid19 | other:Doe", "normal"],
            "reason": ["unreadable: a.png is no PNG", "not in /home/jane/split.csv"],
            "count": [1, 2],
            # As a reader of CSV files takes it.
            "patient_id_a": [7.0, float("nan")],
            "source_b": [2020, 2020],
        }
    )
    found = names.table(table)
    assert list(found) == [name for name in table if name not in ("offset", "date")]
    assert found["group"].tolist() == [names.patient("x"), f"file:{names.image('b.png')}"]
    assert found["source"].tolist() == ["source-1", "rsna"]
    assert found["view"].tolist() == ["AP", "other"]
    assert found["sex"].tolist() == ["F", "other"]
    assert found["age"].tolist() == [90, 0]
    assert found["labels"].tolist() == ["covid19 | other", "normal"]
    assert found["reason"].tolist() == ["unreadable", "not in the split file"]
    assert found["count"].tolist() == [1, 2]
    assert found["patient_id_a"].tolist() == [names.patient("7"), ""]
    assert found["source_b"].tolist() == ["other", "other"]
