"""Training on frozen features against training on images: the same weights, whatever happens on the way."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr.data.batches import Batches, epoch_order
from covidcxr.errors import ModelError
from covidcxr.models.cutting import cut
from covidcxr.models.freezing import freeze_layers
from covidcxr.training import bank, checkpoints, frozen
from covidcxr.training.optimizers import OptimizerSpec
from covidcxr.training.schedules import EarlyStopping, ReduceOnPlateau
from covidcxr.training.stages import Feeds, Stage, run_stages

ADAM = OptimizerSpec("adam", 1e-3)
SEED, BATCH, DRAWS = 5, 8, 2
RANDOM = np.random.default_rng(0)
# Two draws of each of 20 "images", and 6 that are scored: the last batch of an epoch is smaller.
IMAGES = RANDOM.normal(size=(DRAWS, 20, 12)).astype("float32")
TARGETS = np.eye(2, dtype="float32")[RANDOM.integers(0, 2, 20)]


def plain_feeds(images):
    def stream(first_epoch, data, draws=DRAWS):
        def batches():
            epoch = first_epoch
            while True:
                order = epoch_order(20, epoch, seed=SEED)
                for start in range(0, 20, BATCH):
                    rows = order[start : start + BATCH]
                    yield images[epoch % draws][rows], TARGETS[rows]
                epoch += 1

        signature = (tf.TensorSpec((None, *images.shape[2:])), tf.TensorSpec((None, 2)))
        return Batches(tf.data.Dataset.from_generator(batches, output_signature=signature), 3)

    scored = tf.data.Dataset.from_tensor_slices((images[0, :6] + 0.1, TARGETS[:6]))
    return Feeds(stream, Batches(scored.batch(6), 1))


def frozen_feeds(parts, images=IMAGES, folder=None):
    features = bank.compiled(parts.prefix)
    held = bank.Bank(parts, DRAWS, 20, folder)

    def training(epoch, data):
        draw = epoch % DRAWS
        missing = held.missing(draw, np.arange(20))
        if len(missing):
            held.put(draw, missing, features(images[draw][missing]))
        order = epoch_order(20, epoch, seed=SEED)
        return frozen.Pass(held.of(draw), order, TARGETS[order])

    scored = frozen.Pass(features(images[0, :6] + 0.1), np.arange(6), TARGETS[:6])
    return frozen.FrozenFeeds(parts.suffix, training, lambda: scored, BATCH)


def branched(dropout=0.3):
    """A cut that crosses a skip connection, with batch normalisation on both sides of it and noise after it."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((12,))
    stem = layers.Dense(8, name="stem", kernel_regularizer="l2")(inputs)
    stem = layers.Activation("relu")(layers.BatchNormalization()(stem))
    left = layers.Dense(8, name="left")(stem)
    # A bias before it would have no gradient but rounding, of which Adam makes steps.
    right = layers.BatchNormalization(momentum=0.8)(
        layers.Dense(8, use_bias=False, kernel_regularizer="l2")(stem)
    )
    vector = layers.Dropout(dropout)(layers.Add()([left, right]))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(vector))
    freeze_layers(model, 4)
    model.get_layer("left").trainable = False
    return model


def mobilenet():
    keras.utils.set_random_seed(3)
    base = keras.applications.MobileNet(
        input_shape=(64, 64, 3), alpha=0.25, weights=None, include_top=False, pooling="avg"
    )
    freeze_layers(base, 74)
    return keras.Model(base.input, keras.layers.Dense(2, activation="softmax")(base.output))


def close(one, other, atol=1e-5):
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol)


def same(one, other):
    close(one, other, atol=0)


def both(make, stages, folder, images=IMAGES, **options):
    feeds, chosen = plain_feeds(images), {"seed": 7, "draws": DRAWS, **options}
    plain, rows = run_stages(make(), stages, feeds, folder / "plain", **chosen)
    model = make()
    quick, fast = run_stages(
        model, stages, feeds, folder / "quick", frozen=frozen_feeds(cut(model, 0), images), **chosen
    )
    numbers = [name for name in rows if name not in ("stage", "seconds")]
    pd.testing.assert_frame_equal(rows[numbers], fast[numbers], rtol=1e-5, atol=1e-6)
    assert list(rows["stage"]) == list(fast["stage"])
    return plain, quick


def test_weights_are_those_of_fit_after_five_epochs(tmp_path):
    plain, quick = both(branched, (Stage("one", 5, ADAM),), tmp_path)
    close(plain, quick)
    assert np.abs(branched().get_weights()[-2] - quick.get_weights()[-2]).max() > 1e-3


@pytest.mark.slow
def test_a_stage_that_trains_all_goes_on_with_the_right_weights(tmp_path):
    stages = (
        Stage("frozen", 3, ADAM, schedule=ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.3)),
        Stage("on", 2, None),
        Stage("all", 2, ADAM, trainable="all"),
    )
    close(*both(branched, stages, tmp_path, keep="best", monitor="val_accuracy"), atol=2e-5)


@pytest.mark.slow
def test_a_mobilenet_cut_inside_its_blocks_trains_as_fit_does(tmp_path):
    images = RANDOM.normal(size=(DRAWS, 20, 64, 64, 3)).astype("float32")
    # Adam would make whole steps of the rounding in gradients that are next to nothing.
    close(*both(mobilenet, (Stage("one", 5, OptimizerSpec("sgd", 1e-2)),), tmp_path, images))


