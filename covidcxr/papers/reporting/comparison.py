"""The paper's numbers beside ours: what was published, what stays under the sound protocol, what elsewhere."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from covidcxr.evaluation.intervals import LEVEL, wilson
from covidcxr.papers import tables

PROTOCOLS = ("published", "sound")
FEW_IMAGES = 100
WIDE = 0.10
FRACTIONS = {"accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1"}
"""Measures that are printed in percent."""
# What no interval of these may leave.
_SHARES = FRACTIONS | {"roc_auc", "average_precision", "brier", "ece"}
_LOWER_IS_BETTER = {"loss", "log_loss", "brier", "ece"}
_SAME = {"loss": "log_loss"}
MEASURES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc")
"""What is shown of every model, printed or not."""
_MOST_GROUPS = 3
_TITLES = {"f1": "F1", "roc_auc": "ROC area", "mcc": "Matthews correlation"}


@dataclass(frozen=True)
class Estimate:
    """A measured figure with its 95 % interval.

    Attributes
    ----------
    value : float
    low, high : float or None
    method : str
        How the interval was made, or why there is none.
    images, patients : int
        It rests on; of several models, the sum.
    models : int
    sd : float or None
        Over several models.
    """

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""
    images: int = 0
    patients: int = 0
    models: int = 1
    sd: float | None = None

    @property
    def has_interval(self):
        """Whether `low` and `high` are known."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Row:
    """One measure: the paper's figure and ours.

    Attributes
    ----------
    models : str
        Which of the paper's models, such as ``"B10 hub"``.
    measure : str
        Dotted key of the measure without its class: ``accuracy``.
    title : str
        In words, with the class where it is of one.
    paper : float or None
    where : str
        In the paper.
    as_paper : Estimate or None
        The published protocol, scored as the paper scores, where that differs from scoring images as they are.
    published, sound : Estimate or None
        Images as they are.
    external : tuple of Estimate or None
        One a set.
    change : Estimate or None
        Sound minus published, images as they are.
    note, verdict : str
    """

    models: str
    measure: str
    title: str
    paper: float | None
    where: str
    as_paper: Estimate | None
    published: Estimate | None
    sound: Estimate | None
    external: tuple
    change: Estimate | None
    note: str
    verdict: str

    @property
    def percent(self):
        """Whether the figures are printed in percent."""
        return self.measure in FRACTIONS


def compare(recipe, runs, externals=(), *, real=True):
    """Set every claim that the runs can be held against beside them, then what the paper does not print.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    runs : sequence of covidcxr.papers.reporting.comparison_runs.Run
    externals : sequence of covidcxr.papers.reporting.comparison_runs.ExternalSet
    real : bool
        Whether the images are radiographs; of phantoms no verdict on the paper is given.

    Returns
    -------
    list of Row
    """
    models = [model for run in runs for model in run.models]
    measured = tables.joined([measures(model) for model in models], COLUMNS)
    elsewhere = [_external_long(external, models) for external in externals]
    return compare_measures(recipe, measured, elsewhere, real=real)


def compare_measures(recipe, measured, elsewhere=(), *, real=True):
    """Do as :func:`compare` with measures that are tables already.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    measured : pandas.DataFrame
        Columns :data:`COLUMNS`; of every model, as :func:`measures` lays them out.
    elsewhere : sequence of pandas.DataFrame
        One an external set, as :func:`external_measures` lays them out.
    real : bool

    Returns
    -------
    list of Row
    """
    groups = dict.fromkeys(measured[["case", "model", "arm"]].itertuples(index=False, name=None))
    claims = [claim for claim in recipe.claims if any(_speaks_of(claim, group) for group in groups)]
    rows = [_row(recipe, claim, claim.measure, measured, elsewhere) for claim in claims]
    rows = [row for row in rows if row is not None]
    if len(groups) <= _MOST_GROUPS:
        printed = {(row.models, row.measure) for row in rows}
        rows += _not_printed(recipe, groups, printed, measured, elsewhere)
    return [_judged(row, real) for row in rows]


