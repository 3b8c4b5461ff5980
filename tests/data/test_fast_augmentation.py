"""Engine fast against engine keras: the same image for the same draw."""

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr.data.augmentation import FILL_MODES, Augmentation, make_engine
from covidcxr.data.augmentation.fast import _matrix, _positions
from covidcxr.errors import OptionError
from covidcxr.papers import nemati2022, ragab2022, rahimzadeh2020

RAHIMZADEH = rahimzadeh2020.AUGMENTATION.to_dict()
RAGAB = ragab2022.AUGMENTATION.to_dict()
NEMATI = nemati2022.AUGMENTATION.to_dict()
HARD = {
    "horizontal_flip": True,
    "vertical_flip": True,
    "zoom_range": (0.3, 2.5),
    "rotation_range": 360,
    "width_shift_range": 0.9,
    "height_shift_range": 1.5,
    "shear_range": 50,
    "channel_shift_range": 60.0,
}
PARAMETER_SETS = {
    "rahimzadeh2020": RAHIMZADEH,
    "ragab2022": RAGAB,
    "nemati2022": NEMATI,
    "whole pixels": {"width_shift_range": 7, "height_shift_range": [-20, 3], "horizontal_flip": True},
    "hard": HARD,
    "hard and brighter": HARD | {"brightness_range": (0.2, 2.0)},
}
# OpenCV before 5.0 reads at multiples of 1/32 pixel.
EXACT = int(cv2.__version__.split(".")[0]) >= 5


@cache
def engines(augmentation, shape):
    return [make_engine(name, augmentation, shape) for name in ("keras", "fast")]


def differences(parameters, image, seeds):
    """Differences of the two engines in grey levels, one array a seed."""
    keras, fast = engines(Augmentation(**parameters), image.shape)
    for seed in seeds:
        draw = fast.draw(seed)
        assert draw == keras.draw(seed)
        yield np.abs(keras.apply(image, draw).astype(np.float64) - fast.apply(image, draw))


def assert_near(found):
    """Ten times closer than half a grey level, or than a quarter where an older OpenCV reads less finely."""
    assert found.mean() < (0.05 if EXACT else 0.25)
    assert np.mean(found <= 2) >= (0.999 if EXACT else 0.995)


def on_an_edge(draw, shape):
    """Tell which pixels are read within rounding of an edge, where `constant` and `wrap` jump."""
    flips = tuple(slice(None, None, -1 if draw[f"flip_{name}"] else 1) for name in ("vertical", "horizontal"))
    places = _positions(_matrix(draw, shape[:2]), shape[:2], flips)
    periods = [max(1, length - 1) for length in shape[1::-1]]
    cells = [place / period for place, period in zip(places, periods, strict=True)]
    return np.any([np.abs(cell - np.round(cell)) < 1e-9 for cell in cells], axis=0)


@pytest.fixture(scope="module")
def radiographs(shared):
    """Real ones: a whole range of devices, crops and burnt-in letters, higher than wide."""
    sets = ("covid-chestxray-dataset/images", "chest_xray/test/NORMAL", "rsna-like/Lung_Opacity")
    paths = [path for name in sets for path in sorted((shared / "data" / name).iterdir())[::60][:3]]
    greys = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    return [cv2.resize(grey, (200, 224), interpolation=cv2.INTER_AREA).astype(np.float32) for grey in greys]


@pytest.fixture
def noise():
    return np.random.default_rng(5).integers(0, 256, (6, 40, 33)).astype(np.uint8)


@pytest.mark.parametrize("mode", FILL_MODES)
@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_radiographs_equal_keras(name, mode, radiographs):
    parameters = {**PARAMETER_SETS[name], "fill_mode": mode, "cval": 40.0}
    assert len(radiographs) == 9
    for number, grey in enumerate(radiographs):
        for found in differences(parameters, grey[..., np.newaxis], range(3 * number, 3 * number + 3)):
            assert_near(found)


@pytest.mark.slow
@pytest.mark.parametrize("mode", FILL_MODES)
@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_many_draws_equal_keras(name, mode, radiographs):
    parameters = {**PARAMETER_SETS[name], "fill_mode": mode, "cval": 255.0}
    for number, grey in enumerate(radiographs):
        for found in differences(parameters, grey[..., np.newaxis], range(1000 * number, 1000 * number + 60)):
            assert_near(found)


amounts = {
    "rotation_range": st.floats(1, 360),
    "width_shift_range": st.floats(0.01, 3) | st.integers(0, 30),
    "height_shift_range": st.floats(0.01, 3) | st.integers(0, 30),
    "shear_range": st.floats(1, 80),
    "zoom_range": st.floats(0.01, 0.9) | st.tuples(st.floats(0.1, 0.9), st.floats(1.1, 5)),
    "channel_shift_range": st.floats(0, 300),
    "horizontal_flip": st.booleans(),
    "vertical_flip": st.booleans(),
}


