"""Several replicas against Keras' own fit on one device, with the same global batches.

Two logical CPUs, or two processes on the loopback interface, stand for two devices: `replicas.py` is what they run.
"""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covidcxr.data.batches import Batches, Shard
from covidcxr.errors import OptionError
from covidcxr.training import distributed, workers
from covidcxr.training.strategy import Placement, place

SCRIPT = Path(__file__).with_name("replicas.py")
SPECIFICATION = importlib.util.spec_from_file_location("replicas", SCRIPT)
replicas = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(replicas)

# Seventeen images in batches of eight: the last batch has one image for two replicas.
RAGGED = {"images": 17, "batch_size": 8}
EXACT = [
    RAGGED,
    {**RAGGED, "optimizer": "legacy_nadam"},
    {**RAGGED, "kind": "regularised"},
    {"images": 3, "batch_size": 1},
]
MIRRORED_EXACT = [
    *EXACT,
    {**RAGGED, "optimizer": "legacy_rmsprop"},
    {**RAGGED, "optimizer": "adam"},
    {"images": 16, "batch_size": 8},
    {"images": 16, "batch_size": 5},
]
ROUNDED = [{**RAGGED, "precision": precision} for precision in ("mixed_bfloat16", "mixed_float16")]
NOISY = {**RAGGED, "kind": "noisy"}
# The last goes on from a file after its first epoch.
REPEATED = [NOISY, NOISY, {**NOISY, "cut": 1}]


def named(runs):
    return [" ".join(f"{name}={value}" for name, value in run.items()) for run in runs]


def start(place, folder, name, strategy, runs, environment=None, logical_cpus=1):
    (place / f"{name}.spec").write_text(
        json.dumps({"folder": str(folder), "strategy": strategy, "logical_cpus": logical_cpus, "runs": runs})
    )
    command = [sys.executable, str(SCRIPT), str(place / f"{name}.spec"), str(place / name)]
    with (place / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def start_two_workers(place, folder, runs):
    environments = enumerate(workers._environments(2))
    return [
        start(place, folder, f"worker{index}", "multiworker", runs, environment)
        for index, environment in environments
    ]


def finish(place, name, processes):
    try:
        for process in processes:
            assert process.wait(timeout=240) == 0, (place / f"{name}.log").read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def results(place, name, runs):
    return [dict(np.load(place / f"{name}-{number}.npz")) for number in range(len(runs))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("images")
    for number in range(17):
        pixels = rng.integers(0, 255, replicas.SIZE).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory, folder):
    place = tmp_path_factory.mktemp("mirrored")
    runs = [*MIRRORED_EXACT, *ROUNDED, *REPEATED]
    finish(place, "two", [start(place, folder, "two", "mirrored", runs, logical_cpus=2)])
    return results(place, "two", runs), json.loads((place / "two.json").read_text())


@pytest.fixture(scope="module")
def multiworker(tmp_path_factory, folder):
    place = tmp_path_factory.mktemp("multiworker")
    runs = [*EXACT, ROUNDED[-1], *REPEATED]
    finish(place, "worker0", start_two_workers(place, folder, runs))
    return results(place, "worker0", runs)


def differences(run, result, folder):
    """Return the largest difference of any logged number, and of any weight, from Keras' own fit."""
    options = dict(run)
    history, model = replicas.train(place("single", options.pop("precision", "float32")), folder, **options)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"} == set(result) & set(history)
    logs = [np.abs(result[name] - values).max() for name, values in history.items()]
    weights = [np.abs(result[f"w{i}"] - weight).max() for i, weight in enumerate(model.get_weights())]
    return max(logs), max(weights)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(MIRRORED_EXACT)), ids=named(MIRRORED_EXACT))
def test_two_devices_of_one_machine_train_as_one(number, mirrored, folder):
    assert max(differences(MIRRORED_EXACT[number], mirrored[0][number], folder)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXACT)), ids=named(EXACT))
def test_two_workers_train_as_one_device(number, multiworker, folder):
    assert max(differences(EXACT[number], multiworker[number], folder)) < 1e-6