def difference(first, second):
    """Return second minus first, with an interval from theirs.

    Parameters
    ----------
    first, second : Estimate

    Returns
    -------
    Estimate
        Without an interval where either has none.

    References
    ----------
    Square-and-add: Newcombe 1998, Stat. Med. 17, 873 (method 10); for any measure, Zou and Donner 2008, Stat.
    Med. 27, 1693. Takes the two as independent, which they are not quite where test images are shared.
    """
    value = second.value - first.value
    if not (first.has_interval and second.has_interval):
        return Estimate(value, method="one of the two has no interval")
    down = np.hypot(second.value - second.low, first.high - first.value)
    up = np.hypot(second.high - second.value, first.value - first.low)
    return Estimate(
        value, float(value - down), float(value + up), "square-and-add, the two taken as independent"
    )


def overall(rows, externals=(), *, real=True):
    """Sum up in sentences.

    Parameters
    ----------
    rows : sequence of Row
    externals : sequence of covidcxr.papers.reporting.comparison_runs.ExternalSet
        Those that the rows were made with.
    real : bool
        As of :func:`compare`.

    Returns
    -------
    list of str
    """
    claimed = [row for row in rows if row.paper is not None]
    paper = (
        _reproduced(claimed)
        if real
        else ["The images are no radiographs: the paper is neither borne out nor refuted."]
    )
    return [*paper, *_under_sound(rows), *_elsewhere(rows, externals)]


def points(value, percent, signed=False):
    """Write a figure in its own unit: percent without the sign, or three decimals."""
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if percent else f"{value:{sign}.3f}"


def _reproduced(claimed):
    held = [row for row in claimed if _beside_paper(row) is not None]
    if not claimed:
        return ["The paper prints no figure for these models."]
    if not held:
        return [
            "No figure of the paper can be held against an interval: the runs are of the sound protocol only."
        ]
    inside = [row for row in held if _place(row.paper, _beside_paper(row)) == "inside"]
    places = [_place(row.paper, _beside_paper(row)) for row in held]
    outside = [f"{places.count(word)} {word} it" for word in ("above", "below") if word in places]
    text = f"{len(inside)} of {len(held)} printed figures lie inside the interval of the published protocol"
    text += f"; {' and '.join(outside)}." if outside else "."
    small = [row for row in inside if _few(_beside_paper(row), row.percent)]
    if small:
        text += (
            f" For {len(small)} of these the interval is wide or the images are few: agreement proves little."
        )
    return [text]


def _under_sound(rows):
    both = [row for row in rows if row.change is not None]
    if not both:
        return ["Published and sound protocol cannot be compared: runs of one of the two are missing."]
    clear = [row for row in both if row.change.has_interval and _worse(row, row.change)]
    if not clear:
        text = f"Of {len(both)} measures none is worse under the sound protocol by more than chance explains"
        return [f"{text}{_unseen(both)}."]
    worst = max(clear, key=lambda row: abs(row.change.value))
    return [
        (
            f"Of {len(both)} measures {len(clear)} are worse under the sound protocol by more than chance "
            f"explains, most {worst.title}: {_signed(worst.change, worst.percent)}."
        )
    ]


def _unseen(both):
    """Say how large a fall so few images would hide: no difference seen is not no difference."""
    lows = [row.change.low for row in both if row.measure == "accuracy" and row.change.has_interval]
    return (
        f"; a fall of the accuracy by {points(-min(lows), True)} points could be hidden"
        if lows and min(lows) < 0
        else ""
    )


def _elsewhere(rows, externals):
    sentences = []
    for row in rows:
        base = row.sound or row.published
        if row.measure != "accuracy" or base is None:
            continue
        for external, estimate in zip(externals, row.external, strict=True):
            if estimate is not None:
                text = _signed(difference(base, estimate), True)
                models = row.models or "all models"
                sentences.append(
                    f"{external.name}: accuracy of {models} {text} against the run's own images."
                )
    return sentences


