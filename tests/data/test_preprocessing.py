"""The one preprocessing against Keras' ImageDataGenerator and keras.applications."""

import json

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.images import GreyReading
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import DataError, ImageError, ModelError, OptionError

RNG = np.random.default_rng(7)
BATCH = RNG.integers(0, 256, (3, 9, 12, 3)).astype(np.float32)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.0)


def keras_standardized(image, **options):
    """Standardize a copy of one image as Keras' iterators do."""
    from tensorflow.keras.applications.imagenet_utils import preprocess_input
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    mode, mean, std = (options.pop(key, None) for key in ("mode", "featurewise_mean", "featurewise_std"))
    generator = ImageDataGenerator(
        preprocessing_function=mode and (lambda x: preprocess_input(x, mode=mode)),
        featurewise_center=mean is not None,
        featurewise_std_normalization=std is not None,
        **options,
    )
    generator.mean = None if mean is None else np.asarray(mean, np.float32)
    generator.std = None if std is None else np.asarray(std, np.float32)
    return generator.standardize(image.copy())


# Keras warns that a deviation implies a centre, and that none was fitted.
@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rescale": 1 / 255},
        {"mode": "tf"},
        {"mode": "torch"},
        {"mode": "caffe"},
        {"samplewise_center": True},
        {"samplewise_std_normalization": True},
        {"rescale": 1 / 255, "featurewise_mean": MEAN},
        {"rescale": 1 / 255, "featurewise_std": STD},
        {"rescale": 1 / 255, "featurewise_mean": (0.5,), "featurewise_std": (0.25,)},
        {
            "mode": "torch",
            "rescale": 0.5,
            "samplewise_center": True,
            "samplewise_std_normalization": True,
            "featurewise_mean": MEAN,
            "featurewise_std": STD,
        },
    ],
)
def test_standardize_is_keras_to_the_last_bit(options):
    preprocessing = Preprocessing((9, 12), **options)
    expected = np.stack([keras_standardized(image, **options) for image in BATCH])
    before = BATCH.copy()
    result = preprocessing.standardize(BATCH)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(preprocessing.standardize(BATCH[1]), expected[1])
    assert result.dtype == np.float32
    np.testing.assert_array_equal(BATCH, before)


def test_a_constant_image_survives_division_by_its_deviation():
    preprocessing = Preprocessing((4, 4), samplewise_center=True, samplewise_std_normalization=True)
    assert not preprocessing.standardize(np.full((4, 4, 3), 9)).any()


def test_the_whole_path_is_keras_flow_from_directory(tmp_path):
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    (tmp_path / "one").mkdir()
    paths = [tmp_path / "one" / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(RNG.integers(0, 256, (31, 23), dtype=np.uint8)).save(path)
    generator = ImageDataGenerator(rescale=1 / 255, samplewise_center=True)
    flow = generator.flow_from_directory(
        tmp_path, target_size=(16, 20), class_mode=None, shuffle=False, batch_size=3
    )
    preprocessing = Preprocessing((16, 20), rescale=1 / 255, samplewise_center=True)
    np.testing.assert_array_equal(preprocessing.batch(paths), flow[0])
    np.testing.assert_array_equal(preprocessing(paths[1]), flow[0][1])


def test_load_expand_and_batch(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RNG.integers(0, 256, (10, 8), dtype=np.uint8)).save(path)
    preprocessing = Preprocessing([5, 6], channels=1, interpolation="box")
    grey = preprocessing.load(path)
    assert (grey.dtype, grey.shape) == (np.uint8, (5, 6))
    assert preprocessing.expand(grey[None]).shape == (1, 5, 6, 1)
    three = Preprocessing((5, 6)).expand(grey)
    assert (three.dtype, three.shape) == (np.float32, (5, 6, 3))
    assert (three == grey[..., None]).all()
    assert preprocessing.batch([]).shape == (0, 5, 6, 1)
    assert preprocessing.batch(iter([path, path])).shape == (2, 5, 6, 1)
    with pytest.raises(ImageError, match="no such file"):
        preprocessing.batch([path, tmp_path / "none.png"])


def test_the_reading_is_used(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[10, 60, 110]], np.uint8)).save(path)
    stretched = Preprocessing((1, 3), reading=GreyReading(depth="min_max"))
    np.testing.assert_array_equal(stretched.load(path), [[0, 128, 255]])


def test_real_files_as_a_batch(shared):
    folder = shared / "data" / "chest_xray" / "val" / "NORMAL"
    paths = sorted(folder.iterdir())[:4]
    batch = Preprocessing((64, 64), mode="tf", interpolation="bilinear").batch(paths)
    assert batch.shape == (4, 64, 64, 3)
    assert -1 <= batch.min() < -0.5 < 0.2 < batch.max() <= 1


def test_round_trip_through_json():
    for preprocessing in (
        Preprocessing((224, 200)),
        Preprocessing(
            (300, 300),
            channels=3,
            interpolation="cv2_linear",
            reading=GreyReading(invert_monochrome1=False, depth="as_stored"),
            mode="caffe",
            rescale=1 / 255,
            samplewise_center=True,
            featurewise_mean=np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 1, 3),
            featurewise_std=0.5,
        ),
    ):
        stored = json.dumps(preprocessing.to_dict())
        again = Preprocessing.from_dict(json.loads(stored))
        assert again == preprocessing
        assert hash(again) == hash(preprocessing)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"gamma": 2}, "gamma"),
        ({"size": [0, 5]}, "size"),
        ({"size": "ab"}, "size"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"interpolation": ["box"]}, "interpolation"),
        ({"mode": "pytorch"}, "none, tf, torch, caffe"),
        ({"mode": []}, "mode"),
        ({"channels": 2}, "channels"),
        ({"channels": 1, "mode": "torch"}, "3 channels"),
        ({"rescale": 0}, "rescale"),
        ({"rescale": "x"}, "rescale"),
        ({"rescale": float("nan")}, "rescale"),
        ({"samplewise_center": 1}, "samplewise_center"),
        ({"featurewise_mean": [1, 2]}, "featurewise_mean"),
        ({"featurewise_std": [-1]}, "featurewise_std"),
        ({"reading": {"depth": "deep"}}, "depth"),
        ({"reading": None}, "reading"),
    ],
)
def test_a_model_file_of_unknown_settings_is_refused(changes, word):
    values = {**Preprocessing((8, 8)).to_dict(), **changes}
    with pytest.raises(ModelError, match=word) as caught:
        Preprocessing.from_dict(values)
    assert "\n" not in str(caught.value)


def test_a_model_file_without_settings_is_refused():
    for values in ({}, None, [1]):
        with pytest.raises(ModelError, match="preprocessing"):
            Preprocessing.from_dict(values)


def test_wrong_options_and_shapes():
    with pytest.raises(OptionError, match="mode"):
        Preprocessing((8, 8), mode="x")
    for shape in ((8, 8), (8, 8, 1), (2, 2, 8, 8, 3)):
        with pytest.raises(DataError, match="shape"):
            Preprocessing((8, 8)).standardize(np.zeros(shape))
