"""Batches: the same values whatever the workers and interruptions, and errors a user can read."""

import itertools
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covidcxr.data.augmentation import ENGINES, Augmentation, KerasEngine
from covidcxr.data.batches import (
    Shard,
    clear_errors,
    evaluation_batches,
    inference_batches,
    training_batches,
)
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import ImageError, OptionError

COUNT = 7
SIZE = (12, 10)
AUGMENTATION = Augmentation(rotation_range=40, zoom_range=0.2, width_shift_range=[-2, 2], vertical_flip=True)


@pytest.fixture
def files(tmp_path):
    """Images of noise around a grey level of their own; the mean tells which is which."""
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{number}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        grey = 20 + 30 * number + rng.integers(-9, 10, SIZE)
        Image.fromarray(grey.astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def preprocessing():
    return Preprocessing(size=SIZE, channels=3)


TARGETS = np.eye(COUNT)


def read(batches, epochs=1):
    """Return the images and targets of whole epochs as two lists of batches."""
    pairs = list(itertools.islice(batches.dataset.as_numpy_iterator(), epochs * batches.steps))
    return [images for images, _ in pairs], [targets for _, targets in pairs]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def identities(images):
    return np.rint((images.mean(axis=(1, 2, 3)) - 20) / 30).astype(int)


def test_every_image_once_an_epoch_beside_its_own_target(files, preprocessing):
    batches = training_batches(files, TARGETS, preprocessing, 3, seed=4)
    assert batches.steps == 3
    images, targets = read(batches, epochs=3)
    assert [len(batch) for batch in images] == [3, 3, 1] * 3
    assert images[0].dtype == targets[0].dtype == np.float32
    orders = [np.concatenate(targets[k : k + 3]).argmax(axis=1) for k in (0, 3, 6)]
    for order in orders:
        assert sorted(order) == list(range(COUNT))
    assert len({tuple(order) for order in orders}) == 3
    np.testing.assert_array_equal(identities(np.concatenate(images)), np.concatenate(orders))


def test_unshuffled_epochs_keep_the_order(files, preprocessing):
    batches = training_batches(files, TARGETS, preprocessing, 4, shuffle=False)
    _, targets = read(batches, epochs=2)
    np.testing.assert_array_equal(np.concatenate(targets), np.concatenate([TARGETS, TARGETS]))


def test_workers_change_nothing(files, preprocessing):
    one, four = (
        read(
            training_batches(files, TARGETS, preprocessing, 2, augmentation=AUGMENTATION, workers=workers),
            epochs=3,
        )
        for workers in (1, 4)
    )
    assert_same(one[0], four[0])
    assert_same(one[1], four[1])


def test_a_run_resumed_at_any_epoch_goes_on_as_if_uninterrupted(files, preprocessing):
    def start(epoch):
        return training_batches(
            files, TARGETS, preprocessing, 3, augmentation=AUGMENTATION, seed=9, stream=2, first_epoch=epoch
        )

    whole_images, whole_targets = read(start(0), epochs=4)
    for epoch in (1, 3):
        images, targets = read(start(epoch), epochs=4 - epoch)
        assert_same(images, whole_images[3 * epoch :])
        assert_same(targets, whole_targets[3 * epoch :])


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": 1}, {"first_epoch": 1}])
def test_seed_stream_and_epoch_each_change_order_and_transforms(change, files, preprocessing):
    options = {"augmentation": AUGMENTATION, "shuffle": False}
    plain, _ = read(training_batches(files, TARGETS, preprocessing, COUNT, **options))
    other, _ = read(training_batches(files, TARGETS, preprocessing, COUNT, **options, **change))
    assert all((one != two).any() for one, two in zip(plain[0], other[0], strict=True))
    _, order = read(training_batches(files, TARGETS, preprocessing, COUNT))
    _, reorder = read(training_batches(files, TARGETS, preprocessing, COUNT, **change))
    assert (order[0] != reorder[0]).any()


def test_images_are_transformed_grey_then_expanded_and_standardised(files, monkeypatch):
    """Against Keras' engine on three channels, image by image."""
    augmentation = Augmentation(rotation_range=40, rescale=1 / 255, samplewise_center=True)
    preprocessing = augmentation.preprocessing(SIZE)
    seeds = []

    class Recording(KerasEngine):
        def draw(self, seed):
            seeds.append(seed)
            return super().draw(seed)

        def apply(self, image, parameters):
            assert image.shape == (*SIZE, 1)
            return super().apply(image, parameters)

    monkeypatch.setitem(ENGINES, "recording", Recording)
    batches = evaluation_batches(
        files, TARGETS, preprocessing, COUNT, augmentation=augmentation, engine="recording", workers=1
    )
    (images,), _ = read(batches)
    engine = KerasEngine(augmentation, (*SIZE, 3))
    assert len(set(seeds)) == COUNT
    for path, seed, image in zip(files, seeds, images, strict=True):
        whole = preprocessing.expand(preprocessing.load(path))
        expected = preprocessing.standardize(engine.apply(whole, engine.draw(seed)))
        np.testing.assert_array_equal(image, expected)


def test_an_evaluation_pass_is_in_order_and_has_an_end(files, preprocessing):
    batches = evaluation_batches(files, TARGETS, preprocessing, 3)
    assert batches.steps == int(batches.dataset.cardinality()) == 3
    pairs = list(batches.dataset.as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in pairs]), TARGETS)
    expected = np.stack([preprocessing(path) for path in files])
    np.testing.assert_array_equal(np.concatenate([images for images, _ in pairs]), expected)


