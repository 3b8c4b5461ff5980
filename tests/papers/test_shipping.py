"""From a finished run to a shipped model, and every reason to refuse one."""

import json
import os
import shutil
import sys
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr.cli import main
from covidcxr.data.sources import phantom
from covidcxr.errors import CovidcxrError, DataError, ModelError, OptionError, OutputError
from covidcxr.evaluation.predictions import read_csv
from covidcxr.inference import predict_files
from covidcxr.models import shipped
from covidcxr.models.files import info_of, load_model, read_info, save_model
from covidcxr.models.weights_report import sha256
from covidcxr.papers import ragab2022
from covidcxr.papers.recipe import Network
from covidcxr.papers.shipping import facts, index, rules, ship, split

SIDE = 32


def build(classes, dropout, input_size):
    layers = [
        keras.Input((input_size, input_size, 3)),
        keras.layers.AveragePooling2D(8),
        keras.layers.Conv2D(32, 3, activation="relu", padding="same", name="conv1"),
        keras.layers.Conv2D(80, 3, activation="relu", padding="same", name="conv2"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(classes, "softmax", name="head_probabilities"),
    ]
    return keras.Sequential(layers)


@pytest.fixture(autouse=True, scope="module")
def recipe():
    network = Network("two convolutions", build, "mobilenet_v2", (SIDE, SIDE))
    known = ragab2022.RECIPE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", replace(known, networks={**known.networks, "tiny": network}))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom-images")
    phantom.write(folder, {"covid19": 20, "normal": 30}, size=64, seed=5)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a-private-place") / "run"
    words = ["train", "ragab2022", "--data", str(data), "--weights", "none", "--model", "tiny"]
    words += ["--protocol", "sound", "--epochs", "2", "--batch-size", "8", "--out", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["covidcxr", *words])
        assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def shelf(run, tmp_path_factory):
    """A folder with one shipped model; tests only read it."""
    place = tmp_path_factory.mktemp("shelf")
    assert main(["models", "ship", str(run), "--out", str(place / "tiny"), "--storage", "float16"]) == 0
    return place


