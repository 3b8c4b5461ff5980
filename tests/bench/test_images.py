from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcxr.bench import images
from covidcxr.bench.measuring import Bench
from covidcxr.errors import OptionError


def bench(folder, **options):
    return Bench(Path(folder), quick=True, **options)


def test_files_are_grey_square_and_dealt_in_turn(tmp_path):
    paths = images.radiographs(bench(tmp_path), 5, 64, "png", folders=2)
    assert [path.parent.name for path in paths] == ["covid19", "normal", "covid19", "normal", "covid19"]
    assert {path.parent.parent for path in paths} == {paths[0].parent.parent}
    for path in paths:
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (64, 64)


def test_a_picture_is_the_same_as_file_and_array_for_every_count(tmp_path):
    here = bench(tmp_path)
    few = images.radiographs(here, 2, 64)
    many = images.radiographs(here, 10, 64)
    stack = images.greys(here, 10, 64)
    assert stack.shape == (10, 64, 64)
    assert stack.dtype == np.uint8
    for path, picture in zip([*few, *many], [*stack[:2], *stack], strict=True):
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), picture)


def test_no_two_pictures_are_alike_and_the_seed_decides(tmp_path):
    stack = images.greys(bench(tmp_path), 20, 64)
    assert len({picture.tobytes() for picture in stack}) == 20
    np.testing.assert_array_equal(stack, images.greys(bench(tmp_path), 20, 64))
    assert (stack != images.greys(bench(tmp_path, seed=1), 20, 64)).any()


def test_a_users_own_images_are_taken_and_come_again_when_they_are_few(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("covid19", "normal"):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), rng.integers(0, 256, (90, 120), dtype=np.uint8))
    (tmp_path / "data" / "normal" / "damaged.png").write_bytes(b"no image")
    stack = images.greys(bench(tmp_path / "out", data=tmp_path / "data"), 5, 48)
    assert stack.shape == (5, 48, 48)
    assert len({picture.tobytes() for picture in stack}) >= 4


def test_jpeg_files_are_jpeg(tmp_path):
    (path,) = images.radiographs(bench(tmp_path), 1, 64, "jpeg")
    assert path.suffix == ".jpg"
    assert path.read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize("options", [{"kind": "gif"}, {"folders": 0}, {"folders": 7}])
def test_what_has_no_meaning_is_refused(options, tmp_path):
    with pytest.raises(OptionError, match=next(iter(options))):
        images.radiographs(bench(tmp_path), 1, 64, **options)
