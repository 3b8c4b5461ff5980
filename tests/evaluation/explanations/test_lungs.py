"""The lung field: masks by name, and the estimate against the phantom's true masks."""

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.phantom import lung_mask, render
from covidcxr.errors import DataError
from covidcxr.evaluation.explanations import estimate_field, lungs

SIZE = 128
# The constants were chosen on seed 3.
SEED = 17


def scores(label, patients=range(1, 13)):
    fields = [estimate_field(render(label, p, 1, size=SIZE, seed=SEED)[0]) for p in patients]
    truth = [lung_mask(p, 1, size=SIZE, seed=SEED) > 0 for p in patients]
    return np.array([lungs.dice(*pair) for pair in zip(fields, truth, strict=True)])


@pytest.mark.parametrize("label", ["normal", "covid19", "bacterial_pneumonia"])
def test_estimate_on_phantoms_whose_masks_are_known(label):
    found = scores(label)
    assert found.mean() > 0.83
    assert found.min() > 0.65


def test_estimate_is_better_than_the_usual_place_alone():
    place = np.logical_or(*[lungs._usual(centre) < 1 for centre in lungs._CENTRES])
    alone = np.mean([lungs.dice(place, lung_mask(p, 1, size=SIZE, seed=SEED) > 0) for p in range(1, 13)])
    assert scores("normal").mean() > alone + 0.08


def test_an_opaque_side_is_taken_from_the_other():
    grey, _ = render("normal", 2, 1, size=SIZE, seed=SEED)
    whole = estimate_field(grey)
    grey = grey.copy()
    grey[:, : SIZE // 2] = grey.max()
    half = estimate_field(grey)[:, : SIZE // 2]
    assert half.mean() > 0.5 * whole[:, : SIZE // 2].mean()


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_blank_picture_gives_a_field_and_no_error(level):
    field = estimate_field(np.full((60, 90), level, np.uint8))
    assert field.shape == (60, 90)
    assert 0.02 < field.mean() < 0.6


def test_dice_by_hand():
    one, other = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 1], bool)
    assert lungs.dice(one, other) == pytest.approx(4 / 6)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_masks_are_found_by_name(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 255
    for name in ("a.png", "normal/b_mask.png", "normal/c.png", "covid19/c.png"):
        save(tmp_path / name, mask)
    files = ["x/a.jpg", "x/b.dcm", "covid19/c.jpg", "x/d.jpg"]
    names = [
        None if path is None else path.relative_to(tmp_path).as_posix()
        for path in lungs.find_masks(tmp_path, files)
    ]
    assert names == ["a.png", "normal/b_mask.png", "covid19/c.png", None]
    with pytest.raises(DataError, match="2 masks bear its name"):
        lungs.find_masks(tmp_path, ["elsewhere/c.jpg"])
    with pytest.raises(DataError, match="no mask bears the name"):
        lungs.find_masks(tmp_path, ["d.png"])


def test_a_mask_is_resized_and_must_have_two_values(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 1
    save(tmp_path / "m.png", mask)
    assert lungs.read_mask(tmp_path / "m.png", (4, 6)).tolist() == [[True] * 6] * 2 + [[False] * 6] * 2
    save(tmp_path / "blank.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match="one value everywhere"):
        lungs.read_mask(tmp_path / "blank.png", (4, 4))
