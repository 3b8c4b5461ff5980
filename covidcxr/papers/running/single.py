"""Carry out one plan: images, network, stages, scores, files."""

import contextlib
import dataclasses
import datetime
from pathlib import Path

from covidcxr import handles
from covidcxr.errors import DataError, ModelError
from covidcxr.papers.reporting import results, show
from covidcxr.papers.running import feeding, frozen_feeds, networks
from covidcxr.papers.running import folder as run_folder


def run_one(plan, gatherer, placement, banks=None):
    """Train and score one model of a paper.

    Parameters
    ----------
    plan : Plan
        Its folder may be used (see :func:`covidcxr.papers.running.folder.check`).
    gatherer : covidcxr.papers.running.images.Gatherer
    placement : covidcxr.training.strategy.Placement
    banks : covidcxr.training.bank.Banks, optional
        Features of frozen layers that models trained before this one have left.

    Returns
    -------
    covidcxr.papers.reporting.results.RunResult or None
        None in a process that only helps to train.

    Raises
    ------
    CovidcxrError
        If the data or the weights cannot be used, or memory does not suffice.
    """
    if plan.options.weights != "imagenet":
        # Images take minutes to read; that a file is not there is known at once.
        networks.find_weights(plan)
    placement = placement.for_network(plan.network.backbone, _precision_begun_with(plan))
    records = _records(plan, gatherer)
    run_folder.check_place(plan.out, records)
    loader = networks.preprocessing(plan, records)
    with _memory(plan):
        model, weights = networks.build(plan, records, loader, placement)
        frozen = frozen_feeds.choose(plan, model)
        if frozen is not None:
            records = dataclasses.replace(records, notes=(*records.notes, frozen.note))
        folder = _workspace(plan, placement)
        _write_inputs(plan, records, loader, weights, model, placement, folder)
        loader = gatherer.cache.behind(plan, records, loader)
        feeds = feeding.feeds(plan, records, loader, placement.shard)
        with _open(banks) as opened:
            source = _frozen_source(plan, records, loader, model, frozen, placement, opened, folder)
            model, history = _train(
                plan, records, model, feeds, placement, folder, frozen=source, draws=frozen and frozen.draws
            )
        if not placement.is_chief:
            return None
        if placement.shard is not None:
            model = placement.plain_copy(model)
            feeds = feeding.feeds(plan, records, loader)
        _describe(plan, model, networks.scoring(plan, loader))
        return results.finish(plan, records, model, history, feeds.validation, folder)


def _precision_begun_with(plan):
    """Return the precision of the run that goes on, None where one starts."""
    resumed = plan.options.resume and (Path(plan.out) / run_folder.CONFIG).is_file()
    if not resumed:
        return None
    placement = run_folder.read_config(plan.out).get("placement")
    if not isinstance(placement, dict) or not isinstance(placement.get("precision"), str):
        path = Path(plan.out) / run_folder.CONFIG
        raise DataError(f"{path}: damaged (no precision in its placement); train anew in another folder")
    return placement["precision"]


def _workspace(plan, placement):
    """Return the run folder, which only one process makes and writes."""
    if not placement.is_chief:
        return Path(plan.out)
    return run_folder.prepare(plan.out, overwrite=plan.options.overwrite)


@contextlib.contextmanager
def _memory(plan):
    """Say in a line that memory did not suffice, and which setting helps."""
    import tensorflow as tf

    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        if "No space left" in str(error) or handles.spent(error):
            # TensorFlow has one class for a full memory, a full disk and too many open files.
            raise
        raise ModelError(
            f"{plan.unit.name}: memory does not suffice for batches of {plan.batch_size} images of "
            f"{plan.network.input_size[0]} pixels; lower --batch-size"
        ) from error


def _records(plan, gatherer):
    from covidcxr.data import splits

    records = gatherer.gather(plan)
    written = Path(plan.out) / run_folder.SPLIT
    return splits.from_csv(records, written) if plan.options.resume and written.is_file() else records


def _open(banks):
    """Return the study's banks, which stay open, or some for this model alone."""
    from covidcxr.training.bank import Banks

    return Banks() if banks is None else contextlib.nullcontext(banks)


def _frozen_source(plan, records, loader, model, frozen, placement, banks, folder):
    """Return what training on frozen features reads; several devices run the whole network."""
    if frozen is None or placement.strategy is not None:
        return None
    return frozen_feeds.feeds(plan, records, loader, model, frozen, banks, folder)


def _train(plan, records, model, feeds, placement, folder, **frozen):
    from covidcxr.training.callbacks import EpochProgress
    from covidcxr.training.stages import run_stages

    images = len(feeding.part(records, feeding.TRAIN))
    show.step(f"training {plan.unit.name}: {plan.total_epochs} epochs on {images} images")
    with EpochProgress(plan.total_epochs) as progress:
        return run_stages(
            model,
            plan.stages,
            feeds,
            folder,
            seed=plan.seed,
            keep=plan.protocol.keep,
            monitor=plan.protocol.monitor,
            resume=plan.options.resume,
            callbacks=[progress] if placement.is_chief else [],
            placement=placement,
            **frozen,
        )


def _describe(plan, model, loader):
    from covidcxr import environment
    from covidcxr.models.files import ModelInfo, attach_info

    info = ModelInfo(
        paper=plan.recipe.key,
        network=plan.options.model,
        protocol=plan.options.protocol,
        class_names=plan.data_set.class_names,
        preprocessing=loader.to_dict(),
        seed=plan.options.seed,
        versions=environment.versions(),
        extra={
            "weights": str(plan.options.weights),
            **{
                name: value
                for name, value in dataclasses.asdict(plan.unit).items()
                if name != "model" and value
            },
        },
    )
    attach_info(model, info)


def _write_inputs(plan, records, loader, weights, model, placement, folder):
    from covidcxr.data import splits

    if not placement.is_chief:
        return
    if not (plan.options.resume and (folder / run_folder.CONFIG).is_file()):
        run_folder.write_config(folder, _config(plan, records, loader, weights, model, placement))
    if not (folder / run_folder.SPLIT).is_file():
        results.write_exclusions(records, folder)
        splits.write(records, folder / run_folder.SPLIT)


def _config(plan, records, loader, weights, model, placement):
    from covidcxr import environment

    return {
        "paper": plan.recipe.key,
        "command": environment.command_line(),
        "options": {**dataclasses.asdict(plan.options), "out": plan.out},
        "network": plan.network.title,
        **networks.facts(plan, model),
        "classes": list(plan.data_set.class_names),
        "stages": [dataclasses.asdict(stage) for stage in plan.stages],
        "batch_size": plan.batch_size,
        "dropout": plan.dropout,
        "augmentation": plan.recipe.augmentation.to_dict(),
        "preprocessing": loader.to_dict(),
        "protocol": {
            "title": plan.protocol.title,
            "headline": plan.protocol.headline,
            "keep": plan.protocol.keep,
            "monitor": plan.protocol.monitor,
            "arrangement": repr(plan.protocol.arrangement),
        },
        "placement": placement.describe(),
        "data_root": str(records.root),
        "notes": list(records.notes),
        "weights": networks.report_of(weights),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment.describe(),
    }
