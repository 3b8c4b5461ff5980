"""Carry out a plan: images, network, stages, scores, files."""

import dataclasses
import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr.errors import OptionError
from covidcxr.papers import folder as run_folder
from covidcxr.papers import images, results, show
from covidcxr.papers.plan import RunOptions, options_from, resolve


@dataclass(frozen=True)
class Paper:
    """A paper that can be run.

    Attributes
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    """

    recipe: object

    def run(self, **options):
        """Train and score the paper's model.

        Parameters
        ----------
        **options
            Fields of :class:`covidcxr.papers.plan.RunOptions`.

        Returns
        -------
        covidcxr.papers.results.RunResult
            With `history`, `predictions`, `metrics`, `model`, `folder` and a table of results.

        Raises
        ------
        CovidcxrError
            If an option, the data, the weights or the run folder cannot be used; nothing is trained then.
        """
        known = {field.name for field in dataclasses.fields(RunOptions)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise OptionError(f"unknown option '{unknown[0]}' (options: {', '.join(sorted(known))})")
        return _run(self.recipe, RunOptions(**options))

    def print(self):
        """Print recipe, deviations and claims."""
        show.print_recipe(self.recipe)

    def __repr__(self):
        return f"<covidcxr paper {self.recipe.key}: {self.recipe.title}>"


def _run(recipe, options):
    if options.resume and not options.out:
        raise OptionError("--resume needs --out DIR, the folder of the run to go on with")
    if options.resume:
        run_folder.check(options.out, overwrite=False, resume=True)
        options = _stored_options(recipe, options)
    plan = resolve(recipe, options)
    run_folder.check(plan.out, overwrite=options.overwrite, resume=options.resume)
    if plan.options.weights != "imagenet":
        # Images take minutes to read; that a file is not there is known at once.
        _starting_weights(plan)
    records = _records(plan)
    run_folder.check_place(plan.out, records)
    loader = preprocessing(plan, records)
    model, weights = _network(plan, records, loader)
    folder = run_folder.prepare(plan.out, overwrite=options.overwrite)
    _write_inputs(plan, records, loader, weights, folder)
    batches = feeds(plan, records, loader)
    model, history = _train(plan, records, model, batches, folder)
    _describe(plan, model, loader)
    return results.finish(plan, records, model, history, batches.validation, folder)


def _records(plan):
    from covidcxr.data import splits

    records = images.gather(plan, progress=show.step)
    written = Path(plan.out) / run_folder.SPLIT
    return splits.from_csv(records, written) if plan.options.resume and written.is_file() else records


def _starting_weights(plan):
    from covidcxr.models.pretrained import find_weights

    return find_weights(plan.network.backbone, plan.options.weights, input_size=plan.network.input_size[0])


def _network(plan, records, loader):
    """Build the network with its starting weights.

    Returns
    -------
    (keras.Model, WeightsReport)
    """
    import keras

    from covidcxr.models.calibration import calibrate_batchnorm
    from covidcxr.models.weight_files import load_into

    found = _starting_weights(plan)
    show.step(f"building {plan.network.title}")
    keras.utils.set_random_seed(plan.options.seed)
    model = plan.network.build(classes=len(plan.data_set.class_names), dropout=plan.dropout)
    report = load_into(model, found, partial=plan.options.partial_weights)
    if found.kind == "none":
        show.step(
            "no pretrained weights: fitting the frozen layers' batch-norm statistics to training images"
        )
        calibrate_batchnorm(model, _calibration_images(plan, records, loader))
    return model, report


def _calibration_images(plan, records, loader, count=128):
    training = _part(records, "train")
    rows = np.random.default_rng([plan.options.seed, 1]).permutation(len(training))[:count]
    files = [training.files()[row] for row in sorted(rows)]
    return [loader.batch(files[i : i + plan.batch_size]) for i in range(0, len(files), plan.batch_size)]


def preprocessing(plan, records):
    """Return how this run's images are prepared, the same for training and for inference.

    Parameters
    ----------
    plan : Plan
    records : Records
        With the column `split`; feature-wise statistics, where a paper fits them, are those of its training images.

    Returns
    -------
    covidcxr.data.preprocessing.Preprocessing
    """
    augmentation = plan.recipe.augmentation
    loader = augmentation.preprocessing(plan.network.input_size, interpolation=plan.recipe.interpolation)
    return augmentation.fit(_part(records, "train").files(), loader)


def feeds(plan, records, loader):
    """Return the batches that training and validation read.

    Parameters
    ----------
    plan : Plan
    records : Records
        With the column `split`.
    loader : Preprocessing

    Returns
    -------
    covidcxr.training.stages.Feeds
    """
    from covidcxr.data.batches import evaluation_batches, training_batches
    from covidcxr.training.stages import Feeds

    training, validation = _part(records, "train"), _part(records, "val")
    seed = plan.options.seed
    augmentation = plan.recipe.augmentation

    def training_feed(first_epoch):
        return training_batches(
            training.files(),
            one_hot(training, plan),
            loader,
            plan.batch_size,
            augmentation=augmentation,
            seed=seed,
            first_epoch=first_epoch,
        )

    scored = evaluation_batches(
        validation.files(),
        one_hot(validation, plan),
        loader,
        plan.batch_size,
        augmentation=augmentation if plan.protocol.augment_evaluation else None,
        seed=seed,
        stream=1,
    )
    return Feeds(training_feed, scored)


def _part(records, split):
    return records.where(records.table["split"] == split)


def one_hot(records, plan):
    """Return the labels as float32 rows (n, classes) in the order of the data set's class names."""
    names = np.array(plan.data_set.class_names)
    return (records.table["label"].to_numpy()[:, None] == names[None, :]).astype(np.float32)


def _train(plan, records, model, batches, folder):
    from covidcxr.training.callbacks import EpochProgress
    from covidcxr.training.stages import run_stages

    show.step(f"training {plan.total_epochs} epochs on {len(_part(records, 'train'))} images")
    with EpochProgress(plan.total_epochs) as progress:
        return run_stages(
            model,
            plan.stages,
            batches,
            folder,
            seed=plan.options.seed,
            keep=plan.protocol.keep,
            resume=plan.options.resume,
            callbacks=[progress],
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
        extra={"case": plan.options.case, "weights": str(plan.options.weights)},
    )
    attach_info(model, info)


def _write_inputs(plan, records, loader, weights, folder):
    from covidcxr.data import splits

    if not plan.options.resume:
        run_folder.write_config(folder, _config(plan, records, loader, weights))
    if not (folder / run_folder.SPLIT).is_file():
        results.write_exclusions(records, folder)
        splits.write(records, folder / run_folder.SPLIT)


def _config(plan, records, loader, weights):
    from covidcxr import environment

    return {
        "paper": plan.recipe.key,
        "command": environment.command_line(),
        "options": {**dataclasses.asdict(plan.options), "out": plan.out},
        "network": plan.network.title,
        "classes": list(plan.data_set.class_names),
        "stages": [dataclasses.asdict(stage) for stage in plan.stages],
        "batch_size": plan.batch_size,
        "dropout": plan.dropout,
        "augmentation": plan.recipe.augmentation.to_dict(),
        "preprocessing": loader.to_dict(),
        "protocol": dataclasses.asdict(plan.protocol),
        "data_root": str(records.root),
        "notes": list(records.notes),
        "weights": dataclasses.asdict(weights),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment.describe(),
    }


def _stored_options(recipe, options):
    """Resume with the options that the run was started with: others would make another run."""
    config = run_folder.read_config(options.out)
    if config["paper"] != recipe.key:
        raise OptionError(f"{options.out}: holds a run of {config['paper']}, not of {recipe.key}")
    stored = options_from(config["options"], Path(options.out) / run_folder.CONFIG)
    stored = dataclasses.replace(stored, out=options.out, overwrite=options.overwrite, resume=True)
    unset = RunOptions()
    for name, value in dataclasses.asdict(options).items():
        if name != "overwrite" and value not in (getattr(unset, name), getattr(stored, name)):
            raise OptionError(
                f"--{name.replace('_', '-')} {value}: the run in {options.out} was started with "
                f"{getattr(stored, name)}; leave the option out, or train anew in another folder"
            )
    return stored