def copied(run, tmp_path, change=None):
    """Copy a run; `change` may edit the network of its model.h5."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    if change:
        model = load_model(folder / "model.h5")
        change(model)
        save_model(model, folder / "model.h5", info_of(model))
    return folder


def refused(error, words, *arguments, **options):
    with pytest.raises(error, match=words) as caught:
        ship.ship(*arguments, **options)
    assert isinstance(caught.value, CovidcxrError)
    assert "\n" not in str(caught.value)


def test_a_shipped_model_has_its_card_its_scores_and_its_split(shelf):
    assert {path.name for path in (shelf / "tiny").iterdir()} == set(shipped.FILES)
    assert {path.name for path in shelf.iterdir()} == {"tiny", "index.csv"}
    card = (shelf / "tiny" / "model_card.md").read_text()
    for words in (
        "Not a medical device",
        "covid19, normal",
        "conv1, conv2",
        "none needed; no patient is shown",
    ):
        assert words in card
    assert "covidcxr train ragab2022 --data DATA --weights none" in card
    assert "| test |" in card


def test_half_the_storage_predicts_what_the_run_did(run, data, shelf):
    model = load_model(shelf / "tiny" / "model.h5")
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    assert (shelf / "tiny" / "model.h5").stat().st_size < (run / "model.h5").stat().st_size - 40_000
    before = read_csv(run / "predictions.csv")
    after = predict_files(model, [data / path for path in before.table["path"]])
    assert 0 < np.abs(after - before.probabilities).max() <= rules.LARGEST_CHANGE
    about = json.loads((shelf / "tiny" / "metrics.json").read_text())["model"]
    assert about["largest_change"] == pytest.approx(np.abs(after - before.probabilities).max())
    assert about["images_compared"] == len(before)
    assert about["sha256"] == sha256(shelf / "tiny" / "model.h5")


def test_scores_are_those_of_the_run(run, shelf):
    before = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    after = json.loads((shelf / "tiny" / "metrics.json").read_text())
    assert after["split"] == "test"
    for name in ("images", "patients", "confusion_matrix", "accuracy", "balanced_accuracy"):
        assert after[name] == before[name]
    for name in (
        "accuracy",
        "per_class.covid19.sensitivity",
        "per_class.covid19.specificity",
        "macro.roc_auc",
    ):
        one, two = (scores["intervals"]["measures"][name] for scores in (before, after))
        assert [one[key] for key in ("value", "low", "high")] == pytest.approx(
            [two[key] for key in ("value", "low", "high")], abs=1e-3
        )


def test_the_split_names_every_image_by_name_and_hash_and_no_patient(run, data, shelf):
    table = pd.read_csv(shelf / "tiny" / "split.csv", dtype=str)
    known = pd.read_csv(run / "split.csv", dtype=str)
    assert tuple(table.columns) == split.COLUMNS
    assert table[["path", "split"]].equals(known[["path", "split"]])
    assert [sha256(data / path) for path in table["path"]] == list(table["sha256"])
    text = (shelf / "tiny" / "split.csv").read_text()
    assert not any(patient in text for patient in known["patient_id"])


def test_no_file_names_a_place_on_this_machine(run, data, shelf):
    places = [
        os.fsencode(place) for place in (run, run.parent.name, data, data.name, os.path.expanduser("~"))
    ]
    files = [path for path in shelf.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        assert not [place for place in places if place in path.read_bytes()], path.name


def test_evaluating_it_on_its_split_gives_its_scores(data, shelf, tmp_path, monkeypatch):
    monkeypatch.setenv(shipped.FOLDER_VARIABLE, str(shelf))
    words = ["evaluate", "tiny", "--data", str(data), "--split-file", str(shelf / "tiny" / "split.csv")]
    assert main([*words, "--split", "test", "--out", str(tmp_path / "again")]) == 0
    one, two = (
        json.loads((place / "metrics.json").read_text()) for place in (shelf / "tiny", tmp_path / "again")
    )
    assert one["confusion_matrix"] == two["confusion_matrix"]
    assert one["patients"] == two["patients"]
    assert one["macro"]["roc_auc"] == pytest.approx(two["macro"]["roc_auc"], abs=1e-6)


def test_what_the_file_tells_keeps_classes_and_preprocessing_and_no_folder(run, shelf):
    before, after = read_info(run / "model.h5"), read_info(shelf / "tiny" / "model.h5")
    assert after.class_names == before.class_names
    assert after.preprocessing == before.preprocessing
    assert after.extra["weights"] == "none"


def test_labels_that_the_data_spells_otherwise_are_mapped(data):
    table = pd.DataFrame({"path": sorted(p.relative_to(data).as_posix() for p in data.rglob("*.png"))})
    table["label"] = table["path"].map(lambda path: "sick" if "covid19" in path else "normal")
    assert split.mapping(table, data) == {"covid19": "sick"}


def test_a_model_that_was_copied_elsewhere_is_shipped_from_there(run, data, tmp_path):
    shutil.copytree(data, tmp_path / "moved")
    config = json.loads((run / "config.json").read_text())
    folder = copied(run, tmp_path)
    (folder / "config.json").write_text(json.dumps({**config, "data_root": str(tmp_path / "gone")}))
    refused(DataError, "images of the run are not there.*--data", folder, tmp_path / "shelf" / "a")
    ship.ship(folder, tmp_path / "shelf" / "a", tmp_path / "moved")
    assert (tmp_path / "shelf" / "a" / "model.h5").is_file()


def freeze(*names):
    def change(model):
        for name in names:
            model.get_layer(name).trainable = False

    return change


def test_a_backbone_that_was_not_trained_is_refused(run, tmp_path):
    folder = copied(run, tmp_path, freeze("conv1", "conv2"))
    refused(ModelError, r"last block of its backbone \(conv2\) stayed frozen", folder, tmp_path / "out" / "a")
    assert not list((tmp_path / "out").rglob("*")) if (tmp_path / "out").exists() else True


def test_a_backbone_trained_in_part_is_shipped_and_says_so(run, tmp_path):
    folder = copied(run, tmp_path, freeze("conv1"))
    ship.ship(folder, tmp_path / "out" / "a")
    about = json.loads((tmp_path / "out" / "a" / "metrics.json").read_text())["model"]["trained"]
    assert about["blocks"] == ["conv2"]
    assert about["frozen"] == ["conv1"]
    assert (about["layers"], about["of_layers"]) == (2, 3)
    assert "| blocks with frozen layers | conv1 |" in (tmp_path / "out" / "a" / "model_card.md").read_text()


def test_a_network_without_known_blocks_is_judged_by_its_last_layer():
    def model(frozen):
        layers = [keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")]
        built = keras.Sequential([*layers, keras.layers.Dense(2, "softmax", name="head_probabilities")])
        built.get_layer(frozen).trainable = False
        return built

    assert rules.trained(model("a"), "m.h5").frozen == ("a",)
    with pytest.raises(ModelError, match=r"m.h5.*\(b\)"):
        rules.trained(model("b"), "m.h5")


def test_a_file_that_predicts_otherwise_is_refused(run, tmp_path):
    def shift(model):
        layer = model.get_layer("head_probabilities")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias + np.array([0.05, 0])])

    folder = copied(run, tmp_path, shift)
    refused(ModelError, "predicts otherwise than the run did", folder, tmp_path / "out" / "a")
    assert list((tmp_path / "out").iterdir()) == []


def test_where_half_the_storage_does_not_do_the_whole_is_taken(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "LARGEST_CHANGE", 1e-12)
    refused(ModelError, "predicts otherwise", run, tmp_path / "a", storage="float16")
    ship.ship(run, tmp_path / "a")
    about = json.loads((tmp_path / "a" / "metrics.json").read_text())["model"]
    assert (about["storage"], about["largest_change"]) == ("float32", 0)


def test_large_files_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "LARGEST_FILE", 50_000)
    refused(ModelError, r"0\.1 MB, and a shipped model has at most", run, tmp_path / "a")
    monkeypatch.setattr(rules, "LARGEST_FILE", 1_000_000)
    ship.ship(run, tmp_path / "a")
    monkeypatch.setattr(rules, "LARGEST_SHELF", (tmp_path / "a" / "model.h5").stat().st_size * 3 // 2)
    refused(ModelError, r"beside 0\.1 MB of other models", run, tmp_path / "b")
    # Its own place taken again, it is not counted twice.
    ship.ship(run, tmp_path / "a", overwrite=True)


def test_places_and_names_are_refused(run, shelf, tmp_path):
    refused(OutputError, "add --overwrite", run, shelf / "tiny")
    refused(OptionError, "letters, digits", run, tmp_path / "a,b.h5")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    refused(OutputError, "notes.txt", run, tmp_path / "mine", overwrite=True)
    refused(OptionError, "--storage int8", run, tmp_path / "a", storage="int8")
    refused(DataError, "not a run folder", shelf, tmp_path / "a")


def test_scores_on_generated_images_are_refused(run, data, tmp_path):
    folder = copied(run, tmp_path)
    table = pd.read_csv(folder / "split.csv", dtype=str)
    table.loc[table["split"] == "test", "source"] = "generated"
    table.to_csv(folder / "split.csv", index=False)
    refused(DataError, "scored on generated images", folder, tmp_path / "a")


def test_a_place_in_a_note_is_taken_out_or_refused(run, data, tmp_path):
    config = json.loads((run / "config.json").read_text())
    notes = [f"{data}/other: not read", "2 patients have images in more than one split, such as phantom-1"]
    folder = copied(run, tmp_path)
    (folder / "config.json").write_text(json.dumps({**config, "notes": notes}))
    ship.ship(folder, tmp_path / "a")
    card = (tmp_path / "a" / "model_card.md").read_text()
    assert "- other: not read" in card
    assert "more than one split\n" in card
    home = os.path.expanduser("~")
    (folder / "config.json").write_text(json.dumps({**config, "network": f"{home}/private/thing"}))
    if len(home) >= facts.SHORTEST:
        refused(OutputError, "a place on this machine", folder, tmp_path / "b")


def row(name, classes="covid19 normal pneumonia", low="0.8", protocol="sound"):
    return {"name": name, "classes": classes, "balanced_accuracy_low": low, "protocol": protocol}


def test_the_default_is_chosen_by_the_rule_written_before():
    assert index.best([row("a", low="0.7"), row("b", low="0.8"), row("c", low="0.75")]) == "b"
    assert index.best([row("b"), row("a")]) == "a"
    assert index.best([row("a", protocol="published"), row("b", low="0.1")]) == "b"
    assert index.best([row("a", classes="covid19 normal"), row("b", low="0.1")]) == "b"
    assert index.best([row("a", classes="normal pneumonia")]) is None
    assert index.best([row("a", classes="covid19 normal viral_pneumonia", low="")]) is None
    assert index.best([]) is None


def test_the_index_is_made_of_what_lies_there(shelf, tmp_path):
    shutil.copytree(shelf / "tiny", tmp_path / "b")
    shutil.copytree(shelf / "tiny", tmp_path / "a")
    index.write(tmp_path)
    lines = (tmp_path / "index.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["name", "a", "b"]
    shutil.rmtree(tmp_path / "a")
    assert [made["name"] for made in index.write(tmp_path)] == ["b"]
    (tmp_path / "b" / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match=r"metrics\.json"):
        index.made(tmp_path)
