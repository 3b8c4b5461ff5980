"""Frozen features against the network itself, and the cache that keeps them."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import ImageError, ModelError
from covidcxr.models import features
from covidcxr.models.files import ModelInfo, attach_info


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    return paths


def same(grey, row):
    return grey


def test_pixels_are_means_of_fields(files):
    found = features.extract(features.pixels(), files, {"full": same})["full"]
    grey = np.asarray(Image.open(files[2]), dtype=float)
    assert found.shape == (5, 1024)
    assert found[2].reshape(32, 32)[3, 7] == pytest.approx(grey[6:8, 14:16].mean() / 255)


def test_pixels_want_a_size_that_32_fields_fill():
    with pytest.raises(ModelError, match="multiples of 32"):
        features.pixels(40).of(np.zeros((1, 40, 40), np.uint8))


def test_a_vector_is_kept_as_it_is(files):
    found = features.extract(
        features.pixels(), files, {"rows": lambda grey, row: np.array([row, grey[0, 0]])}
    )
    assert found["rows"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found["rows"][3, 1] == np.asarray(Image.open(files[3]))[0, 0]


def test_what_is_kept_is_not_computed_again_unless_something_changed(tmp_path, files):
    calls = []

    def counted(grey, row):
        calls.append(row)
        return grey

    cache = tmp_path / "cache"
    first = features.extract(features.pixels(), files, {"full": counted}, cache=cache)
    again = features.extract(features.pixels(), files, {"full": counted}, cache=cache)
    assert len(calls) == 5
    assert np.array_equal(first["full"], again["full"])
    features.extract(features.pixels(32), files, {"full": counted}, cache=cache)
    features.extract(features.pixels(), files, {"full 2": counted}, cache=cache)
    features.extract(features.pixels(), files[::-1], {"full": counted}, cache=cache)
    assert len(calls) == 20
    Image.fromarray(np.zeros((64, 65), np.uint8)).save(files[0])
    changed = features.extract(features.pixels(), files, {"full": counted}, cache=cache)
    assert len(calls) == 25
    assert (changed["full"][0] == 0).all()


def archive(header, method=0):
    """Return an archive of one array, its header and its method of compression as given."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        text = header.encode()
        target.writestr("key.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    content = bytearray(stream.getvalue())
    content[content.index(b"PK\x01\x02") + 10] = method
    return bytes(content)


@pytest.mark.parametrize(
    "damage",
    [b"", b"PK\x03\x04 no archive", b"text", archive("{'descr': (\n"), archive("{}", method=77)],
    ids=["empty", "no archive", "text", "open bracket", "unknown compression"],
)
def test_a_damaged_result_is_computed_again(tmp_path, files, damage):
    before = features.extract(features.pixels(), files, {"full": same}, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(damage)
    after = features.extract(features.pixels(), files, {"full": same}, cache=tmp_path / "cache")
    assert np.array_equal(before["full"], after["full"])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [kept.name]


def test_a_broken_image_is_named(tmp_path, files):
    files[1].write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.png"):
        features.extract(features.pixels(), files, {"full": same})


def test_a_model_gives_its_last_map_averaged(files):
    import keras

    inputs = keras.Input((64, 64, 1))
    trunk = keras.layers.Conv2D(6, 3, strides=4, activation="relu")(inputs)
    classes = keras.layers.Conv2D(2, 1)(trunk)
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(classes)))
    loader = Preprocessing((64, 64), 1, rescale=1 / 255)
    attach_info(model, ModelInfo("none", "small", "sound", ("a", "b"), loader.to_dict(), 0, {}))
    found = features.of_model(model)
    ours = features.extract(found, files, {"full": same})["full"]
    judge = keras.Model(inputs, trunk).predict(loader.batch(files), verbose=0).mean(axis=(1, 2))
    assert np.allclose(ours, judge, atol=1e-6)
    before = found.identity()
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert features.of_model(model).identity() != before


def test_a_model_without_a_word_on_its_images_is_refused():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="preprocessing"):
        features.of_model(model)


def test_a_random_backbone_says_so_and_is_the_same_each_time(files):
    first, second = (features.backbone("mobilenet_v2", size=32) for _ in range(2))
    assert "random weights" in first.note
    assert first.identity() == second.identity()
    assert features.extract(first, files, {"full": same})["full"].shape == (5, 1280)


@pytest.mark.slow
def test_imagenet_features_are_those_of_keras(shared, files):
    import keras

    weights = shared / "weights" / "mobilenet_v2_1.0_224_imagenet_no_top_bn_refit.h5"
    found = features.backbone("mobilenet_v2", weights)
    ours = features.extract(found, files, {"full": same})["full"]
    judge = keras.applications.MobileNetV2(weights=str(weights), include_top=False, pooling="avg")
    greys = [Image.open(path).resize((224, 224), Image.Resampling.BILINEAR) for path in files]
    batch = np.repeat(np.stack([np.asarray(grey, dtype=np.float32) for grey in greys])[..., None], 3, axis=-1)
    assert np.allclose(ours, judge.predict(batch / 127.5 - 1, verbose=0), atol=1e-4)
