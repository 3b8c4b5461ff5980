import numpy as np
import pytest
from PIL import Image
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import DataError, OptionError
from covidcxr.evaluation.generated import (
    feature_network,
    features,
    fid,
    kid,
    nearest_other,
    nearest_real,
    nearest_sheet,
)


def sample(count, width, seed, shift=0.0):
    """Features that are correlated, as a network's are."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, width)) @ generator.normal(size=(width, width)) + shift


def exactly(mean, deviation, count=200, seed=0):
    """Points whose own mean and covariance are those given, to the last digits."""
    x = np.random.default_rng(seed).normal(size=(count, len(mean)))
    x -= x.mean(axis=0)
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False)))
    return x @ whitening.T * np.asarray(deviation) + np.asarray(mean)


def test_fid_of_two_gaussians_by_hand():
    a = exactly([0, 0, 1], [1, 2, 3], seed=1)
    b = exactly([1, -2, 1], [2, 2, 0.5], count=150, seed=2)
    # Diagonal covariances: |mean difference|^2 plus the squared differences of the deviations.
    assert fid(a, b) == pytest.approx((1 + 4 + 0) + (1 + 0 + 6.25))


@pytest.mark.parametrize("counts", [(60, 45), (60, 8), (6, 8)])
def test_fid_is_the_definition_with_a_matrix_root(counts):
    a, b = sample(counts[0], 10, 1), sample(counts[1], 10, 2, shift=0.5)
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    # The root of a singular product is itself only good to a few digits.
    assert fid(a, b) == pytest.approx(expected, rel=1e-8 if min(counts) > 10 else 1e-4)
    assert fid(b, a) == pytest.approx(fid(a, b))


def test_fid_of_a_set_with_itself_is_nothing():
    a = sample(50, 12, 3)
    assert fid(a, a[::-1]) == pytest.approx(0, abs=1e-9)


def by_pairs(a, b):
    """The unbiased squared discrepancy, term by term."""

    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def mean_of_pairs(x):
        return np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])

    return mean_of_pairs(a) + mean_of_pairs(b) - 2 * np.mean([kernel(x, y) for x in a for y in b])


def test_kid_of_one_whole_subset_is_the_sum_over_pairs():
    a, b = sample(9, 5, 1), sample(9, 5, 2)
    assert kid(a, b, subsets=1, subset_size=9)[0] == pytest.approx(by_pairs(a, b))
    assert kid(a, b, subsets=7, subset_size=9)[1] == pytest.approx(0, abs=1e-9)


def test_kid_has_no_bias_where_fid_has():
    """Over many pairs of sets from one distribution KID is 0 on average, FID far above."""
    pairs = [(exactly_drawn(20, seed), exactly_drawn(20, seed + 1000)) for seed in range(200)]
    values = np.array([kid(a, b, subsets=1, subset_size=20)[0] for a, b in pairs])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert min(fid(a, b) for a, b in pairs) > 0.5


def exactly_drawn(count, seed):
    return np.random.default_rng(seed).normal(size=(count, 6))


def test_kid_tells_distributions_apart_and_repeats_with_its_seed():
    a, b, far = sample(60, 6, 1), sample(50, 6, 1, shift=0.01), sample(50, 6, 1, shift=2.0)
    assert kid(a, far, seed=3)[0] > 10 * abs(kid(a, b, seed=3)[0])
    assert kid(a, b, subsets=5, seed=3) == kid(a, b, subsets=5, seed=3) != kid(a, b, subsets=5, seed=4)


@pytest.mark.parametrize("measure", [fid, kid])
@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.ones((1, 3)), np.ones((9, 3)), "2 images"),
        (np.ones((9, 3)), np.ones((9, 4)), "equal features"),
        (np.full((9, 3), np.nan), np.ones((9, 3)), "finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure, a, b, words):
    with pytest.raises(DataError, match=words):
        measure(a, b)


def test_senseless_subsets_are_refused():
    with pytest.raises(OptionError, match="subsets of 9"):
        kid(np.ones((8, 3)), np.ones((8, 3)), subset_size=9)


def grey(count, seed, side=8):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


def test_nearest_real_agrees_with_all_distances():
    generated, real = grey(300, 1), grey(40, 2)
    index, distance = nearest_real(generated, real)
    every = cdist(generated.reshape(300, -1).astype(float), real.reshape(40, -1).astype(float)) / 8
    np.testing.assert_array_equal(index, every.argmin(axis=1))
    np.testing.assert_allclose(distance, every.min(axis=1))


def test_a_copy_is_found_at_no_distance_and_a_grey_level_off_at_one():
    real = grey(30, 3)
    generated = np.stack([real[17], np.clip(real[4], 0, 254) + 1])
    index, distance = nearest_real(generated, real)
    assert list(index) == [17, 4]
    assert distance[0] == 0
    assert distance[1] == pytest.approx(1, abs=0.05)


def test_nearest_other_never_finds_the_image_itself():
    real = grey(280, 4)
    real[279] = real[5]
    index, distance = nearest_other(real)
    assert (index != np.arange(280)).all()
    assert (index[5], index[279]) == (279, 5)
    assert distance[5] == distance[279] == 0
    assert np.sort(distance)[2] > 50
    with pytest.raises(DataError, match="at least two"):
        nearest_other(real[:1])


def test_sets_of_different_sizes_cannot_be_compared():
    with pytest.raises(DataError, match="one size"):
        nearest_real(grey(2, 1), grey(2, 1, side=9))


def test_nearest_sheet_shows_the_most_alike_first(tmp_path):
    real = grey(6, 5)
    generated = np.stack([255 - real[0], real[3], real[1] // 2])
    pixels = nearest_real(generated, real)
    shown = nearest_sheet(
        generated, real, {"pixels": pixels, "features": pixels}, tmp_path / "near.png", rows=2
    )
    assert shown[0] == 1
    with Image.open(tmp_path / "near.png") as sheet:
        page = np.asarray(sheet)
    assert page.shape == (2 * 144 + 16, 3 * 132 + 4)
    # The copy lies beside the real image it copies, 16 times as large.
    large = np.kron(real[3], np.ones((16, 16), np.uint8))
    np.testing.assert_array_equal(page[16:144, 4:132], large)
    np.testing.assert_array_equal(page[16:144, 136:264], large)


def test_features_are_the_networks_output_for_standardized_images():
    import keras

    pool = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.GlobalAveragePooling2D()])
    images = np.random.default_rng(6).integers(0, 256, (5, 4, 4), dtype=np.uint8)
    found = features(pool, images, Preprocessing((4, 4), 3, mode="tf"), batch_size=2)
    means = images.reshape(5, -1).mean(axis=1) / 127.5 - 1
    np.testing.assert_allclose(found, np.repeat(means[:, None], 3, axis=1), atol=1e-6)
    with pytest.raises(DataError, match="no images"):
        features(pool, images[:0], Preprocessing((4, 4), 3))


def test_a_named_backbone_gives_its_features():
    network, preprocessing = feature_network("MobileNetV2", size=32)
    assert (preprocessing.size, preprocessing.mode) == ((32, 32), "tf")
    found = features(network, grey(3, 7, side=40), preprocessing)
    assert found.shape == (3, 1280)
    assert feature_network("efficientnet_b0", size=32)[1].mode == "none"
