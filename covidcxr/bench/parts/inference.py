"""Predicting a folder of radiographs, against the loops that people write and against OpenVINO's best."""

import importlib.util
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covidcxr.bench.images import greys, radiographs
from covidcxr.bench.measuring import Fact, race, timed
from covidcxr.data.preprocessing import Preprocessing

KEY = "inference"
TITLE = "Inference"

_FILE_SIDE = 1024
_IMAGES, _IMAGES_QUICK = 192, 48
_CLASSES = 2
# What the loop of single images is timed on.
_FEW, _FEW_QUICK = 24, 8
# Large networks get a part of the images and of the races.
_SHARES = {"mobilenet_v2": 1, "resnet50_v2": 4, "concatenated": 8}
_BATCH = 32
_LOOP = "cv2.imread, cv2.resize, model.predict of one image"
_ALONE_AND_WHOLE = ("forward", "predict")
_FEWER_AGAINST_OPENVINO = {
    ("keras", "float32"): _ALONE_AND_WHOLE,
    ("openvino", "float32"): ("predict",),
    ("keras", "bfloat16"): ("forward",),
}


def measure(bench):
    """Race `covidcxr predict` end to end and its forward pass alone.

    Parameters
    ----------
    bench : covidcxr.bench.measuring.Bench

    Yields
    ------
    covidcxr.bench.measuring.Race or covidcxr.bench.measuring.Fact
    """
    import keras

    keras.utils.set_random_seed(bench.seed)
    for name in list(_SHARES)[:1] if bench.quick else _SHARES:
        bench.say(f"inference: {name}")
        model, loader = _network(name)
        yield from _end_to_end(bench, name, model, loader)
        if importlib.util.find_spec("openvino"):
            yield from _against_openvino(bench, name, model, loader)


def _network(name):
    from covidcxr.models import backbones, concatenated
    from covidcxr.models.heads import HeadSpec, classifier

    side = 300 if name == "concatenated" else 224
    shape = (side, side, 3)
    model = (
        concatenated.build(input_shape=shape)
        if name == "concatenated"
        else classifier(backbones.build(name, shape), HeadSpec(_CLASSES))
    )
    _vary_normalisations(model)
    return model, Preprocessing((side, side), interpolation="bilinear", mode="tf")


def _vary_normalisations(model):
    """Give normalisations other values than the first ones, which an optimiser would drop."""
    import keras

    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.9, 1.1, weight.shape) for weight in layer.weights])


def _end_to_end(bench, name, model, loader):
    count = _share(bench, name, _IMAGES, _IMAGES_QUICK)
    few = min(count, _share(bench, name, _FEW, _FEW_QUICK))
    forward = _forward(model, "keras")
    results = []
    for kind in ("png", "jpg") if _in_full(bench, name) else ("png",):
        files = radiographs(bench, count, _FILE_SIDE, kind, folders=_CLASSES)
        ours = ("covidcxr predict, defaults", _ours(model, loader, files, forward))
        what = f"{name} at {loader.size[0]}, a folder of {_FILE_SIDE} x {_FILE_SIDE} {kind.upper()}"
        ceiling = _ceiling(bench, f"ceiling-{name}-{kind}", what, forward, loader, files)
        common = {"ours": ours, "amount": count, "unit": "images", "repeats": bench.repeats}
        bound = f"{ceiling.note} One after the other on the same cores: {ceiling.value:.0f} images/s."
        results += [
            ceiling,
            race(
                f"predict-loop-{name}-{kind}",
                f"{what}, against one image at a time",
                peer=(_LOOP, _loop(model, loader, files[:few])),
                peer_amount=few,
                goal=10,
                note=bound,
                **common,
            ),
            race(
                f"predict-directory-{name}-{kind}",
                f"{what}, against stock Keras",
                peer=("model.predict of image_dataset_from_directory", _directory(model, loader, files)),
                goal=2,
                note=bound,
                **common,
            ),
        ]
        if not bench.quick:
            reduced = _ours(model, loader, files, _forward(model, "keras", "bfloat16"))
            common["ours"] = ("covidcxr predict --precision bfloat16", reduced)
            results.append(
                race(
                    f"predict-loop-{name}-{kind}-bfloat16",
                    f"{what}, against one image at a time",
                    peer=(_LOOP, _loop(model, loader, files[:few])),
                    peer_amount=few,
                    **common,
                )
            )
    return results


