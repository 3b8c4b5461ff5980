"""Models stored in 16 bits compute in 32, and lose no more than rounding."""

import h5py
import keras
import numpy as np
import pytest

from covidcxr.cli import main
from covidcxr.models.export import export
from covidcxr.models.files import ModelInfo, info_of, load_model, save_model

INFO = ModelInfo("ragab2022", "tiny", "sound", ("covid19", "normal"), {"size": [8, 8]}, 0, {}, {"note": "Ä"})


def network(nested=False):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(64, 3, name="few"),
            layers.BatchNormalization(),
            layers.Conv2D(64, 3, name="many"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    parts = [inner] if nested else inner.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), *parts, layers.Dense(2, "softmax")])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.01, 0.1, weight.shape) for weight in model.weights])
    return model


def dtypes(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({item.shape: item.dtype}) if hasattr(item, "shape") else None
        )
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_large_kernels_are_halved_and_come_back_rounded(nested, tmp_path):
    model = network(nested)
    save_model(model, tmp_path / "whole.h5", INFO)
    export(tmp_path / "whole.h5", tmp_path / "half.h5", "h5-float16")
    again = load_model(tmp_path / "half.h5")
    assert info_of(again) == INFO
    for before, after in zip(model.weights, again.weights, strict=True):
        assert str(after.dtype) == "float32"
        before, after = np.asarray(before), np.asarray(after)
        wanted = before.astype(np.float16) if before.size >= 20_000 else before
        np.testing.assert_array_equal(after, wanted)
    images = np.random.default_rng(1).random((3, 8, 8, 3), np.float32)
    np.testing.assert_allclose(again(images), model(images), atol=1e-3)
    stored = dtypes(tmp_path / "half.h5")
    assert stored[(3, 3, 64, 64)] == np.float16
    assert stored[(3, 3, 3, 64)] == stored[(64,)] == np.float32


def test_the_file_is_smaller_by_half_of_the_large_kernels(tmp_path):
    model = network()
    attached = save_model(model, tmp_path / "whole.h5", INFO)
    assert main(["export", str(attached), "--format", "h5-float16", "--out", str(tmp_path / "half.h5")]) == 0
    saved = attached.stat().st_size - (tmp_path / "half.h5").stat().st_size
    assert saved == pytest.approx(2 * 3 * 3 * 64 * 64, abs=8192)


def test_a_kernel_that_16_bits_cannot_hold_stays_as_it_is(tmp_path):
    model = network()
    layer = model.get_layer("many")
    kernel, bias = layer.get_weights()
    kernel[0, 0, 0, 0] = 7e4
    layer.set_weights([kernel, bias])
    save_model(model, tmp_path / "whole.h5", INFO)
    export(tmp_path / "whole.h5", tmp_path / "half.h5", "h5-float16")
    np.testing.assert_array_equal(load_model(tmp_path / "half.h5").get_layer("many").get_weights()[0], kernel)
