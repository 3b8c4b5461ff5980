"""Augmentation against Keras' own ImageDataGenerator."""

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covidcxr.data.augmentation import (
    Augmentation,
    draw_parameters,
    fit_statistics,
    make_engine,
)
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import OptionError

# Table 4 of ragab2022.
RAGAB = {
    "rescale": 1 / 255,
    "horizontal_flip": True,
    "vertical_flip": True,
    "zoom_range": [0.5, 1.0],
    "featurewise_center": True,
    "samplewise_center": True,
    "rotation_range": 90,
    "width_shift_range": [-20, 20],
    "height_shift_range": 0.5,
    "brightness_range": [0.5, 1.0],
    "channel_shift_range": 0.0,
    "shear_range": 0.0,
    "fill_mode": "nearest",
    "validation_split": 0.2,
}
# The augmentation of rahimzadeh2020, with the shear of its authors' code.
RAHIMZADEH = {
    "rescale": 1 / 255,
    "horizontal_flip": True,
    "vertical_flip": True,
    "zoom_range": 0.05,
    "rotation_range": 360,
    "width_shift_range": 0.05,
    "height_shift_range": 0.05,
    "shear_range": 0.05,
}
PARAMETER_SETS = {
    "none": {},
    "ragab2022": RAGAB,
    "rahimzadeh2020": RAHIMZADEH,
    "nemati2022": {"rotation_range": 45, "samplewise_center": True, "samplewise_std_normalization": True},
    "whole-number shift": {"width_shift_range": 7, "height_shift_range": 3},
    "list of fractions": {"width_shift_range": [0.1, 0.3], "height_shift_range": [-0.2, 0.2]},
    "pixels as float": {"width_shift_range": 4.0, "fill_mode": "reflect"},
    "shear, constant": {"shear_range": 30, "fill_mode": "constant", "cval": 17.0},
    "wrap, cubic": {"rotation_range": 30, "fill_mode": "wrap", "interpolation_order": 3},
    "cubic, brighter": {"rotation_range": 30, "interpolation_order": 3, "brightness_range": (0.8, 1.4)},
    "nearest spline": {"zoom_range": 0.4, "interpolation_order": 0, "channel_shift_range": 60.0},
    "deviation alone": {"samplewise_std_normalization": True, "brightness_range": (0.2, 2.0)},
}


def keras_generator(parameters):
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(**parameters)


@pytest.fixture
def image():
    """Blocks, a ramp and both extremes of the grey range, higher than wide."""
    rng = np.random.default_rng(7)
    grey = np.kron(rng.integers(0, 256, (12, 10)), np.ones((4, 4))) * np.linspace(0.3, 1, 40)
    grey[0, 0], grey[-1, -1] = 0, 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, -1).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(3)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(files):
        Image.fromarray(rng.integers(0, 40 * (number + 2), (20, 24), np.uint8)).save(path)
    return files


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies")
@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_engine_and_standardize_equal_keras_bit_for_bit(name, image):
    augmentation = Augmentation(**PARAMETER_SETS[name])
    engine = make_engine("keras", augmentation, image.shape)
    preprocessing = augmentation.preprocessing(image.shape[:2])
    generator = keras_generator(PARAMETER_SETS[name])
    before = image.copy()
    for seed in (0, 1, 2, 3, 12345, 2**32 - 1):
        ours = preprocessing.standardize(engine.apply(image, engine.draw(seed)))
        # Keras leaves the channels in memory one behind the other, which rounds an image's mean differently.
        transformed = np.ascontiguousarray(generator.random_transform(before.copy(), seed=seed))
        np.testing.assert_array_equal(ours, generator.standardize(transformed))
        assert ours.dtype == np.float32
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_one_channel_gives_what_three_equal_channels_give(name, image):
    engine = make_engine("keras", Augmentation(**PARAMETER_SETS[name]), image.shape)
    for seed in range(4):
        parameters = engine.draw(seed)
        three, one = engine.apply(image, parameters), engine.apply(image[..., :1], parameters)
        np.testing.assert_array_equal(three, np.repeat(one, 3, -1))


