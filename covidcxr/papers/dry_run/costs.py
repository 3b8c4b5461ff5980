"""What a run would cost: parameters, memory and the time of a step, measured on images of noise."""

import contextlib
import gc
import statistics
import time
from dataclasses import dataclass, field, replace

import numpy as np

from covidcxr.papers.reporting import show
from covidcxr.papers.running import networks
from covidcxr.papers.running.caching import OFF

# Above this, a full batch would take long and much memory: two images are timed instead.
_LARGE = 1 << 30
_SMALL_BATCH = 2
NOT_TIMED = "not timed"
_ENOUGH_SECONDS, _MOST_STEPS = 10, 3
_PASSES, _READ_TOGETHER = 3, 4


@dataclass(frozen=True)
class NetworkCost:
    """What one network takes as it trains.

    Attributes
    ----------
    parameters, trainable : int
        As built.
    memory : covidcxr.models.memory.MemoryEstimate
        Of the stage that takes most.
    batch_size : int
    step : dict of str to float
        Seconds of a training step, by what :func:`trained` names; empty where nothing was timed.
    scoring : float or None
        Seconds of a batch that is scored.
    timed : str
        What was timed, or why nothing was.
    """

    parameters: int
    trainable: int
    memory: object
    batch_size: int
    step: dict = field(default_factory=dict)
    scoring: float | None = None
    timed: str = ""


def without_weights(plan):
    """Return the plan with a random start, whose preparation looks for no files and fetches none."""
    return replace(plan, options=replace(plan.options, weights="none"))


def network_key(plan):
    """Return what two plans have in common whose networks cost the same."""
    settings = sorted(plan.arm.settings.items())
    return repr((plan.unit.model, settings, plan.batch_size, plan.data_set.class_names))


def trained(stages):
    """Return what each stage trains, as :class:`covidcxr.training.stages.Stage` names it: once all, then all."""
    found = []
    for stage in stages:
        found.append("all" if "all" in found else stage.trainable)
    return found


def measure(plans, timed, most_memory):
    """Build a network with random weights; estimate its memory and, if wanted, time its steps.

    Parameters
    ----------
    plans : sequence of Plan
        With the same :func:`network_key`.
    timed : bool
    most_memory : int or None
        A network that takes more bytes is not timed.

    Returns
    -------
    NetworkCost
    """
    show.step(f"building {plans[0].network.title}")
    with _fresh(plans[0]):
        return _measured(plans, timed, most_memory)


def reading_seconds(plan, images):
    """Time how long one training image takes to be read and augmented, as in a run.

    Parameters
    ----------
    plan : Plan
    images : Records
        With the column `split`.

    Returns
    -------
    float
        Seconds an image; files read again come from the system's cache. Where the run decodes its images once,
        so does this, and an image takes what it takes in every later epoch.
    """
    from covidcxr.data.batches import training_batches
    from covidcxr.data.decoded import Decoded
    from covidcxr.papers.running.feeding import one_hot

    show.step(f"timing how {len(images)} images are read")
    loader = networks.preprocessing(without_weights(plan), images)
    if plan.options.cache != OFF:
        loader = Decoded.open(images.files(), loader).behind(loader)
    stream = training_batches(
        images.files(),
        one_hot(images, plan),
        loader,
        _READ_TOGETHER,
        augmentation=plan.recipe.augmentation,
        engine=plan.options.engine,
        seed=plan.seed,
    )
    begun = time.perf_counter()
    for _ in stream.dataset.take(_PASSES * stream.steps):
        pass
    return (time.perf_counter() - begun) / (_PASSES * len(images))


def together(reading, computing):
    """Return the seconds of both: a graphics card computes while images are read, a processor does both itself."""
    import tensorflow as tf

    return max(reading, computing) if tf.config.list_physical_devices("GPU") else reading + computing


@contextlib.contextmanager
def _fresh(plan):
    """Build in the run's precision, and leave nothing of the network behind."""
    import keras

    from covidcxr.training.strategy import Placement

    try:
        with Placement("single", plan.options.precision, None, None, True).scope():
            yield
    finally:
        keras.backend.clear_session()
        gc.collect()


def _measured(plans, timed, most_memory):
    from covidcxr.models.freezing import trainable_counts, unfreeze_all

    plan = plans[0]
    model = plan.network.build(
        classes=len(plan.data_set.class_names),
        dropout=plan.dropout,
        input_size=plan.network.input_size[0],
        **plan.arm.settings,
    )
    trainable, frozen = trainable_counts(model)
    specs = [stage.optimizer for each in plans for stage in each.stages if stage.optimizer is not None]
    step, most, note = {}, None, NOT_TIMED
    for mode, stage in _modes(plans).items():
        if mode == "all":
            unfreeze_all(model)
        most = _larger(most, _memory(model, plan, specs))
        fits = most_memory is None or most.total <= most_memory
        if timed and fits:
            step[mode], note = _time_training(model, plan, stage, specs[0], most)
        elif not fits:
            note = f"{NOT_TIMED}: takes more memory than there is"
    scoring = _time_scoring(model, plan, most) if step else None
    return NetworkCost(trainable + frozen, trainable, most, plan.batch_size, step, scoring, note)


def _modes(plans):
    """Return a stage of each way of training, by what it trains; all comes last, since there is no way back."""
    first = {}
    for plan in plans:
        for mode, stage in zip(trained(plan.stages), plan.stages, strict=True):
            first.setdefault(mode, stage)
    return dict(sorted(first.items(), key=lambda item: item[0] == "all"))


def _memory(model, plan, specs):
    from covidcxr.models import memory

    slots = max(memory.slots_of(spec) for spec in specs)
    return memory.estimate(model, plan.batch_size, slots=slots)


def _larger(one, other):
    return other if one is None or other.total > one.total else one


def _time_training(model, plan, stage, spec, memory):
    images, targets, scale = _noise(plan, memory)
    show.step(f"timing a training step of {len(images)} images")
    model.compile(optimizer=(stage.optimizer or spec).build(), loss=stage.loss, metrics=["accuracy"])
    seconds, steps = _timed(lambda: model.train_on_batch(images, targets))
    note = f"{steps} {'step' if steps == 1 else 'steps'} of {len(images)} images"
    return seconds * scale, note if scale == 1 else f"{note}, times {scale:g}"


def _time_scoring(model, plan, memory):
    images, targets, scale = _noise(plan, memory)
    return _timed(lambda: model.test_on_batch(images, targets))[0] * scale


def _noise(plan, memory):
    batch = plan.batch_size if memory.activations <= _LARGE else min(_SMALL_BATCH, plan.batch_size)
    rng = np.random.default_rng(0)
    images = rng.random((batch, *plan.network.input_size, 3), dtype=np.float32)
    classes = len(plan.data_set.class_names)
    return images, np.eye(classes, dtype=np.float32)[np.arange(batch) % classes], plan.batch_size / batch


def _timed(step):
    """Return the median time of a few calls and their number; the first, which compiles, does not count."""
    begun = time.perf_counter()
    step()
    took = []
    while not took or (len(took) < _MOST_STEPS and time.perf_counter() - begun < _ENOUGH_SECONDS):
        before = time.perf_counter()
        step()
        took.append(time.perf_counter() - before)
    return statistics.median(took), len(took)
