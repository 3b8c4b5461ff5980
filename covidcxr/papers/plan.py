"""From a recipe and the user's options to settled plans, one a model; nothing is read or written here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from covidcxr.errors import DataError, OptionError
from covidcxr.papers.recipe import Arm, Case, DataSet, Network, Protocol, Recipe
from covidcxr.papers.units import Unit, chosen, pick
from covidcxr.training.stages import check_stages

PRESETS = ("smoke",)
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
STRATEGIES = ("auto", "single", "mirrored", "multiworker", "tpu")
ENGINES = ("fast", "keras")
DRAWS = ("all", "auto", "off")
_MOST_EPOCHS = 100_000
# Trials are told apart by their seeds; far enough that the trials of neighbouring seeds differ too.
_SEEDS_APART = 7919


@dataclass(frozen=True)
class RunOptions:
    """What a user may choose; every default is the paper's own or the recipe's marked reading.

    Attributes
    ----------
    data : path-like
        ``"phantom"``, a folder with public sets as downloaded, or a CSV of records.
    protocol : str
        ``"published"`` or ``"sound"``.
    case, model, fold, trial, arm : str, optional
        Which of the paper's models: a key of the recipe (a number for `fold` and `trial`), several with commas,
        or ``"all"``.
    schedule : str, optional
        Key of the case's stages.
    preset : str, optional
        ``"smoke"``: the whole in seconds, with few images, small inputs and two epochs.
    epochs : int, optional
        In all, instead of the paper's: stages are cut short, or the last one goes on; at most 100,000.
    batch_size : int, optional
    dropout : float, optional
        0 to below 1.
    fine_tune : str
        ``"head"`` keeps the backbone frozen in every stage; ``"all"`` trains every layer from stage 2 on.
    weights : path-like, optional
        ``"imagenet"``, ``"none"``, a folder or a file (see :mod:`covidcxr.models.pretrained`). Default
        ``"imagenet"``, under the preset ``"none"``.
    partial_weights : bool
        Accept a file that covers only some of the layers.
    sources : mapping of str to str
        Label to source, over the recipe's.
    split : path-like, optional
        Instead of the protocol's draw: a split.csv written before, or ``"given"`` for the split that the
        data's own folders or table give.
    strategy : str
        Where it trains; see :func:`covidcxr.training.strategy.place`.
    precision : str
        ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.
    engine : str
        What augments: ``"fast"``, or ``"keras"`` for Keras' own ImageDataGenerator, image by image. Both draw the
        same transforms; grey values differ by rounding.
    cache : str
        Where decoded images are kept: ``"auto"`` (in memory where they take less than a quarter of it, else in a
        file that ends with the run), ``"memory"``, ``"off"``, or a folder for this run and others. Changes no value.
    draws : str
        Where layers are frozen and nothing before them trains, what they say of an image is computed once for
        each of this many of its random transforms and used again, epoch after epoch: a number, ``"all"`` (as many
        as epochs: the stock procedure), ``"auto"``, or ``"off"`` (every step runs the whole network).
    out : path-like, optional
        Run folder; the default names paper, choice, protocol and seed, below ``runs/``.
    overwrite, resume : bool
    seed : int
        0 to 2**32 - 1.
    """

    data: str = "phantom"
    protocol: str = "published"
    case: str | None = None
    model: str | None = None
    fold: str | None = None
    trial: str | None = None
    arm: str | None = None
    schedule: str | None = None
    preset: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    dropout: float | None = None
    fine_tune: str = "head"
    weights: str | None = None
    partial_weights: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    strategy: str = "auto"
    precision: str = "float32"
    engine: str = "fast"
    cache: str = "auto"
    draws: str = "auto"
    out: str | None = None
    overwrite: bool = False
    resume: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """One model's run, settled: every choice made, every key resolved."""

    recipe: Recipe
    options: RunOptions
    unit: Unit
    protocol: Protocol
    case: Case
    network: Network
    arm: Arm
    data_set: DataSet
    stages: tuple
    batch_size: int
    dropout: float
    out: str

    @property
    def total_epochs(self):
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def seed(self):
        """Seed of this model's trial."""
        return (self.options.seed + _SEEDS_APART * max(self.unit.trial - 1, 0)) % 2**32

    @property
    def title(self):
        """What the run is, in a line."""
        parts = [self.case.title]
        if len(self.recipe.networks) > 1:
            parts.append(self.options.model)
        numbers = (("fold", self.unit.fold), ("trial", self.unit.trial))
        parts += [f"{word} {number}" for word, number in numbers if number]
        parts += [self.arm.title] if self.unit.arm else []
        return f"{self.recipe.key}, {', '.join(parts)}, {self.options.protocol} protocol"


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
    if isinstance(values, dict):
        # A run begun before there was a choice ran the whole network at every step, on images augmented by Keras.
        values = {"draws": "off", "engine": "keras", **values}
    for name, value in values.items() if isinstance(values, dict) else [("options", values)]:
        kind = kinds.get(name)
        # JSON does not tell 0 from 0.0.
        number = isinstance(value, int) and kind == float | None
        if kind is None or not (number or isinstance(value, kind)):
            raise DataError(f"{path}: damaged (option {name} is {value!r}); train anew in another folder")
    return RunOptions(**values)


