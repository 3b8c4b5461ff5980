import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr.data.batches import Batches
from covidcxr.errors import DataError, OptionError
from covidcxr.models.freezing import freeze_layers
from covidcxr.training import checkpoints
from covidcxr.training.callbacks import RepeatableNoise
from covidcxr.training.checkpoints import Checkpoints
from covidcxr.training.optimizers import OptimizerSpec
from covidcxr.training.schedules import EarlyStopping, ReduceOnPlateau, StepDecay
from covidcxr.training.stages import Feeds, Stage, check_stages, run_stages
from covidcxr.training.strategy import place

NADAM = OptimizerSpec("legacy_nadam", 2e-2)
ADAM = OptimizerSpec("adam", 1e-2)
STAGES = (Stage("head", 2, ADAM), Stage("fine", 3, OptimizerSpec("rmsprop", 1e-3)))
# All that a schedule can do, in as few epochs as it takes: phases with one optimiser, of which the first moves the
# learning rate; every layer, with a rate that falls and an early end; and one more that goes on with that.
COURSE = (
    Stage("phase 1", 2, NADAM, data="a", schedule=StepDecay(1, 0.5)),
    Stage("phase 2", 2, None, data="b"),
    Stage(
        "fine",
        9,
        OptimizerSpec("rmsprop", 2e-2),
        trainable="all",
        early_stopping=EarlyStopping(patience=2, min_delta=0.3),
        schedule=ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.3),
    ),
    Stage("on", 2, None, data="b", schedule=StepDecay(1, 0.1)),
)
EPOCHS = 9  # the third stage ends after three
IMAGES = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
TARGETS = np.eye(2, dtype="float32")[(IMAGES[:, 0] > 0).astype(int)]
# What each stage's data is made of; "a" and "b" are phases. All batches are full: XLA compiles for each size.
ROWS = {"train": np.arange(16), "a": np.arange(8), "b": np.arange(6, 14)}


def stream(first_epoch, data="train"):
    rows = ROWS[data]
    starts = range(0, len(rows), 4)

    def batches():
        epoch = first_epoch
        while True:
            order = np.random.default_rng(epoch).permutation(rows)
            for start in starts:
                yield IMAGES[order[start : start + 4]], TARGETS[order[start : start + 4]]
            epoch += 1

    signature = tuple(tf.TensorSpec((None, width), tf.float32) for width in (6, 2))
    return Batches(tf.data.Dataset.from_generator(batches, output_signature=signature), len(starts))


VALIDATION = Batches(tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(16), 1)
FEEDS = Feeds(stream, VALIDATION)
UNSCORED = Feeds(stream, None)


