"""Surgeries: what each leaves and takes, against closed forms and other libraries."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from covidcxr.data.records import Records
from covidcxr.data.sources import phantom
from covidcxr.errors import OptionError
from covidcxr.evaluation.audits import transforms

BY_NAME = {item.name: item for item in transforms.SURGERIES}


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(1, 256, (100, 100), dtype=np.uint8)


@pytest.fixture
def lungs():
    mask = np.zeros((100, 100), dtype=bool)
    mask[30:70, 20:40] = mask[30:60, 60:80] = True
    return mask


def left(name, grey, mask=None):
    return BY_NAME[name].cut(grey, mask) > 0


def test_border_and_centre_share_out_the_image_but_for_the_corners(grey):
    border, centre = left("border", grey), left("centre", grey)
    assert not (border & centre).any()
    # Four strips of 10 by 100 - 2 x 22 pixels; the centre is 80 by 80.
    assert border.sum() == 4 * 10 * 56
    assert centre.sum() == 80 * 80


def test_corners_leave_the_edge_and_the_border_to_the_border(grey):
    corners = left("corners", grey)
    assert corners.sum() == 4 * 16 * 16
    assert not (corners & left("border", grey)).any()
    assert not (corners & left("corners_masked", grey)).any()
    assert (corners | left("corners_masked", grey)).all()


def test_no_lung_disease_can_show_where_it_is_said_not_to():
    """The share of the phantom's lungs in each region that is called free of disease."""
    fields = [phantom.lung_mask(patient, 1, size=64) > 0 for patient in range(1, 41)]
    lungs = np.mean(fields, axis=0)
    for region, most in ((transforms.border_mask, 0.03), (transforms.corner_mask, 0.03)):
        assert lungs[region((64, 64))].sum() / lungs.sum() < most


def test_lungs_are_kept_or_boxed_out(grey, lungs):
    assert np.array_equal(left("lungs_only", grey, lungs), lungs)
    removed = ~left("lungs_removed", grey, lungs)
    assert not (left("lungs_removed", grey, lungs) & lungs).any()
    # Rows 30 to 69 and columns 20 to 79, five more on each side.
    assert removed.sum() == 50 * 70
    assert removed[25:75, 15:85].all()


def test_an_image_without_lungs_leaves_nothing_to_judge(grey):
    assert not left("lungs_removed", grey, np.zeros((100, 100), bool)).any()


def test_low_frequencies_survive_and_high_ones_do_not():
    row = np.arange(128)
    slow = (128 + 100 * np.sin(2 * np.pi * row / 128)).astype(np.uint8)
    fast = (128 + 100 * (-1.0) ** row).astype(np.uint8)
    kept = [BY_NAME["low_frequency"].cut(np.tile(wave, (128, 1)), None) for wave in (slow, fast)]
    assert np.abs(kept[0].astype(int)[:, 8:-8] - slow[8:-8]).max() < 12
    assert np.ptp(kept[1]) <= 1


def test_the_histogram_is_numpys_and_knows_no_place(grey):
    found = transforms.grey_histogram(grey)
    counts, _ = np.histogram(grey, bins=64, range=(0, 256))
    assert np.allclose(found**2, counts / grey.size, atol=1e-6)
    shuffled = np.random.default_rng(1).permutation(grey.ravel()).reshape(grey.shape)
    assert np.array_equal(found, transforms.grey_histogram(shuffled))


def test_jpeg_loses_what_pillows_loses():
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    grey = ramp + np.random.default_rng(0).integers(0, 60, (64, 64), dtype=np.uint8)
    for quality in (90, 30):
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "JPEG", quality=quality)
        ours, judge = transforms.jpeg(quality, grey), np.asarray(Image.open(stream))
        assert np.abs(ours.astype(int) - judge).mean() < 0.5
    assert np.abs(transforms.jpeg(10, grey).astype(int) - grey).mean() > 5


def test_greys_change_as_the_formulas_say(grey):
    values = grey.astype(float)
    stretched = np.clip((values - values.mean()) * 1.5 + values.mean(), 0, 255)
    assert np.abs(transforms.contrast(1.5, grey) - stretched).max() <= 0.51
    assert np.abs(transforms.gamma(0.6, grey) - 255 * (values / 255) ** 0.6).max() <= 0.5
    assert np.array_equal(transforms.invert(grey), 255 - values)
    assert np.array_equal(transforms.invert(transforms.invert(grey)), grey)
    assert np.array_equal(transforms.gamma(1, grey), grey)


def test_turns_shifts_and_flips_are_scipys(grey):
    smooth = ndimage.gaussian_filter(grey, 4)
    judge = ndimage.rotate(smooth.astype(float), 7, reshape=False, order=1, mode="nearest")
    assert np.abs(transforms.rotate(7, smooth) - judge)[10:-10, 10:-10].max() <= 1.5
    for share, pixels in ((0.05, 5), (-0.02, -2)):
        moved = ndimage.shift(grey, (pixels, pixels), order=0, mode="nearest")
        assert np.array_equal(transforms.shift(share, grey), moved)
    assert np.array_equal(transforms.flip(grey), np.fliplr(grey))


def test_noise_has_the_deviation_asked_for_and_repeats():
    flat = np.full((200, 200), 128, np.uint8)
    noisy = transforms.noise(10, flat, np.random.default_rng(5))
    assert noisy.std() == pytest.approx(10, rel=0.03)
    assert np.array_equal(noisy, transforms.noise(10, flat, np.random.default_rng(5)))


def test_masks_are_found_by_column_by_path_and_by_name(tmp_path, lungs):
    (tmp_path / "masks" / "covid19").mkdir(parents=True)
    for name in ("covid19/one.png", "two.png"):
        Image.fromarray(lungs.astype(np.uint8) * 255).save(tmp_path / "masks" / name)
    rows = [{"path": f"covid19/{name}.jpg", "label": "covid19"} for name in ("one", "two", "three")]
    records = Records.from_rows(rows, tmp_path)
    found = transforms.lung_masks(records, tmp_path / "masks")
    assert [path and path.name for path in found] == ["one.png", "two.png", None]
    assert np.array_equal(transforms.read_mask(found[0], (100, 100)), lungs)
    assert transforms.lung_masks(records) == [None, None, None]
    given = records.with_columns(mask=["masks/two.png", "", ""])
    assert transforms.lung_masks(given) == [tmp_path / "masks/two.png", None, None]
    other = Records.from_rows([{"path": "x.png", "label": "covid19"}], tmp_path)
    with pytest.raises(OptionError, match="no mask for any"):
        transforms.lung_masks(other, tmp_path / "masks")
