"""Where to cut the positive class's probability: chosen on validation by a named rule, then held on other images."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from covidcxr.errors import DataError, OptionError
from covidcxr.evaluation import intervals
from covidcxr.evaluation.metrics import positive_class
from covidcxr.evaluation.predictions import Predictions

OTHER = "other"


@dataclass(frozen=True)
class Threshold:
    """A cut of one class's probability: at or above `value` an image is called positive.

    Attributes
    ----------
    rule : str
        ``"youden"`` or ``"sensitivity >= 0.95"``.
    positive : str
        Class that it is for.
    value : float
    split : str
        Where it was chosen; ``""`` for a table without splits.
    images, patients : int
        It was chosen on.
    sensitivity, specificity : float
        It has there, and so promises too much of elsewhere.
    """

    rule: str
    positive: str
    value: float
    split: str
    images: int
    patients: int
    sensitivity: float
    specificity: float


def choose(predictions, rule="youden", *, split="val", positive=None):
    """Choose a threshold on the images of one split.

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled.
    rule : "youden" or float
        Youden's: the largest sensitivity + specificity - 1 (Cancer 3, 32, 1950), of equal ones the highest
        threshold. A number: the highest threshold with at least that sensitivity.
    split : str, optional
        ``"val"``; ``""`` takes all rows, for a table that holds validation images only. Not the test split:
        what is chosen on the images that are then scored is no threshold but an optimum.
    positive : str, optional
        See :func:`covidcxr.evaluation.metrics.positive_class`.

    Returns
    -------
    Threshold
        Its value is one of the probabilities seen.

    Raises
    ------
    DataError
        If the split is empty, or has no image of the class or none of the others.
    OptionError
        If the rule has no meaning, or `split` is ``"test"``.
    """
    if split == "test":
        raise OptionError(
            "a threshold is not chosen on the test split; name the split with validation images"
        )
    part = predictions.subset(split) if split else predictions
    label = positive_class(part.class_names, positive)
    index = part.class_names.index(label)
    ill, scores = part.y_true == index, part.probabilities[:, index]
    if ill.all() or not ill.any():
        raise DataError(
            f"split {split!r}: {int(ill.sum())} of {len(ill)} images are {label}; a threshold needs both kinds"
        )
    values, sensitivity, specificity = _operating_points(ill, scores)
    place, name = _place(rule, sensitivity, specificity)
    return Threshold(
        rule=name,
        positive=label,
        value=float(values[place]),
        split=split,
        images=len(part),
        patients=int(part.patients.max()) + 1,
        sensitivity=float(sensitivity[place]),
        specificity=float(specificity[place]),
    )


def apply(threshold, predictions, *, split="test", seed, **options):
    """Score other images at a threshold, the class against the rest, with intervals.

    The threshold stands as it was chosen: the intervals are those of the images it is held on.

    Parameters
    ----------
    threshold : Threshold
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled, with the threshold's class.
    split : str, optional
        ``""`` takes all rows.
    seed : int
        Of the bootstrap.
    **options
        `resamples`, `level`, `method` and `prevalences`, as :func:`covidcxr.evaluation.intervals.summarise` takes them.

    Returns
    -------
    dict
        `summarise`'s, of two classes, the second being ``"other"`` where there were more, and ``threshold``: the
        fields of `threshold`.

    Raises
    ------
    DataError
        If the split is empty or lacks the class altogether.
    OptionError
        If it is the split that the threshold was chosen on.
    """
    if split == threshold.split:
        raise OptionError(f"split {split!r} is where the threshold was chosen; name another")
    part = binary(threshold, predictions.subset(split) if split else predictions)
    summary = intervals.summarise(part, seed=seed, positive=threshold.positive, **options)
    return {**summary, "threshold": vars(threshold)}


def binary(threshold, predictions):
    """Return predictions of the threshold's class against the rest, decided by the threshold.

    Parameters
    ----------
    threshold : Threshold
    predictions : covidcxr.evaluation.predictions.Predictions

    Returns
    -------
    covidcxr.evaluation.predictions.Predictions
        Two classes: the threshold's, then the other one, ``"other"`` where there were more. `predicted` is the
        threshold's decision, which may differ from the larger probability.

    Raises
    ------
    DataError
        If the class is none of theirs.
    """
    names, label = predictions.class_names, threshold.positive
    positive_class(names, label)
    rest = [name for name in names if name != label]
    pair = (label, rest[0] if len(rest) == 1 else OTHER)
    scores = predictions.probabilities[:, names.index(label)]
    given = predictions.table["label"]
    table = predictions.table.assign(label=given.where(given.isin([label, ""]), pair[1]))
    two = Predictions.from_arrays(table, pair, np.stack([scores, 1 - scores], axis=1))
    called = pd.Series(np.where(scores >= threshold.value, *pair), index=two.table.index, dtype=object)
    return replace(two, table=two.table.assign(predicted=called.astype(str)))


def _operating_points(ill, scores):
    """Return every score seen, highest first, with sensitivity and specificity where it is the threshold."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.r_[np.diff(ordered) != 0, True])
    found, alarms = np.cumsum(ill[order])[last], np.cumsum(~ill[order])[last]
    return ordered[last], found / found[-1], 1 - alarms / alarms[-1]


def _place(rule, sensitivity, specificity):
    if rule == "youden":
        return int(np.argmax(np.round(sensitivity + specificity, 12))), "youden"
    if isinstance(rule, bool) or not isinstance(rule, int | float) or not 0 < rule <= 1:
        raise OptionError(f"threshold rule {rule!r}: give 'youden' or a sensitivity above 0 up to 1")
    # Twelve of 20 is 0.6, not a hair less.
    return int(np.argmax(sensitivity >= rule - 1e-12)), f"sensitivity >= {rule:g}"