@pytest.mark.slow
def test_mixed_precision_trains_as_on_one_device_but_for_its_rounding(mirrored, multiworker, folder):
    for run, found in zip(ROUNDED, mirrored[0][len(MIRRORED_EXACT) :], strict=False):
        assert max(differences(run, found, folder)) < 2e-3
    assert max(differences(ROUNDED[-1], multiworker[len(EXACT)], folder)) < 2e-3


@pytest.mark.slow
def test_a_run_repeats_itself_bit_for_bit_even_after_an_interruption(mirrored, multiworker):
    for whole, again, resumed in (mirrored[0][-3:], multiworker[-3:]):
        for name, value in whole.items():
            np.testing.assert_array_equal(again[name], value, err_msg=name)
            np.testing.assert_array_equal(resumed[name], value if name[0] == "w" else value[1:], err_msg=name)


@pytest.mark.slow
def test_workers_and_devices_of_one_machine_agree_on_noise_and_statistics(mirrored, multiworker):
    """But for the rounding: they have other numbers of threads."""
    for name, value in mirrored[0][-3].items():
        np.testing.assert_allclose(multiworker[-3][name], value, atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_every_replica_draws_noise_of_its_own(mirrored):
    first, second = mirrored[1]["noise"]
    assert first[0] != second[0]
    assert first[1] == second[1]


@pytest.mark.slow
def test_an_overflow_on_one_replica_stops_the_step_on_all(mirrored):
    assert mirrored[1]["overflow"] == [[[float("inf")] * 2, float("inf")]] * 2


@pytest.mark.slow
def test_a_placement_on_two_devices_describes_itself(mirrored):
    description = mirrored[1]["placement"]
    assert description["devices"] == [f"/job:localhost/replica:0/task:0/device:CPU:{i}" for i in (0, 1)]
    assert (description["strategy"], description["replicas"]) == ("mirrored", 2)


@pytest.mark.slow
def test_when_a_worker_is_killed_the_other_says_so_and_ends(tmp_path, folder):
    chief, other = start_two_workers(tmp_path, folder, [{"epochs": 10**6, "die_after": 2}])
    try:
        assert other.wait(timeout=240) == -9
        began = time.monotonic()
        assert chief.wait(timeout=60) == 1
        assert time.monotonic() - began < 60
    finally:
        chief.kill()
    last = (tmp_path / "worker0.log").read_text().splitlines()[-1]
    assert last.startswith(
        "refused: another worker of this run was lost; start all workers again with --resume"
    )


# One replica runs in this process: the loop, its callbacks and its refusals are the same.


@pytest.fixture(scope="module")
def one_replica():
    return Placement("mirrored", "float32", tf.distribute.MirroredStrategy(["/cpu:0"]), Shard(1, 0, 1), True)


IMAGES = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
TARGETS = np.eye(2, dtype="float32")[np.arange(5) % 2]


def feeds():
    weights = np.ones(5, "float32")
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS, weights)).batch(3)
    shard = Shard(1, 0, 1)
    return Batches(dataset.repeat(), 2, shard=shard), Batches(dataset, 2, shard=shard)


def compiled(placement, **options):
    with placement.scope():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        options = {"optimizer": "sgd", "loss": "categorical_crossentropy", "metrics": ["accuracy"], **options}
        model.compile(**options)
    return model


