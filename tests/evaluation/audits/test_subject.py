"""Audits of a run's folder: its split, its headline, its model and what it predicted."""

import json

import numpy as np
import pytest
from PIL import Image

from covidcxr.data import splits
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.data.records import Records
from covidcxr.errors import DataError
from covidcxr.evaluation.audits import robustness, shortcuts
from covidcxr.evaluation.audits import subject as subjects
from covidcxr.evaluation.predictions import Predictions
from covidcxr.inference import predict_files
from covidcxr.models.files import ModelInfo, load_model, save_model

CLASSES = ["covid19", "normal"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as a finished training leaves it: 18 images a class, a third of them in val."""
    import keras

    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir()
    for label in CLASSES:
        for number in range(18):
            level = 120 + 30 * (label == "covid19") + rng.normal(0, 25)
            grey = np.clip(rng.normal(level, 20, (40, 40)), 0, 255).astype(np.uint8)
            name = f"{label}-{number}.png"
            Image.fromarray(grey).save(folder / "images" / name)
            rows.append({"path": name, "label": label, "split": "val" if number % 3 == 0 else "train"})
    records = Records.from_rows(rows, folder / "images")
    splits.write(records, folder / "split.csv")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    hidden = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(inputs)
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(hidden))
    loader = Preprocessing((32, 32), 3, rescale=1 / 255)
    info = ModelInfo("none", "small", "published", tuple(CLASSES), loader.to_dict(), 0, {})
    save_model(keras.Model(inputs, outputs), folder / "model.h5", info)
    held_out = records.where(records.table["split"] == "val")
    model = load_model(folder / "model.h5")
    stored = Predictions.from_arrays(held_out.table, CLASSES, predict_files(model, held_out.files()))
    stored.write_csv(folder / "predictions.csv")
    config = {"classes": CLASSES, "protocol": {"headline": "val"}, "data_root": str(folder / "images")}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_runs_headline_and_parts_are_its_own(run):
    found = subjects.of(run)
    assert found.headline == "val"
    assert (len(found.train), len(found.scored)) == (24, 12)
    assert found.predictions().class_names == tuple(CLASSES)


def test_shortcuts_stand_beside_the_runs_own_score_on_the_runs_own_features(run):
    audit = shortcuts.audit(run, resamples=50)
    probes = audit.tables["probes"].set_index("probe")
    stored = subjects.of(run).predictions()
    assert probes.loc["headline", "accuracy"] == (stored.y_true == stored.y_pred).mean()
    assert "trained network's own features" in audit.named("features")[0].text
    assert list((run / "audit" / "cache").glob("*.npz"))


def test_without_a_change_the_model_says_what_the_run_has_written(run):
    audit = robustness.audit(run, resamples=50)
    stored = subjects.of(run).predictions()
    first = audit.tables["changes"].iloc[0]
    assert first["images"] == 12
    assert first["accuracy"] == (stored.y_true == stored.y_pred).mean()
    assert (
        len(audit.tables["falls"]) == len(audit.tables["changes"]) - 1 == len(robustness.changes("nearest"))
    )


def test_a_folder_that_was_moved_finds_the_images_in_it(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    for name in ("split.csv", "images"):
        (tmp_path / name).symlink_to(run / name)
    (tmp_path / "config.json").write_text(json.dumps({**config, "data_root": "/gone/images"}))
    assert len(subjects.of(tmp_path).records) == 36
    (tmp_path / "config.json").write_text(json.dumps({**config, "data_root": "/gone/elsewhere"}))
    with pytest.raises(DataError, match="no longer there"):
        subjects.of(tmp_path)
    assert len(subjects.of(tmp_path, data=run / "images").records) == 36


@pytest.mark.parametrize(
    "change",
    [
        {"classes": 3},
        {"classes": ["covid19", 4]},
        {"protocol": "sound"},
        {"protocol": {"headline": ["val"]}},
        {"data_root": 1},
        {"data_root": None},
    ],
)
def test_a_configuration_of_other_kinds_is_named(change, run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    (tmp_path / "split.csv").symlink_to(run / "split.csv")
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(DataError, match=r"config\.json: not a readable run configuration"):
        subjects.of(tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"config\.json"):
        subjects.of(tmp_path)


def test_drawing_down_keeps_patients_whole_and_small_classes_complete(tmp_path):
    rows = [{"path": f"n{i}", "label": "normal", "patient_id": f"p{i // 3}"} for i in range(90)]
    rows += [{"path": f"c{i}", "label": "covid19", "patient_id": f"q{i}"} for i in range(5)]
    records = Records.from_rows(rows, tmp_path)
    records = records.with_columns(group=splits.group_names(records))
    drawn = subjects.limited(records, 40, seed=1).table
    assert (drawn["label"] == "covid19").sum() == 5
    assert (drawn["label"] == "normal").sum() == 18
    assert (drawn[drawn["label"] == "normal"].groupby("group").size() == 3).all()
    assert set(drawn["path"]) != set(subjects.limited(records, 40, seed=2).table["path"])