def _ceiling(bench, key, what, forward, loader, files):
    """Time decoding alone and the forward pass alone: what shares the cores cannot take less than their sum."""
    images = loader.batch(files)
    decode, run = _decoding(loader, files), _in_threads(forward, images)
    run()
    pairs = [(timed(decode), timed(run)) for _ in range(bench.repeats)]
    decoding, passing = (len(files) / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    return Fact(
        key,
        f"{what}: decoding and forward pass, one after the other",
        tuple(len(files) / sum(pair) for pair in pairs),
        "images/s",
        note=f"Decoding alone (read, resize): {decoding:.0f} images/s; forward pass alone: {passing:.0f}.",
    )


def _decoding(loader, files):
    from covidcxr.inference.runtimes import workers

    def decode():
        with ThreadPoolExecutor(workers()) as pool:
            for _ in pool.map(loader.load, files):
                pass

    return decode


def _share(bench, name, full, quick):
    count = quick if bench.quick else full
    return max(count // _SHARES[name], 4)


def _in_full(bench, name):
    return not bench.quick and _SHARES[name] == 1


def _ours(model, loader, files, forward):
    return lambda: _predicted(forward, loader, files, model.output_shape[-1])


def _forward(model, runtime, precision="float32"):
    from covidcxr.inference import runtimes

    # A folder large enough for the graph to be frozen: its making is not timed, nor is that of the peers' graphs.
    return runtimes.prepare(model, sys.maxsize, runtime, precision)


def _predicted(forward, loader, files, classes):
    """Run the same steps as :func:`covidcxr.inference.predict_files`, with a network made ready before."""
    from covidcxr import inference
    from covidcxr.inference.reading import Reader

    return inference.run_batches(forward, Reader(loader, Preprocessing.load, True), files, classes)


def _loop(model, loader, files):
    import cv2

    def predict():
        for path in files:
            image = cv2.resize(cv2.imread(str(path)), loader.size[::-1])
            model.predict(np.expand_dims(image / 127.5 - 1, 0), verbose=0)

    return predict


def _directory(model, loader, files):
    import keras

    def predict():
        images = keras.utils.image_dataset_from_directory(
            files[0].parent.parent,
            labels=None,
            image_size=loader.size,
            batch_size=_BATCH,
            shuffle=False,
            verbose=False,
        )
        model.predict(images.map(lambda batch: batch / 127.5 - 1), verbose=0)

    return predict


def _against_openvino(bench, name, model, loader):
    """Race the forward pass and the whole, for each precision; decoding is ours on both sides."""
    import openvino

    from covidcxr.models.export import openvino_model

    network = openvino_model(model)
    count = _share(bench, name, _IMAGES, _IMAGES_QUICK) // 4 * 4
    images = loader.standardize(loader.expand(greys(bench, count, loader.size[0])))
    files = radiographs(bench, count, _FILE_SIDE, folders=_CLASSES)
    results = []
    for precision in ("float32", "bfloat16"):
        best, setting = _best_of_openvino(openvino, network, images, precision, bench.quick)
        for runtime, goal in (("keras", 1 / 1.5), ("openvino", 1 / 1.1)):
            fewer = _FEWER_AGAINST_OPENVINO.get((runtime, precision), ())
            kinds = _ALONE_AND_WHOLE if _in_full(bench, name) else fewer
            if not kinds:
                continue
            forward = _forward(model, runtime, precision)
            sides = {
                "forward": (
                    "forward pass alone",
                    ("covidcxr", _in_threads(forward, images)),
                    (f"OpenVINO, {setting}", lambda best=best: best(images)),
                ),
                "predict": (
                    f"from files of {_FILE_SIDE} x {_FILE_SIDE} PNG",
                    ("covidcxr", _ours(model, loader, files, forward)),
                    (f"decoding by covidcxr, OpenVINO, {setting}", _decoded_for(best, loader, files)),
                ),
            }
            for kind in kinds:
                what, ours, peer = sides[kind]
                results.append(
                    race(
                        f"{kind}-{name}-{runtime}-{precision}",
                        f"{name}, {precision}, runtime {runtime}: {what}",
                        ours=ours,
                        peer=peer,
                        amount=count,
                        unit="images",
                        repeats=bench.repeats,
                        goal=goal,
                        note=f"The goal is to take at most {1 / goal:.1f} times as long as OpenVINO ({setting}).",
                    )
                )
    return results


def _in_threads(forward, images):
    from covidcxr.inference.reading import in_order
    from covidcxr.inference.runtimes import workers

    parts = np.array_split(images, max(len(images) // forward.batch_size, 1))
    return lambda: list(in_order(forward.run, parts, workers()))


def _decoded_for(best, loader, files):
    from covidcxr.inference.runtimes import workers

    def predict():
        with ThreadPoolExecutor(workers()) as pool:
            for start in range(0, len(files), _BATCH):
                best(np.stack(list(pool.map(loader, files[start : start + _BATCH]))))

    return predict


def _best_of_openvino(openvino, network, images, precision, quick):
    """Return OpenVINO's fastest way for these images, and its name: latency or throughput, small or large batch."""
    core = openvino.Core()
    found = []
    for hint in ("THROUGHPUT",) if quick else ("LATENCY", "THROUGHPUT"):
        settings = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        }
        compiled = core.compile_model(network, "CPU", settings)
        for batch in (1, 4) if quick else (1, 4, 16):
            run = _queued(openvino.AsyncInferQueue(compiled), batch)
            run(images[:16])
            found.append((timed(lambda run=run: run(images)), f"{hint.lower()}, batches of {batch}", run))
    _, setting, run = min(found, key=lambda each: each[0])
    return run, setting


def _queued(queue, batch):
    def run(images):
        for start in range(0, len(images), batch):
            queue.start_async([images[start : start + batch]])
        queue.wait_all()

    return run