def settle(recipe, options):
    """Settle a run: one plan for each model that the options choose.

    Parameters
    ----------
    recipe : Recipe
    options : RunOptions

    Returns
    -------
    tuple of Plan
        In the paper's order; the `options` of each have every key filled in. With more than one, each has its
        own folder below `models/` of the run folder.

    Raises
    ------
    OptionError
        If a key is unknown or a number out of range.
    """
    _check_numbers(options)
    _check_words(options)
    if options.preset:
        recipe = replace(recipe, **recipe.smoke)
    units = chosen(recipe, options)
    weights = options.weights or ("none" if options.preset else "imagenet")
    out = str(options.out or _folder(recipe, options, units))
    options = replace(options, weights=weights)
    return tuple(_plan(recipe, options, unit, _place(out, unit, units)) for unit in units)


def _plan(recipe, options, unit, out):
    case = recipe.cases[unit.case]
    network = recipe.networks[unit.model]
    schedule_key = options.schedule or next(iter(case.stages))
    stages = pick(case.stages, schedule_key, "schedule")
    protocol = pick(recipe.protocols, options.protocol, "protocol")
    if options.fine_tune == "all":
        stages = (stages[0], *(replace(stage, trainable="all") for stage in stages[1:]))
    stages = _with_epochs(stages, options.epochs)
    check_stages(stages)
    return Plan(
        recipe=recipe,
        options=replace(
            options,
            case=unit.case,
            model=unit.model,
            fold=str(unit.fold) if unit.fold else None,
            trial=str(unit.trial) if unit.trial else None,
            arm=unit.arm or None,
            schedule=schedule_key,
        ),
        unit=unit,
        protocol=protocol,
        case=case,
        network=network,
        arm=recipe.arms[unit.arm] if unit.arm else Arm(""),
        data_set=_with_sources(recipe.data_sets[case.data_set], options.sources),
        stages=stages,
        batch_size=options.batch_size
        or network.batch_size
        or case.batch_sizes.get(schedule_key, case.batch_size),
        dropout=case.dropout if options.dropout is None else options.dropout,
        out=out,
    )


def _folder(recipe, options, units):
    """Name a run folder after what was chosen, and not after what the paper leaves no choice in."""
    words = [options.case or units[0].case]
    words += [options.model] if options.model else []
    for name in ("fold", "trial"):
        words += [f"{name}{getattr(options, name)}"] if getattr(options, name) else []
    words += [options.arm] if options.arm else []
    words += [options.preset] if options.preset else []
    chosen_words = "-".join(str(word).replace(",", "+").replace(" ", "") for word in words)
    return f"runs/{recipe.key}-{chosen_words}-{options.protocol}-seed{options.seed}"


def _place(out, unit, units):
    return out if len(units) == 1 else f"{out}/models/{unit.name}"


def _check_numbers(options):
    if options.epochs is not None and not 1 <= options.epochs <= _MOST_EPOCHS:
        raise OptionError(f"--epochs {options.epochs}: give 1 to {_MOST_EPOCHS}")
    if options.draws not in DRAWS and not (
        options.draws.isdecimal() and 1 <= int(options.draws) <= _MOST_EPOCHS
    ):
        raise OptionError(
            f"--draws {options.draws}: give all, auto, off or a number of transforms from 1 to {_MOST_EPOCHS}"
        )
    if options.batch_size is not None and options.batch_size < 1:
        raise OptionError(f"--batch-size {options.batch_size}: give at least 1")
    if options.dropout is not None and not 0 <= options.dropout < 1:
        raise OptionError(f"--dropout {options.dropout}: give a rate from 0 to below 1")
    if not 0 <= options.seed < 2**32:
        raise OptionError(f"--seed {options.seed}: give a whole number from 0 to {2**32 - 1}")
    if options.resume and options.overwrite:
        raise OptionError("--resume goes on with a run and --overwrite replaces it; give one of the two")


def _check_words(options):
    choices = {
        "fine_tune": ("head", "all"),
        "strategy": STRATEGIES,
        "precision": ("auto", *PRECISIONS),
        "engine": ENGINES,
        "preset": (None, *PRESETS),
    }
    for name, known in choices.items():
        value = getattr(options, name)
        if value not in known:
            listed = ", ".join(filter(None, known))
            raise OptionError(f"unknown --{name.replace('_', '-')} '{value}' (choose from {listed})")


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
