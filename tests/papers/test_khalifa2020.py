"""The recipe against what the paper prints, and the paper's numbers against each other."""

import math

import numpy as np
import pandas as pd
import pytest

from covidcxr.data import selection
from covidcxr.data.records import Records
from covidcxr.errors import OptionError
from covidcxr.models import backbones
from covidcxr.papers import khalifa2020_tables, tables
from covidcxr.papers.khalifa2020 import CLAIMS, DATA_SETS, NETWORKS, RECIPE
from covidcxr.papers.plan import RunOptions, settle
from covidcxr.papers.units import Unit

MODELS = ("alexnet", "squeezenet", "googlenet", "resnet18")


def printed(model, measure, label=""):
    return [c.value for c in CLAIMS if (c.model, c.measure, c.label) == (model, measure, label)]


def test_both_cases_have_624_images():
    assert {key: sum(data.counts.values()) for key, data in DATA_SETS.items()} == {
        "draw": 624,
        "test-folder": 624,
    }
    # Kermany's release has 1,583 normal and 4,273 pneumonia images; 10.64 % is the paper's figure.
    for label, whole in (("normal", 1583), ("pneumonia", 4273)):
        assert DATA_SETS["draw"].counts[label] == round(624 / 5856 * whole)
    assert round(624 / 5863, 4) == 0.1064


def test_kermanys_test_folder_has_exactly_the_images_of_its_case(shared):
    from covidcxr.data import sources

    data_set = DATA_SETS["test-folder"]
    records = sources.read(shared / "data" / "chest_xray", **data_set.reading)
    ((column, value),) = data_set.only.items()
    chosen = records.where(records.table[column] == value)
    assert chosen.table["label"].value_counts().to_dict() == data_set.counts


def test_three_trials_draw_three_sets():
    plans = settle(RECIPE, RunOptions(model="squeezenet", arm="real"))
    assert [plan.unit.trial for plan in plans] == [1, 2, 3]
    rows = [
        {"path": f"{label}/{i}.jpeg", "label": label, "source": "kermany"}
        for label, count in (("normal", 1583), ("pneumonia", 4273))
        for i in range(count)
    ]
    records = Records.from_rows(rows, ".")
    drawn = [
        set(
            selection.draw(
                records,
                plan.data_set.counts,
                plan.data_set.sources,
                seed=plan.seed,
                screen=lambda part: part,
            ).table["path"]
        )
        for plan in plans
    ]
    assert [len(part) for part in drawn] == [624] * 3
    # Independent draws of a tenth share about a tenth.
    assert all(len(a & b) < 150 for a, b in zip(drawn, drawn[1:] + drawn[:1], strict=True))


def test_all_of_the_paper_is_24_models():
    plans = settle(RECIPE, RunOptions())
    assert len(plans) == 4 * 3 * 2
    assert {plan.batch_size for plan in plans} == {10}


def normal_share(total, normal, pneumonia, digits=0.0005):
    """The shares of normal images with which the printed recalls can give the printed accuracy, or None."""
    shares = np.linspace(0, 1, 100_001)
    middle = shares * normal + (1 - shares) * pneumonia
    fits = shares[np.abs(middle - total) <= 2 * digits]
    return (fits.min(), fits.max()) if len(fits) else None


def recalls(model):
    return printed(model, "sensitivity", "normal")[0], printed(model, "sensitivity", "pneumonia")[0]


def test_totals_of_table_1_fit_the_test_folder_better_than_the_draw():
    text = {model: printed(model, "accuracy")[0] for model in MODELS}
    assert text == {"alexnet": 0.961, "squeezenet": 0.947, "googlenet": 0.986, "resnet18": 0.99}
    given, drawn = 234 / 624, 169 / 624
    far = {
        share: [abs(share * recalls(m)[0] + (1 - share) * recalls(m)[1] - text[m]) for m in MODELS]
        for share in (given, drawn)
    }
    assert max(far[given]) < 0.0036
    assert max(far[drawn]) > 0.0085
    low, high = normal_share(text["alexnet"], *recalls("alexnet"))
    assert drawn < given < low < 0.381 < 0.408 < high
    for model in ("googlenet", "resnet18"):
        low, high = normal_share(text[model], *recalls(model))
        assert low < given < high
    # SqueezeNet alone wants fewer normal images than all others allow.
    assert normal_share(text["squeezenet"], *recalls("squeezenet"))[1] < 0.34