def network(dropout=0.5, batchnorm="inference"):
    """A frozen dense layer and batch normalisation, and a head with another one."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, activation="relu"),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(momentum=0.8),
            *([keras.layers.Dropout(dropout)] if dropout else []),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    freeze_layers(model, 2, batchnorm)
    return model


def fit(model, data, first, last, *callbacks, validation=VALIDATION):
    training = stream(first, data)
    return model.fit(
        training.dataset,
        steps_per_epoch=training.steps,
        initial_epoch=first,
        epochs=last,
        validation_data=validation.dataset,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    ).history


def same(one, other):
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Killed(keras.callbacks.Callback):
    """Stops the run as a kill would, with nothing tidied up: inside an epoch, or when it has been saved."""

    def __init__(self, epoch, when):
        super().__init__()
        self.epoch, self.when = epoch, when

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch, self.when) == (self.epoch, 1, "inside"):
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, self.when) == (self.epoch, "after"):
            raise KeyboardInterrupt


def kill_before_state(monkeypatch, epoch):
    write = checkpoints.write_json

    def written(path, value):
        if len(value["history"]) == epoch + 1:
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(checkpoints, "write_json", written)


def killed(folder, epoch, when, monkeypatch, stages=COURSE, make=network, **options):
    with monkeypatch.context() as patch:
        if when == "before state.json":
            kill_before_state(patch, epoch)
        callbacks = [Killed(epoch, when)]
        with pytest.raises(KeyboardInterrupt):
            run_stages(make(), stages, FEEDS, folder, seed=7, callbacks=callbacks, **options)
    keras.utils.set_random_seed(99)


BEST = {"keep": "best", "monitor": "val_accuracy"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The course, uninterrupted: its model with the best epoch's weights, its history and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return (*run_stages(network(), COURSE, FEEDS, folder, seed=7, **BEST), folder)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    return (*run_stages(network(), STAGES, FEEDS, folder, seed=7), folder)


def last(folder, epochs=EPOCHS):
    return keras.saving.load_model(folder / "checkpoint" / f"epoch-{epochs:04d}.keras")


def check_same_run(whole, model, history, folder):
    same(whole[0], model)
    same(last(whole[2]), last(folder))
    pd.testing.assert_frame_equal(whole[1].drop(columns="seconds"), history.drop(columns="seconds"))
    pd.testing.assert_frame_equal(pd.read_csv(folder / "history.csv"), history, rtol=1e-14)
    for name in ("epoch_loss", "epoch_learning_rate"):
        assert scalars(folder, name) == scalars(whole[2], name)
    left = [sorted(path.name for path in (place / "checkpoint").iterdir()) for place in (whole[2], folder)]
    assert left[0] == left[1]


KILLS = [
    (0, "before state.json"),
    (1, "inside"),
    (1, "after"),  # a phase's last epoch: the next goes on with its optimiser
    (2, "inside"),
    (3, "after"),  # before another optimiser, and more layers that train
    (3, "before state.json"),
    (5, "inside"),
    (6, "before state.json"),
    (6, "after"),  # stopped early
    (7, "inside"),
    (8, "after"),  # nothing is left to train
]


def test_a_run_resumed_again_and_again_is_the_same_bit_by_bit(whole, tmp_path, monkeypatch):
    for epoch, when in ((1, "after"), (3, "before state.json"), (6, "after")):
        killed(tmp_path, epoch, when, monkeypatch, resume=True, **BEST)
        # As a kill leaves them that lets nothing be tidied up.
        for name in (".epoch-0002-x1y2.keras", ".state-z3.json", "epoch-0001.keras"):
            (tmp_path / "checkpoint" / name).write_text("half")
    model, history = run_stages(network(), COURSE, FEEDS, tmp_path, seed=7, resume=True, **BEST)
    check_same_run(whole, model, history, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "when"), KILLS)
def test_a_resumed_run_is_the_same_bit_by_bit(whole, tmp_path, monkeypatch, epoch, when):
    killed(tmp_path, epoch, when, monkeypatch, **BEST)
    model, history = run_stages(network(), COURSE, FEEDS, tmp_path, seed=7, resume=True, **BEST)
    check_same_run(whole, model, history, tmp_path)


def scalars(folder, name):
    """What TensorBoard's files have of a measure: (part, step, value), repeated if written twice."""
    found = []
    for path in Path(folder).glob("logs/*/events*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            values = [value.tensor for value in event.summary.value if value.tag == name]
            found += [(path.parent.name, event.step, float(tf.make_ndarray(value))) for value in values]
    return sorted(found)


def test_the_course_does_what_it_is_for(whole):
    _, history, folder = whole
    assert list(history["epoch"]) == list(range(1, EPOCHS + 1))
    assert list(history["stage"]) == ["phase 1"] * 2 + ["phase 2"] * 2 + ["fine"] * 3 + ["on"] * 2
    rates = [2e-2, 1e-2, 1e-2, 1e-2, 2e-2, 2e-2, 1e-2, 5e-3, 5e-4]
    np.testing.assert_allclose(history["learning_rate"], rates, rtol=1e-6)
    best = history["val_accuracy"].argmax() + 1
    assert best < EPOCHS
    assert {path.name for path in (folder / "checkpoint").iterdir()} == {
        "epoch-0009.keras",
        f"epoch-{best:04d}.keras",
        "state.json",
    }
    state = json.loads((folder / "checkpoint" / "state.json").read_text())
    assert [stage["epochs"] for stage in state["stages"]] == [2, 2, 3, 2]
    assert [stage["stopped"] for stage in state["stages"]] == [False, False, True, False]


def test_stages_are_the_fits_that_one_would_write_by_hand(whole, tmp_path):
    """Two phases with one optimiser, then all layers until the rate has fallen and nothing gets better."""
    model, history, folder = whole
    path = tmp_path / "best.weights.h5"
    best = keras.callbacks.ModelCheckpoint(path, "val_accuracy", save_best_only=True, save_weights_only=True)
    always = (RepeatableNoise(7), best)

    theirs = network()
    theirs.compile(NADAM.build(), "categorical_crossentropy", metrics=["accuracy"])
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 2e-2 * 0.5**epoch)
    parts = [fit(theirs, "a", 0, 2, rate, *always), fit(theirs, "b", 2, 4, *always)]
    for layer in theirs.layers:
        layer.trainable = True
    theirs.compile(COURSE[2].optimizer.build(), "categorical_crossentropy", metrics=["accuracy"])
    falling = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.3)
    stopping = keras.callbacks.EarlyStopping(patience=2, min_delta=0.3)
    parts.append(fit(theirs, "train", 4, 13, falling, stopping, *always))
    done = 4 + len(parts[-1]["loss"])
    assert done < 13
    first = float(theirs.optimizer.learning_rate.numpy())
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: first * 0.1 ** (epoch - done))
    parts.append(fit(theirs, "b", done, done + 2, rate, *always))

    same(last(folder), theirs)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert list(history[name]) == [value for part in parts for value in part[name]]
    assert list(history["learning_rate"][4:done]) == parts[2]["learning_rate"]
    kept = network()
    kept.load_weights(path)
    same(model, kept)


