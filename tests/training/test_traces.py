"""Tracing a large network's step takes seconds: how often it is done must not grow with epochs or stages."""

import keras
import numpy as np
import pytest
from PIL import Image

from covidcxr.data.batches import training_batches
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.training.strategy import place


class Counted(keras.Model):
    """Note the batch size of every trace of the training step."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.traces = []

    def train_step(self, data):
        self.traces.append(data[0].shape[0])
        return super().train_step(data)


@pytest.fixture
def batches(tmp_path):
    generator = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file in files:
        Image.fromarray(generator.integers(0, 255, (8, 8), dtype=np.uint8)).save(file)
    targets = np.eye(2, dtype="float32")[[0, 1] * 3]
    return training_batches(files, targets, Preprocessing((8, 8), 3), 4, seed=1)


def test_a_step_is_traced_once_for_full_batches_and_once_for_a_smaller_last_one(batches):
    image = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image))
    model = Counted(image, outputs)
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(2):
        place("single").fit(
            model, batches, None, steps_per_epoch=batches.steps, initial_epoch=epoch, epochs=epoch + 2
        )
    assert 1 <= len(model.traces) <= 2
