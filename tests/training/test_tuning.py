"""What makes training faster: that it computes what Keras does, and is chosen only where it was measured."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr.training import tuning
from covidcxr.training.strategy import place


def network():
    keras.utils.set_random_seed(3)
    layers = [keras.Input((8, 8, 3))]
    for filters in (4, 6):
        # A bias before batch normalization has no gradient but rounding, which Adam would enlarge.
        layers += [keras.layers.Conv2D(filters, 3, use_bias=False), keras.layers.BatchNormalization()]
        layers += [keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])


def test_a_placement_trains_as_plain_fit_does(tmp_path):
    from covidcxr.data.batches import Batches

    generator = np.random.default_rng(4)
    images = generator.normal(size=(12, 8, 8, 3)).astype("float32")
    targets = np.eye(2, dtype="float32")[generator.integers(0, 2, 12)]
    dataset = tf.data.Dataset.from_tensor_slices((images, targets)).batch(4).repeat()
    plain, ours = network(), network()
    for model in (plain, ours):
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"]
        )
    plain.fit(dataset, steps_per_epoch=3, epochs=3, shuffle=False, verbose=0)
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    place("single").fit(
        ours,
        Batches(dataset, 3, []),
        None,
        steps_per_epoch=3,
        initial_epoch=0,
        epochs=3,
        callbacks=[saving],
    )
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(np.abs(other).max(), 1e-6))
    saved = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(saved.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("flags", "gpus", "backbone", "chosen"),
    [
        ("fpu avx512_bf16", [], "concatenated", "mixed_bfloat16"),
        ("fpu amx_bf16", [], "resnet50_v2", "mixed_bfloat16"),
        ("fpu avx512_bf16", [], "resnet50_v2", "float32"),
        ("fpu avx512f", [], "concatenated", "float32"),
        ("fpu avx512_bf16", [], "mobilenet_v2", "float32"),
        ("fpu avx512_bf16", ["GPU:0"], "concatenated", "float32"),
        (None, [], "concatenated", "float32"),
    ],
)
def test_bfloat16_is_chosen_only_where_it_was_measured(flags, gpus, backbone, chosen, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(tuning, "_CPU_FLAGS", path)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    assert tuning.precision_for(backbone) == chosen
