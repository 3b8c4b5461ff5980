"""Train tiny networks as one process of a distributed run; a program of its own, run by the tests.

`python replicas.py SPEC.json OUT`: SPEC has `folder` (of images), `strategy`, `logical_cpus` and `runs`, a list of
keyword arguments of `train`; OUT-0.npz, OUT-1.npz... get each run's history and weights.
"""

import json
import os
import sys
import time
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


def batches(folder, placement, batch_size, images, seed=3):
    import numpy as np

    from covidcxr.data.augmentation import Augmentation
    from covidcxr.data.batches import evaluation_batches, training_batches

    files = sorted(Path(folder).glob("*.png"))[:images]
    targets = np.eye(CLASSES)[np.arange(len(files)) % CLASSES]
    augmentation = Augmentation(rotation_range=20, rescale=1 / 255)
    loader = augmentation.preprocessing(SIZE)
    shard = placement.shard
    training = training_batches(
        files, targets, loader, batch_size, augmentation=augmentation, seed=seed, shard=shard
    )
    return training, evaluation_batches(files[:9], targets[:9], loader, batch_size, shard=shard)


def train(placement, folder, *, kind="plain", optimizer="sgd", batch_size=8, images=17, epochs=3, die=None):
    """Return the history and the weights after it."""
    from covidcxr.training.callbacks import RepeatableNoise
    from covidcxr.training.optimizers import OptimizerSpec

    training, validation = batches(folder, placement, batch_size, images)
    with placement.scope():
        model = network(kind)
        spec = OptimizerSpec(optimizer, 0.05 if optimizer == "sgd" else 0.003)
        model.compile(spec.build(), "categorical_crossentropy", metrics=["accuracy"])
        history = placement.fit(
            model,
            training,
            validation,
            steps_per_epoch=training.steps,
            initial_epoch=0,
            epochs=epochs,
            callbacks=[RepeatableNoise(1), *death(placement, die)],
        )
    return history.history, placement.plain_copy(model)


def death(placement, how):
    """Return the callback that ends the worker that is not the chief after the first epoch."""
    import keras

    def end(epoch, logs=None):
        if not placement.is_chief:
            os._exit(9)

    return [keras.callbacks.LambdaCallback(on_epoch_end=end)] if how else []


def main(specification, out):
    spec = json.loads(Path(specification).read_text())
    import tensorflow as tf

    if spec["logical_cpus"] > 1:
        devices = [tf.config.LogicalDeviceConfiguration()] * spec["logical_cpus"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    import numpy as np

    from covidcxr.errors import CovidcxrError
    from covidcxr.training.strategy import place

    placement = place(spec["strategy"])
    print(json.dumps(placement.describe()))
    for number, run in enumerate(spec["runs"]):
        run_placement = placement
        if "precision" in run:
            import dataclasses

            run_placement = dataclasses.replace(placement, precision=run.pop("precision"))
        try:
            history, model = train(run_placement, spec["folder"], **run)
        except CovidcxrError as error:
            print(f"refused after {time.process_time():.0f}: {error}", file=sys.stderr, flush=True)
            sys.exit(2)
        weights = {f"weight{i}": weight for i, weight in enumerate(model.get_weights())}
        if placement.is_chief:
            np.savez(f"{out}-{number}.npz", **weights, **{k: np.array(v) for k, v in history.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