@pytest.mark.slow
def test_frozen_batch_normalisation_that_averages_on_is_resumed_as_such(tmp_path, monkeypatch):
    """A saved file does not remember it: gamma and beta would train, and the optimiser's state would not fit."""

    def make():
        return network(batchnorm="training")

    stages = (Stage("head", 2, NADAM), Stage("on", 1, None))
    model, _ = run_stages(make(), stages, FEEDS, tmp_path / "whole", seed=7)
    killed(tmp_path / "cut", 1, "after", monkeypatch, stages, make)
    resumed, _ = run_stages(make(), stages, FEEDS, tmp_path / "cut", seed=7, resume=True)
    same(model, resumed)
    gamma, beta, mean, _ = resumed.layers[1].get_weights()
    assert (gamma == 1).all()
    assert (beta == 0).all()
    assert (mean != 0).all()


def test_without_validation_the_training_figures_are_monitored(tmp_path):
    stages = (
        Stage("one", 2, ADAM, schedule=ReduceOnPlateau("val_accuracy", 0.5, 1)),
        Stage("two", 4, None, early_stopping=EarlyStopping("val_loss", 1, min_delta=10.0)),
    )
    for monitor, extreme in (("val_loss", "argmin"), ("accuracy", "argmax")):
        folder = tmp_path / monitor
        model, history = run_stages(
            network(), stages, UNSCORED, folder, seed=7, keep="best", monitor=monitor, resume=True
        )
        assert len(history) == 4
        assert not [name for name in history if name.startswith("val_")]
        best = getattr(history[monitor.removeprefix("val_")], extreme)() + 1
        same(model, last(folder, best))
        assert {part for part, _, _ in scalars(folder, "epoch_loss")} == {"train"}


def test_only_the_chief_writes(tmp_path):
    stages = (Stage("one", 3, ADAM, early_stopping=EarlyStopping(patience=1, min_delta=10.0)),)
    _, history = run_stages(network(), stages, FEEDS, tmp_path / "chief", seed=7, keep="best")
    helper = dataclasses.replace(place("single"), is_chief=False)
    _, rows = run_stages(network(), stages, FEEDS, tmp_path / "helper", seed=7, keep="best", placement=helper)
    assert not (tmp_path / "helper").exists()
    assert len(rows) == 2
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), rows.drop(columns="seconds"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "chief").rglob("*")}
    follower, _ = run_stages(
        network(), stages, FEEDS, tmp_path / "chief", seed=7, resume=True, placement=helper
    )
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "chief").rglob("*")}
    same(follower, last(tmp_path / "chief", 2))


def test_what_the_placement_fits_is_what_is_written(tmp_path):
    """The engine trains through the placement alone, and compiles in its scope."""
    calls = []

    @dataclasses.dataclass(frozen=True)
    class Recorded(type(place("single"))):
        def scope(self):
            calls.append("scope")
            return super().scope()

        def fit(self, model, training, validation, **options):
            calls.append((options["initial_epoch"], options["epochs"], options["steps_per_epoch"]))
            return super().fit(model, training, validation, **options)

    placement = Recorded(**dataclasses.asdict(place("single")))
    run_stages(network(), COURSE[:2], FEEDS, tmp_path, seed=7, placement=placement)
    assert calls == ["scope", (0, 2, 2), (2, 4, 2), "scope"]