def test_an_augmented_evaluation_pass_repeats_itself(files, preprocessing):
    def start(epoch=0):
        return evaluation_batches(files, TARGETS, preprocessing, 3, augmentation=AUGMENTATION, epoch=epoch)

    batches = start()
    first, again = read(batches)[0], read(batches)[0]
    assert_same(first, again)
    assert_same(first, read(start())[0])
    assert (first[0] != read(start(epoch=1))[0][0]).any()
    assert (first[0] != read(evaluation_batches(files, TARGETS, preprocessing, 3))[0][0]).any()


def test_inference_gives_images_alone(files, preprocessing):
    batches = inference_batches([str(path) for path in files], preprocessing, 4)
    assert batches.steps == int(batches.dataset.cardinality()) == 2
    images = np.concatenate(list(batches.dataset.as_numpy_iterator()))
    np.testing.assert_array_equal(images, np.stack([preprocessing(path) for path in files]))


def tiny_model():
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((*SIZE, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(COUNT, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_keras_trains_two_epochs_with_a_ragged_last_batch(files):
    preprocessing = Preprocessing(size=SIZE, rescale=1 / 255)
    training = training_batches(files, TARGETS, preprocessing, 3, augmentation=AUGMENTATION)
    validation = evaluation_batches(files, TARGETS, preprocessing, 3)
    model = tiny_model()
    with clear_errors(training, validation):
        history = model.fit(
            training.dataset,
            epochs=2,
            steps_per_epoch=training.steps,
            validation_data=validation.dataset,
            shuffle=False,
            verbose=0,
        ).history
        loss, _ = model.evaluate(validation.dataset, verbose=0)
        predicted = model.predict(inference_batches(files, preprocessing, 3).dataset, verbose=0)
    assert int(model.optimizer.iterations) == 2 * training.steps
    assert predicted.shape == (COUNT, COUNT)
    by_hand = -np.log(np.clip(np.diag(predicted), 1e-7, 1)).mean()
    np.testing.assert_allclose([loss, history["val_loss"][-1]], by_hand, rtol=1e-4)


def test_an_unreadable_image_is_named_in_one_line(files, preprocessing):
    files[4].write_bytes(b"not an image")
    training = training_batches(files, TARGETS, preprocessing, 3)
    validation = evaluation_batches(files, TARGETS, preprocessing, 3)
    inference = inference_batches(files, preprocessing, 3)
    model = tiny_model()
    calls = (
        lambda: model.fit(training.dataset, steps_per_epoch=training.steps, shuffle=False, verbose=0),
        lambda: model.evaluate(validation.dataset, verbose=0),
        lambda: model.predict(inference.dataset, verbose=0),
        lambda: list(inference.dataset),
    )
    for call in calls:
        with pytest.raises(ImageError) as caught, clear_errors(training, validation, inference):
            call()
        assert str(caught.value).startswith(str(files[4]))
        assert "\n" not in str(caught.value)
    Image.fromarray(np.full(SIZE, 99, np.uint8)).save(files[4])
    with clear_errors(inference):
        assert len(list(inference.dataset)) == 3


def test_an_error_of_any_kind_reaches_the_caller(files):
    class Broken(Preprocessing):
        def load(self, path):
            raise ZeroDivisionError

    batches = training_batches(files, TARGETS, Broken(size=SIZE), 3)
    with pytest.raises(ZeroDivisionError), clear_errors(batches):
        next(iter(batches.dataset))
    with pytest.raises(tf.errors.InvalidArgumentError, match="ZeroDivisionError"):
        next(iter(batches.dataset))


def test_tensorflows_own_errors_pass(files, preprocessing):
    batches = inference_batches(files, preprocessing, 3)
    with pytest.raises(tf.errors.InvalidArgumentError), clear_errors(batches):
        tf.debugging.assert_equal(1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size"),
        ({"workers": 0}, "workers"),
        ({"seed": -1}, "seed"),
        ({"files": [], "targets": np.zeros((0, 2))}, "no images"),
        ({"targets": np.eye(3)}, "7 files"),
        ({"targets": np.arange(7)}, "one-hot"),
        ({"augmentation": AUGMENTATION, "engine": "torch"}, "torch"),
        ({"augmentation": Augmentation(rescale=1 / 255)}, "rescale"),
    ],
)
def test_senseless_arguments_are_refused_at_once(options, message, files, preprocessing):
    arguments = {"files": files, "targets": TARGETS, "preprocessing": preprocessing, "batch_size": 2}
    with pytest.raises(OptionError, match=message):
        training_batches(**arguments | options)


def test_a_program_that_leaves_a_stream_open_ends(files):
    """Without care TensorFlow's threads and the ending interpreter wait for each other."""
    program = f"""
        import numpy as np
        from covidcxr.data.augmentation import Augmentation
        from covidcxr.data.batches import training_batches

        files = [{str(files[0])!r}] * 99
        augmentation = Augmentation(rotation_range=90)
        batches = training_batches(
            files,
            np.zeros((99, 2)),
            augmentation.preprocessing((224, 224)),
            16,
            augmentation=augmentation,
            workers=4,
        )
        stream = iter(batches.dataset)
        print(next(stream)[0].shape)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "(16, 224, 224, 3)\n"


class Counted(Preprocessing):
    """Remembers what it read."""

    def load(self, path):
        READ.append(path)
        return super().load(path)


READ = []


def join(shards, batch):
    """Put the parts of one batch back together, padding dropped."""
    parts = [[array[batch] for array in shard] for shard in shards]
    images, targets, weights = (np.concatenate([part[i] for part in parts]) for i in range(3))
    assert weights.dtype == np.float32
    return images[weights == 1], targets[weights == 1]


def triples(batches, epochs=1):
    """Return images, targets and weights of whole epochs as three lists of batches."""
    elements = itertools.islice(batches.dataset.as_numpy_iterator(), epochs * batches.steps)
    return list(zip(*elements, strict=True))


# Replicas a worker: two workers with one each, one with two, three of which the last has two.
@pytest.mark.parametrize("counts", [(1, 1), (2,), (1, 1, 2)])
@pytest.mark.parametrize("batch_size", [1, 3, 6, 99])
def test_the_shards_of_a_batch_are_the_batch(counts, batch_size, files, preprocessing):
    options = {"augmentation": AUGMENTATION, "seed": 3}
    firsts = np.cumsum((0, *counts[:-1]))
    shards = [Shard(sum(counts), int(first), count) for first, count in zip(firsts, counts, strict=True)]
    for function, epochs in ((training_batches, 2), (evaluation_batches, 1)):
        whole = function(files, TARGETS, preprocessing, batch_size, **options)
        parts = [
            function(files, TARGETS, preprocessing, batch_size, shard=shard, **options) for shard in shards
        ]
        assert [part.shard for part in parts] == shards
        assert {part.steps for part in parts} == {whole.steps}
        images, targets = read(whole, epochs)
        elements = [triples(part, epochs) for part in parts]
        for batch in range(epochs * whole.steps):
            together = join(elements, batch)
            np.testing.assert_array_equal(together[0], images[batch])
            np.testing.assert_array_equal(together[1], targets[batch])
            sizes = {
                len(element[2][batch]) / shard.count for element, shard in zip(elements, shards, strict=True)
            }
            assert len(sizes) == 1, "every replica must have as many images"


def test_a_shard_reads_its_own_images_alone(files):
    preprocessing = Counted(size=SIZE)
    # Of the last three images the second replica has one; the batch's first one fills it up.
    for first, places in ((0, (0, 1, 4, 5)), (1, (2, 3, 4, 6))):
        READ.clear()
        list(evaluation_batches(files, TARGETS, preprocessing, 4, shard=Shard(2, first, 1)).dataset)
        assert sorted(READ) == [files[place] for place in places]


def test_padding_repeats_the_batch_from_its_first_image():
    places, weights = zip(*(Shard(4, first, 1).places(6, 5) for first in range(4)), strict=True)
    np.testing.assert_array_equal(places, [[0, 1, 5], [2, 3, 5], [4, 0, 5], [1, 2, 5]])
    np.testing.assert_array_equal(weights, [[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("numbers", [(2, 2, 1), (2, -1, 1), (2, 0, 3), (2, 0, 0)])
def test_a_shard_that_is_not_there_is_refused(numbers):
    with pytest.raises(OptionError, match="replicas"):
        Shard(*numbers)


def test_streams_leave_neither_memory_nor_threads_behind(tmp_path, monkeypatch):
    from covidcxr.data import memory

    made = []
    monkeypatch.setattr(
        memory, "_aligned", lambda size, make=memory._aligned: made.append(size) or make(size)
    )
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for path in files:
        Image.fromarray(np.full((9, 9), 7, np.uint8)).save(path)
    options = {"augmentation": Augmentation(rotation_range=30), "engine": "fast"}
    preprocessing = options["augmentation"].preprocessing((37, 41))

    def passes(count):
        for epoch in range(count):
            stream = evaluation_batches(
                files, np.eye(2)[[0, 1] * 4], preprocessing, 2, epoch=epoch, **options
            )
            for _ in stream.dataset.as_numpy_iterator():
                pass
        return sum(size >= 2 * 37 * 41 * 3 for size in made), threading.active_count()

    begun, threads = passes(4)
    ended, threads_after = passes(12)
    # Streams with arrays of their own would make two or more each.
    assert ended - begun <= 8
    assert threads_after <= threads
