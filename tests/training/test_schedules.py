from types import SimpleNamespace

import keras
import numpy as np
import pytest

from covidcxr.errors import OptionError
from covidcxr.training.schedules import (
    CosineDecay,
    EarlyStopping,
    Exponential,
    ReduceOnPlateau,
    StepDecay,
    best_epoch,
)

MODES = {"val_loss": "min", "val_accuracy": "max"}


def runs(monitor, nan=False):
    """Histories as training gives them: falling and rising, with equal values, of float32 precision."""
    draw, sign = np.random.default_rng(3), 1 if monitor == "val_accuracy" else -1
    for _ in range(30):
        values = np.float32(np.round(5 + sign * np.arange(14) / 9 + draw.normal(size=14), 1))
        if nan:
            values[draw.integers(1, 14)] = np.nan
        yield [{monitor: float(value)} for value in values]


def played(callback, rows, rate=0.1):
    """Give a Keras callback epoch after epoch; return the rate each epoch had and when training stopped."""
    model = SimpleNamespace(optimizer=keras.optimizers.SGD(rate), stop_training=False)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, row in enumerate(rows):
        callback.on_epoch_begin(epoch)
        rates.append(float(model.optimizer.learning_rate.numpy()))
        callback.on_epoch_end(epoch, dict(row))
        if model.stop_training:
            break
    return rates


@pytest.mark.parametrize("monitor", MODES)
@pytest.mark.parametrize(("patience", "min_delta"), [(0, 0.0), (1, 0.0), (3, 0.0), (2, 0.1)])
@pytest.mark.parametrize("nan", [False, True])
def test_a_stage_stops_where_keras_early_stopping_does(monitor, patience, min_delta, nan):
    ours = EarlyStopping(monitor, patience, min_delta)
    lengths = set()
    for rows in runs(monitor, nan):
        theirs = keras.callbacks.EarlyStopping(monitor, min_delta, patience, mode=MODES[monitor])
        expected = len(played(theirs, rows))
        stops = [done for done in range(1, len(rows)) if ours.stops(rows[:done])]
        assert next(iter(stops), len(rows)) == expected
        lengths.add(expected)
    assert len(lengths) > 2


@pytest.mark.parametrize("monitor", MODES)
@pytest.mark.parametrize(
    ("patience", "min_rate", "min_delta"), [(1, 0.0, 1e-4), (2, 0.02, 0.0), (0, 0.1, 0.1)]
)
def test_the_rate_falls_where_keras_reduce_on_plateau_lets_it_fall(monitor, patience, min_rate, min_delta):
    ours = ReduceOnPlateau(monitor, 0.3, patience, min_rate, min_delta)
    different = set()
    for rows in runs(monitor):
        theirs = keras.callbacks.ReduceLROnPlateau(
            monitor, 0.3, patience, mode=MODES[monitor], min_delta=min_delta, min_lr=min_rate
        )
        expected = played(theirs, rows)
        rate, done = expected[0], []
        for row in rows:
            done.append({**row, "learning_rate": rate})
            rate = float(np.float32(ours.after(done) or rate))
        assert [row["learning_rate"] for row in done] == expected
        different.add(tuple(expected))
    assert len(different) > 1 or min_rate == 0.1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (StepDecay(3, 0.5), lambda rate: ("ExponentialDecay", (rate, 3, 0.5, True))),
        (Exponential(0.9), lambda rate: ("ExponentialDecay", (rate, 1, 0.9))),
        (CosineDecay(), lambda rate: ("CosineDecay", (rate, 10))),
        (CosineDecay(1e-4), lambda rate: ("CosineDecay", (rate, 10, 1e-4 / rate))),
    ],
)
def test_schedules_are_those_of_keras_with_epochs_for_steps(ours, theirs):
    name, arguments = theirs(2e-3)
    keras_schedule = getattr(keras.optimizers.schedules, name)(*arguments)
    expected = [float(keras_schedule(epoch)) for epoch in range(10)]
    np.testing.assert_allclose([ours.before(epoch, 10, 2e-3) for epoch in range(10)], expected, rtol=2e-5)
    assert ours.before(0, 10, 2e-3) == 2e-3
    assert ours.after([{"learning_rate": 2e-3}]) is None


@pytest.mark.parametrize("monitor", MODES)
def test_the_best_epoch_is_that_of_keras_model_checkpoint(tmp_path, monitor):
    for rows in runs(monitor):
        saved = []
        checkpoint = keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.keras", monitor, save_best_only=True, mode=MODES[monitor]
        )
        checkpoint.set_model(SimpleNamespace(save=lambda path, overwrite, saved=saved: saved.append(path)))
        for epoch, row in enumerate(rows):
            checkpoint.on_epoch_end(epoch, row)
        assert saved[-1] == str(tmp_path / f"{best_epoch(rows, monitor) + 1}.keras")


def test_an_epoch_that_came_to_nothing_is_never_the_best():
    assert best_epoch([{"loss": float("nan")}, {"loss": 2.0}, {"loss": float("nan")}], "val_loss") == 1
    assert best_epoch([{"loss": float("nan")}], "loss") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping("val_auc", 3),
        lambda: EarlyStopping("loss", -1),
        lambda: EarlyStopping("loss", 1, -0.1),
        lambda: ReduceOnPlateau("loss", 1.0),
        lambda: ReduceOnPlateau("loss", 0.0),
        lambda: ReduceOnPlateau("loss", 0.5, min_rate=-1.0),
        lambda: ReduceOnPlateau("auc", 0.5),
        lambda: StepDecay(0, 0.5),
        lambda: StepDecay(2, 0.0),
        lambda: Exponential(-0.5),
        lambda: CosineDecay(-1e-3),
    ],
)
def test_what_has_no_meaning_is_refused(make):
    with pytest.raises(OptionError) as caught:
        make()
    assert "\n" not in str(caught.value)
