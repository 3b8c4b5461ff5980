"""Subgroups: each row is the score of its images alone, and nothing unknown is hidden."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covidcxr.evaluation.predictions import Predictions
from covidcxr.evaluation.subgroups import age_bands, subgroup_table, subgroups, wide

NAMES = ("covid19", "normal")


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(1)
    n = 80
    label = np.array(NAMES)[rng.integers(2, size=n)]
    score = np.clip(0.5 + 0.15 * np.where(label == "covid19", 1, -1) + rng.normal(0, 0.2, n), 0, 1)
    table = pd.DataFrame(
        {
            "path": np.arange(n).astype(str),
            "label": label,
            "sex": np.array(["F", "M", ""])[rng.integers(3, size=n)],
            "age": np.where(rng.random(n) < 0.3, np.nan, rng.integers(1, 90, n)),
            "view": "PA",
            "source": np.where(label == "covid19", "one", "two"),
        }
    )
    return Predictions.from_arrays(table, NAMES, np.stack([score, 1 - score], axis=1))


@pytest.fixture(scope="module")
def table(predictions):
    return subgroups(predictions, seed=0, resamples=100)


def test_ages_fall_into_bands_with_their_lower_edge():
    found = age_bands([0, 17.9, 18, 44, 45, 64.5, 65, 99, np.nan])
    assert list(found) == ["0-17", "0-17", "18-44", "18-44", "45-64", "45-64", "65+", "65+", "unknown"]


def test_each_group_is_scored_alone(predictions, table):
    women = predictions.table[predictions.table["sex"] == "F"]
    rows = table[(table["by"] == "sex") & (table["group"] == "F")].set_index("measure")
    assert rows.loc["accuracy", "images"] == len(women)
    assert rows.loc["accuracy", "value"] == pytest.approx((women["predicted"] == women["label"]).mean())
    ill = women[women["label"] == "covid19"]
    assert rows.loc["sensitivity", "value"] == pytest.approx((ill["predicted"] == "covid19").mean())
    area = roc_auc_score(women["label"] == "covid19", women["prob_covid19"])
    assert rows.loc["roc_auc", "value"] == pytest.approx(area)
    assert (rows["low"] <= rows["value"]).all()


def test_groups_part_the_images_and_the_unknown_are_one(predictions, table):
    for by in ("sex", "age", "source"):
        counts = table[(table["by"] == by) & (table["measure"] == "accuracy")]
        assert counts["images"].sum() == len(predictions)
    assert "unknown" in set(table.loc[table["by"] == "sex", "group"])


def test_what_all_images_share_is_no_subgroup(table):
    assert "view" not in set(table["by"])


def test_a_group_of_one_class_has_no_area(table):
    row = table[(table["by"] == "source") & (table["group"] == "one") & (table["measure"] == "roc_auc")].iloc[
        0
    ]
    assert pd.isna(row["value"])
    columns, rows = wide(table)
    cells = next(dict(zip(columns, cells, strict=True)) for cells in rows if cells[1] == "one")
    assert cells["ROC area"] == "—"
    assert subgroup_table(table).row_count == len(rows)
