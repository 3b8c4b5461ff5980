"""Decoded images kept: the same pixels as without, whatever happened to the file they are kept in."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from subprocess import PIPE

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.augmentation import Augmentation
from covidcxr.data.batches import clear_errors, inference_batches, training_batches
from covidcxr.data.decoded import Decoded, fingerprint
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.data.standardizing import Standardizer
from covidcxr.errors import ImageError, OptionError, OutputError

COUNT, SIZE = 70, (12, 10)
AUGMENTATION = Augmentation(rotation_range=40, zoom_range=0.2, vertical_flip=True)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{number:02}.png" for number in range(COUNT)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (30, 40), np.uint8)).save(path)
    return paths


@pytest.fixture
def preprocessing():
    return Preprocessing(size=SIZE, interpolation="bilinear")


class Counted(Preprocessing):
    """Counts what it decodes."""

    def load(self, path):
        LOADED.append(path)
        return super().load(path)


LOADED = []


def counted(preprocessing):
    LOADED.clear()
    return Counted(preprocessing.size, interpolation=preprocessing.interpolation)


def plain(files, preprocessing):
    return np.stack([preprocessing.load(path) for path in files])


@pytest.mark.parametrize("where", ["memory", "file", "folder"])
def test_the_pixels_are_those_of_the_files(where, files, preprocessing, tmp_path):
    place = tmp_path / "cache" if where == "folder" else where
    told = []
    decoded = Decoded.open(
        files, preprocessing, place, folder=tmp_path, progress=lambda *pair: told.append(pair)
    )
    np.testing.assert_array_equal(decoded.stack(files), plain(files, preprocessing))
    np.testing.assert_array_equal(decoded.stack(files[40:2:-3]), plain(files[40:2:-3], preprocessing))
    np.testing.assert_array_equal(decoded.load(str(files[9])), preprocessing.load(files[9]))
    assert told == [(number, COUNT) for number in range(1, COUNT + 1)]
    decoded.stack(files)[:] = 0
    assert decoded.stack(files[:1]).any(), "what is handed out is the caller's own"


def test_a_nameless_file_leaves_nothing(files, preprocessing, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    decoded = Decoded.open(files, preprocessing, "file", folder=folder)
    assert list(folder.iterdir()) == [] or os.name == "nt"
    assert decoded.load(files[0]).shape == SIZE


def test_a_folder_is_filled_once_whatever_the_files_are_called(files, preprocessing, tmp_path):
    cache = tmp_path / "cache"
    first = Decoded.open(files, preprocessing, cache).stack(files)
    moved = shutil.copytree(files[0].parent, tmp_path / "moved")
    counting = counted(preprocessing)
    again = Decoded.open(sorted(moved.iterdir()), counting, cache)
    assert LOADED == []
    np.testing.assert_array_equal(again.stack(sorted(moved.iterdir())), first)


def test_other_bytes_sizes_or_readings_are_decoded_anew(files, preprocessing, tmp_path):
    cache = tmp_path / "cache"
    Decoded.open(files, preprocessing, cache)
    Image.fromarray(np.full((30, 40), 7, np.uint8)).save(files[3])
    assert (Decoded.open(files, preprocessing, cache).load(files[3]) == 7).all()
    others = [
        replace(preprocessing, size=(10, 12)),
        replace(preprocessing, interpolation="nearest"),
        replace(preprocessing, reading=replace(preprocessing.reading, depth="min_max")),
    ]
    for other in others:
        np.testing.assert_array_equal(Decoded.open(files, other, cache).stack(files), plain(files, other))
    assert len(list(cache.iterdir())) == 5
    Decoded.open(files, replace(preprocessing, mode="tf", rescale=2.0), cache)
    assert len(list(cache.iterdir())) == 5, "what comes after the grey image does not matter"


def damaged(content, how):
    if how == "cut short":
        return content[:-5]
    if how == "longer":
        return content + b"x"
    if how == "empty":
        return b""
    if how == "another header":
        return content.replace(b"(12, 10)", b"(10, 12)")
    if how == "an open bracket":
        # NumPy reads the header as Python.
        return content.replace(b"'shape': (", b"'shape':((")
    place = {"a pixel": len(content) // 2, "the last checksum": len(content) - 1}[how]
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "how",
    ["cut short", "longer", "empty", "another header", "an open bracket", "a pixel", "the last checksum"],
)
def test_a_damaged_file_is_made_anew(how, files, preprocessing, tmp_path):
    Decoded.open(files, preprocessing, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, how))
    assert path.read_bytes() != whole
    decoded = Decoded.open(files, preprocessing, tmp_path / "cache")
    np.testing.assert_array_equal(decoded.stack(files), plain(files, preprocessing))
    assert path.read_bytes() == whole


def test_a_file_of_another_set_under_this_name_is_not_believed(files, preprocessing, tmp_path):
    one, two = files[:35], files[35:]
    Decoded.open(one, preprocessing, tmp_path / "one")
    Decoded.open(two, preprocessing, tmp_path / "two")
    (wanted,), (other,) = (tmp_path / "one").iterdir(), (tmp_path / "two").iterdir()
    shutil.copy(other, wanted)
    decoded = Decoded.open(one, preprocessing, tmp_path / "one")
    np.testing.assert_array_equal(decoded.stack(one), plain(one, preprocessing))


WRITER = """
import json, sys
from pathlib import Path

