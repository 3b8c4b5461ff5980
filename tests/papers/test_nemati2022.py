"""The recipe against what the paper prints, and what the paper prints against itself."""

from types import SimpleNamespace

import pandas as pd
import pytest

from covidcxr.data.records import Records
from covidcxr.models.freezing import trainable_counts
from covidcxr.papers import tables
from covidcxr.papers.nemati2022 import CASES, DATA_SETS, NETWORKS, PROTOCOLS, RECIPE
from covidcxr.papers.nemati2022_tables import MEASURES, ROWS, TABLES
from covidcxr.papers.plan import RunOptions, settle
from covidcxr.papers.units import Unit

PERFECT = {
    *(f"efficientnetb{number}" for number in (0, 1, 2, 5, 6)),
    *("mobilenet", "inceptionresnetv2", "nasnetlarge"),
}
IMPOSSIBLE = {"densenet169", "densenet201", "efficientnetb7", "resnet50"}
# Printed values are cut or rounded at the fourth digit in some rows.
TOLERANCE = 1e-4


def printed(key):
    (values,) = [values for row, *_, values in ROWS if row == key]
    return dict(
        zip(("accuracy", "precision", "sensitivity", "specificity", "f1", "balanced"), values, strict=True)
    )


def measured(positives, negatives, missed, alarms):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_fscore_support

    true = [1] * positives + [0] * negatives
    found = [1] * (positives - missed) + [0] * missed + [1] * alarms + [0] * (negatives - alarms)
    precision, recall, f1, _ = precision_recall_fscore_support(true, found, labels=[1], average="binary")
    return {
        "accuracy": accuracy_score(true, found),
        "precision": precision,
        "sensitivity": recall,
        "specificity": 1 - alarms / negatives,
        "f1": f1,
        "balanced": balanced_accuracy_score(true, found),
    }


def one_model(model, fold, accuracy, sensitivity=0.5):
    block = {
        "classes": ["covid19", "normal"],
        "confusion_matrix": [[18, 18], [0, 36]],
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "macro": {},
        "per_class": {
            "covid19": {"precision": 1.0, "sensitivity": sensitivity, "specificity": 1.0, "f1": 0.6},
            "normal": {"precision": 0.1, "sensitivity": 0.1, "specificity": 0.1, "f1": 0.1},
        },
    }
    metrics = {"headline_split": "test", "splits": {"test": block}, "as_published": None}
    return tables.long_results(Unit("balanced", model, fold=fold), metrics)


def test_there_are_27_rows_in_the_papers_order():
    assert len(NETWORKS) == 27
    keys = list(NETWORKS)
    assert [keys.index(key) + 1 for key in ("inceptionv3", "mobilenet", "resnet152v2_again", "vgg16")] == [
        1,
        14,
        17,
        27,
    ]
    assert NETWORKS["resnet152v2"].backbone == NETWORKS["resnet152v2_again"].backbone == "resnet152_v2"
    assert "second" in NETWORKS["resnet152v2_again"].title


def test_inputs_are_the_printed_ones():
    sides = {key: network.input_size[0] for key, network in NETWORKS.items()}
    at_299 = {
        *("inceptionv3", "xception", "inceptionresnetv2"),
        *("resnet101v2", "resnet152v2", "resnet152v2_again"),
    }
    assert {key for key, side in sides.items() if side == 299} == at_299
    assert {key for key, side in sides.items() if side == 331} == {"nasnetlarge"}
    assert {sides[key] for key in sides if key not in at_299 | {"nasnetlarge"}} == {224}


def test_schedule_and_head_are_the_printed_ones():
    (stage,) = CASES["balanced"].stages["adam"]
    assert (stage.epochs, stage.optimizer.name, stage.optimizer.learning_rate) == (120, "adam", 0.002)
    assert (CASES["balanced"].batch_size, CASES["balanced"].dropout) == (64, 0.5)
    model = NETWORKS["mobilenet"].build(classes=2, dropout=0.5, input_size=64)
    # 1024 features into 64 units, 64 into 2, with biases.
    assert trainable_counts(model)[0] == 1024 * 64 + 64 + 64 * 2 + 2
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [64, 2]


@pytest.mark.parametrize(
    ("protocol", "parts"), [("published", {"train", "test"}), ("sound", {"train", "val", "test"})]
)
def test_each_image_is_tested_once_in_five_folds(protocol, parts, tmp_path):
    rows = [
        {"path": f"{label}/{i}.png", "label": label, "patient_id": f"{label}{i * 118 // 180}"}
        for label in DATA_SETS["balanced"].counts
        for i in range(180)
    ]
    records = Records.from_rows(rows, tmp_path)
    tested = []
    for fold in (1, 2, 3, 4, 5):
        plan = SimpleNamespace(
            seed=3, options=SimpleNamespace(seed=3), unit=Unit("balanced", "mobilenet", fold=fold)
        )
        split = PROTOCOLS[protocol].arrangement(records, plan).table
        assert set(split["split"]) == parts
        tested += list(split.loc[split["split"] == "test", "path"])
        sizes = split[split["split"] == "test"]["label"].value_counts()
        if protocol == "published":
            assert sizes.to_dict() == {"covid19": 36, "normal": 36}
            assert (split["monitored"] == (split["split"] == "test")).all()
        else:
            assert split.groupby("patient_id")["split"].nunique().max() == 1
    assert sorted(tested) == sorted(records.table["path"])


