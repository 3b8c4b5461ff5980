"""Where a run trains: what is chosen, what is refused, and that one device keeps Keras' own way."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr.data.batches import Batches
from covidcxr.errors import CovidcxrError, OptionError
from covidcxr.training.distributed import lost_workers
from covidcxr.training.strategy import PRECISIONS, place

TWO = ["host1:1", "host2:1"]
IMAGES = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
TARGETS = np.eye(2, dtype="float32")[np.arange(9) % 2]


def cluster(kind="worker", index=0, **jobs):
    return json.dumps({"cluster": jobs or {"worker": TWO}, "task": {"type": kind, "index": index}})


@pytest.fixture
def multiworker(monkeypatch):
    """In place of a strategy that would wait for its workers: one that remembers having been made."""
    made = []
    real = tf.distribute.OneDeviceStrategy("/cpu:0")
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda **options: made.append(options) or real
    )
    return made


@pytest.mark.parametrize("config", [None, "", "{}", '{"cluster": {}}', cluster(worker=["host1:1"])])
def test_auto_is_a_single_device_without_other_workers_and_gpus(config, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    placement = place()
    assert (placement.name, placement.replicas, placement.shard, placement.is_chief) == (
        "single",
        1,
        None,
        True,
    )
    assert placement.describe() == {
        "strategy": "single",
        "replicas": 1,
        "devices": ["/device:CPU:0"],
        "precision": "float32",
    }


@pytest.mark.parametrize(
    ("config", "chief"),
    [
        (cluster(), True),
        (cluster(index=1), False),
        (cluster("chief", chief=["host0:1"], worker=TWO), True),
        (cluster("worker", chief=["host0:1"], worker=TWO), False),
    ],
)
@pytest.mark.parametrize("strategy", ["auto", "multiworker"])
def test_workers_are_found_in_tf_config(strategy, config, chief, monkeypatch, multiworker):
    monkeypatch.setenv("TF_CONFIG", config)
    placement = place(strategy)
    assert len(multiworker) == 1
    assert (placement.name, placement.is_chief) == ("multiworker", chief)
    # Asked for, a single device is what one gets.
    assert place("single").name == "single"


def test_auto_takes_all_gpus(monkeypatch):
    gpus = ["gpu 0", "gpu 1"]
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus if kind == "GPU" else [])
    monkeypatch.setattr(
        "covidcxr.training.strategy._mirrored", lambda: tf.distribute.OneDeviceStrategy("/cpu:0")
    )
    assert place().name == "mirrored"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG cannot be used"),
        ("[]", "TF_CONFIG cannot be used"),
        (json.dumps({"cluster": {"worker": TWO}}), "'task'"),
        (json.dumps({"cluster": ["x"], "task": {"type": "worker", "index": 0}}), "TF_CONFIG cannot be used"),
        (cluster(index=2), "worker 2, is not in its cluster"),
        (cluster("chief"), "chief 0, is not in its cluster"),
        (cluster("ps", ps=["host0:1"], worker=TWO), "'ps'"),
    ],
)
@pytest.mark.parametrize("strategy", ["auto", "multiworker"])
def test_a_tf_config_without_meaning_is_refused_in_one_line(
    strategy, config, message, monkeypatch, multiworker
):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(OptionError, match=message) as caught:
        place(strategy)
    assert "\n" not in str(caught.value)
    assert not multiworker


def test_several_workers_need_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(OptionError, match="TF_CONFIG names no cluster"):
        place("multiworker")


@pytest.mark.parametrize(
    ("arguments", "message"), [(("gpu",), "strategy 'gpu'"), (("auto", "half"), "precision 'half'")]
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        place(*arguments)


def test_auto_precision_waits_for_the_network_and_stays_as_the_run_began(monkeypatch):
    monkeypatch.setattr("covidcxr.training.tuning.precision_for", lambda backbone: "mixed_" + backbone)
    waiting = place("single", "auto")
    assert waiting.for_network("bfloat16").precision == "mixed_bfloat16"
    assert waiting.for_network("bfloat16", begun_with="float32").precision == "float32"
    assert place("mirrored", "auto").for_network("bfloat16").precision == "float32"
    assert place("single", "float32").for_network("bfloat16").precision == "float32"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_models_of_the_scope_have_its_precision_and_what_comes_after_has_not(precision):
    placement = place("single", precision)
    with placement.scope():
        inside = keras.layers.Dense(2)
    assert inside.dtype_policy.name == precision
    assert keras.layers.Dense(2).dtype_policy.name == "float32"
    with pytest.raises(KeyError), placement.scope():
        raise KeyError
    assert keras.config.dtype_policy().name == "float32"


def batches():
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(4)
    return Batches(dataset.repeat(), 3), Batches(dataset, 3)


def test_a_single_device_trains_as_keras_does():
    histories = []
    for own in (True, False):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        training, validation = batches()
        if own:
            placement = place("single")
            fitted = placement.fit(
                model, training, validation, steps_per_epoch=3, initial_epoch=1, epochs=3, callbacks=()
            )
            assert placement.plain_copy(model) is model
        else:
            fitted = model.fit(
                IMAGES,
                TARGETS,
                4,
                initial_epoch=1,
                epochs=3,
                shuffle=False,
                verbose=0,
                validation_data=(IMAGES, TARGETS),
            )
        histories.append(fitted.history)
    assert len(histories[0]["loss"]) == 2
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-6)


@pytest.mark.parametrize(
    "error", [tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError]
)
def test_a_lost_worker_is_one_clear_line(error):
    message = "{{function_node __inference_123}} Socket closed\nAdditional information:\nmore"
    with pytest.raises(CovidcxrError, match=r"--resume \(TensorFlow: Socket closed\)$"), lost_workers():
        raise error(None, None, message)


def test_other_errors_of_tensorflow_pass():
    with pytest.raises(tf.errors.InvalidArgumentError), lost_workers():
        tf.debugging.assert_equal(1, 2)


@pytest.mark.parametrize("error", [ValueError("no such\nthing"), tf.errors.NotFoundError(None, None, "none")])
def test_a_missing_tpu_is_one_clear_line(error, monkeypatch):
    def none(**_):
        raise error

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", none)
    with pytest.raises(OptionError, match="no TPU found") as caught:
        place("tpu")
    assert "\n" not in str(caught.value)
