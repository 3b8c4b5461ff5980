"""`covidcxr predict` without a model, or with the name of one that comes with the package."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.models import shipped
from covidcxr.models.files import ModelInfo, save_model

NAMES = ("first", "second")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, a model of the user's own, and two shipped ones of which the second is the default."""
    import keras

    root = tmp_path_factory.mktemp("place")
    (root / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "images" / "a.png")
    preprocessing = Preprocessing((32, 32), rescale=1 / 255).to_dict()
    info = ModelInfo("ragab2022", "tiny", "sound", ("covid19", "normal"), preprocessing, 0, {})
    lines = [",".join(shipped.COLUMNS)]
    for number, name in enumerate(("own", *NAMES)):
        layers = [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D()]
        model = keras.Sequential([*layers, keras.layers.Dense(2, "softmax", bias_initializer="zeros")])
        model.set_weights([np.zeros((3, 2)), np.array([float(number), 0.0])])
        folder = root if name == "own" else root / "shelf" / name
        folder.mkdir(parents=True, exist_ok=True)
        save_model(model, folder / ("own.h5" if name == "own" else "model.h5"), info)
        row = dict.fromkeys(shipped.COLUMNS, "0.5") | {"name": name, "classes": "covid19 normal"}
        row["default"] = "yes" if name == NAMES[1] else ""
        if name != "own":
            lines.append(",".join(row[column] for column in shipped.COLUMNS))
    (root / "shelf" / "index.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(autouse=True)
def shelf(place, monkeypatch):
    monkeypatch.setenv(shipped.FOLDER_VARIABLE, str(place / "shelf"))
    monkeypatch.chdir(place)


def predicted(*words):
    """Predict, and tell by the probability which of the three models did."""
    assert main(["predict", *words, "--out", "out.csv"]) == 0
    odds = pd.read_csv("out.csv")["prob_covid19"].map(lambda share: np.log(share / (1 - share)))
    return ("own", *NAMES)[round(odds[0])]


def told(capsys, *words):
    capsys.readouterr()
    assert main(["predict", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_default_is_used_and_named(place, capsys):
    assert predicted("images/a.png") == "second"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("covidcxr: model second (the default) tells covid19, normal apart")
    assert line.endswith("Not a medical device.")
    assert predicted("images") == "second"
    assert predicted("images", "images/a.png") == "second"


def test_a_name_stands_for_its_model(place, capsys):
    assert predicted("first", "images") == "first"
    assert "covidcxr: model first tells" in capsys.readouterr().err


def test_a_file_is_taken_as_before(place, capsys):
    assert predicted("own.h5", "images") == "own"
    assert predicted("own.h5", "images/a.png", "images") == "own"
    assert capsys.readouterr().err == ""


def test_a_name_wins_over_a_folder_of_images_of_that_name(place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "a.png").write_bytes((place / "images" / "a.png").read_bytes())
    assert predicted("first", "first") == "first"
    assert predicted("./first") == "second"
    monkeypatch.chdir(place / "shelf")
    assert predicted("first", "../images") == "first"


def test_what_is_neither_model_nor_image_is_told(place, capsys, tmp_path):
    assert "thrid: no such image or folder, and no model" in told(capsys, "thrid", "images")
    assert "gone.h5" in told(capsys, "gone.h5", "images")
    assert "name images to predict" in told(capsys)
    assert "first: is a model; name the images after it" in told(capsys, "first")
    assert "own.h5: is a model" in told(capsys, "own.h5")
    assert "--list" in told(capsys, "images", "--list")
    # Its figures are no radiographs.
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "run" / "model.h5").write_bytes((place / "own.h5").read_bytes())
    assert "a folder, not a model file" in told(capsys, str(tmp_path / "run"), "images")
    (tmp_path / "nameless").write_bytes((place / "own.h5").read_bytes())
    assert "name the images" in told(capsys, str(tmp_path / "nameless"))


def test_where_none_is_shipped_a_model_must_be_named(capsys, tmp_path, monkeypatch):
    (tmp_path / "index.csv").write_text(",".join(shipped.COLUMNS) + "\n")
    monkeypatch.setenv(shipped.FOLDER_VARIABLE, str(tmp_path))
    assert "none is shipped yet" in told(capsys, "images")


def test_a_result_is_not_written_over_a_shipped_model(place, capsys):
    assert "one of the files that are read" in told(capsys, "images", "--out", "shelf/second/model.h5")


def test_evaluate_takes_a_name_too(place, capsys, tmp_path):
    assert main(["evaluate", "first", "--data", str(tmp_path / "gone")]) == 2
    assert "gone" in capsys.readouterr().err
