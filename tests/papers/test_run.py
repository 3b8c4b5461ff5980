"""One small run through the command, and everything that must hold of what it leaves behind."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import covidcxr
from covidcxr.cli import main
from covidcxr.data.sources import phantom
from covidcxr.evaluation.predictions import read_csv
from covidcxr.models.files import info_of, read_info

COUNTS = {"covid19": 20, "normal": 30}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    phantom.write(folder, COUNTS, size=96, seed=5)
    return folder


def train(data, out, *more):
    options = ["--data", str(data), "--weights", "none", "--model", "prose-mobilenetv2", "--batch-size", "8"]
    return main(["train", "ragab2022", *options, "--epochs", "2", "--out", str(out), *more])


@pytest.fixture(scope="module", params=["published", "sound"])
def run(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    assert train(data, folder, "--protocol", request.param) == 0
    return folder


def test_the_run_folder_is_complete(run):
    names = {path.name for path in run.iterdir()}
    assert names == {
        "checkpoint",
        "config.json",
        "exclusions.csv",
        "figures",
        "history.csv",
        "logs",
        "metrics.json",
        "model.h5",
        "predictions.csv",
        "report.html",
        "split.csv",
    }
    figures = {path.stem for path in (run / "figures").iterdir()}
    assert {"learning_curves", "confusion", "roc", "predictions", "reliability"} <= figures


def test_the_split_is_the_protocols(run):
    split = pd.read_csv(run / "split.csv")
    if run.name == "published":
        assert split.groupby(["label", "split"]).size().to_dict() == {
            ("covid19", "train"): 16,
            ("covid19", "val"): 4,
            ("normal", "train"): 24,
            ("normal", "val"): 6,
        }
    else:
        assert set(split["split"]) == {"train", "val", "test"}
        assert split.groupby("patient_id")["split"].nunique().max() == 1


@pytest.mark.slow
def test_the_saved_model_repeats_the_predictions_in_a_fresh_process(run, data):
    code = (
        "import sys, covidcxr, pandas\n"
        "out = covidcxr.predict(covidcxr.load_model(sys.argv[1]), sys.argv[3:])\n"
        "out.to_csv(sys.argv[2], index=False, float_format='%.9g')\n"
    )
    written = read_csv(run / "predictions.csv")
    files = [str(data / path) for path in written.table["path"]]
    again = run.parent / f"{run.name}-again.csv"
    subprocess.run([sys.executable, "-c", code, str(run / "model.h5"), str(again), *files], check=True)
    columns = [f"prob_{name}" for name in written.class_names]
    np.testing.assert_allclose(pd.read_csv(again)[columns], written.probabilities, atol=1e-5)


def test_metrics_are_those_of_the_predictions(run):
    from sklearn.metrics import accuracy_score, roc_auc_score

    metrics = json.loads((run / "metrics.json").read_text())
    table = read_csv(run / "predictions.csv").subset(metrics["headline_split"]).table
    block = metrics["splits"][metrics["headline_split"]]
    assert block["accuracy"] == pytest.approx(accuracy_score(table["label"], table["predicted"]))
    area = roc_auc_score(table["label"] == "covid19", table["prob_covid19"])
    assert block["per_class"]["covid19"]["roc_auc"] == pytest.approx(area)


def test_the_paper_stands_beside_the_run(run):
    page = (run / "report.html").read_text()
    assert "99.02 %" in page
    assert "Not a medical device" in page
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    assert 0.9902 in [row["paper"] for row in rows]


def test_the_model_says_what_it_is(run):
    info = read_info(run / "model.h5")
    assert (info.paper, info.network, info.protocol) == ("ragab2022", "prose-mobilenetv2", run.name)
    assert info.class_names == ("covid19", "normal")
    assert info.preprocessing["size"] == [128, 128]
    assert info_of(covidcxr.load_model(run / "model.h5")) == info


def test_predict_keeps_unreadable_images_as_rows(run, data, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    good = next((data / "covid19").glob("*.png"))
    out = tmp_path / "out.json"
    code = main(
        ["predict", str(run / "model.h5"), str(good), str(tmp_path / "broken.png"), "--out", str(out)]
    )
    assert code == 0
    first, second = json.loads(out.read_text())
    assert first["prob_covid19"] + first["prob_normal"] == pytest.approx(1, abs=1e-6)
    assert second["prob_covid19"] is None
    assert "broken.png" in second["error"]
    assert "1 of 2 images could not be read" in capsys.readouterr().err


def test_predict_takes_arrays_too(run, data):
    from covidcxr.data.images import read_grey

    model = covidcxr.load_model(run / "model.h5")
    path = next((data / "normal").glob("*.png"))
    by_path = covidcxr.predict(model, path)
    by_array = covidcxr.predict(model, read_grey(path))
    assert by_array["prob_normal"].to_numpy() == pytest.approx(by_path["prob_normal"].to_numpy(), abs=1e-6)


def test_evaluate_scores_the_runs_own_split(run, data, tmp_path):
    split = json.loads((run / "metrics.json").read_text())["headline_split"]
    arguments = ["--data", str(data), "--split-file", str(run / "split.csv"), "--split", split]
    assert main(["evaluate", str(run / "model.h5"), *arguments, "--out", str(tmp_path / "e")]) == 0
    scored = json.loads((tmp_path / "e" / "metrics.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    assert scored["accuracy"] == pytest.approx(metrics["splits"][split]["accuracy"])


def test_a_run_is_not_overwritten_by_accident(run, data, capsys):
    before = (run / "model.h5").read_bytes()
    assert train(data, run) == 2
    assert "a run stands there" in capsys.readouterr().err
    assert (run / "model.h5").read_bytes() == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(data, tmp_path):
    for name in ("one", "two"):
        assert train(data, tmp_path / name, "--epochs", "1") == 0
    one, two = (read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two"))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_in_python_the_same_run_returns_what_it_wrote(data, tmp_path):
    result = covidcxr.papers.get("ragab2022").run(
        data=data, weights="none", model="prose-mobilenet", batch_size=8, epochs=1, out=tmp_path / "run"
    )
    assert len(result.history) == 1
    assert result.folder == tmp_path / "run"
    np.testing.assert_array_equal(
        result.predictions.probabilities, read_csv(tmp_path / "run" / "predictions.csv").probabilities
    )


@pytest.mark.slow
def test_a_split_written_before_is_used_again(run, data, tmp_path):
    again = tmp_path / "again"
    assert train(data, again, "--protocol", run.name, "--split", str(run / "split.csv"), "--epochs", "1") == 0
    old, new = (pd.read_csv(folder / "split.csv").set_index("path")["split"] for folder in (run, again))
    pd.testing.assert_series_equal(old, new)


@pytest.mark.slow
def test_train_and_test_folders_can_be_taken_as_they_are(data, tmp_path, capsys):
    """ragab2022 keeps its images in train/ and test/, and validates on the second."""
    for label in COUNTS:
        for number, path in enumerate(sorted((data / label).glob("*.png"))):
            target = tmp_path / "own" / ("test" if number % 5 == 0 else "train") / label.upper() / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert train(tmp_path / "own", tmp_path / "run", "--split", "given", "--epochs", "1") == 0
    split = pd.read_csv(tmp_path / "run" / "split.csv")
    assert split.groupby("split").size().to_dict() == {"train": 40, "val": 10}
    assert split["path"].str.startswith("test/").eq(split["split"] == "val").all()
    assert train(tmp_path / "own", tmp_path / "sound", "--split", "given", "--protocol", "sound") == 2
    assert "has no part val" in capsys.readouterr().err
    assert not (tmp_path / "sound").exists()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_predictions(run, data, tmp_path):
    """SIGKILL after the first epoch; two epochs in all, as in the uninterrupted run."""
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "covidcxr",
        "train",
        "ragab2022",
        "--data",
        str(data),
        "--weights",
        "none",
    ]
    command += ["--model", "prose-mobilenetv2", "--batch-size", "8", "--epochs", "2", "--protocol", run.name]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    while not (out / "checkpoint" / "state.json").is_file():
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (out / "model.h5").exists()
    assert main(["train", "ragab2022", "--resume", "--out", str(out)]) == 0
    one, two = (read_csv(folder / "predictions.csv") for folder in (run, out))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_thresholds_are_chosen_on_validation_and_held_on_test(run):
    from covidcxr.evaluation.thresholds import choose

    held = json.loads((run / "metrics.json").read_text())["thresholds"]
    if run.name == "published":
        assert held == [], "what is reported on is no place to choose by"
        return
    predictions = read_csv(run / "predictions.csv")
    assert [each["threshold"]["rule"] for each in held] == ["youden", "sensitivity >= 0.95"]
    assert held[0]["threshold"]["value"] == pytest.approx(choose(predictions, "youden").value, abs=1e-6)
    assert held[0]["images"] == len(predictions.subset("test"))
