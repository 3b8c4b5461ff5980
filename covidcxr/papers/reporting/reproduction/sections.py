"""From the CSV files to what tables and pictures show: a paper's models, each with its rows and their reasons."""

from dataclasses import dataclass, field

import pandas as pd

from covidcxr.errors import CovidcxrError, DataError
from covidcxr.papers import tables
from covidcxr.papers.reporting import comparison, comparison_data
from covidcxr.papers.reporting.reproduction import audits, changes, reasons, store

EXTERNAL = "external"
_SCORED = ("plain", "as_paper")


@dataclass(frozen=True)
class Border:
    """What a probe tells of the images' borders alone.

    Attributes
    ----------
    estimate : covidcxr.papers.reporting.comparison.Estimate
        ROC area.
    label, protocol : str
        Class that is told from the rest, and whose split was probed.
    """

    estimate: object
    label: str
    protocol: str


@dataclass(frozen=True)
class Group:
    """One of a paper's models, over its folds, trials and seeds.

    Attributes
    ----------
    case, model, arm, title : str
    runs : pandas.DataFrame
        Rows of runs.csv.
    rows : list of covidcxr.papers.reporting.comparison.Row
    externals : tuple of str
        Names of the external sets, in the order of each row's `external`.
    border : Border or None
    reasons, cautions : tuple of str
    changes : tuple of str
        What was done otherwise than the recipe says.
    """

    case: str
    model: str
    arm: str
    title: str
    runs: pd.DataFrame
    rows: list
    externals: tuple = ()
    border: Border | None = None
    reasons: tuple = ()
    cautions: tuple = ()
    changes: tuple = ()


@dataclass(frozen=True)
class Section:
    """A paper in one setting: the same images and options.

    Attributes
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    setting : str
    groups : list of Group
    """

    recipe: object
    setting: str
    groups: list = field(default_factory=list)


def sections(results):
    """Lay results out by paper, setting and model.

    Parameters
    ----------
    results : covidcxr.papers.reporting.reproduction.store.Results

    Returns
    -------
    list of Section
        Papers in alphabetical order, settings with fewer changes first, models in the paper's order.

    Raises
    ------
    DataError
        If a run is of a paper, or a case, network or arm of it, that is not known.
    """
    from covidcxr import papers

    found = []
    numbers = {name: results.numbers(name) for name in store.COLUMNS}
    for (key, setting), runs in numbers["runs"].groupby(["paper", "setting"], sort=True):
        try:
            recipe = papers.get(key).recipe
        except CovidcxrError as error:
            raise DataError(f"runs.csv: {error}") from error
        names = sorted(
            set(runs[["case", "model", "arm"]].itertuples(index=False, name=None)),
            key=lambda name, recipe=recipe: _place(recipe, name),
        )
        groups = [_group(recipe, name, _of(runs, name), numbers) for name in names]
        found.append(Section(recipe, setting, groups))
    return sorted(found, key=lambda section: (section.recipe.key, len(section.groups[0].changes)))


def _place(recipe, name):
    known = [list(recipe.cases), list(recipe.networks), ["", *recipe.arms]]
    for key, keys, what in zip(name, known, ("case", "network", "arm"), strict=True):
        if key not in keys:
            raise DataError(
                f"runs.csv: {recipe.key} has no {what} '{key}'; take the run out, or restore the recipe"
            )
    return tuple(keys.index(key) for key, keys in zip(name, known, strict=True))


def _of(runs, name):
    return runs[(runs[["case", "model", "arm"]] == list(name)).all(axis=1)]


def _group(recipe, name, runs, numbers):
    measured = _measured(runs, numbers["measures"])
    here = measured[measured["scoring"].isin(_SCORED)]
    outside = measured[measured["scoring"] == EXTERNAL]
    sets = sorted(set(outside["split"]))
    elsewhere = [_elsewhere(outside[outside["split"] == one]) for one in sets]
    images = numbers["images"][numbers["images"][store.RUN].isin(runs[store.RUN])]
    real = not comparison_data.only_made(images["source"])
    compared = comparison.compare_measures(recipe, here, elsewhere, real=real)
    # Counts of other numbers of images say nothing beside each other; the confusion matrices show them.
    rows = [row for row in compared if row.measure not in tables.COUNTS]
    case, model, arm = name
    return Group(
        case,
        model,
        arm,
        " ".join(filter(None, name)),
        runs,
        rows,
        tuple(sets),
        _border(runs, numbers["audits"]),
        tuple(reasons.reasons(recipe, arm, runs, rows, numbers["audits"])),
        tuple(_cautions(runs, real)),
        tuple(_changes(recipe, runs, images)),
    )


def _measured(runs, measures):
    axes = runs[[store.RUN, "case", "model", "fold", "trial", "arm", "protocol"]]
    table = axes.merge(measures, on=store.RUN, how="inner", sort=False)
    whole = {name: table[name].fillna(0).astype(int) for name in ("images", "patients", "fold", "trial")}
    table = table.assign(**whole, headline=table["headline"] == "yes")
    return table[["scoring", *(name for name in comparison.COLUMNS if name != "scoring")]]


def _elsewhere(table):
    """Mark external scores as what is compared, one of each model: the sound run's where both were scored."""
    sound = table[table["protocol"] == "sound"]
    chosen = sound if len(sound) else table
    return chosen.assign(protocol=EXTERNAL, scoring="plain", split=EXTERNAL, headline=True)


def _border(runs, table):
    found = table[
        (table["audit"] == audits.SHORTCUTS)
        & (table["check"] == audits.BORDER)
        & (table["measure"] == audits.ROC_AREA)
    ]
    for protocol in reversed(comparison.PROTOCOLS):
        own = found[found[store.RUN].isin(runs.loc[runs["protocol"] == protocol, store.RUN])]
        if len(own):
            rows = own.assign(method="").fillna({"images": 0, "patients": 0})
            return Border(comparison.estimate_of(rows), own["label"].iloc[0], protocol)
    return None


def _cautions(runs, real):
    if not real:
        yield "Computed pictures, no radiographs: the figures show that the machinery works and nothing else."
    if runs["setting"].str.contains("--preset smoke", regex=False).any():
        yield "Smoke preset: no figure is a result."


def _changes(recipe, runs, images):
    first = runs.iloc[0]
    own = images[images[store.RUN] == first[store.RUN]]
    told = changes.changes(recipe, first["case"], first["model"], first["setting"], own)
    return [*told, *changes.fewer_runs(recipe, runs)]