def test_a_smoke_run_has_the_folds_that_its_protocols_deal():
    plans = settle(RECIPE, RunOptions(preset="smoke"))
    assert [plan.unit.fold for plan in plans] == [1, 2]
    assert {plan.protocol.arrangement.number for plan in plans} == {2}
    assert {plan.network.input_size for plan in plans} == {(64, 64)}
    assert len(settle(RECIPE, RunOptions(model="all"))) == 135


def test_the_real_images_fill_the_paper(shared):
    from covidcxr.data import selection, sources

    data_set = DATA_SETS["balanced"]
    records = sources.read(shared / "data", **data_set.reading)
    drawn = selection.draw(records, data_set.counts, data_set.sources, seed=0, screen=lambda kept: kept)
    assert drawn.table.groupby(["label", "source"]).size().to_dict() == {
        ("covid19", "covid-chestxray-dataset"): 180,
        ("normal", "rsna"): 180,
    }


def test_table_1_is_that_of_our_networks_and_shows_the_papers_misprints():
    table = TABLES["table1"].make(None, None)
    assert list(table["#"]) == list(range(1, 28))
    claims = {(claim.model, claim.measure): claim for claim in RECIPE.claims if claim.where == "Table I"}
    assert len(claims) == 27 * 3 + sum(row[3][0] is not None for row in ROWS)
    odd = {
        key
        for (key, *_), ours in zip(ROWS, table["Parameters (millions)"], strict=True)
        if abs(ours / claims[key, "parameters_millions"].value - 1) > 0.05
    }
    assert odd == {"resnet152", "vgg16"}
    assert all(claims[key, "parameters_millions"].note for key in odd)
    # VGG16's printed size is right, and refutes its printed number of parameters.
    assert claims["vgg16", "size_mb"].value == table["Size (Mb)"][26] == 528


def test_table_2_has_27_rows_of_means_over_folds():
    results = tables.joined(
        [
            one_model("mobilenet", 1, 0.5, 0.25),
            one_model("mobilenet", 2, 1.0, 0.75),
            one_model("vgg16", 1, 0.25),
        ],
        tables.RESULT_COLUMNS,
    )
    table = TABLES["table2"].make(results, None)
    assert list(table.columns) == ["#", "Algorithms", *MEASURES]
    rows = table.set_index("#")
    assert tuple(rows.loc[14, ["Algorithms", "Accuracy", "Sensitivity"]]) == ("MobileNet", 0.75, 0.5)
    assert rows.loc[27, "Accuracy"] == 0.25
    assert rows["Accuracy"].notna().sum() == 2
    assert TABLES["table2"].make(tables.joined([], tables.RESULT_COLUMNS), None).shape == (27, 8)


def test_the_spread_over_folds_stands_beside_the_paper():
    results = tables.joined([one_model("vgg16", 1, 0.5), one_model("vgg16", 2, 1.0)], tables.RESULT_COLUMNS)
    table = TABLES["table2_spread"].make(results, None).set_index("Measure")
    assert len(table) == 6
    row = table.loc["Accuracy"]
    assert tuple(row[["Paper", "folds", "mean", "low", "high"]]) == (0.98913, 2, 0.75, 0.5, 1.0)
    assert row["sd"] == pytest.approx(pd.Series([0.5, 1.0]).std(), abs=1e-5)


def test_every_cell_of_table_2_is_a_claim():
    claims = [claim for claim in RECIPE.claims if claim.where == "Table II"]
    assert len(claims) == 27 * 6
    assert {claim.fold for claim in claims} == {"mean"}
    assert {claim.model for claim in claims if claim.value == 1 and claim.measure == "accuracy"} == PERFECT
    assert {claim.model for claim in claims if claim.note} == IMPOSSIBLE


def test_four_rows_of_table_2_contradict_themselves():
    contradictory = set()
    for key in NETWORKS:
        row = printed(key)
        rates = (row["sensitivity"], row["specificity"])
        f1 = 2 * row["precision"] * row["sensitivity"] / (row["precision"] + row["sensitivity"])
        outside = not min(rates) - TOLERANCE <= row["accuracy"] <= max(rates) + TOLERANCE
        if outside or abs(f1 - row["f1"]) > TOLERANCE or abs(sum(rates) / 2 - row["balanced"]) > TOLERANCE:
            contradictory.add(key)
    assert contradictory == IMPOSSIBLE


def test_the_other_rows_are_counts_of_92_test_images_not_of_folds_of_72():
    """20 % of 180 + 180 are 72; the mean of five such folds is a multiple of 1/360."""
    fits = {}
    for positives in range(40, 53):
        for missed in range(6):
            for alarms in range(6):
                values = measured(positives, 92 - positives, missed, alarms)
                for key in set(NETWORKS) - PERFECT - IMPOSSIBLE:
                    if all(abs(values[name] - value) < TOLERANCE for name, value in printed(key).items()):
                        fits.setdefault(key, []).append((positives, missed, alarms))
    assert set(fits) == set(NETWORKS) - PERFECT - IMPOSSIBLE
    assert all(len(found) == 1 for found in fits.values())
    counts = {found[0] for found in fits.values()}
    assert counts == {(45, 0, 1), (46, 1, 1), (47, 1, 0), (42, 0, 4)}
    # The truly positive images change from row to row, those called positive do not.
    assert {positives - missed + alarms for positives, missed, alarms in counts} == {46}
    for key in set(NETWORKS) - PERFECT:
        hits = printed(key)["accuracy"] * 92
        assert abs(hits - round(hits)) < 92 * 1e-5
        of_all = printed(key)["accuracy"] * 360
        assert abs(of_all - round(of_all)) > 360 * TOLERANCE