from covidcxr.data.decoded import Decoded
from covidcxr.data.preprocessing import Preprocessing

files, preprocessing, cache = json.loads(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
decoded = Decoded.open([Path(name) for name in files], Preprocessing.from_dict(preprocessing), Path(cache))
decoded.stack([Path(name) for name in files]).tofile(sys.argv[2])
"""


@pytest.mark.slow
def test_several_writers_at_once_leave_one_whole_file(files, preprocessing, tmp_path):
    argument = json.dumps([[str(path) for path in files], preprocessing.to_dict(), str(tmp_path / "cache")])
    outputs = [tmp_path / f"{number}.raw" for number in range(3)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, argument, str(output)], stdin=PIPE, stdout=PIPE, text=True
        )
        for output in outputs
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0, 0]
    expected = plain(files, preprocessing)
    for output in outputs:
        np.testing.assert_array_equal(np.fromfile(output, expected.dtype).reshape(expected.shape), expected)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("where", ["memory", "file", "folder"])
def test_the_first_unreadable_image_is_named_as_without_a_cache(where, files, preprocessing, tmp_path):
    for number in (50, 41):
        files[number].write_bytes(b"not an image")
    with pytest.raises(ImageError) as expected:
        preprocessing.load(files[41])
    place = tmp_path / "cache" if where == "folder" else where
    with pytest.raises(ImageError) as caught:
        Decoded.open(files, preprocessing, place, folder=tmp_path)
    assert str(caught.value) == str(expected.value)
    assert where != "folder" or list(place.iterdir()) == []


def test_a_cache_that_cannot_be_written_says_so(files, preprocessing, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        Decoded.open(files, preprocessing, tmp_path / "file")


def test_a_preprocessing_behind_it_reads_no_file_again(files, preprocessing):
    decoded = Decoded.open(files[:5], preprocessing)
    cached = decoded.behind(replace(preprocessing, rescale=1 / 255))
    assert cached.to_dict() == replace(preprocessing, rescale=1 / 255).to_dict()
    expected = [replace(preprocessing, rescale=1 / 255)(path) for path in files]
    for path in files[:5]:
        path.write_bytes(b"gone")
    for path, image in zip(files, expected, strict=True):
        np.testing.assert_array_equal(cached(path), image)
    with pytest.raises(OptionError, match="another size"):
        decoded.behind(replace(preprocessing, interpolation="nearest"))
    with pytest.raises(ImageError):
        replace(cached, interpolation="nearest").load(files[0])


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("engine", ["keras", "fast"])
def test_batches_are_the_same_bit_for_bit(where, engine, files, tmp_path):
    preprocessing = AUGMENTATION.preprocessing(SIZE)
    cached = Decoded.open(files[:60], preprocessing, where, folder=tmp_path).behind(preprocessing)

    def epochs(loader):
        options = {"augmentation": AUGMENTATION, "engine": engine, "seed": 3}
        stream = training_batches(files, np.eye(COUNT), loader, 16, **options)
        return list(itertools.islice(stream.dataset.as_numpy_iterator(), 2 * stream.steps))

    for one, other in zip(epochs(preprocessing), epochs(cached), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_batches_decode_only_what_is_not_kept(files, preprocessing):
    decoded = Decoded.open(files, preprocessing)
    batches = inference_batches(files, decoded.behind(preprocessing), 16)
    expected = np.stack([preprocessing(path) for path in files])
    for path in files:
        path.unlink()
    for _ in range(2):
        with clear_errors(batches):
            images = np.concatenate(list(batches.dataset.as_numpy_iterator()))
        np.testing.assert_array_equal(images, expected)


def test_a_fingerprint_changes_with_files_and_grey_settings(files, preprocessing):
    before = fingerprint(files, preprocessing)
    assert fingerprint(files, replace(preprocessing, rescale=2.0)) == before
    assert fingerprint(files[:-1], preprocessing) != before
    assert fingerprint(files, replace(preprocessing, size=(9, 9))) != before
    os.utime(files[0], ns=(0, 1))
    assert fingerprint(files, preprocessing) != before


STANDARDISATIONS = [
    {},
    {"channels": 1, "rescale": 1 / 255},
    {"mode": "tf"},
    {"mode": "tf", "rescale": 0.5, "featurewise_mean": (0.1,), "featurewise_std": (0.3, 0.3, 0.3)},
    {"featurewise_mean": (100.0, 110.0, 120.0)},
    {"rescale": 1 / 255, "samplewise_center": True},
    {"samplewise_std_normalization": True},
    {"mode": "torch"},
    {"mode": "caffe", "featurewise_std": (2.0,)},
]


@pytest.mark.parametrize("options", STANDARDISATIONS)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_cheap_standardisation_is_the_plain_one_bit_for_bit(options, kind):
    preprocessing = Preprocessing(size=(31, 23), **options)
    greys = np.random.default_rng(0).uniform(0, 255, (4, 31, 23)).astype(kind)
    standardizer = Standardizer(preprocessing)
    found = standardizer(greys)
    np.testing.assert_array_equal(found, preprocessing.standardize(preprocessing.expand(greys)))
    into = np.empty_like(found)
    assert standardizer(iter(greys), into) is into
    np.testing.assert_array_equal(into, found)
    if kind is np.float32:
        np.testing.assert_array_equal(standardizer(greys.copy(), overwrite=True), found)
    assert found.dtype == np.float32
    assert found.shape[-1] == preprocessing.channels
