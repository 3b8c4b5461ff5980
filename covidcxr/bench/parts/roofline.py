"""What this machine can do at most, and how near the networks and the augmentation come to it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covidcxr.bench import flops, hardware, images
from covidcxr.bench.measuring import Fact, timed

KEY = "roofline"
TITLE = "Roofline: the machine's limits, and how near to them"

_SIZE, _SIZE_QUICK = 4096, 2048
_ARRAY_MIB, _ARRAY_MIB_QUICK = 512, 128
_FILES, _FILES_QUICK = 96, 16
_RADIOGRAPH = 1024
# Key, pixels a side, images a batch; the concatenated network is too slow for a quick run.
_NETWORKS = (("mobilenet_v2", 224, 32), ("resnet50_v2", 224, 16), ("concatenated", 300, 8))
_NETWORKS_QUICK = (("mobilenet_v2", 224, 8), ("resnet50_v2", 224, 4))
_AUGMENTED, _AUGMENTED_SIDE = 512, 224


def measure(bench):
    """Measure the roofline.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    list of Fact
        Peaks of matmul and copying, rates of decoding, then each network's and the augmentation's share of the peak.
    """
    # Copying and NumPy first: TensorFlow's threads are not there yet.
    copy = _copy(bench)
    facts = [
        copy,
        _numpy_matmul(bench),
        *_matmuls(bench),
        *_decoding(bench),
        _augmentation(bench, copy.value),
    ]
    peak = next(fact.value for fact in facts if fact.key == "matmul-float32")
    for key, side, batch in _NETWORKS_QUICK if bench.quick else _NETWORKS:
        facts += _network(bench, key, side, batch, peak)
    return facts


def rates(work, amount, repeats):
    """Time `work` after one run to warm up.

    Parameters
    ----------
    work : callable
    amount : float
        What one call does.
    repeats : int

    Returns
    -------
    tuple of float
        Amount a second of each timed call.
    """
    work()
    return tuple(amount / timed(work) for _ in range(repeats))


def _copy(bench):
    bench.say("copy bandwidth")
    cores = hardware.cores()
    count = (_ARRAY_MIB_QUICK if bench.quick else _ARRAY_MIB) * 2**20 // 8
    source = [np.ones(count // cores) for _ in range(cores)]
    target = [np.zeros(count // cores) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        found = rates(lambda: list(pool.map(np.copyto, target, source)), 2 * 8 * count / 1e9, bench.repeats)
    note = f"an array of {count * 8 / 2**20:.0f} MiB read and one written, {cores} threads"
    return Fact("copy", "copy bandwidth", found, "GB/s", note=note)


def _numpy_matmul(bench):
    bench.say("matmul of NumPy")
    size = _SIZE_QUICK if bench.quick else _SIZE
    left = np.random.default_rng(bench.seed).random((size, size), dtype=np.float32)
    found = rates(lambda: left @ left, 2 * size**3 / 1e9, bench.repeats)
    return Fact("matmul-numpy", f"matmul {size} x {size}, NumPy, float32", found, "GFLOP/s")


def _matmuls(bench):
    import tensorflow as tf

    size = _SIZE_QUICK if bench.quick else _SIZE
    for dtype in (tf.float32, tf.bfloat16):
        bench.say(f"matmul of TensorFlow, {dtype.name}")
        left = tf.cast(tf.random.stateless_uniform((size, size), (bench.seed, 0)), dtype)
        found = rates(lambda x=left: _done(tf.matmul(x, x)), 2 * size**3 / 1e9, bench.repeats)
        title = f"matmul {size} x {size}, TensorFlow, {dtype.name}"
        yield Fact(f"matmul-{dtype.name}", title, found, "GFLOP/s")


def _done(tensor):
    """Wait for a device: one number comes back, not the whole result."""
    return float(tensor[0, 0])


def _decoding(bench):
    from covidcxr.data.images import read_grey

    cores = hardware.cores()
    for kind in images.KINDS:
        count = _FILES_QUICK if bench.quick else _FILES
        bench.say(f"decoding {kind}")
        paths = images.radiographs(bench, count, _RADIOGRAPH, kind)
        with ThreadPoolExecutor(cores) as pool:
            found = rates(
                lambda pool=pool, paths=paths: list(pool.map(read_grey, paths)), count, bench.repeats
            )
        title = f"decode {_RADIOGRAPH} x {_RADIOGRAPH} {kind}, {cores} threads"
        yield Fact(f"decode-{kind}", title, found, "images/s")


def _augmentation(bench, copy):
    """Count the bytes that cannot be avoided: each grey byte is read once, each float32 written once."""
    from covidcxr.data.augmentation import make_engine
    from covidcxr.papers.rahimzadeh2020 import AUGMENTATION

    bench.say("augmentation")
    side, count = _AUGMENTED_SIDE, _AUGMENTED // (4 if bench.quick else 1)
    greys = images.greys(bench, count, side)
    engine = make_engine("fast", AUGMENTATION, (side, side, 1))
    parameters = [engine.draw(seed) for seed in range(count)]
    threads = hardware.cores()
    volume = greys.nbytes * 5 / 1e9
    found = rates(lambda: engine.apply_batch(greys, parameters, threads=threads), volume, bench.repeats)
    title = f"augment {side} x {side}, grey bytes in, float32 out"
    share = f"{100 * np.median(found) / copy:.0f} % of the copy bandwidth"
    return Fact("augment", title, found, "GB/s", note=share)


def _network(bench, key, side, batch, peak):
    import keras
    import tensorflow as tf

    bench.say(f"{key}, {batch} images of {side} x {side}")
    keras.utils.set_random_seed(bench.seed)
    model = _build(key, side)
    rng = np.random.default_rng(bench.seed)
    pictures = tf.constant(rng.random((batch, side, side, 3), dtype=np.float32))
    targets = tf.one_hot(np.arange(batch) % 2, 2)
    forward = tf.function(lambda x: model(x, training=False))
    operations = batch * flops.forward_flops(model) / 1e9
    found = rates(lambda: _done(forward(pictures)), operations, bench.repeats)
    yield _of_peak(f"{key}-forward", f"{key}, forward, batch {batch}", found, peak)
    model.compile("adam", "categorical_crossentropy")
    operations = batch * flops.training_flops(model) / 1e9
    found = rates(lambda: model.train_on_batch(pictures, targets), operations, bench.repeats)
    yield _of_peak(f"{key}-training", f"{key}, training step, batch {batch}", found, peak)
    keras.backend.clear_session()


def _build(key, side):
    import keras

    from covidcxr.models import backbones, concatenated

    if key == "concatenated":
        return concatenated.build(classes=2, input_shape=(side, side, 3))
    backbone = backbones.build(key, (side, side, 3), pooling="avg")
    return keras.Model(backbone.input, keras.layers.Dense(2, "softmax")(backbone.output))


def _of_peak(key, title, found, peak):
    note = f"{100 * np.median(found) / peak:.0f} % of TensorFlow's float32 matmul"
    return Fact(key, title, found, "GFLOP/s", note=note)
