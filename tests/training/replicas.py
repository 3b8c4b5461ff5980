"""Train tiny networks as one process of a distributed run; a program of its own, run by the tests.

`python replicas.py SPEC.json OUT`: SPEC has `folder` (of images), `strategy`, `logical_cpus` and `runs`, a list of
keyword arguments of `train`, with `precision`. OUT-0.npz, OUT-1.npz... get each run's history and weights, OUT.json
what a mirrored run is checked for besides.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

SIZE = (8, 6)
CLASSES = 3


def network(kind):
    import keras

    keras.utils.set_random_seed(5)
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, activation="relu")]
    if kind == "regularised":
        layers[1] = keras.layers.Dense(6, activation="relu", kernel_regularizer="l2")
    if kind == "noisy":
        layers = [
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
        ]
    head = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")
    return keras.Sequential([keras.Input((*SIZE, 3)), *layers, head])


def batches(folder, placement, batch_size, images, first_epoch):
    import numpy as np

    from covidcxr.data.augmentation import Augmentation
    from covidcxr.data.batches import evaluation_batches, training_batches

    files = sorted(Path(folder).glob("*.png"))[:images]
    targets = np.eye(CLASSES)[np.arange(len(files)) % CLASSES]
    augmentation = Augmentation(rotation_range=20, rescale=1 / 255)
    loader = augmentation.preprocessing(SIZE)
    shard = placement.shard
    training = training_batches(
        files,
        targets,
        loader,
        batch_size,
        augmentation=augmentation,
        seed=3,
        first_epoch=first_epoch,
        shard=shard,
    )
    return training, evaluation_batches(files[:9], targets[:9], loader, batch_size, shard=shard)


def compiled(kind, optimizer):
    from covidcxr.training.optimizers import OptimizerSpec

    model = network(kind)
    spec = OptimizerSpec(optimizer, 0.05 if optimizer == "sgd" else 0.003)
    model.compile(spec.build(), "categorical_crossentropy", metrics=["accuracy"])
    return model


def train(
    placement,
    folder,
    *,
    kind="plain",
    optimizer="sgd",
    batch_size=8,
    images=17,
    epochs=3,
    die_after=None,
    cut=None,
):
    """Return the history, and the model after it; `cut` saves and loads the model after that many epochs."""
    from covidcxr.training.callbacks import RepeatableNoise

    with placement.scope():
        model = compiled(kind, optimizer)
        for first, last in [(0, epochs)] if cut is None else [(0, cut), (cut, epochs)]:
            if first:
                model = reloaded(model)
            training, validation = batches(folder, placement, batch_size, images, first)
            history = placement.fit(
                model,
                training,
                validation,
                steps_per_epoch=training.steps,
                initial_epoch=first,
                epochs=last,
                callbacks=[RepeatableNoise(1), *death(placement, die_after)],
            )
    return history.history, placement.plain_copy(model)


def reloaded(model):
    import keras

    with tempfile.TemporaryDirectory() as place:
        model.save(f"{place}/model.keras")
        return keras.saving.load_model(f"{place}/model.keras")


def death(placement, after):
    """Return the callback that kills the worker that is not the chief after some epochs."""
    import keras

    def end(epoch, logs=None):
        if epoch + 1 == after and not placement.is_chief:
            os.kill(os.getpid(), signal.SIGKILL)

    return [keras.callbacks.LambdaCallback(on_epoch_end=end)]


def check_noise(placement):
    """Return the seed state of the dropout layer on each replica."""
    from covidcxr.training.distributed import _Replicas

    with placement.scope():
        model = compiled("noisy", "sgd")
        _Replicas(placement.strategy, model).part_noise()
    (state,) = [layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")]
    return [value.numpy().tolist() for value in placement.strategy.experimental_local_results(state.value)]


def check_overflow(placement):
    """Return the two gradients of each replica, where one of the second replica has overflowed."""
    import tensorflow as tf

    from covidcxr.training.distributed import _agree_on_overflow

    @tf.function
    def agree():
        def replica():
            number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
            return _agree_on_overflow([tf.constant([1.0, 2.0]), None, 1 / (1 - number)])

        return placement.strategy.run(replica)

    first, missing, second = (placement.strategy.experimental_local_results(each) for each in agree())
    assert set(missing) == {None}
    return [[each.numpy().tolist() for each in pair] for pair in zip(first, second, strict=True)]


def main(specification, out):
    import dataclasses

    import numpy as np
    import tensorflow as tf

    from covidcxr.errors import CovidcxrError
    from covidcxr.training.strategy import place

    spec = json.loads(Path(specification).read_text())
    if spec["logical_cpus"] > 1:
        devices = [tf.config.LogicalDeviceConfiguration()] * spec["logical_cpus"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    placement = place(spec["strategy"])
    for number, run in enumerate(spec["runs"]):
        precision = run.pop("precision", "float32")
        try:
            history, model = train(dataclasses.replace(placement, precision=precision), spec["folder"], **run)
        except CovidcxrError as error:
            sys.exit(f"refused: {error}")
        if placement.is_chief:
            np.savez(
                f"{out}-{number}.npz", **history, **{f"w{i}": w for i, w in enumerate(model.get_weights())}
            )
    if spec["strategy"] == "mirrored":
        found = {"placement": placement.describe(), "noise": check_noise(placement)}
        found["overflow"] = check_overflow(placement)
        Path(f"{out}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