def _row(recipe, claim, measure, measured, elsewhere):
    published = estimate_of(_matching(recipe, claim, measured, "published", "plain"))
    as_paper = estimate_of(_matching(recipe, claim, measured, "published", "as_paper"))
    sound = estimate_of(_matching(recipe, claim, measured, "sound", "plain"))
    if published is as_paper is sound is None:
        return None
    external = tuple(estimate_of(_matching(recipe, claim, table, "external", "plain")) for table in elsewhere)
    change = difference(published, sound) if published and sound else None
    label = claim.label or (recipe.positive_class if _of_a_class(claim, measured) else "")
    fold = f"fold {claim.fold}" if claim.fold.isdecimal() else ""
    return Row(
        models=" ".join(filter(None, (claim.case, claim.model, claim.arm, fold))),
        measure=measure,
        title=title_of(measure, label, claim.split),
        paper=claim.value,
        where=claim.where,
        as_paper=as_paper,
        published=published,
        sound=sound,
        external=external,
        change=change,
        note=claim.note,
        verdict="",
    )


def _speaks_of(claim, group):
    return all(key in ("", own) for key, own in zip((claim.case, claim.model, claim.arm), group, strict=True))


def _not_printed(recipe, groups, printed, measured, elsewhere):
    from covidcxr.papers.recipe import Claim

    rows = []
    for case, model, arm in groups:
        # A claim that leaves an axis open speaks of this model too.
        taken = {measure for models, measure in printed if set(models.split()) <= {case, model, arm}}
        for measure in MEASURES:
            if measure not in taken:
                claim = Claim(case, measure, None, "", model=model, arm=arm)
                rows.append(_row(recipe, claim, measure, measured, elsewhere))
    return [row for row in rows if row is not None]


def _judged(row, real):
    parts = [_against_paper(row) if real else "", _against_sound(row), _caution(row)]
    return replace(row, verdict=" ".join(filter(None, parts)))


def _against_paper(row):
    if row.paper is None:
        return ""
    estimate = _beside_paper(row)
    which = "the published protocol's interval"
    if estimate is None and row.sound is not None and row.sound.has_interval:
        estimate, which = row.sound, "the sound protocol's interval (the published one was not run)"
    if estimate is None:
        known = row.as_paper or row.published or row.sound
        gap = points(known.value - row.paper, row.percent, signed=True)
        return f"No interval: our figure differs from the paper's by {gap}{_unit(row)}."
    place = _place(row.paper, estimate)
    other = "" if estimate is row.as_paper or row.as_paper is None else " for images as they are"
    return f"The paper's figure is {place} {which}{other}."


def _against_sound(row):
    if row.change is None:
        return ""
    change = row.change
    if not change.has_interval:
        return f"Under sound: {_signed(change, row.percent)}, no interval."
    if change.low <= 0 <= change.high:
        return f"Under sound no difference can be told: {_signed(change, row.percent)}."
    word = "rises" if change.value > 0 else "falls"
    return f"Under sound it {word}: {_signed(change, row.percent)}."


def _caution(row):
    shown = [estimate for estimate in (_beside_paper(row), row.sound) if estimate is not None]
    small = [estimate for estimate in shown if _few(estimate, row.percent)]
    if not small:
        return ""
    least = min(small, key=lambda estimate: estimate.images)
    width = (
        f", interval {points(least.high - least.low, row.percent)}{_unit(row)} wide"
        if least.has_interval
        else ""
    )
    return f"Rests on {least.images} images{width}: little can be concluded."


def _unit(row):
    return " points" if row.percent else ""


def _signed(change, percent):
    text = points(change.value, percent, signed=True) + (" points" if percent else "")
    if change.has_interval:
        text += f" [{points(change.low, percent, signed=True)}, {points(change.high, percent, signed=True)}]"
    return text


def _beside_paper(row):
    """Return what the paper's figure is held against: scored its way, if that has an interval."""
    for estimate in (row.as_paper, row.published):
        if estimate is not None and estimate.has_interval:
            return estimate
    return None


def _place(value, estimate):
    # A printed figure is rounded: half a unit of its last usual digit is no contradiction.
    slack = 5e-5
    if value > estimate.high + slack:
        return "above"
    return "below" if value < estimate.low - slack else "inside"


