"""The network of a plan: built as the paper says, started from its weights, fed as those expect."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from covidcxr.errors import ModelError
from covidcxr.papers.reporting import show

# What a backbone's weights expect, as a mode of Preprocessing; "0-255" networks rescale inside.
_MODES = {"tf": "tf", "caffe": "caffe", "torch": "torch", "0-255": "none"}

# Every layer's output of these images is in memory at once: of DenseNet121, 14 GB for 64 and minutes to write them.
_CALIBRATED_TOGETHER = 16


def find_weights(plan):
    """Find the weights that the plan's network starts from.

    Returns
    -------
    dict of str to covidcxr.models.pretrained.Found
        By key of the backbone; two for a network made of two.

    Raises
    ------
    ModelError
        If they are not at hand.
    """
    from covidcxr.models import backbones, pretrained

    backbone = backbones.get(plan.network.backbone)
    return {
        key: pretrained.find_weights(key, plan.options.weights, input_size=plan.network.input_size[0])
        for key in backbone.parts or (backbone.key,)
    }


def preprocessing(plan, records, interpolation=None):
    """Return how this run's images are prepared.

    Parameters
    ----------
    plan : Plan
    records : Records
        With the column `split`; feature-wise statistics, where a paper fits them, are those of its training images.
    interpolation : str, optional
        Instead of the recipe's.

    Returns
    -------
    covidcxr.data.preprocessing.Preprocessing
    """
    recipe = plan.recipe
    options = {"interpolation": interpolation or recipe.interpolation}
    if recipe.reading is not None:
        options["reading"] = recipe.reading
    if recipe.scaling == "backbone":
        options["mode"] = _mode(plan)
    loader = recipe.augmentation.preprocessing(plan.network.input_size, **options)
    training = records.where(records.table["split"] == "train")
    return recipe.augmentation.fit(training.files(), loader)


def scoring(plan, loader):
    """Return how images are prepared when the finished model is scored, and ever after."""
    from dataclasses import replace

    wanted = plan.recipe.scoring_interpolation
    return replace(loader, interpolation=wanted) if wanted else loader


def build(plan, records, loader, placement):
    """Build the network with its starting weights, where it is to train.

    Parameters
    ----------
    plan : Plan
    records : Records
        With the column `split`: batch-norm statistics of frozen layers without weights are fitted to training
        images.
    loader : Preprocessing
    placement : covidcxr.training.strategy.Placement

    Returns
    -------
    (keras.Model, WeightsReport)

    Raises
    ------
    ModelError
        If the weights are missing or do not fit.
    """
    import keras

    found = find_weights(plan)
    show.step(f"building {plan.network.title}")
    keras.utils.set_random_seed(plan.seed)
    with placement.scope():
        model = plan.network.build(
            classes=len(plan.data_set.class_names),
            dropout=plan.dropout,
            input_size=plan.network.input_size[0],
            **plan.arm.settings,
        )
        _check_memory(model, plan)
        report = _load(model, plan, found)
        if all(each.kind == "none" for each in found.values()) and _has_frozen_statistics(model):
            _calibrate(model, plan, records, loader)
    return model, report


def facts(plan, model):
    """Return what a table of networks tells of this one.

    Returns
    -------
    dict
        `backbone`, `parameters`, `trainable` and `frozen_layers` (of the backbone, the input layer included, as
        yin2020 counts).
    """
    from covidcxr.models.freezing import trainable_counts
    from covidcxr.models.layer_names import is_head

    trainable, frozen = trainable_counts(model)
    body = [layer for layer in model.layers if not is_head(layer)]
    return {
        "backbone": plan.network.backbone,
        "parameters": trainable + frozen,
        "trainable": trainable,
        # By their flag, not by their weights: yin2020 counts layers that have none where it freezes them.
        "frozen_layers": sum(not layer.trainable for layer in body),
    }


def report_of(weights):
    """Return a weights report as config.json has it, without the long lists of what fitted."""
    values = asdict(weights)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _check_memory(model, plan):
    """Refuse what cannot fit: the system would end the whole run without a word."""
    import tensorflow as tf

    from covidcxr.models import memory

    room = memory.available()
    if room is None or tf.config.list_physical_devices("GPU"):
        # Graphics memory is another matter, and running out of it raises an error.
        return
    first = plan.stages[0].optimizer
    needed = memory.estimate(model, plan.batch_size, slots=memory.slots_of(first)).total
    if needed > room:
        raise ModelError(
            f"{plan.unit.name}: training with batches of {plan.batch_size} needs about {needed / 2**30:.1f} GiB and "
            f"this machine has {room / 2**30:.1f} GiB; lower --batch-size"
        )


def _load(model, plan, found):
    from covidcxr.models import backbones, concatenated
    from covidcxr.models.weight_files import load_into

    if backbones.get(plan.network.backbone).parts:
        return concatenated.load_weights(model, plan.options.weights, plan.options.partial_weights)
    (only,) = found.values()
    return load_into(model, only, partial=plan.options.partial_weights)


def _mode(plan):
    from covidcxr.models import backbones

    backbone = backbones.get(plan.network.backbone)
    (found,) = find_weights(plan).values()
    named = Path(str(found.path)).name if found.path else ""
    return _MODES[backbone.range_of(named)]


def _has_frozen_statistics(model):
    import keras

    return any(
        isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable for layer in model.layers
    )


def _calibrate(model, plan, records, loader, count=128):
    from covidcxr.models.calibration import calibrate_batchnorm

    show.step("no pretrained weights: fitting the frozen layers' batch-norm statistics to training images")
    training = records.where(records.table["split"] == "train")
    rows = np.random.default_rng([plan.seed, 1]).permutation(len(training))[:count]
    files = [training.files()[row] for row in sorted(rows)]
    size = min(plan.batch_size, _CALIBRATED_TOGETHER)
    steps = range(0, len(files), size)
    calibrate_batchnorm(model, (loader.batch(files[start : start + size]) for start in steps))
