"""What a plan's stages read: which images under which name, in batches."""

import numpy as np

from covidcxr.errors import OptionError
from covidcxr.papers.running.monitoring import monitored

TRAIN = "train"
_PHASE = "phase "
VALIDATION_STREAM = 1


def feeds(plan, records, loader, shard=None):
    """Return the batches that training and validation read.

    Parameters
    ----------
    plan : Plan
    records : Records
        As :class:`covidcxr.papers.running.images.Gatherer` gives them.
    loader : Preprocessing
    shard : covidcxr.data.batches.Shard, optional
        This process' part of every batch, where several devices or processes train.

    Returns
    -------
    covidcxr.training.stages.Feeds
    """
    from covidcxr.data.batches import training_batches
    from covidcxr.training.stages import Feeds

    def training_feed(first_epoch, data, draws=None):
        images = part(records, data)
        return training_batches(
            images.files(),
            one_hot(images, plan),
            loader,
            plan.batch_size,
            augmentation=plan.recipe.augmentation,
            engine=plan.options.engine,
            seed=plan.seed,
            stream=stream_of(data),
            first_epoch=first_epoch,
            shard=shard,
            places=places(images, records),
            draws=draws,
        )

    scored = monitored(records)
    if not len(scored):
        return Feeds(training_feed, None)
    augmented = plan.protocol.augment_evaluation
    return Feeds(training_feed, one_pass(plan, records, loader, scored, augmented, shard=shard))


def one_pass(plan, records, loader, images, augmented, *, stream=VALIDATION_STREAM, **options):
    """Return some of a run's images once each, in their order.

    Parameters
    ----------
    plan, records, loader
        As for :func:`feeds`.
    images : Records
        Some of `records`.
    augmented : bool
        Whether they are transformed as in training.
    stream : int
        Whose transforms, where they are; see :func:`stream_of`.
    **options
        `epoch`, `shard` or `batch_size` of :func:`covidcxr.data.batches.evaluation_batches`.

    Returns
    -------
    covidcxr.data.batches.Batches
    """
    from covidcxr.data.batches import evaluation_batches

    return evaluation_batches(
        images.files(),
        one_hot(images, plan),
        loader,
        **{"batch_size": plan.batch_size, **options},
        augmentation=plan.recipe.augmentation if augmented else None,
        engine=plan.options.engine,
        seed=plan.seed,
        stream=stream,
        places=places(images, records),
    )


def part(records, data):
    """Return the images that a stage's `data` names: ``"train"`` all training images, ``"phase 3"`` a phase's.

    Raises
    ------
    OptionError
        If the name is neither.
    """
    from covidcxr.data import splits

    if data == TRAIN:
        return records.where(records.table["split"] == TRAIN)
    return splits.in_phase(records, _phase(data))


def places(images, records):
    """Return each image's number among all of a run's images, in whatever order and part they stand."""
    return np.searchsorted(np.sort(records.table["path"].astype(str)), images.table["path"].astype(str))


def steps(plan, records):
    """Return the batches of one epoch of each stage, by the name of what it reads."""
    sizes = {stage.data: len(part(records, stage.data)) for stage in plan.stages}
    return {data: -(-size // plan.batch_size) for data, size in sizes.items()}


def one_hot(records, plan):
    """Return the labels as float32 rows (n, classes) in the order of the data set's class names."""
    names = np.array(plan.data_set.class_names)
    return (records.table["label"].to_numpy()[:, None] == names[None, :]).astype(np.float32)


def _phase(data):
    number = data.removeprefix(_PHASE)
    if number == data or not number.isdecimal():
        raise OptionError(f"a stage reads '{data}': its data must be 'train' or 'phase' with a number")
    return int(number)


def stream_of(data):
    """Return the number of the random stream of what a stage's `data` names."""
    return 0 if data == TRAIN else VALIDATION_STREAM + _phase(data)
