"""Every measure of a classifier, from its predictions alone.

A `Tally` sums what the measures are functions of within groups of images, so that one piece of arithmetic
serves the plain value (every group once) and the bootstrap (every group a drawn number of times).
"""

import numpy as np

from covidcxr.data.labels import COVID19, NORMAL
from covidcxr.errors import DataError

ECE_BINS = 15
PREVALENCES = (0.01, 0.05, 0.2)
PER_CLASS = (
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "accuracy",
    "brier",
    "roc_auc",
    "average_precision",
)
MACRO = ("sensitivity", "specificity", "precision", "f1", "roc_auc", "average_precision")
# khalifa2020's F1 (Table 2): of the mean precision and the mean recall, not the mean of the classes' F1.
F1_OF_MEANS = "f1_of_means"
OVERALL = ("accuracy", "balanced_accuracy", "mcc", "brier", "log_loss", "ece")

_REASONS = {
    "sensitivity": "no image is of this class",
    "specificity": "every image is of this class",
    "precision": "no image was predicted as this class",
    "f1": "no image is of this class or was predicted as it",
    "roc_auc": "needs images of this class and of another",
    "average_precision": "no image is of this class",
    "balanced_accuracy": "some class has no image",
    "mcc": "all labels, or all predictions, are of one class",
}
_NOTHING_RIGHT = "some class has no image, or no image was classified rightly"


class Tally:
    """Counts and sums of predictions, group by group.

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        n >= 1 labelled rows, k classes.
    groups : array of int, shape (n,), optional
        Group of each image, from 0 without gaps (`predictions.patients`); default: one group in all.

    Raises
    ------
    DataError
        If there is no prediction, or an image has no label.
    """

    def __init__(self, predictions, groups=None):
        if not len(predictions):
            raise DataError("no predictions to evaluate; give at least one labelled image")
        self.y_true, self.y_pred = predictions.y_true, predictions.y_pred
        self.scores = predictions.probabilities
        self.classes = len(predictions.class_names)
        self.groups = np.zeros(len(predictions), int) if groups is None else np.asarray(groups)
        self.size = int(self.groups.max()) + 1
        self.images = self._grouped(np.ones((len(predictions), 1)))
        self.confusions = self._grouped(_one_hot(self.y_true * self.classes + self.y_pred, self.classes**2))
        self.losses = self._grouped(_losses(self.y_true, self.scores))
        self.gaps = self._grouped(_calibration_gaps(self.y_true, self.scores))
        self._rankings = [_Ranking(self.scores[:, c], self.y_true == c) for c in range(self.classes)]

    def measures(self, weights):
        """Compute every measure once for each row of weights.

        Parameters
        ----------
        weights : array, shape (r, groups)
            How many times each group counts, >= 0.

        Returns
        -------
        dict of str to array
            `OVERALL` and ``macro.<measure>`` with shape (r,), ``class.<measure>`` with shape (r, k);
            NaN where a measure is undefined.
        """
        weights = np.asarray(weights, dtype=np.float64)
        matrices = (weights @ self.confusions).reshape(-1, self.classes, self.classes)
        overall, per_class = from_confusion(matrices)
        total = weights @ self.images
        losses = weights @ self.losses / total
        overall["brier"] = losses[:, 1:].sum(axis=1) / 2
        overall["log_loss"] = losses[:, 0]
        overall["ece"] = (np.abs(weights @ self.gaps) / total).sum(axis=1)
        per_class["brier"] = losses[:, 1:]
        per_class["roc_auc"], per_class["average_precision"] = self._areas(weights)
        macro = {f"macro.{name}": per_class[name].mean(axis=1) for name in MACRO}
        macro[f"macro.{F1_OF_MEANS}"] = f1_of_means(per_class["precision"], per_class["sensitivity"])
        return {**overall, **macro, **{f"class.{name}": per_class[name] for name in PER_CLASS}}

    def _areas(self, weights):
        by_image = weights[:, self.groups]
        areas = [ranking.areas(by_image) for ranking in self._rankings]
        return (np.stack(values, axis=1) for values in zip(*areas, strict=True))

    def _grouped(self, values):
        sums = np.zeros((self.size, values.shape[1]))
        np.add.at(sums, self.groups, values)
        return sums


