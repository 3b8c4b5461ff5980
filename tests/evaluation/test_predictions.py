"""predictions.csv: exact round trip, and one clear line for every table that cannot be used."""

import numpy as np
import pandas as pd
import pytest

from covidcxr.errors import DataError
from covidcxr.evaluation.predictions import RECORD_COLUMNS, Predictions, read_csv

NAMES = ("covid19", "normal", "pneumonia")


def records(labels):
    return pd.DataFrame(
        {
            "path": [f"a/{i}.png" for i in range(len(labels))],
            "label": labels,
            "patient_id": ["p1", "p1", "", ""][: len(labels)],
            "age": [61.5, float("nan"), 3, 44][: len(labels)],
            "split": ["test", "val", "test", "test"][: len(labels)],
        }
    )


@pytest.fixture
def predictions():
    values = np.random.default_rng(5).dirichlet(np.ones(3), 4).astype(np.float32)
    return Predictions.from_arrays(records(["covid19", "normal", "pneumonia", "normal"]), NAMES, values)


def test_the_face_is_the_documented_one(predictions):
    expected = [*RECORD_COLUMNS, "predicted", "prob_covid19", "prob_normal", "prob_pneumonia"]
    assert list(predictions.table.columns) == expected
    assert predictions.y_true.tolist() == [0, 1, 2, 1]
    assert predictions.y_pred.tolist() == predictions.probabilities.argmax(axis=1).tolist()
    assert predictions.probabilities.shape == (4, 3)


def test_round_trip_keeps_every_bit(predictions, tmp_path):
    predictions.write_csv(tmp_path / "predictions.csv")
    again = read_csv(tmp_path / "predictions.csv")
    assert again.class_names == NAMES
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    pd.testing.assert_frame_equal(again.table, predictions.table)


def test_index_of_the_records_does_not_matter():
    shuffled = records(["covid19", "normal"]).set_index(pd.Index([7, 3]))
    joined = Predictions.from_arrays(shuffled, NAMES, [[1, 0, 0], [0, 1, 0]])
    assert joined.table["predicted"].tolist() == ["covid19", "normal"]


def test_unknown_patients_are_patients_of_their_own(predictions):
    assert predictions.patients.tolist() == [0, 0, 1, 2]


def test_subset_by_split(predictions):
    test = predictions.subset("test")
    assert test.table["path"].tolist() == ["a/0.png", "a/2.png", "a/3.png"]
    with pytest.raises(DataError, match=r"'train'.*test, val"):
        predictions.subset("train")


def test_a_predicted_column_in_the_file_is_kept(predictions, tmp_path):
    chosen = predictions.table.assign(predicted="covid19")
    chosen.to_csv(tmp_path / "p.csv", index=False)
    assert read_csv(tmp_path / "p.csv").y_pred.tolist() == [0, 0, 0, 0]


def test_images_without_label_can_be_kept_but_not_evaluated(tmp_path):
    unlabelled = Predictions.from_arrays(records(["", "normal"]), NAMES, [[1, 0, 0], [0, 1, 0]])
    unlabelled.write_csv(tmp_path / "p.csv")
    with pytest.raises(DataError, match="1 of 2 predictions have no label"):
        _ = read_csv(tmp_path / "p.csv").y_true


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable CSV"),
        ("path,prob_a,prob_b\nx,0.5,0.5\n", "lacks the column.* label"),
        ("path,label,prob_a\nx,a,1\n", "two or more different classes"),
        ("path,label,prob_a,prob_b\nx,a,0.5,half\n", "not a number"),
        ("path,label,prob_a,prob_b\nx,a,0.5,0.5\ny,a,1.5,-0.5\n", r"row 2: .*\[0, 1\]"),
        ("path,label,prob_a,prob_b\nx,a,nan,0.5\n", r"row 1: .*\[0, 1\]"),
        ("path,label,prob_a,prob_b\nx,a,0.9,0.2\n", "sum to 1.1"),
        ("path,label,prob_a,prob_b\nx,c,0.5,0.5\n", "label 'c' is none of the classes a, b"),
        ("path,label,predicted,prob_a,prob_b\nx,a,c,0.5,0.5\n", "predicted class 'c'"),
        ("path,label,prob_a,prob_b\nx,a,a,0.5,0.5\n", "more cells than its first line"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(tmp_path / "p.csv")
    assert str(tmp_path / "p.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shapes_must_fit():
    with pytest.raises(DataError, match="do not fit 2 images and 3 classes"):
        Predictions.from_arrays(records(["normal", "normal"]), NAMES, np.ones((2, 2)) / 2)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv"):
        read_csv(tmp_path / "absent.csv")


def test_rows_a_thousandth_off_pass_and_more_fails():
    Predictions.from_arrays(records(["normal"]), NAMES, [[0.5, 0.4995, 0.0]])
    with pytest.raises(DataError, match="sum to"):
        Predictions.from_arrays(records(["normal"]), NAMES, [[0.5, 0.4975, 0.0]])
