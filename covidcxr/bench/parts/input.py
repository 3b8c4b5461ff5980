"""From radiographs on disk to augmented batches, and how long a training step waits for them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covidcxr.bench.images import radiographs
from covidcxr.bench.measuring import Fact, race, timed
from covidcxr.papers.rahimzadeh2020 import AUGMENTATION, RECIPE

KEY = "input"
TITLE = "Input pipeline"

_FILE_SIDE, _SIZE = 1024, (300, 300)
_CLASSES, _THREADS = 3, 2
# The paper's.
_BATCH = 30
_IMAGES, _IMAGES_QUICK = 256, 48
# One epoch from memory is too short to be timed alone.
_EPOCHS = 20
_WARM_UP, _STEPS, _STEPS_QUICK = 2, 12, 4


def measure(bench):
    """Race an epoch of ours against one of Keras' generator; time the first epoch, and the waits of real steps.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Returns
    -------
    list of covidcxr.bench.measuring.Race and covidcxr.bench.measuring.Fact
    """
    count = _IMAGES_QUICK if bench.quick else _IMAGES
    bench.say(f"input: {count} radiographs of {_FILE_SIDE} x {_FILE_SIDE} pixels")
    files = radiographs(bench, count, _FILE_SIDE, folders=_CLASSES)
    bench.say(f"input: epochs from memory, and of flow_from_directory, at {_SIZE[0]} x {_SIZE[1]}")
    results = [*_races(bench, files), _first_epoch(bench, files)]
    # Half as many layers as the next one, so that it is compiled in half the time.
    networks = ["MobileNet"] if bench.quick else ["MobileNetV2", "concatenated network"]
    for name in networks:
        bench.say(f"input: what training steps of the {name} wait for")
        results.append(_waits(bench, files, name))
    return results


def _races(bench, files):
    """Race ours against the generator as `fit` reads it unless told otherwise, and with as many threads as ours."""
    loader = _loader()
    ours = _ours(files, _decoded(files, loader), bench.seed, _EPOCHS)
    return [
        race(
            f"input-300-{threads}",
            f"an epoch's input: 1024 x 1024 PNG to augmented batches of {_BATCH} at 300 x 300 x 3, rahimzadeh2020's "
            "parameters",
            ours=("covidcxr, second and later epochs: decoded before, engine fast", ours),
            peer=(f"Keras' flow_from_directory, {words}", _peer(files, bench.seed, threads)),
            amount=len(files) * _EPOCHS,
            peer_amount=len(files),
            unit="images",
            repeats=bench.repeats,
            goal=50,
            note=f"one epoch of the generator is timed, and {_EPOCHS} of ours, each time from the start of a stream; "
            "files lie in the system's cache for both. Most of ours is OpenCV's warp, then writing three channels",
        )
        for threads, words in (
            (1, "as fit reads it by default (workers=1)"),
            (_THREADS, f"{_THREADS} threads"),
        )
    ]


def _first_epoch(bench, files):
    def work():
        _ours(files, _decoded(files, _loader()), bench.seed, 1)()

    return Fact(
        "input-first-epoch",
        "images a second of the first epoch, in which they are decoded",
        tuple(len(files) / timed(work) for _ in range(bench.repeats)),
        "images/s",
    )


def _waits(bench, files, name):
    model, size, batch = _model(name, bench.quick)
    stream = _stream(files, _decoded(files, _loader(size)), bench.seed, batch)
    batches = iter(stream.dataset)
    shares, steps = [], _STEPS_QUICK if bench.quick else _STEPS
    for number in range(_WARM_UP + steps):
        pair = []
        waited = timed(lambda pair=pair: pair.extend(next(batches)))
        worked = timed(lambda pair=pair: model.train_on_batch(*pair))
        if number >= _WARM_UP:
            shares.append(100 * waited / (waited + worked))
    return Fact(
        f"input-wait-{name.split()[0].lower()}",
        f"share of a training step of the {name} ({size[0]} x {size[1]}, batches of {batch}) that waits for its batch",
        tuple(shares),
        "%",
        goal="below 5 %",
        note="each step's next(batches) beside its train_on_batch; batches are made by other threads meanwhile",
    )


def _model(name, quick):
    """Return a compiled network with random weights, its input size and a batch."""
    import keras

    if name.startswith("MobileNet"):
        size, batch = (224, 224), 8 if quick else 32
        build = getattr(keras.applications, name)
        model = build(weights=None, classes=_CLASSES, input_shape=(*size, 3))
    else:
        size, batch = _SIZE, 8
        model = RECIPE.networks["concatenated"].build(classes=_CLASSES, dropout=0.5, input_size=size[0])
    model.compile("adam", "categorical_crossentropy")
    return model, size, batch


def _loader(size=_SIZE):
    return AUGMENTATION.preprocessing(size, interpolation=RECIPE.interpolation)


def _decoded(files, loader):
    from covidcxr.data.decoded import Decoded

    return Decoded.open(files, loader).behind(loader)


def _stream(files, loader, seed, batch=_BATCH):
    from covidcxr.data.batches import training_batches

    names = sorted({path.parent.name for path in files})
    targets = np.eye(_CLASSES)[[names.index(path.parent.name) for path in files]]
    options = {"augmentation": AUGMENTATION, "engine": "fast", "seed": seed, "workers": _THREADS}
    return training_batches(files, targets, loader, batch, **options)


def _ours(files, loader, seed, epochs):
    stream = _stream(files, loader, seed)

    def work():
        for _ in stream.dataset.take(epochs * stream.steps):
            pass

    return work


def _peer(files, seed, threads):
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    # Not Keras': it stands for a call of its fit(), which this paper's authors do not make.
    parameters = {
        name: value for name, value in AUGMENTATION.to_dict().items() if name != "featurewise_fitted"
    }
    batches = ImageDataGenerator(**parameters).flow_from_directory(
        files[0].parent.parent,
        target_size=_SIZE,
        batch_size=_BATCH,
        interpolation=RECIPE.interpolation,
        seed=seed,
    )

    def work():
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(batches.__getitem__, number) for number in range(len(batches))]:
                future.result()

    return work