class Killed(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


STAGES = (
    Stage("one", 4, ADAM),
    Stage("on", 9, None, early_stopping=EarlyStopping(patience=2, min_delta=10.0)),
    Stage("all", 2, ADAM, trainable="all"),
)
BEST = {"keep": "best", "monitor": "val_loss"}


def run(folder, stages=STAGES, **options):
    model = branched()
    feeds = frozen_feeds(cut(model, 0))
    return run_stages(
        model, stages, plain_feeds(IMAGES), folder, seed=7, frozen=feeds, draws=DRAWS, **BEST, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 1e9])
def test_a_resumed_run_is_the_same_bit_by_bit(tmp_path, monkeypatch, pause):
    """With a pause no epoch inside a stage is on the disk: what was trained after it is trained again."""
    whole, rows = run(tmp_path / "whole")
    monkeypatch.setattr(checkpoints, "_PAUSE_SECONDS", pause)
    monkeypatch.setattr(checkpoints, "_PAUSE_TIMES", 0.0)
    for epoch in (2, 5, 7):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", callbacks=[Killed(epoch)], resume=True)
    model, history = run(tmp_path / "cut", resume=True)
    same(whole, model)
    pd.testing.assert_frame_equal(rows.drop(columns="seconds"), history.drop(columns="seconds"))
    left = [
        sorted(path.name for path in (tmp_path / name / "checkpoint").iterdir()) for name in ("whole", "cut")
    ]
    assert left[0] == left[1]


def test_the_best_epoch_is_kept_though_it_was_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PAUSE_SECONDS", 1e9)
    stages = (Stage("one", 6, OptimizerSpec("sgd", 0.5)),)
    model, history = run(tmp_path / "paced", stages)
    best = int(history["val_loss"].argmin()) + 1
    assert best < 6
    shorter, _ = run(tmp_path / "short", (Stage("one", best, OptimizerSpec("sgd", 0.5)),))
    same(model, shorter)


def test_features_in_a_file_are_those_in_memory(tmp_path):
    model = branched()
    parts = cut(model, 0)
    features = bank.compiled(parts.prefix)(IMAGES[0])
    held = [bank.Bank(parts, DRAWS, 20, folder) for folder in (None, tmp_path)]
    for each in held:
        each.put(1, np.arange(20), features)
        assert not len(each.missing(1, np.arange(20)))
        assert len(each.missing(0, np.arange(3))) == 3
    for one, other, direct in zip(held[0].of(1), held[1].of(1), features, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, direct)
    assert not list(tmp_path.iterdir()), "the file has no name, so that a kill leaves nothing"


def test_features_do_not_hang_on_what_else_is_in_the_batch():
    features = bank.compiled(cut(branched(), 0).prefix)
    whole = features(IMAGES[0])
    order = np.random.default_rng(2).permutation(20)[:7]
    for one, other in zip(features(IMAGES[0][order]), whole, strict=True):
        np.testing.assert_array_equal(one, other[order])


def pooled(scale=1):
    """A frozen convolution whose normalisation folds into it, and a head that trains on its means."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    norm = layers.BatchNormalization()
    x = layers.Activation("relu")(norm(layers.Conv2D(16, 3, use_bias=False)(inputs)))
    vector = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(vector))
    norm.set_weights([scale * np.linspace(low, high, 16) for low, high in ((1, 2), (-1, 1), (0, 1), (1, 3))])
    freeze_layers(model, 4)
    return model


def close_to_keras(found, prefix, images):
    wanted = np.asarray(prefix.predict([images], verbose=0))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * wanted.max())


def test_pooled_features_of_a_graph_of_constants_are_those_of_keras():
    prefix = cut(pooled(), 0).prefix
    assert [len(output.shape) for output in prefix.outputs] == [2]
    images = RANDOM.normal(size=(7, 8, 8, 3)).astype("float32")
    close_to_keras(bank.compiled(prefix)(images)[0], prefix, images)


def test_a_graph_of_constants_serves_its_own_key_only():
    images = RANDOM.normal(size=(3, 8, 8, 3)).astype("float32")
    one, other = (cut(pooled(scale), 0).prefix for scale in (1, 2))
    with bank.Banks() as banks:
        first = banks.compiled("a", one, False)(images)[0]
        np.testing.assert_array_equal(banks.compiled("a", one, False)(images)[0], first)
        second = banks.compiled("b", other, False)(images)[0]
    close_to_keras(second, other, images)
    assert np.abs(second - first).max() > 1e-3


def test_banks_are_shared_by_key_and_make_room(tmp_path):
    parts = cut(branched(), 0)
    size = bank.needed(parts, 20)
    with bank.Banks(room=2 * size) as banks:
        first = banks.get("a", parts, 1, 20, tmp_path)
        assert banks.get("a", parts, 1, 20, tmp_path) is first
        banks.get("b", parts, 1, 20, tmp_path)
        banks.get("a", parts, 1, 20, tmp_path)
        banks.get("c", parts, 1, 20, tmp_path)
        assert banks.get("a", parts, 1, 20, tmp_path) is first, "the longest unused one went"
        assert not banks.get("big", parts, 3, 20, tmp_path).in_memory


def test_a_bank_that_no_disk_holds_is_refused(tmp_path):
    with pytest.raises(ModelError, match="lower --draws"):
        bank.Bank(cut(branched(), 0), 10**9, 10**3, tmp_path)
    assert not bank.fits(1 << 62, 0, tmp_path)