@pytest.mark.skipif(not EXACT, reason="OpenCV before 5.0 reads noise at multiples of 1/32 pixel")
@given(
    parameters=st.fixed_dictionaries({}, optional=amounts),
    mode=st.sampled_from(FILL_MODES),
    cval=st.floats(-50, 300),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3])),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_noise_equals_keras_for_any_parameters(parameters, mode, cval, shape, seed):
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
    (found,) = differences({**parameters, "fill_mode": mode, "cval": cval}, image, [seed])
    if mode in ("constant", "wrap"):
        _, engine = engines(Augmentation(**parameters, fill_mode=mode, cval=cval), shape)
        found[on_an_edge(engine.draw(seed), shape)] = 0
    assert found.max() < 0.1


@pytest.mark.skipif(not EXACT, reason="OpenCV before 5.0 reads noise at multiples of 1/32 pixel")
@given(
    brightness=st.tuples(st.floats(0, 1), st.floats(1, 3)),
    shift=st.floats(0, 100),
    cval=st.sampled_from([0.0, 17.0, -30.0, 400.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_brightness_equals_keras(brightness, shift, cval, seed):
    """Blocks, so that most pixels are whole numbers; values beyond 0-255, which Keras stretches, too."""
    blocks = np.kron(np.random.default_rng(seed).integers(0, 256, (5, 5)), np.ones((8, 8)))
    parameters = {"brightness_range": brightness, "channel_shift_range": shift, "rotation_range": 90}
    parameters |= {"fill_mode": "constant", "cval": cval}
    (found,) = differences(parameters, blocks.astype(np.float32)[..., np.newaxis], [seed])
    # One whole grey level, stretched and brightened.
    assert found.max() < 2 * brightness[1] + 0.1
    assert found.mean() < 0.5


@pytest.mark.parametrize("level", [1, 7, 100, 255])
def test_flat_areas_keep_their_grey_level_through_brightness(level):
    flat = np.full((60, 60, 1), level, np.float32)
    parameters = {"rotation_range": 360, "zoom_range": 0.3, "brightness_range": (1.0, 1.0)}
    for found in differences(parameters, flat, range(10)):
        assert found.max() == 0


@pytest.mark.parametrize("mode", FILL_MODES)
def test_flips_alone_change_no_value(mode, noise):
    augmentation = Augmentation(fill_mode=mode, horizontal_flip=True, vertical_flip=True)
    fast = make_engine("fast", augmentation, noise[0].shape)
    draws = [fast.draw(seed) for seed in range(6)]
    moved = fast.apply_batch(noise, draws)
    for image, result, draw in zip(noise, moved, draws, strict=True):
        rows, columns = (-1 if draw[f"flip_{axis}"] else 1 for axis in ("vertical", "horizontal"))
        np.testing.assert_array_equal(result, image[::rows, ::columns])


@pytest.mark.parametrize("engine", ["keras", "fast"])
def test_a_batch_is_its_images_whatever_the_threads(engine, noise):
    augmentation = Augmentation(**RAGAB)
    engine = make_engine(engine, augmentation, (*noise.shape[1:], 1))
    draws = [engine.draw(seed) for seed in range(len(noise))]
    before = noise.copy()
    batch = engine.apply_batch(noise, draws)
    assert batch.dtype == np.float32
    for image, result, draw in zip(noise, batch, draws, strict=True):
        single = engine.apply(image.astype(np.float32)[..., np.newaxis], draw)
        np.testing.assert_array_equal(result, single[..., 0])
    for threads in (2, 3, 10):
        np.testing.assert_array_equal(engine.apply_batch(noise, draws, threads), batch)
    np.testing.assert_array_equal(engine.apply_batch(noise.astype(np.float32), draws), batch)
    np.testing.assert_array_equal(noise, before)
    with pytest.raises(ValueError, match=r"shorter|transforms"):
        engine.apply_batch(noise, draws[:-1])


def test_the_comparison_sees_a_shift_of_one_pixel(noise):
    """The tests above can fail: one pixel, or another border, is far outside what they allow."""
    image = noise[0].astype(np.float32)[..., np.newaxis]
    keras, fast = engines(Augmentation(fill_mode="reflect"), image.shape)
    _, other = engines(Augmentation(fill_mode="nearest"), image.shape)
    draw = {"theta": 30.0, "tx": 3.0}
    right = keras.apply(image, draw)
    assert np.abs(right - fast.apply(image, draw)).mean() < 1
    assert np.abs(right - fast.apply(image, {**draw, "tx": 4.0})).mean() > 5
    assert np.abs(right - other.apply(image, draw)).mean() > 5


def test_an_image_far_outside_is_read_without_a_huge_copy(noise):
    image = noise[0].astype(np.float32)[..., np.newaxis]
    for mode in FILL_MODES:
        keras, fast = engines(Augmentation(fill_mode=mode, cval=3.0), image.shape)
        draw = {"theta": 10.0, "tx": 4000.0, "ty": -3000.0, "zx": 20.0}
        assert np.abs(keras.apply(image, draw) - fast.apply(image, draw)).max() < (1.0 if EXACT else 10)


@pytest.mark.parametrize("order", [0, 2, 3, 4, 5])
def test_other_splines_are_left_to_keras(order):
    with pytest.raises(OptionError, match=rf"interpolation_order={order}.*'keras'"):
        make_engine("fast", Augmentation(interpolation_order=order), (8, 8, 1))