def test_two_totals_of_table_1_contradict_the_text_and_the_classes():
    assert printed("squeezenet", "accuracy")[1] == 0.978
    assert normal_share(0.978, *recalls("squeezenet"))[0] > 0.76
    assert printed("googlenet", "accuracy")[1] == 0.968
    assert normal_share(0.968, *recalls("googlenet")) is None
    noted = [claim for claim in CLAIMS if claim.measure == "accuracy" and claim.note]
    assert len(noted) == 4


def test_table_2_is_the_mean_of_table_1_and_the_f1_of_means():
    for model in MODELS:
        (recall,) = printed(model, "sensitivity", "macro")
        assert sum(recalls(model)) / 2 == pytest.approx(recall, abs=0.00056)
        (precision,), (f1,) = printed(model, "precision", "macro"), printed(model, "f1", "macro")
        harmonic = 2 * precision * recall / (precision + recall)
        assert (abs(harmonic - f1) < 0.0001) == (model != "squeezenet")


def test_inputs_are_those_of_the_papers_toolbox():
    sides = {key: network.input_size for key, network in NETWORKS.items()}
    assert sides == dict(zip(MODELS, [(227, 227), (227, 227), (224, 224), (224, 224)], strict=True))


# AlexNet's 57 million parameters are built in tests/models/test_heads.py.
@pytest.mark.parametrize(("key", "features"), [("squeezenet", 512), ("googlenet", 1024), ("resnet18", 512)])
def test_networks_have_two_classes_and_learn_whole(key, features):
    network = NETWORKS[key]
    model = network.build(classes=2, dropout=0.0, input_size=network.input_size[0])
    assert model.input_shape == (None, *network.input_size, 3)
    assert model.output_shape == (None, 2)
    assert all(layer.trainable for layer in model.layers)
    whole = backbones.get(network.backbone).parameters_with_top
    assert model.count_params() == whole - 998 * (features + 1)


def test_a_dropout_of_the_users_is_refused():
    with pytest.raises(OptionError, match="keep their own"):
        NETWORKS["squeezenet"].build(classes=2, dropout=0.3, input_size=64)


def test_published_leaves_nothing_to_choose_by_and_sound_chooses_on_validation():
    published, sound = RECIPE.protocols["published"], RECIPE.protocols["sound"]
    assert (published.keep, published.enlarge, published.arrangement.grouped) == ("last", "everything", False)
    assert dict(published.arrangement.parts) == {"test": 0.2}
    assert (sound.keep, sound.enlarge, sound.arrangement.grouped) == ("best", "training", True)
    assert {published.headline, sound.headline} == {"test"}


def metrics_of(matrix):
    """A metrics document of a confusion matrix, rows true: normal, pneumonia."""
    matrix = np.array(matrix)
    recall = matrix.diagonal() / matrix.sum(axis=1)
    precision = matrix.diagonal() / matrix.sum(axis=0)
    names = ["normal", "pneumonia"]
    block = {
        "accuracy": matrix.trace() / matrix.sum(),
        "classes": names,
        "confusion_matrix": matrix.tolist(),
        "macro": {"precision": precision.mean(), "sensitivity": recall.mean(), "f1": 0.5},
        "per_class": {name: {"sensitivity": recall[i]} for i, name in enumerate(names)},
    }
    return {"headline_split": "test", "splits": {"test": block, "val": {**block, "accuracy": 0.0}}}


