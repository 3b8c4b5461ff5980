"""Explanations of a model file's predictions on image files, with and without masks."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import DataError, ModelError, OptionError
from covidcxr.evaluation.explanations import METHODS, Explanations, explain, lung_share
from covidcxr.models.files import ModelInfo, load_model, save_model

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six radiographs of noise with a bright square: in the mask's half for three, outside it for three."""
    root = tmp_path_factory.mktemp("explained")
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "masks").mkdir()
    half = np.zeros((SIZE, SIZE), np.uint8)
    half[:, : SIZE // 2] = 255
    for number in range(6):
        grey = rng.integers(0, 120, (SIZE, SIZE)).astype(np.uint8)
        left = 4 if number < 3 else 20
        grey[12:20, left : left + 8] = 255
        Image.fromarray(grey).save(root / "images" / f"{number}.png")
        Image.fromarray(half).save(root / "masks" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A network that answers to the bright square wherever it lies."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Conv2D(1, 1, activation="relu", name="bright")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="out")(x))
    model.get_layer("bright").set_weights([np.ones((1, 1, 1, 1)), np.array([-0.6])])
    model.get_layer("out").set_weights([np.array([[40.0, -40.0]]), np.array([0.0, 1.0])])
    preprocessing = Preprocessing((SIZE, SIZE), channels=1, rescale=1 / 255).to_dict()
    info = ModelInfo("none", "toy", "sound", ("covid19", "normal"), preprocessing, 0, {})
    return save_model(model, tmp_path_factory.mktemp("model") / "model.h5", info)


@pytest.mark.parametrize("method", METHODS)
def test_the_share_inside_the_mask(folder, model_file, method):
    result = explain(model_file, folder / "images", folder / "masks", method)
    assert result.table["path"].tolist() == [str(folder / "images" / f"{n}.png") for n in range(6)]
    assert set(result.table["predicted"]) == {"covid19"}
    assert (result.table["probability"] > 0.5).all()
    assert result.table["area_share"].tolist() == [0.5] * 6
    assert (result.table["lung_share"][:3] > 0.9).all()
    assert (result.table["lung_share"][3:] < 0.1).all()
    assert set(result.table["lung_field"]) == {"mask"}
    preference = result.lung_preference(seed=1, resamples=300)
    assert preference["value"] == pytest.approx(result.table["lung_share"].mean() / 0.5)
    assert preference["low"] < 1 < preference["high"]
    assert (preference["images"], preference["patients"]) == (6, 6)


def test_images_are_drawn_and_estimates_named(folder, model_file):
    model = load_model(model_file)
    first = explain(model, folder / "images", most=3, seed=4)
    assert len(first.table) == 3
    assert first.table.equals(explain(model, folder / "images", most=3, seed=4).table)
    assert first.table["path"].is_monotonic_increasing
    assert {tuple(explain(model, folder / "images", most=3, seed=s).table["path"]) for s in range(5)} != {
        tuple(first.table["path"])
    }
    assert set(first.table["lung_field"]) == {"estimate"}
    assert first.layer == "bright"


def test_an_unknown_patient_is_one_of_its_own(folder, model_file):
    patients = ["a", "a", "", "", "b", "b"]
    result = explain(model_file, folder / "images", folder / "masks", patients=patients)
    files = result.table["path"].tolist()
    assert result.table["patient_id"].tolist() == ["a", "a", files[2], files[3], "b", "b"]
    assert result.lung_preference(resamples=50)["patients"] == 4


def test_only_images_with_a_mask_are_explained(folder, model_file, tmp_path):
    (tmp_path / "2.png").write_bytes((folder / "masks" / "2.png").read_bytes())
    result = explain(model_file, folder / "images", tmp_path)
    assert result.table["path"].tolist() == [str(folder / "images" / "2.png")]
    alone = result.lung_preference()
    assert alone["value"] > 1
    assert alone["low"] is None


def test_a_class_that_nothing_speaks_for_has_no_share(folder, model_file):
    """The square speaks against normal everywhere: Grad-CAM's map is empty, and the share undefined, not 0."""
    result = explain(model_file, folder / "images", folder / "masks", target="normal")
    assert set(result.table["explained"]) == {"normal"}
    assert result.table["lung_share"].isna().all()
    assert result.lung_preference()["value"] is None
    assert result.figure(folder / "empty.png")


def test_figures_are_the_same_twice(folder, model_file, tmp_path):
    result = explain(model_file, folder / "images", folder / "masks", most=4)
    written = result.figure(tmp_path / "a")
    assert [path.name for path in written] == ["a.png", "a.svg"]
    result.figure(tmp_path / "b")
    svg = (tmp_path / "a.svg").read_text()
    assert svg == (tmp_path / "b.svg").read_text()
    with Image.open(tmp_path / "a.png") as png:
        assert png.width > 600
        # The map is drawn in colour over a grey picture.
        assert np.ptp(np.asarray(png.convert("RGB")).astype(int), axis=2).max() > 60


def test_patients_are_what_is_resampled():
    """Four copies of each patient's image must not narrow the interval."""
    table = pd.DataFrame(
        {
            "patient_id": list("abcdefgh"),
            "lung_share": [0.1, 0.9, 0.4, 0.7, 0.2, 0.8, 0.5, 0.6],
            "area_share": [0.3, 0.2, 0.3, 0.25, 0.3, 0.2, 0.3, 0.25],
            "lung_field": "mask",
        }
    )
    one = Explanations(table, (), "gradcam", "").lung_preference(seed=3)
    four = Explanations(pd.concat([table] * 4), (), "gradcam", "").lung_preference(seed=3)
    assert one["value"] == pytest.approx(4.2 / 2.1)
    assert (four["low"], four["high"]) == pytest.approx((one["low"], one["high"]))
    apart = Explanations(
        pd.concat([table] * 4).assign(patient_id=[str(n) for n in range(32)]), (), "gradcam", ""
    ).lung_preference(seed=3)
    assert apart["high"] - apart["low"] < 0.6 * (one["high"] - one["low"])


def test_lung_share_by_hand():
    field = np.array([[True, False]])
    assert lung_share(np.array([[3.0, 1.0]]), field) == 0.75
    assert lung_share(np.array([[3.0, -5.0]]), field) == 1.0
    assert np.isnan(lung_share(np.array([[-3.0, 0.0]]), field))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "lime"}, OptionError, "choose one of gradcam, occlusion"),
        ({"target": "sars"}, OptionError, "classes are covid19, normal"),
        ({"method": "occlusion", "steps": 3}, OptionError, "no option 'steps'; it takes patch, stride"),
        ({"most": 0}, OptionError, "at least one image"),
        ({"patients": ["a"]}, DataError, "1 patients for 6 images"),
        ({"layer": "none"}, OptionError, "'none': not in"),
    ],
)
def test_options_without_meaning(folder, model_file, options, error, words):
    with pytest.raises(error, match=words):
        explain(model_file, folder / "images", **options)


def test_a_model_without_preprocessing(folder):
    import keras

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="no class names and preprocessing"):
        explain(model, folder / "images")