def _few(estimate, percent):
    wide = percent and estimate.has_interval and estimate.high - estimate.low > WIDE
    return wide or 0 < estimate.images < FEW_IMAGES


def _worse(row, change):
    return change.low > 0 if row.measure in _LOWER_IS_BETTER else change.high < 0


def title_of(measure, label, split):
    """Return a measure in words, with its class and its split where it is of one."""
    words = _TITLES.get(measure, measure.replace("_", " "))
    of = ", mean of the classes" if label == "macro" else f" of {label}" if label else ""
    return words + of + (f" ({split})" if split else "")


def _of_a_class(claim, measured):
    found = measured[measured["measure"] == _SAME.get(claim.measure, claim.measure)]
    return len(found) > 0 and "" not in set(found["label"])


_EXTRA = ("protocol", "method", "images", "patients")
COLUMNS = (*tables.RESULT_COLUMNS, *_EXTRA)


def measures(model):
    """Lay a model's scores out as :mod:`covidcxr.papers.tables` does, with the paper's own scoring apart.

    Parameters
    ----------
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLUMNS`; `scoring` is ``"plain"`` or ``"as_paper"``.
    """
    table = tables.long_results(model.unit, model.metrics)
    table = table[table["scoring"] == "plain"]
    blocks = model.metrics["splits"]
    table = table.assign(
        protocol=model.protocol,
        method=[_method(blocks[split], *key) for split, *key in _keys(table)],
        images=table["split"].map({name: block["images"] for name, block in blocks.items()}),
        patients=table["split"].map({name: block["patients"] for name, block in blocks.items()}),
    )
    published = pd.DataFrame(list(_as_paper(model)))
    return pd.concat([table, published], ignore_index=True)[list(COLUMNS)] if len(published) else table


def _keys(table):
    return zip(table["split"], table["label"], table["measure"], strict=True)


def _method(block, label, measure):
    name = (
        measure if not label else f"macro.{measure}" if label == "macro" else f"per_class.{label}.{measure}"
    )
    entry = block["intervals"]["measures"].get(name) or {}
    return entry.get("method") or entry.get("reason") or ""


def _external_long(external, models):
    units = {model.unit for model in models}
    unit = external.unit or (next(iter(units)) if len(units) == 1 else None)
    if unit is None:
        return pd.DataFrame(columns=list(COLUMNS))
    return external_measures(unit, external.metrics)


def external_measures(unit, block):
    """Lay a model's scores on images of another place out as :func:`measures` does.

    Parameters
    ----------
    unit : covidcxr.papers.units.Unit
    block : dict
        metrics.json of `covidcxr evaluate --out`.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLUMNS`.
    """
    metrics = {"headline_split": "external", "splits": {"external": block}}
    table = tables.long_results(unit, metrics)
    images, patients = block["images"], block["patients"]
    return table.assign(protocol="external", method="", images=images, patients=patients)


def _as_paper(model):
    """Yield the figures that the paper's own way of scoring gives: last epoch, augmented, or one batch of these."""
    document = model.metrics.get("as_published")
    if not document:
        return
    augmented = document["augmented_validation"]
    batch = document.get("one_batch") or augmented
    axes = {axis: getattr(model.unit, axis) for axis in tables.AXES}
    split = model.metrics["headline_split"]
    for name, value, (low, high), images in _published_values(document, augmented, batch):
        method = f"Wilson, {images} images" if low is not None else "none: scored as the paper scores"
        yield {
            **axes,
            "headline": True,
            "scoring": "as_paper",
            "split": split,
            "label": "",
            "measure": name,
            "value": value,
            "low": low,
            "high": high,
            "protocol": model.protocol,
            "method": method,
            "images": images,
            "patients": augmented["patients"],
        }


