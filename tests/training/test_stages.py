import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr.data.batches import Batches
from covidcxr.training.optimizers import OptimizerSpec
from covidcxr.training.stages import Feeds, Stage, run_stages

STAGES = (Stage("head", 2, OptimizerSpec("adam", 1e-2)), Stage("fine", 3, OptimizerSpec("rmsprop", 1e-3)))
IMAGES = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
TARGETS = np.eye(2, dtype="float32")[(IMAGES[:, 0] > 0).astype(int)]


def feeds():
    def training(first_epoch, data):
        def batches():
            epoch = first_epoch
            while True:
                order = np.random.default_rng(epoch).permutation(20)
                for start in (0, 8, 16):
                    rows = order[start : start + 8]
                    yield IMAGES[rows], TARGETS[rows]
                epoch += 1

        signature = tuple(tf.TensorSpec((None, width), tf.float32) for width in (6, 2))
        return Batches(tf.data.Dataset.from_generator(batches, output_signature=signature), 3)

    return Feeds(training, Batches(tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(8), 3))


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


class Killed(keras.callbacks.Callback):
    """Stops the run as a kill would: inside an epoch, with nothing tidied up."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("killed_in", [1, 2, 4])
def test_a_resumed_run_ends_with_the_same_weights_bit_by_bit(tmp_path, killed_in, keep):
    whole, history = run_stages(network(), STAGES, feeds(), tmp_path / "whole", seed=7, keep=keep)
    with pytest.raises(KeyboardInterrupt):
        run_stages(
            network(), STAGES, feeds(), tmp_path / "cut", seed=7, keep=keep, callbacks=[Killed(killed_in)]
        )
    resumed, rest = run_stages(network(), STAGES, feeds(), tmp_path / "cut", seed=7, keep=keep, resume=True)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), rest.drop(columns="seconds"))


def test_best_keeps_the_epoch_of_the_lowest_validation_loss(tmp_path):
    model, history = run_stages(network(), STAGES, feeds(), tmp_path, seed=7, keep="best")
    of_true_class = model.predict(IMAGES, verbose=0)[TARGETS == 1]
    assert -np.log(of_true_class).mean() == pytest.approx(history["val_loss"].min(), rel=1e-5)


def test_history_names_stage_and_learning_rate_of_every_epoch(tmp_path):
    _, history = run_stages(network(), STAGES, feeds(), tmp_path, seed=7)
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert list(history["stage"]) == ["head", "head", "fine", "fine", "fine"]
    np.testing.assert_allclose(history["learning_rate"], [1e-2] * 2 + [1e-3] * 3, rtol=1e-6)
    written = pd.read_csv(tmp_path / "history.csv")
    np.testing.assert_allclose(written["val_loss"], history["val_loss"], rtol=1e-6)
    assert list((tmp_path / "logs").rglob("events.*"))
    assert [path.name for path in sorted((tmp_path / "checkpoint").iterdir())] == [
        "epoch-0005.keras",
        "state.json",
    ]
