"""The robustness audit of models whose every answer is known in closed form."""

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.preprocessing import Preprocessing
from covidcxr.data.records import Records
from covidcxr.errors import DataError, ModelError
from covidcxr.evaluation.audits import robustness
from covidcxr.evaluation.audits.report import NOTE, WARNING
from covidcxr.models.files import ModelInfo, attach_info

SIDE = 16
CLASSES = ("covid19", "normal")


def model(weights):
    """A model that calls covid19 what has a positive weighted sum of greys (as shares of 255)."""
    import keras

    inputs = keras.Input((SIDE, SIDE, 1))
    dense = keras.layers.Dense(2, activation="softmax")
    network = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    kernel, bias = weights
    dense.set_weights([np.stack([kernel.ravel(), -kernel.ravel()], axis=1), np.array([bias, -bias])])
    loader = Preprocessing((SIDE, SIDE), 1, interpolation="box", rescale=1 / 255)
    attach_info(network, ModelInfo("none", "linear", "sound", CLASSES, loader.to_dict(), 0, {}))
    return network


@pytest.fixture(scope="module")
def bright():
    """Covid19 where the image is brighter than middle grey."""
    return model((np.full((SIDE, SIDE), 20.0 / SIDE**2), -10.0))


@pytest.fixture(scope="module")
def left():
    """Covid19 where the left half is brighter than the right."""
    kernel = np.full((SIDE, SIDE), 20.0 / SIDE**2)
    kernel[:, SIDE // 2 :] *= -1
    return model((kernel, 0.0))


def images(folder, draw, number=20):
    rows = []
    for label in CLASSES:
        for image in range(number):
            Image.fromarray(draw(label, image)).save(folder / f"{label}-{image}.png")
            rows.append({"path": f"{label}-{image}.png", "label": label})
    return Records.from_rows(rows, folder)


def plain(label, image):
    level = (170 if label == "covid19" else 80) + image
    return np.full((32, 32), level, dtype=np.uint8)


def halves(label, image):
    grey = np.full((32, 32), 90, dtype=np.uint8)
    grey[:, :16] += np.uint8(40 + image)
    return grey if label == "covid19" else np.ascontiguousarray(grey[:, ::-1])


def table(audit):
    changes, falls = (audit.tables[name].set_index(["change", "level"]) for name in ("changes", "falls"))
    return changes.join(falls.drop(columns="flag")).sort_index()


def test_brightness_alone_falls_by_inversion_and_by_nothing_that_keeps_it(tmp_path, bright):
    audit = robustness.audit(images(tmp_path, plain), model=bright, resamples=200)
    found = table(audit)
    assert found.loc[("none", ""), "accuracy"].item() == 1.0
    inverted = found.loc[("inverted", "black and white")]
    assert inverted["accuracy"] == 0.0
    assert inverted["accuracy_fall"] == inverted["accuracy_fall_low"] == inverted["changed"] == 1.0
    for kind in ("jpeg", "resize", "contrast", "rotation", "shift", "noise", "flip"):
        assert (found.loc[kind, "changed"] == 0).all()
    assert "inverted" in audit.flags()
    assert not {"jpeg", "resize", "contrast", "rotation", "shift", "noise", "flip"} & set(audit.flags())


def test_sides_fall_by_a_flip_and_not_by_greys(tmp_path, left):
    audit = robustness.audit(images(tmp_path, halves), model=left, resamples=200)
    found = table(audit)
    assert found.loc[("flip", "left and right"), "roc_auc"] == 0.0
    assert found.loc[("flip", "left and right"), "changed"] == 1.0
    assert {"flip", "inverted"} == set(audit.flags())
    assert "100%" in audit.named("flip")[0].text


def test_gamma_changes_just_the_images_that_it_darkens_past_the_middle(tmp_path, bright):
    records = images(tmp_path, lambda label, image: plain(label, image) - np.uint8(10))
    audit = robustness.audit(records, model=bright, resamples=100)
    expected = [255 * ((160 + image) / 255) ** 1.67 < 127.5 for image in range(20)]
    row = table(audit).loc[("gamma", "1.67")]
    assert 0 < sum(expected) < 20
    assert row["changed"] == sum(expected) / 40
    assert row["accuracy_fall"] == pytest.approx(sum(expected) / 40)
    assert row["roc_auc_fall"] == 0


def test_a_change_without_a_fall_is_a_note(tmp_path, bright):
    # All images just above the middle: each class loses as many as it wins.
    audit = robustness.audit(
        images(tmp_path, lambda label, image: np.full((32, 32), 130, np.uint8)), model=bright, resamples=100
    )
    (found,) = audit.named("inverted")
    assert found.severity == NOTE
    assert found.evidence["changed"] == 1.0


def test_the_same_seed_gives_the_same_table(tmp_path, bright):
    records = images(tmp_path, lambda label, image: plain(label, image) // 2 + 60, number=6)
    tables = [
        robustness.audit(records, model=bright, seed=seed, resamples=50).tables["changes"] for seed in (1, 1)
    ]
    assert tables[0].equals(tables[1])


def test_only_the_headline_part_is_scored(tmp_path, bright):
    records = images(tmp_path, plain)
    split = ["test" if number % 4 == 0 else "train" for number in range(len(records))]
    audit = robustness.audit(records.with_columns(split=split), model=bright, resamples=50)
    assert (audit.tables["changes"]["images"] == 10).all()
    limited = robustness.audit(records, model=bright, resamples=50, most_images=8)
    assert (limited.tables["changes"]["images"] == 8).all()


def test_what_cannot_be_audited_is_refused(tmp_path, bright):
    records = images(tmp_path, plain, number=2)
    with pytest.raises(ModelError, match="needs a trained model"):
        robustness.audit(records)
    with pytest.raises(DataError, match="no image of the model's classes"):
        robustness.audit(records.with_columns(label="sars"), model=bright)


def test_a_finding_is_a_warning_at_its_mildest_flagged_level():
    row = {"change": "jpeg", "accuracy": 0.8, "roc_auc": 0.8, "changed": 0.3}
    row |= {f"{name}_fall{end}": 0.1 for name in ("accuracy", "roc_auc") for end in ("", "_low", "_high")}
    rows = [
        {**row, "level": "90", "flag": NOTE},
        {**row, "level": "50", "flag": WARNING},
        {**row, "level": "10", "flag": WARNING},
    ]
    (found,) = robustness._findings(rows)
    assert (found.severity, found.evidence["level"]) == (WARNING, "50")