def _published_values(document, augmented, batch):
    images = augmented["images"]
    accuracy = document["validation_accuracy"]
    yield "accuracy", accuracy, wilson(round(accuracy * images), images), images
    yield "log_loss", document["validation_loss"], (None, None), images
    positive = batch["positive"]
    for name, interval in _intervals_of_counts(batch).items():
        if positive.get(name) is not None:
            yield name, positive[name], interval, batch["images"]
    sides = (positive.get("sensitivity"), positive.get("specificity"))
    if None not in sides:
        # The two-step curve of hard labels: what a paper's area holds that is made of predicted classes.
        yield "roc_auc", sum(sides) / 2, _half_sum(batch), batch["images"]


def _counts(block):
    place = block["classes"].index(block["positive"]["class"])
    matrix = np.asarray(block["confusion_matrix"])
    hits, true, called = (int(n) for n in (matrix[place, place], matrix[place].sum(), matrix[:, place].sum()))
    return hits, true, called, int(matrix.sum())


def _intervals_of_counts(block):
    hits, true, called, _ = _counts(block)
    # F1 is 2 J / (1 + J) of the share J of hits among all that are ill or called so.
    both = wilson(hits, true + called - hits)
    return {
        "sensitivity": wilson(hits, true),
        "precision": wilson(hits, called),
        "f1": tuple(2 * limit / (1 + limit) for limit in both),
    }


def _half_sum(block):
    hits, true, called, total = _counts(block)
    ill, well = true, total - true
    rates = (hits / ill, 1 - (called - hits) / well)
    limits = (wilson(hits, ill), wilson(well - (called - hits), well))
    middle = sum(rates) / 2
    down, up = (
        np.hypot(*(abs(rate - limit[side]) for rate, limit in zip(rates, limits, strict=True))) / 2
        for side in (0, 1)
    )
    return float(middle - down), float(middle + up)


def _matching(recipe, claim, table, protocol, scoring):
    wanted = (table["protocol"] == protocol) & (table["scoring"] == scoring)
    wanted &= table["measure"] == _SAME.get(claim.measure, claim.measure)
    for axis in ("case", "model", "arm"):
        if getattr(claim, axis):
            wanted &= table[axis] == getattr(claim, axis)
    if claim.fold.isdecimal():
        wanted &= table["fold"].astype(str) == claim.fold
    if protocol != "external":
        wanted &= (table["split"] == claim.split) if claim.split else table["headline"].astype(bool)
    rows = table[wanted]
    exact = rows[rows["label"] == claim.label]
    if len(exact) or claim.label:
        return exact
    return rows[rows["label"] == recipe.positive_class]


def estimate_of(rows):
    """Make one figure of one measure of one model or several.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns `value`, `low`, `high`, `images`, `patients`, `method`.

    Returns
    -------
    Estimate or None
        None without a row that has a value.
    """
    rows = rows[rows["value"].notna()]
    if not len(rows):
        return None
    values = rows["value"].astype(float)
    images, patients = int(rows["images"].sum()), int(rows["patients"].sum())
    if len(rows) == 1:
        low, high = (
            None if pd.isna(rows[name].iloc[0]) else float(rows[name].iloc[0]) for name in ("low", "high")
        )
        return Estimate(float(values.iloc[0]), low, high, rows["method"].iloc[0], images, patients)
    mean, sd, n = float(values.mean()), float(values.std(ddof=1)), len(values)
    low, high = _of_several(rows, mean, sd)
    return Estimate(mean, low, high, f"over {n} models", images, patients, n, sd)


def _of_several(rows, mean, sd):
    """Return the wider of Student's interval of the mean and the mean of the models' own intervals.

    Models that share test images agree more than other images would let them; those of different folds do not
    need the second, which is then too wide rather than too narrow.
    """
    half = _student(len(rows)) * sd / np.sqrt(len(rows))
    if set(rows.get("measure", ())) & _SHARES:
        down, up = max(mean - half, 0.0), min(mean + half, 1.0)
    else:
        down, up = mean - half, mean + half
    own = rows[["low", "high"]].astype(float)
    if own.notna().all(axis=None):
        return float(min(down, own["low"].mean())), float(max(up, own["high"].mean()))
    return (down, up) if sd > 0 else (None, None)


def _student(n):
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, n - 1))