@pytest.mark.parametrize("name", ["rahimzadeh2020", "ragab2022"])
@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies")
def test_a_batch_equals_keras_flow(name, image):
    """`flow` seeds once a batch and then draws image after image; the first image shows the seed."""
    batch = next(keras_generator(PARAMETER_SETS[name]).flow(image[None], batch_size=1, shuffle=False, seed=5))
    augmentation = Augmentation(**PARAMETER_SETS[name])
    engine = make_engine("keras", augmentation, image.shape)
    ours = engine.apply(image, engine.draw(5))
    np.testing.assert_array_equal(augmentation.preprocessing(image.shape[:2]).standardize(ours), batch[0])


pixel_lists = st.lists(st.integers(-20, 20), min_size=1).filter(lambda pixels: max(pixels) >= 1)
shifts = st.floats(0, 0.9) | st.floats(1, 40) | st.integers(0, 30) | pixel_lists


@given(
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "rotation_range": st.floats(0, 360),
            "width_shift_range": shifts,
            "height_shift_range": shifts,
            "shear_range": st.floats(0, 80),
            "zoom_range": st.floats(0, 0.9) | st.tuples(st.floats(0.1, 1), st.floats(1, 3)),
            "channel_shift_range": st.floats(0, 100),
            "brightness_range": st.tuples(st.floats(0, 1), st.floats(1, 2)),
            "horizontal_flip": st.booleans(),
            "vertical_flip": st.booleans(),
        },
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_draws_equal_keras_for_any_parameters(parameters, seed):
    ours = draw_parameters(Augmentation(**parameters), (48, 40, 3), seed)
    assert ours == keras_generator(parameters).get_random_transform((48, 40, 3), seed=seed)


def test_draws_leave_numpy_alone_and_agree_between_threads():
    engine = make_engine("keras", Augmentation(**RAGAB), (48, 40, 1))
    alone = [engine.draw(seed) for seed in range(200)]
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    together = {}

    def work(first):
        for seed in range(first, 200, 4):
            together[seed] = engine.draw(seed)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[seed] for seed in range(200)] == alone
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_the_surprises_are_as_documented():
    draws = [draw_parameters(Augmentation(**RAGAB), (100, 80, 1), seed) for seed in range(300)]
    assert {abs(draw["ty"]) for draw in draws} == {20}
    assert max(abs(draw["tx"]) for draw in draws) > 45
    assert any(draw["zx"] != draw["zy"] for draw in draws)
    moved = [
        draw_parameters(Augmentation(width_shift_range=3), (100, 80, 1), seed)["ty"] for seed in range(200)
    ]
    assert set(moved) == {-2, -1, 0, 1, 2}
    engine = make_engine("keras", Augmentation(), (9, 9, 1))
    dot = np.zeros((9, 9, 1), np.float32)
    dot[3:6, 3:6] = 255
    enlarged, shrunk = (engine.apply(dot, {"zx": zoom, "zy": zoom}) for zoom in (0.5, 2))
    assert enlarged.sum() > dot.sum() > shrunk.sum()


@pytest.mark.parametrize(
    "parameters",
    [
        {"zca_whitening": True},
        {"zca_epsilon": 0},
        {"rotation_range": -1},
        {"rotation_range": float("nan")},
        {"rotation_range": True},
        {"rotation_range": "90"},
        {"width_shift_range": -0.1},
        {"width_shift_range": []},
        {"height_shift_range": [-30, -20]},
        {"height_shift_range": ["20"]},
        {"brightness_range": 0.5},
        {"brightness_range": [1.0, 0.5]},
        {"brightness_range": [0.5, 1.0, 1.5]},
        {"shear_range": 90},
        {"zoom_range": 1.0},
        {"zoom_range": [0.0, 1.0]},
        {"zoom_range": [1.2, 0.8]},
        {"channel_shift_range": -1},
        {"fill_mode": "mirror"},
        {"cval": None},
        {"horizontal_flip": 1},
        {"vertical_flip": "yes"},
        {"rescale": 0},
        {"validation_split": 1.0},
        {"interpolation_order": 6},
        {"interpolation_order": 1.0},
        {"featurewise_center": None},
        {"featurewise_fitted": True},
    ],
    ids=lambda parameters: "{}={!r}".format(*next(iter(parameters.items()))),
)
def test_a_senseless_value_is_named_in_one_line(parameters):
    with pytest.raises(OptionError) as caught:
        Augmentation(**parameters)
    message = str(caught.value)
    assert "\n" not in message
    assert next(iter(parameters)).split("_whitening")[0] in message