class Diary(keras.callbacks.Callback):
    """Notes what is called with which logs; stops where it is told to."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.notes = []
        self.stop_at = stop_at

    def _note(self, name, number, logs):
        self.notes.append((name, number, {key: float(value) for key, value in (logs or {}).items()}))
        if (name, number) == self.stop_at:
            self.model.stop_training = True

    def on_train_begin(self, logs=None):
        self._note("train begins", self.params["steps"], logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._note("epoch begins", epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self._note("batch begins", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._note("batch ends", batch, logs)

    def on_test_begin(self, logs=None):
        self._note("test begins", 0, logs)

    def on_test_batch_end(self, batch, logs=None):
        self._note("test batch ends", batch, logs)

    def on_test_end(self, logs=None):
        self._note("test ends", 0, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._note("epoch ends", epoch, logs)

    def on_train_end(self, logs=None):
        self._note("train ends", 0, logs)


@pytest.mark.parametrize("stop_at", [None, ("epoch ends", 1), ("batch ends", 0)])
def test_callbacks_are_called_as_keras_calls_them(stop_at, one_replica):
    diaries = []
    for placement in (place("single"), one_replica):
        training, validation = feeds()
        diaries.append(Diary(stop_at))
        history = placement.fit(
            compiled(placement),
            training,
            validation,
            steps_per_epoch=2,
            initial_epoch=1,
            epochs=4,
            callbacks=[diaries[-1]],
        )
        assert history.epoch == [note[1] for note in diaries[-1].notes if note[0] == "epoch ends"]
    keras_own, ours = (diary.notes for diary in diaries)
    assert [note[:2] for note in ours] == [note[:2] for note in keras_own]
    for (name, _, logs), (_, _, expected) in zip(ours, keras_own, strict=True):
        assert logs == pytest.approx(expected, abs=1e-6), name


def test_without_validation_there_are_no_validation_logs(one_replica, tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    history = one_replica.fit(
        compiled(one_replica),
        feeds()[0],
        None,
        steps_per_epoch=2,
        initial_epoch=0,
        epochs=1,
        callbacks=[board],
    )
    assert set(history.history) == {"loss", "accuracy"}
    assert list(tmp_path.rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    "loss",
    ["binary_crossentropy", keras.losses.CategoricalCrossentropy(label_smoothing=0.2), keras.losses.hinge],
)
def test_any_loss_of_keras_is_its_mean_over_the_images(loss, one_replica):
    model = compiled(one_replica, loss=loss)
    predicted = model(IMAGES)
    expected = np.mean(
        loss(TARGETS, predicted) if callable(loss) else keras.losses.get(loss)(TARGETS, predicted)
    )
    frozen = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: model.optimizer.learning_rate.assign(0)
    )
    history = one_replica.fit(
        model, *feeds(), steps_per_epoch=2, initial_epoch=0, epochs=1, callbacks=[frozen]
    ).history
    np.testing.assert_allclose([history["loss"][0], history["val_loss"][0]], expected, rtol=1e-6)


def test_padding_counts_for_nothing(one_replica):
    model, padded = compiled(one_replica), compiled(one_replica)
    whole = feeds()
    images = np.concatenate([IMAGES, IMAGES[:2] * 50])
    targets = np.concatenate([TARGETS, 1 - TARGETS[:2]])
    weights = np.array([1] * 5 + [0] * 2, "float32")
    dataset = tf.data.Dataset.from_tensor_slices((images, targets, weights)).batch(7)
    also = [Batches(each, 1, shard=Shard(1, 0, 1)) for each in (dataset.repeat(), dataset)]
    unpadded = tf.data.Dataset.from_tensors((IMAGES, TARGETS, np.ones(5, "float32")))
    whole = [Batches(each, 1, shard=Shard(1, 0, 1)) for each in (unpadded.repeat(), unpadded)]
    options = {"steps_per_epoch": 1, "initial_epoch": 0, "epochs": 3}
    histories = [one_replica.fit(model, *whole, **options), one_replica.fit(padded, *also, **options)]
    for name, values in histories[0].history.items():
        np.testing.assert_allclose(histories[1].history[name], values, rtol=1e-6)
    for one, other in zip(model.get_weights(), padded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("name", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clipping_is_refused(name, one_replica):
    with one_replica.scope():
        optimizer = keras.optimizers.SGD(**{name: 1.0})
    with pytest.raises(OptionError, match=name):
        distributed.fit(
            one_replica.strategy,
            compiled(one_replica, optimizer=optimizer),
            *feeds(),
            steps_per_epoch=2,
            initial_epoch=0,
            epochs=1,
        )


def test_a_plain_copy_predicts_and_saves_outside_the_strategy(one_replica, tmp_path):
    placement = Placement("mirrored", "mixed_bfloat16", one_replica.strategy, one_replica.shard, True)
    with placement.scope():
        model = replicas.network("noisy")
    copy = placement.plain_copy(model)
    assert not any(isinstance(weight.value, tf.distribute.DistributedValues) for weight in copy.weights)
    assert [layer.dtype_policy.name for layer in copy.layers] == [
        layer.dtype_policy.name for layer in model.layers
    ]
    images = np.random.default_rng(1).normal(size=(3, *replicas.SIZE, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_array_equal(copy.predict(images, verbose=0), expected)
    copy.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), expected)
