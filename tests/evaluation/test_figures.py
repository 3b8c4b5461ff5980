"""Figures: whole files of the promised size, with the promised words, curves and colours in them."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.errors import DataError, OptionError, OutputError
from covidcxr.evaluation import figures
from covidcxr.evaluation.intervals import delong_interval, summarise
from covidcxr.evaluation.predictions import Predictions

HEAD_THEN_ALL = ["head"] * 3 + ["fine-tuning"] * 2


def history(stages):
    n = len(stages)
    curve = np.linspace(0.5, 0.9, n)
    columns = {"accuracy": curve, "loss": 1 - curve, "val_accuracy": curve - 0.1, "val_loss": 1.1 - curve}
    return pd.DataFrame({"epoch": np.arange(1, n + 1), "stage": stages, **columns})


def predictions_of(scores, truth, names=("covid19", "normal")):
    table = pd.DataFrame({"path": np.arange(len(truth)).astype(str), "label": [names[i] for i in truth]})
    return Predictions.from_arrays(table, names, scores)


@pytest.fixture
def two_classes():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=40)
    positive = np.clip(0.5 + 0.2 * (1 - 2 * truth) + rng.normal(0, 0.15, 40), 0, 1)
    return predictions_of(np.stack([positive, 1 - positive], axis=1), truth)


def words(path):
    """The texts of an SVG: Matplotlib leaves each as a comment beside its outlines."""
    return [text.strip() for text in re.findall(r"<!--(.*?)-->", path.read_text(encoding="utf-8"), re.DOTALL)]


def test_path_without_ending_gives_both_formats(tmp_path):
    written = figures.learning_curves(history(HEAD_THEN_ALL), tmp_path / "curves")
    assert [path.name for path in written] == ["curves.png", "curves.svg"]
    with Image.open(written[0]) as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert picture.width > 900
    assert ElementTree.parse(written[1]).getroot().tag.endswith("svg")  # noqa: S314
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "curves.svg"]


def test_learning_curves_name_stages(tmp_path):
    (path,) = figures.learning_curves(history(HEAD_THEN_ALL), tmp_path / "c.svg")
    found = words(path)
    assert found.count("head") == found.count("fine-tuning") == 2
    assert {"training", "validation", "accuracy", "loss", "epoch"} <= set(found)
    (path,) = figures.learning_curves(history(["all"] * 5), tmp_path / "c.svg")
    assert "all" not in words(path)


def test_learning_curves_need_a_measure(tmp_path):
    with pytest.raises(DataError, match="no epoch"):
        figures.learning_curves(pd.DataFrame({"epoch": [1]}), tmp_path / "c.png")
    loss_only = history(["all"] * 3)[["epoch", "loss"]]
    (path,) = figures.learning_curves(loss_only, tmp_path / "c.svg")
    assert not {"accuracy", "validation"} & set(words(path))


def test_confusion_shows_counts_and_row_rates(tmp_path):
    (path,) = figures.confusion([[31, 0], [1100, 3300]], ("covid19", "viral_pneumonia"), tmp_path / "m.svg")
    text = " ".join(words(path))
    for expected in ("31", "100.0 %", "1,100", "25.0 %", "3,300", "75.0 %", "covid19", "viral", "true class"):
        assert expected in text, expected


def test_confusion_of_an_absent_class(tmp_path):
    (path,) = figures.confusion([[5, 1], [0, 0]], ("covid19", "normal"), tmp_path / "m.svg")
    assert sum("no image" in text for text in words(path)) == 2


def test_roc_prints_area_interval_and_paper(tmp_path, two_classes):
    (path,) = figures.roc(two_classes, tmp_path / "roc.svg", paper=0.95)
    area, low, high = delong_interval(two_classes.y_true == 0, two_classes.probabilities[:, 0])
    found = words(path)
    assert f"covid19: {area:.3f} [{low:.3f}, {high:.3f}]" in found
    assert "paper, covid19: 0.95" in found
    assert "area [95 % interval: DeLong]" in found
    assert not any(text.startswith("normal:") for text in found)


def test_roc_takes_the_summary_s_interval(tmp_path, two_classes):
    summary = summarise(two_classes, seed=0, resamples=100)
    entry = summary["measures"]["per_class.covid19.roc_auc"]
    (path,) = figures.roc(two_classes, tmp_path / "roc.svg", summary=summary)
    assert f"covid19: {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]" in words(path)
    assert "area [95 % interval: patient bootstrap]" in words(path)


def test_roc_of_three_classes_with_one_absent(tmp_path):
    scores = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]]
    predictions = predictions_of(scores, [0, 1, 0, 1], ("covid19", "normal", "pneumonia"))
    found = words(figures.roc(predictions, tmp_path / "roc.svg")[0])
    assert "pneumonia: undefined, one class only" in found
    assert any(text.startswith("covid19: 1.000 [") for text in found)
    assert "area [95 % interval: Newcombe]" in found


def test_grid_marks_right_and_wrong_twice(tmp_path):
    pictures = [
        np.full((8, 8), 90, np.uint8),
        np.full((8, 8, 1), 90, np.uint8),
        np.full((8, 8, 3), 90, np.uint8),
    ]
    arguments = (pictures, ["covid19", "viral_pneumonia", "normal"], [True, np.False_, None])
    svg, png = tmp_path / "g.svg", tmp_path / "g.png"
    figures.prediction_grid(*arguments, svg)
    found = words(svg)
    assert "✓ covid19" in found
    assert any(text.startswith("✗ viral") for text in found)
    assert "normal" in found
    assert "predicted label: ✓ right 1, ✗ wrong 1" in found
    assert "stroke-dasharray" in svg.read_text()
    figures.prediction_grid(*arguments, png)
    with Image.open(png) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00)} <= colours


def test_grid_stops_at_32(tmp_path):
    pictures = [np.zeros((4, 4), np.uint8)] * 40
    (path,) = figures.prediction_grid(pictures, ["normal"] * 40, [True] * 40, tmp_path / "g.svg")
    assert sum(text == "✓ normal" for text in words(path)) == 32


def test_grid_needs_one_title_an_image(tmp_path):
    with pytest.raises(DataError, match="1 images, 2 titles, 1 flags"):
        figures.prediction_grid([np.zeros((4, 4), np.uint8)], ["a", "b"], [True], tmp_path / "g.png")


def test_reliability_prints_the_error_of_metrics(tmp_path, two_classes):
    from covidcxr.evaluation.metrics import compute

    (path,) = figures.reliability(two_classes, tmp_path / "r.svg")
    assert f"expected calibration error {compute(two_classes)['ece']:.3f}" in words(path)


def test_same_numbers_same_svg(tmp_path, two_classes):
    (first,) = figures.roc(two_classes, tmp_path / "a.svg")
    (second,) = figures.roc(two_classes, tmp_path / "b.svg")
    assert first.read_bytes() == second.read_bytes()


def test_unwritable_places_and_unknown_formats(tmp_path):
    with pytest.raises(OptionError, match=r"\.png or \.svg"):
        figures.confusion([[1, 0], [0, 1]], ("a", "b"), tmp_path / "m.pdf")
    with pytest.raises(OutputError):
        figures.confusion([[1, 0], [0, 1]], ("a", "b"), tmp_path / "absent" / "m.png")


def test_evaluation_imports_neither_matplotlib_nor_tensorflow():
    modules = "figures, intervals, metrics, predictions, report, tables"
    heavy = {"matplotlib", "tensorflow", "keras", "sklearn", "scipy", "rich"}
    code = f"from covidcxr.evaluation import {modules}; import sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_precision_recall_prints_the_average_precision(tmp_path, two_classes):
    from sklearn.metrics import average_precision_score

    (path,) = figures.precision_recall(two_classes, tmp_path / "pr.svg")
    area = average_precision_score(two_classes.y_true == 0, two_classes.probabilities[:, 0])
    assert f"covid19: {area:.3f}" in words(path)
    summary = summarise(two_classes, seed=0, resamples=100)
    entry = summary["measures"]["per_class.covid19.average_precision"]
    (path,) = figures.precision_recall(two_classes, tmp_path / "pr.svg", summary=summary)
    assert f"covid19: {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]" in words(path)


def models():
    rows = {"group": ["a", "a", "b"], "name": ["a 1", "a 2", "b"], "trainable": [10, 1000, 10**6]}
    return pd.DataFrame(
        {**rows, "value": [0.9, 0.8, 0.7], "low": [0.8, None, 0.6], "high": [0.95, None, 0.8]}
    )


def test_strips_show_every_model_the_mean_and_the_paper(tmp_path):
    (path,) = figures.strips(models(), tmp_path / "s.svg", paper={"a": 0.99})
    found = words(path)
    assert found.count("mean") == found.count("paper") == found.count("one model, 95 % interval") == 1
    assert {"a", "b", "accuracy"} <= set(found)
    with pytest.raises(DataError, match="no model"):
        figures.strips(models().iloc[:0], tmp_path / "s.svg")


def test_accuracy_by_size_names_every_model(tmp_path):
    (path,) = figures.accuracy_by_size(models(), tmp_path / "s.svg")
    assert {"a 1", "a 2", "b", "trainable parameters"} <= set(words(path))
    with pytest.raises(DataError, match="no model"):
        figures.accuracy_by_size(models().iloc[:0], tmp_path / "s.svg")


def test_no_letter_is_printed_smaller_than_seven_points(tmp_path, two_classes, monkeypatch):
    from matplotlib.text import Text

    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append((path, figure)))
    summary = summarise(two_classes, seed=0, resamples=50)
    pictures = [np.zeros((4, 4), np.uint8)] * 32
    figures.learning_curves(history(HEAD_THEN_ALL), "curves")
    figures.confusion([[3, 1], [0, 4]], ("covid19", "normal"), "confusion")
    figures.roc(two_classes, "roc", summary=summary)
    figures.precision_recall(two_classes, "precision", summary=summary)
    figures.reliability(two_classes, "reliability")
    figures.strips(models(), "strips")
    figures.accuracy_by_size(models(), "size")
    figures.prediction_grid(pictures, ["viral_pneumonia"] * 32, [True] * 32, "grid")
    assert len(drawn) == 8
    for name, figure in drawn:
        width = figure.get_size_inches()[0]
        page = figures.COLUMN if width <= figures.COLUMN else figures.PAGE
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) * min(1, page / width) >= 7 - 1e-9, name