def test_deviation_brings_the_centre_along_as_in_keras():
    parameters = {"featurewise_std_normalization": True, "samplewise_std_normalization": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = keras_generator(parameters)
    ours = Augmentation(**parameters)
    for name in ("featurewise_center", "samplewise_center"):
        assert getattr(ours, name) is getattr(generator, name) is True


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_dictionary_round_trip_through_json(name):
    import json

    augmentation = Augmentation(**PARAMETER_SETS[name])
    assert Augmentation.from_dict(json.loads(json.dumps(augmentation.to_dict()))) == augmentation
    assert hash(augmentation) == hash(Augmentation(**PARAMETER_SETS[name]))


def test_an_unknown_key_is_refused():
    with pytest.raises(OptionError, match=r"rotation_rage.*rotation_range"):
        Augmentation.from_dict({"rotation_rage": 3})


@pytest.mark.parametrize("name", [name for name in PARAMETER_SETS if name != "none"])
def test_is_random_says_whether_pixels_change(name, image):
    augmentation = Augmentation(**PARAMETER_SETS[name])
    engine = make_engine("keras", augmentation, image.shape)
    changed = any((engine.apply(image, engine.draw(seed)) != image).any() for seed in range(5))
    assert augmentation.is_random == changed
    still = augmentation.without_randomness()
    assert not still.is_random
    assert still.preprocessing((8, 8)) == augmentation.preprocessing((8, 8))
    assert still.fill_mode == augmentation.fill_mode


def test_an_unknown_engine_names_those_there_are():
    with pytest.raises(OptionError, match=r"'torch'.*keras"):
        make_engine("torch", Augmentation(), (8, 8, 1))


@pytest.mark.parametrize("rescale", [None, 1 / 255])
@pytest.mark.parametrize("samplewise", [False, True])
def test_statistics_equal_keras_fit(rescale, samplewise, folder):
    parameters = {
        "featurewise_center": True,
        "featurewise_std_normalization": True,
        "samplewise_center": samplewise,
        "rescale": rescale,
    }
    augmentation = Augmentation(**parameters, featurewise_fitted=True)
    unfitted = augmentation.preprocessing((16, 18))
    seen = []
    fitted = augmentation.fit(folder, unfitted, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(1, 6)]
    images = np.stack([unfitted.expand(unfitted.load(path)) for path in folder])
    generator = keras_generator(parameters)
    generator.fit(images)
    np.testing.assert_allclose(fitted.featurewise_mean, generator.mean.ravel(), rtol=1e-5)
    np.testing.assert_allclose(fitted.featurewise_std, generator.std.ravel(), rtol=1e-5)
    theirs = np.stack([generator.standardize(image.copy()) for image in images])
    np.testing.assert_allclose(fitted.standardize(images), theirs, rtol=1e-4, atol=1e-5)


def test_centre_alone_measures_no_deviation(folder):
    augmentation = Augmentation(featurewise_center=True, featurewise_fitted=True)
    fitted = augmentation.fit(folder, augmentation.preprocessing((8, 8), channels=1))
    assert len(fitted.featurewise_mean) == 1
    assert fitted.featurewise_std is None


def test_centre_without_fit_does_nothing_as_in_keras(folder, image):
    augmentation = Augmentation(**RAGAB)
    preprocessing = augmentation.preprocessing(image.shape[:2])
    assert augmentation.fit(folder, preprocessing) is preprocessing
    with pytest.warns(UserWarning, match="hasn't been fit"):
        theirs = keras_generator(RAGAB).standardize(image.copy())
    np.testing.assert_array_equal(preprocessing.standardize(image), theirs)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(OptionError, match="no images"):
        fit_statistics([], Preprocessing(size=(8, 8)))


def test_check_names_what_would_not_happen():
    augmentation = Augmentation(rescale=1 / 255, samplewise_center=True)
    augmentation.check(augmentation.preprocessing((8, 8)))
    with pytest.raises(OptionError, match="samplewise_center"):
        augmentation.check(Preprocessing(size=(8, 8), rescale=1 / 255))
    fitted = Augmentation(featurewise_center=True, featurewise_fitted=True)
    with pytest.raises(OptionError, match="fit first"):
        fitted.check(fitted.preprocessing((8, 8)))
