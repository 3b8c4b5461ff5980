"""The recipe against what the paper prints."""

import numpy as np
import pytest

from covidcxr.data import splits
from covidcxr.data.records import Records
from covidcxr.models.freezing import trainable_counts
from covidcxr.papers.ragab2022 import CASES, CLAIMS, DATA_SETS, NETWORKS, RECIPE


def test_data_sets_have_the_printed_sizes():
    assert sum(DATA_SETS["A"].counts.values()) == 309
    assert sum(DATA_SETS["B"].counts.values()) == 516


@pytest.mark.parametrize(("key", "training_steps", "validation", "validation_steps"), [("B", 13, 102, 4)])
def test_the_split_gives_the_steps_of_the_printed_log(
    key, training_steps, validation, validation_steps, tmp_path
):
    """Fig. 13: 13/13 steps of training and 4/4 of validation, whose 0.9902 is 101 of 102."""
    rows = [
        {"path": f"{label}/{i}.png", "label": label}
        for label, count in DATA_SETS[key].counts.items()
        for i in range(count)
    ]
    drawn = splits.random_split(
        Records.from_rows(rows, tmp_path), dict(RECIPE.protocols["published"].arrangement.parts), seed=0
    )
    sizes = drawn.table["split"].value_counts()
    assert int(np.ceil(sizes["train"] / CASES["B10"].batch_size)) == training_steps
    assert sizes["val"] == validation
    assert int(np.ceil(sizes["val"] / CASES["B10"].batch_size)) == validation_steps


def test_accuracies_are_possible_counts_of_the_validation_images():
    for case, size in (("A", 61), ("B", 102), ("B10", 102)):
        (printed,) = [claim.value for claim in CLAIMS if (claim.case, claim.measure) == (case, "accuracy")]
        assert any(round(hits / size, 4) == printed for hits in range(size + 1)), case


def test_the_printed_roc_area_of_case_a_is_that_of_hard_labels():
    """Fig. 5 prints 19 2 / 0 11; Table 8 prints 0.95."""
    from sklearn.metrics import roc_auc_score

    true = [0] * 21 + [1] * 11
    predicted = [0] * 19 + [1] * 2 + [1] * 11
    (claim,) = [claim for claim in CLAIMS if (claim.case, claim.measure) == ("A", "roc_auc")]
    assert round(roc_auc_score(true, predicted), 2) == claim.value


def test_the_listed_network_has_the_printed_parameters():
    network = NETWORKS["hub"]
    model = network.build(classes=2, dropout=0.4)
    trainable, frozen = trainable_counts(model)
    assert (trainable, trainable + frozen) == (2_562, 2_260_546)
    assert (network.trainable_parameters, network.total_parameters) == (2_562, 2_260_546)
    assert model.input_shape == (None, 224, 224, 3)


@pytest.mark.parametrize("key", ["prose-mobilenetv2", "prose-mobilenet"])
def test_the_network_of_the_prose_is_fed_as_the_prose_says(key):
    """128x128, average pooling, dense 2; the generator's 0..1 values go straight in."""
    model = NETWORKS[key].build(classes=2, dropout=0.4)
    assert model.input_shape == (None, 128, 128, 3)
    assert not [layer for layer in model.layers if layer.name == "input_scaling"]
    assert trainable_counts(model)[0] == 2 * (model.layers[-1].kernel.shape[0] + 1)


def test_table_4_reads_as_printed():
    augmentation = RECIPE.augmentation
    assert augmentation.rescale == pytest.approx(1 / 255)
    assert tuple(augmentation.zoom_range) == (0.5, 1.0)
    assert tuple(augmentation.width_shift_range) == (-20, 20)
    assert augmentation.height_shift_range == 0.5
    assert tuple(augmentation.brightness_range) == (0.5, 1.0)
    assert (augmentation.rotation_range, augmentation.fill_mode) == (90, "nearest")
    assert augmentation.featurewise_center
    assert augmentation.samplewise_center
