import numpy as np
import pandas as pd
import pytest

from covidcxr.evaluation import intervals, metrics
from covidcxr.evaluation.predictions import Predictions
from covidcxr.papers import tables
from covidcxr.papers.units import Unit

NAMES = ("covid19", "normal")


def document(seed, augmented=False):
    random = np.random.default_rng(seed)
    labels = random.choice(NAMES, 60)
    scores = random.uniform(size=60)
    table = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(60)],
            "label": labels,
            "patient_id": [f"p{i // 2}" for i in range(60)],
        }
    )
    predictions = Predictions.from_arrays(
        table.assign(split="test"), NAMES, np.stack([scores, 1 - scores], 1)
    )
    block = metrics.compute(predictions, "covid19")
    summary = intervals.summarise(predictions, seed=0, resamples=50, positive="covid19")
    published = {"augmented_validation": {**block, "accuracy": 0.125}} if augmented else None
    return predictions, {
        "headline_split": "test",
        "splits": {"test": {**block, "intervals": summary}},
        "as_published": published,
    }


def test_every_measure_becomes_a_row_with_its_interval():
    from sklearn.metrics import confusion_matrix, f1_score, recall_score

    predictions, metrics_json = document(1)
    rows = tables.long_results(Unit("A", "vgg19", fold=2), metrics_json)
    cell = rows.set_index(["measure", "label"])
    true, found = predictions.table["label"], predictions.table["predicted"]
    assert cell.loc[("sensitivity", "covid19"), "value"] == pytest.approx(
        recall_score(true, found, pos_label="covid19")
    )
    assert cell.loc[("f1", "macro"), "value"] == pytest.approx(f1_score(true, found, average="macro"))
    tn, fp, fn, tp = confusion_matrix(true, found, labels=["normal", "covid19"]).ravel()
    counts = [cell.loc[(name, "covid19"), "value"] for name in tables.COUNTS]
    assert counts == [tp, fn, fp, tn]
    accuracy = cell.loc[("accuracy", "")]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert set(rows["fold"]) == {2}
    assert rows["headline"].all()


def test_the_papers_own_scoring_goes_before_the_plain_one_where_there_is_one():
    frames = [
        tables.long_results(Unit("A", "one"), document(1, augmented=True)[1]),
        tables.long_results(Unit("A", "two"), document(2)[1]),
    ]
    results = tables.joined(frames, tables.RESULT_COLUMNS)
    chosen = tables.headline(results, "published")
    accuracy = chosen[(chosen["measure"] == "accuracy") & (chosen["label"] == "")].set_index("model")
    assert accuracy.loc["one", "value"] == 0.125
    assert accuracy.loc["two", "scoring"] == "plain"
    assert set(tables.headline(results)["scoring"]) == {"plain"}


def test_a_layout_is_one_row_a_model_with_means_over_folds():
    documents = {fold: document(fold)[1] for fold in (1, 2, 3)}
    results = tables.joined(
        [tables.long_results(Unit("A", "one", fold=fold), doc) for fold, doc in documents.items()],
        tables.RESULT_COLUMNS,
    )
    table = tables.layout(
        tables.headline(results),
        ["model"],
        {"Accuracy": "accuracy", "Recall": ("sensitivity", "covid19")},
        ["fold"],
    )
    accuracies = [doc["splits"]["test"]["accuracy"] for doc in documents.values()]
    assert table.to_dict("records")[0]["Accuracy"] == pytest.approx(np.mean(accuracies))
    assert list(table.columns) == ["model", "Accuracy", "Recall"]


def test_rows_stand_in_the_papers_order_and_missing_ones_are_empty():
    table = tables.in_order(
        pd.DataFrame({"model": ["b", "a"], "Accuracy": [2.0, 1.0]}), "model", ["a", "c", "b"]
    )
    assert list(table["model"]) == ["a", "c", "b"]
    assert np.isnan(table["Accuracy"][1])