def test_history_names_stage_and_learning_rate_of_every_epoch(short):
    _, history, folder = short
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert list(history["stage"]) == ["head", "head", "fine", "fine", "fine"]
    np.testing.assert_allclose(history["learning_rate"], [1e-2] * 2 + [1e-3] * 3, rtol=1e-6)
    for part, column in (("train", "loss"), ("validation", "val_loss")):
        expected = [(part, epoch, np.float32(value)) for epoch, value in enumerate(history[column])]
        assert [each for each in scalars(folder, "epoch_loss") if each[0] == part] == expected
    steps = [step for _, step, _ in scalars(folder, "evaluation_loss_vs_iterations")]
    assert steps == [4, 4, 8, 8, 12]


def test_what_a_kill_kept_from_tensorboard_is_written_on_resuming(short, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(short[2], folder)
    torn = sorted((folder / "logs" / "train").glob("events*"))[-1]
    with torn.open("r+b") as file:
        file.truncate(file.seek(0, 2) - 5)
    old = set((folder / "logs").rglob("events*"))
    run_stages(network(), STAGES, FEEDS, folder, seed=7, resume=True)
    for path in old:
        path.unlink()
    # The rate of the last epoch was the last to be written; its loss was there already.
    assert scalars(folder, "epoch_learning_rate") == [("train", 4, np.float32(1e-3))]
    assert not scalars(folder, "epoch_loss")


def test_what_is_no_classifier_is_kept_too(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    record = Checkpoints(tmp_path)
    record.save(model, {"epoch": 1, "generator": 0.5, "discriminator": 0.7})
    again = Checkpoints(tmp_path)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    again.restore(other, [4])
    again.load_kept_weights(other)
    same(model, other)
    assert again.finished == [{"epoch": 1, "generator": 0.5, "discriminator": 0.7}]


def test_a_checkpoint_that_does_not_fit_is_one_clear_line(short):
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, activation="softmax")])
    momentum = OptimizerSpec("sgd", 0.1, {"momentum": 0.9})
    for model, stages in (
        (other, STAGES),
        (network(), STAGES[:1]),
        (network(), (STAGES[0], Stage("fine", 2, ADAM))),
        (network(), (STAGES[0], dataclasses.replace(STAGES[1], trainable="all"))),
        (network(), (STAGES[0], Stage("fine", 3, momentum, trainable="all"))),
    ):
        with pytest.raises(DataError, match="checkpoint: cannot resume") as caught:
            run_stages(model, stages, FEEDS, short[2], seed=7, resume=True)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage("on", 1, None),), "no optimiser to go on with"),
        ((Stage("one", 0, ADAM),), "0 epochs"),
        ((Stage("one", 1, ADAM, trainable="some"),), "'some'"),
        ((Stage("one", 1, ADAM), Stage("two", 1, None, trainable="all")), "optimiser of its own"),
        ((Stage("one", 1, ADAM, loss="mse"), Stage("two", 1, None)), "loss must be mse"),
        ((Stage("one", 1, OptimizerSpec("sgd", 0.1, decay=0.1), schedule=StepDecay(1, 0.5)),), "decays"),
        (
            (
                Stage("one", 1, OptimizerSpec("sgd", 0.1, decay=0.1)),
                Stage("two", 1, None, schedule=StepDecay(1, 0.5)),
            ),
            "decays",
        ),
    ],
)
def test_stages_that_cannot_follow_one_another_are_refused(tmp_path, stages, message):
    with pytest.raises(OptionError, match=message) as caught:
        run_stages(network(), stages, FEEDS, tmp_path / "run", seed=7)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_stages_that_all_train_every_layer_may_go_on():
    check_stages((Stage("one", 1, ADAM, trainable="all"), Stage("two", 1, None, trainable="all")))


@pytest.mark.parametrize("options", [{"keep": "first"}, {"monitor": "val_auc"}])
def test_an_unknown_way_to_keep_is_refused(tmp_path, options):
    with pytest.raises(OptionError):
        run_stages(network(), STAGES, FEEDS, tmp_path, seed=7, **options)