MATRICES = {
    ("resnet18", 1, "gan"): [[30, 10], [5, 55]],
    ("resnet18", 2, "gan"): [[40, 0], [15, 45]],
    ("resnet18", 1, "real"): [[20, 20], [0, 60]],
    ("alexnet", 1, "gan"): [[10, 30], [6, 54]],
}


@pytest.fixture
def results():
    parts = [
        tables.long_results(Unit("draw", model, trial=trial, arm=arm), metrics_of(matrix))
        for (model, trial, arm), matrix in MATRICES.items()
    ]
    return tables.joined(parts, tables.RESULT_COLUMNS)


def test_table_1_has_the_papers_rows_and_columns_and_means_over_trials(results):
    table = khalifa2020_tables.table_1(results, None).set_index("Accuracy/Model")
    assert list(table.index) == ["Normal", "Pneumonia", "Total Accuracy"]
    assert list(table.columns) == ["AlexNet", "Squeeznet", "GoogLeNet", "Resnet18"]
    assert list(table["Resnet18"]) == pytest.approx([(0.75 + 1) / 2, (55 / 60 + 45 / 60) / 2, 0.85])
    assert table["AlexNet"]["Total Accuracy"] == pytest.approx(0.64)
    assert table[["Squeeznet", "GoogLeNet"]].isna().all(axis=None)


def test_table_2_has_the_f1_of_the_means(results):
    table = khalifa2020_tables.table_2(results, None).set_index("Metric/Model")
    assert list(table.index) == ["Precision", "Recall", "F1 Score"]
    precision = np.mean([(30 / 35 + 55 / 65) / 2, (40 / 55 + 45 / 45) / 2])
    recall = np.mean([(0.75 + 55 / 60) / 2, (1 + 0.75) / 2])
    expected = [precision, recall, 2 * precision * recall / (precision + recall)]
    assert list(table["Resnet18"]) == pytest.approx(expected)
    assert math.isnan(table["GoogLeNet"]["F1 Score"])


def test_table_3_ends_with_our_own_row(results):
    table = khalifa2020_tables.table_3(results, None)
    assert list(table["Testing Accuracy"]) == pytest.approx([0.928, 0.9373, 0.953, 0.967, 0.97, 0.85])
    assert table["Description"].iloc[-1] == "GAN + Resnet18"


def test_matrices_are_summed_over_trials_and_drawn(results, tmp_path):
    table = khalifa2020_tables.confusion_matrices(results, None)
    assert len(table) == 4 * 2 * 2
    cells = table.set_index(["Model", "GAN", "True class"])
    assert list(cells.loc[("Resnet18", "with GAN", "Normal")]) == [70, 10]
    assert list(cells.loc[("Resnet18", "with GAN", "Pneumonia")]) == [20, 100]
    assert list(cells.loc[("Resnet18", "without GAN", "Normal")]) == [20, 20]
    assert cells.loc[("Squeeznet", "with GAN", "Normal")].isna().all()
    written = khalifa2020_tables.draw_confusion_matrices(table, tmp_path / "figures7-10")
    assert sorted(path.suffix for path in written) == [".png", ".svg"]
    text = (tmp_path / "figures7-10.svg").read_text()
    assert "<!-- 70" in text
    assert text.count("<!-- not trained -->") == 5


def test_two_cases_stand_one_below_the_other(results, tmp_path):
    both = pd.concat([results, results.assign(case="test-folder")], ignore_index=True)
    for name, kind in RECIPE.tables.items():
        one, two = kind.make(results, None), kind.make(both, None)
        assert list(two.columns) == ["Case", *one.columns], name
        assert len(two) == 2 * len(one)
    assert khalifa2020_tables.draw_confusion_matrices(two, tmp_path / "drawn.png")


def test_tables_stand_empty_before_the_first_model():
    empty = pd.DataFrame(columns=list(tables.RESULT_COLUMNS))
    for kind in RECIPE.tables.values():
        table = kind.make(empty, None)
        assert len(table)
