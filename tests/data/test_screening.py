"""Screening: what is broken is named, counted and left out, and too much of it stops the run."""

import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.data.images import GreyReading
from covidcxr.data.records import Exclusion, Records
from covidcxr.data.screening import screen
from covidcxr.errors import DataError

RNG = np.random.default_rng(1)


@pytest.fixture
def folder_of(tmp_path):
    """Write images `0.png`... with the given labels; the rows in `bad` hold text."""

    def write(labels, bad=()):
        for number, _ in enumerate(labels):
            path = tmp_path / f"{number}.png"
            if number in bad:
                path.write_text("not an image")
            else:
                Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
        rows = [{"path": f"{n}.png", "label": label, "source": "s"} for n, label in enumerate(labels)]
        return Records.from_rows(rows, tmp_path, [Exclusion("old.png", "s", "CT")], ["a note"])

    return write


def test_good_records_pass_unchanged(folder_of):
    records = folder_of(["covid19", "normal"] * 5)
    screened = screen(records)
    pd.testing.assert_frame_equal(screened.table, records.table)
    assert screened.exclusions == records.exclusions
    assert screened.notes == records.notes


def test_unreadable_images_become_exclusions_in_order(folder_of):
    records = folder_of(["covid19", "normal"] * 100, bad=(3, 150))
    (records.root / "70.png").unlink()
    screened = screen(records, workers=3)
    assert len(screened) == 197
    assert not {"3.png", "70.png", "150.png"} & set(screened.table["path"])
    assert list(screened.table["path"]) == [
        p for p in records.table["path"] if p in set(screened.table["path"])
    ]
    assert [item.path for item in screened.exclusions] == ["old.png", "3.png", "70.png", "150.png"]
    reasons = [item.reason for item in screened.exclusions[1:]]
    assert reasons[0] == reasons[2] == "unreadable: is text, not a JPEG, PNG, BMP, TIFF or DICOM file"
    assert reasons[1] == "unreadable: no such file"


def test_too_many_bad_images_stop_the_run(folder_of):
    records = folder_of(["covid19", "normal"] * 10, bad=(5, 6, 7))
    with pytest.raises(DataError, match=r"5\.png: is text.*3 of 20 images \(more than 10%\)") as caught:
        screen(records)
    assert "\n" not in str(caught.value)
    assert len(screen(records, max_bad_fraction=0.15)) == 17


def test_the_loss_of_a_class_stops_the_run(folder_of):
    records = folder_of(["normal"] * 30 + ["sars", "sars"], bad=(30, 31))
    with pytest.raises(DataError, match=r"30\.png: .*all 2 images of 'sars'"):
        screen(records)


def test_suspicious_ranges_are_noted(folder_of):
    records = folder_of(["normal"] * 6)
    for number, values in (
        (1, np.full((8, 8), 40)),
        (2, np.arange(64).reshape(8, 8) % 20),
        (4, np.zeros((8, 8))),
    ):
        Image.fromarray(values.astype(np.uint8)).save(records.root / f"{number}.png")
    constant, narrow = screen(records).notes[1:]
    assert "2 images have one grey level only" in constant
    assert "1.png" in constant
    assert "1 image has fewer than 20" in narrow
    assert "2.png" in narrow
    assert len(screen(records, GreyReading(depth="min_max")).notes) == 2


def test_twenty_levels_are_enough(folder_of):
    records = folder_of(["normal"])
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 21).save(records.root / "0.png")
    assert screen(records).notes == ("a note",)


def test_progress_reaches_the_total(folder_of):
    steps = []
    before = threading.active_count()
    screen(folder_of(["normal"] * 130), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (130, 130)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert threading.active_count() == before


def test_no_records(tmp_path):
    assert len(screen(Records.from_rows([], tmp_path))) == 0


def test_real_files_are_all_readable(shared):
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    records = Records.from_rows(manifest.iloc[::20], shared / "data")
    assert len(screen(records)) == len(records) > 200
