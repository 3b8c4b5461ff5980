"""From a recipe and the user's options to a settled plan of one run; nothing is read or written here."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from covidcxr.errors import DataError, OptionError
from covidcxr.papers.recipe import Case, DataSet, Network, Protocol, Recipe

_MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class RunOptions:
    """What a user may choose; every default is the paper's own or the recipe's marked reading.

    Attributes
    ----------
    data : path-like
        ``"phantom"``, a folder with public sets as downloaded, or a CSV of records.
    protocol : str
        ``"published"`` or ``"sound"``.
    case, model, schedule : str, optional
        Keys of the recipe.
    epochs : int, optional
        In all, instead of the paper's: stages are cut short, or the last one goes on; at most 100,000.
    batch_size : int, optional
    dropout : float, optional
        0 to below 1.
    fine_tune : str
        ``"head"`` keeps the backbone frozen in every stage; ``"all"`` trains every layer from stage 2 on.
    weights : path-like
        ``"imagenet"``, ``"none"``, a folder or a file (see :mod:`covidcxr.models.pretrained`).
    partial_weights : bool
        Accept a file that covers only some of the layers.
    sources : mapping of str to str
        Label to source, over the recipe's.
    split : path-like, optional
        Instead of the protocol's draw: a split.csv written before, or ``"given"`` for the split that the
        data's own folders or table give.
    out : path-like, optional
        Run folder; default ``runs/PAPER-CASE-PROTOCOL-seedN``.
    overwrite, resume : bool
    seed : int
        0 to 2**32 - 1.
    """

    data: str = "phantom"
    protocol: str = "published"
    case: str | None = None
    model: str | None = None
    schedule: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    dropout: float | None = None
    fine_tune: str = "head"
    weights: str = "imagenet"
    partial_weights: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    out: str | None = None
    overwrite: bool = False
    resume: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """One run, settled: every choice made, every key resolved."""

    recipe: Recipe
    options: RunOptions
    protocol: Protocol
    case: Case
    network: Network
    data_set: DataSet
    stages: tuple
    batch_size: int
    dropout: float
    out: str

    @property
    def total_epochs(self):
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)


def options_from(values, path):
    """Return the options that a run was started with, as its config.json has them.

    Parameters
    ----------
    values : dict
    path : path-like
        Of that file, for the message.

    Returns
    -------
    RunOptions

    Raises
    ------
    DataError
        If a name or the kind of a value is none that was ever written there.
    """
    kinds = {field.name: field.type for field in fields(RunOptions)} | {"sources": dict}
    for name, value in values.items() if isinstance(values, dict) else [("options", values)]:
        kind = kinds.get(name)
        # JSON does not tell 0 from 0.0.
        number = isinstance(value, int) and kind == float | None
        if kind is None or not (number or isinstance(value, kind)):
            raise DataError(f"{path}: damaged (option {name} is {value!r}); train anew in another folder")
    return RunOptions(**values)


def resolve(recipe, options):
    """Settle a run.

    Parameters
    ----------
    recipe : Recipe
    options : RunOptions

    Returns
    -------
    Plan
        Its `options` have every key filled in.

    Raises
    ------
    OptionError
        If a key is unknown or a number out of range.
    """
    case_key = options.case or recipe.default_case
    case = _pick(recipe.cases, case_key, "case")
    network_key = options.model or recipe.default_network
    network = _pick(recipe.networks, network_key, "model")
    schedule_key = options.schedule or next(iter(case.stages))
    stages = _pick(case.stages, schedule_key, "schedule")
    protocol = _pick(recipe.protocols, options.protocol, "protocol")
    _check_numbers(options)
    if options.fine_tune == "all":
        stages = (stages[0], *(replace(stage, trainable="all") for stage in stages[1:]))
    folder = f"runs/{recipe.key}-{case_key}-{options.protocol}-seed{options.seed}"
    return Plan(
        recipe=recipe,
        options=replace(options, case=case_key, model=network_key, schedule=schedule_key),
        protocol=protocol,
        case=case,
        network=network,
        data_set=_with_sources(recipe.data_sets[case.data_set], options.sources),
        stages=_with_epochs(stages, options.epochs),
        batch_size=options.batch_size or case.batch_size,
        dropout=case.dropout if options.dropout is None else options.dropout,
        out=str(options.out or folder),
    )


def _pick(choices, key, what):
    if key in choices:
        return choices[key]
    near = difflib.get_close_matches(str(key), choices, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise OptionError(f"unknown {what} '{key}'{hint} (choose from {', '.join(choices)})")


def _check_numbers(options):
    if options.epochs is not None and not 1 <= options.epochs <= _MOST_EPOCHS:
        raise OptionError(f"--epochs {options.epochs}: give 1 to {_MOST_EPOCHS}")
    if options.batch_size is not None and options.batch_size < 1:
        raise OptionError(f"--batch-size {options.batch_size}: give at least 1")
    if options.dropout is not None and not 0 <= options.dropout < 1:
        raise OptionError(f"--dropout {options.dropout}: give a rate from 0 to below 1")
    if not 0 <= options.seed < 2**32:
        raise OptionError(f"--seed {options.seed}: give a whole number from 0 to {2**32 - 1}")
    if options.fine_tune not in ("head", "all"):
        raise OptionError(f"unknown --fine-tune '{options.fine_tune}' (choose from head, all)")
    if options.resume and options.overwrite:
        raise OptionError("--resume goes on with a run and --overwrite replaces it; give one of the two")


def _with_sources(data_set, sources):
    unknown = sorted(set(sources) - set(data_set.counts))
    if unknown:
        classes = ", ".join(data_set.class_names)
        raise OptionError(f"--source {unknown[0]}=...: no such class in this data set (classes: {classes})")
    return replace(data_set, sources={**data_set.sources, **sources})


def _with_epochs(stages, epochs):
    if epochs is None:
        return tuple(stages)
    kept, left = [], epochs
    for stage in stages:
        kept.append(replace(stage, epochs=min(stage.epochs, left)))
        left -= kept[-1].epochs
        if not left:
            break
    kept[-1] = replace(kept[-1], epochs=kept[-1].epochs + left)
    return tuple(kept)