class _Ranking:
    """One class's scores in ascending order, with the places where the score changes."""

    def __init__(self, scores, positive):
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.positive = positive[self.order]

    def areas(self, weights):
        """ROC area and average precision, each of shape (r,), for weights of shape (r, n)."""
        ordered = weights[:, self.order]
        everyone = self._by_score(ordered)
        positives = self._by_score(ordered * self.positive)
        negatives = everyone - positives
        below = np.cumsum(negatives, axis=1)
        wins = (positives * (below - negatives / 2)).sum(axis=1)
        positive_total = positives.sum(axis=1)
        area = divide(wins, positive_total * below[:, -1])
        # Average precision walks from the highest score down.
        at_least = np.cumsum(everyone[:, ::-1], axis=1)
        found = np.cumsum(positives[:, ::-1], axis=1)
        precision = np.divide(found, at_least, out=np.zeros_like(found), where=at_least > 0)
        return area, divide((precision * positives[:, ::-1]).sum(axis=1), positive_total)

    def _by_score(self, weights):
        if len(self.starts) == weights.shape[1]:
            return weights
        return np.add.reduceat(weights, self.starts, axis=1)


def divide(numerator, denominator):
    """Divide arrays of one shape, giving NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    empty = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator != 0)


def from_confusion(matrices):
    """Derive the measures that need only counts.

    Parameters
    ----------
    matrices : array, shape (r, k, k)
        Confusion matrices: rows true classes, columns predicted ones. Weights need not be whole.

    Returns
    -------
    overall : dict of str to array of shape (r,)
        ``accuracy``, ``balanced_accuracy`` (mean of the sensitivities) and ``mcc`` (Gorodkin 2004).
    per_class : dict of str to array of shape (r, k)
        ``sensitivity``, ``specificity``, ``precision``, ``f1`` and ``accuracy``, each class against the rest
        (ragab2022, section "Evaluation Metrics"; rahimzadeh2020's "accuracy for each class").
        NaN where a denominator is zero.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    total = true.sum(axis=1, keepdims=True)
    right_rejections = total - true - predicted + hits
    per_class = {
        "sensitivity": divide(hits, true),
        "specificity": divide(right_rejections, total - true),
        "precision": divide(hits, predicted),
        "f1": divide(2 * hits, true + predicted),
        "accuracy": divide(hits + right_rejections, total),
    }
    n = total[:, 0]
    spread = np.sqrt((n**2 - (predicted**2).sum(axis=1)) * (n**2 - (true**2).sum(axis=1)))
    overall = {
        "accuracy": divide(hits.sum(axis=1), n),
        "balanced_accuracy": per_class["sensitivity"].mean(axis=1),
        "mcc": np.clip(divide(n * hits.sum(axis=1) - (true * predicted).sum(axis=1), spread), -1, 1),
    }
    return overall, per_class


def f1_of_means(precision, sensitivity):
    """F1 of the mean precision and the mean sensitivity over the classes, as khalifa2020's Table 2 has it.

    It is never below the mean of the classes' F1, and not equal to it where classes differ (Opitz and Burst 2019,
    arXiv 1911.03347).

    Parameters
    ----------
    precision, sensitivity : array, shape (r, k)

    Returns
    -------
    array of float64, shape (r,)
        NaN where one of them is, or where both means are zero.
    """
    means = np.mean(precision, axis=1), np.mean(sensitivity, axis=1)
    return divide(2 * means[0] * means[1], means[0] + means[1])


def positive_class(class_names, wanted=None):
    """Choose the class that "the" sensitivity and "the" ROC area speak of.

    Parameters
    ----------
    class_names : sequence of str
    wanted : str, optional
        Taken if given.

    Returns
    -------
    str
        `wanted`; else ``covid19`` where it is a class; else the last class that is not ``normal``.

    Raises
    ------
    DataError
        If `wanted` is none of the classes.
    """
    if wanted is not None and wanted not in class_names:
        raise DataError(f"positive class {wanted!r} is none of the classes {', '.join(class_names)}")
    if wanted is None and COVID19 in class_names:
        return COVID19
    return wanted or [name for name in class_names if name != NORMAL][-1]


def predictive_values(sensitivity, specificity, prevalence):
    """Positive and negative predictive value where the disease has a given prevalence (Bayes' rule).

    Parameters
    ----------
    sensitivity, specificity : float or array of one shape
        Fractions in [0, 1].
    prevalence : float
        Likewise.

    Returns
    -------
    pair of float, or of arrays
        NaN where no test would be positive (or negative).
    """
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    positive = divide(true_positive, true_positive + false_positive)
    negative = divide(true_negative, true_negative + false_negative)
    return (positive, negative) if positive.ndim else (float(positive), float(negative))


def compute(predictions, positive=None):
    """Compute every measure, ready for metrics.json.

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled, n >= 1 rows.
    positive : str, optional
        See :func:`positive_class`.

    Returns
    -------
    dict
        ``images``, ``patients``, ``classes``, ``confusion_matrix`` (rows true, columns predicted); then

        - ``accuracy``, ``balanced_accuracy``, ``mcc``;
        - ``brier``: half the mean squared distance between the probabilities and the one-hot truth, 0 to 1,
          the usual score where there are two classes;
        - ``log_loss``: nats, probabilities clipped at 2.2e-16;
        - ``ece``: expected calibration error of the most probable class, over 15 equal-width bins of its
          probability;
        - ``macro``: unweighted means over the classes, and ``f1_of_means`` (:func:`f1_of_means`);
        - ``per_class``: each class against the rest;
        - ``positive``: the positive class's own row, with predictive values at stated prevalences;
        - ``undefined``: why a measure is None, by its dotted name (``"per_class.covid19.precision"``).

    Raises
    ------
    DataError
        If there is nothing to evaluate.
    """
    tally = Tally(predictions)
    flat = flatten(tally.measures([[1.0]]), predictions.class_names)
    values = {name: _plain(value[0]) for name, value in flat.items()}
    names = predictions.class_names
    chosen = positive_class(names, positive)
    result = {
        "images": len(predictions),
        "patients": int(predictions.patients.max()) + 1,
        "classes": list(names),
        **{name: values[name] for name in OVERALL},
        "macro": {name: values[f"macro.{name}"] for name in (*MACRO, F1_OF_MEANS)},
        "per_class": {
            c: {name: values[f"per_class.{c}.{name}"] for name in PER_CLASS} | {"images": int(count)}
            for c, count in zip(names, np.bincount(tally.y_true, minlength=len(names)), strict=True)
        },
        "confusion_matrix": tally.confusions.reshape(len(names), -1).astype(int).tolist(),
        "undefined": {name: reason(name, values) for name, value in values.items() if value is None},
    }
    result["positive"] = _positive_block(chosen, result["per_class"][chosen])
    return result


def flatten(measures, class_names):
    """Turn the result of :meth:`Tally.measures` into one array of shape (r,) for each dotted name.

    The names are those that lead to the value in :func:`compute`'s result: ``accuracy``, ``macro.f1``,
    ``per_class.covid19.sensitivity``.
    """
    flat = {name: values for name, values in measures.items() if not name.startswith("class.")}
    for i, label in enumerate(class_names):
        flat |= {f"per_class.{label}.{name}": measures[f"class.{name}"][:, i] for name in PER_CLASS}
    return flat


def reason(name, values):
    """Say in a few words why the measure of a dotted name is undefined.

    Parameters
    ----------
    name : str
    values : mapping of str to float or None
        All measures by dotted name.

    Returns
    -------
    str
    """
    measure = name.rsplit(".", 1)[-1]
    if not name.startswith("macro."):
        return _REASONS[measure]
    if measure == F1_OF_MEANS:
        return reason("macro.precision", values) if values["macro.precision"] is None else _NOTHING_RIGHT
    parts = [key for key in values if key.startswith("per_class.") and key.endswith(f".{measure}")]
    blank = [key[len("per_class.") : -len(measure) - 1] for key in parts if values[key] is None]
    return f"undefined for {', '.join(blank)}: {_REASONS[measure]}"


def _positive_block(label, row):
    pair = [np.nan if row[name] is None else row[name] for name in ("sensitivity", "specificity")]
    at = {f"{p:g}": [_plain(value) for value in predictive_values(*pair, p)] for p in PREVALENCES}
    values = {prevalence: {"ppv": ppv, "npv": npv} for prevalence, (ppv, npv) in at.items()}
    return {"class": label, **row, "at_prevalence": values}


def _plain(value):
    return None if np.isnan(value) else float(value)


def _one_hot(index, size):
    return (index[:, None] == np.arange(size)).astype(np.float64)


def _losses(y_true, scores):
    """Log loss, then each class's squared error: shape (n, 1 + k)."""
    own = np.take_along_axis(scores, y_true[:, None], axis=1)
    log_loss = -np.log(np.clip(own, np.finfo(np.float64).eps, 1))
    return np.hstack([log_loss, (scores - _one_hot(y_true, scores.shape[1])) ** 2])


def _calibration_gaps(y_true, scores):
    """Hit minus confidence of each image, in the column of its bin: shape (n, ECE_BINS)."""
    bins, confidence, hit = calibration_bins(y_true, scores)
    return _one_hot(bins, ECE_BINS) * (hit - confidence)[:, None]


def calibration_bins(y_true, scores):
    """Sort images into equal-width bins of the most probable class's probability.

    Parameters
    ----------
    y_true : array of int, shape (n,)
    scores : array of float, shape (n, k)

    Returns
    -------
    bins : array of int, shape (n,)
        0 to `ECE_BINS` - 1; bin b holds (b / ECE_BINS, (b + 1) / ECE_BINS], as in Guo et al. 2017.
    confidence : array of float, shape (n,)
    hit : array of float, shape (n,)
        1 where the most probable class is the true one, else 0.
    """
    confidence = scores.max(axis=1)
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return bins, confidence, (scores.argmax(axis=1) == y_true).astype(np.float64)
