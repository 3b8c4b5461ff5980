"""Shortcuts: how well the class is predicted from what cannot show the disease.

Each probe leaves a part of every image (see :mod:`covidcxr.evaluation.audits.transforms`), takes frozen features
of it and fits a regularised logistic regression on the training part; the score is that of the headline's part.
The idea is that of Maguolo and Nanni 2021 (Inf. Fusion 76, 1) and DeGrave et al. 2021 (Nat. Mach. Intell. 3,
610); frozen features stand in for retraining, which `retrain` brings back.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidcxr.errors import OptionError
from covidcxr.evaluation.audits import subject as subjects
from covidcxr.evaluation.audits import transforms
from covidcxr.evaluation.audits.report import FOLDER, NOTE, WARNING, Audit, Finding

NAME = "shortcuts"
TITLE = "Shortcuts: the class predicted from what cannot show the disease"
CACHE = "cache"
# Lower end of the interval of the ROC area from which what is left of the images counts as a shortcut.
THRESHOLD = 0.7
CHANCE = 0.5
# Patients of each class in training and in scoring below which no probe is fitted.
FEWEST = 5
# Difference of two classes' mixes of sources (total variation) from which telling sources apart tells classes.
MIX = 0.2
# Of a logistic regression whose inputs have squared norm 1 on average: dimensions then do not matter.
_STRENGTH = 10.0
# Standard deviations.
_FARTHEST = 10.0


@dataclass(frozen=True)
class _Setting:
    subject: subjects.Subject
    features: object
    cache: object
    masks: object
    retrain: object
    seed: int
    resamples: int
    threshold: float
    say: object

    @property
    def records(self):
        return self.subject.records


def audit(
    run_or_records,
    *,
    model=None,
    seed=0,
    say=None,
    backbone="auto",
    weights=None,
    size=None,
    cache=None,
    masks=None,
    data=None,
    retrain=None,
    most_images=2000,
    resamples=2000,
    threshold=THRESHOLD,
    **others,
):
    """Audit images, or a run, for shortcuts.

    Parameters
    ----------
    run_or_records : path-like or Records
        A run's folder, or records with the column `split`.
    model : keras.Model or path-like, optional
        Whose own features are taken where `backbone` is ``"auto"``; default the run's.
    seed : int
        Of the bootstrap and of the draw where there are more than `most_images`.
    say : callable, optional
    backbone : str or None
        A key of :func:`covidcxr.models.backbones.keys`; ``"pixels"`` or None takes pixels averaged to 32 x 32,
        in seconds; ``"auto"`` MobileNetV2 where `weights` are given, else the model's own features, else pixels.
    weights : str or path-like, optional
        Of the backbone; without them a named backbone is random, which the audit says.
    size : int, optional
        Height and width for the backbone.
    cache : path-like, optional
        Folder for the features; default ``audit/cache`` in the run's folder, none for records.
    masks : path-like, optional
        Folder of lung masks named as the images; default the column `mask`.
    data : path-like, optional
        Folder of a run's images, where it has moved.
    retrain : callable, optional
        ``retrain(surgery, train, scored) -> probabilities``, shape (n, k) in the order of the classes, in
        place of the frozen features: `surgery` is a :class:`transforms.Surgery` whose ``cut(grey, mask)`` is
        to be applied to every image, `train` and `scored` are Records. Probes of grey levels alone keep their
        histograms, which are no images to train on.
    most_images : int
        Of each part; more are drawn down to so many, whole patients, every class alike.
    resamples : int
        Of the bootstrap over patients.
    threshold : float
        Lower end of the ROC area's interval from which a probe is flagged.

    Returns
    -------
    Audit
        Tables `probes`, a row a probe, and `sources` where a class has several. The ROC area is the positive
        class's; `best_class` is the one with the greatest lower end, by which is flagged (left out where it is
        the positive one throughout). `chance` is the accuracy of always naming the most frequent class. A
        warning is named by its probe: ``"border"``, ``"corners"``, ``"border_grey_levels"``,
        ``"lungs_removed"``, or ``"source_recognisable"``.

    Raises
    ------
    DataError
        If there is no split to learn from, or the images cannot be read.
    OptionError
        If a folder of masks holds none for these images.
    """
    if not CHANCE <= threshold < 1:
        raise OptionError(f"threshold {threshold}: a ROC area from {CHANCE} to below 1 is needed")
    subject = _limited(subjects.of(run_or_records, data), most_images, seed)
    if cache is None and subject.folder:
        cache = subject.folder / FOLDER / CACHE
    found = _features(subject, model, backbone, weights, size)
    mask_paths = transforms.lung_masks(subject.records, masks)
    setting = _Setting(subject, found, cache, mask_paths, retrain, seed, resamples, threshold, say)
    short = _too_few(subject)
    if short:
        return Audit(NAME, TITLE, {}, (_note("too_few", short),))
    banks = _banks(setting)
    rows, findings = _probes(setting, banks)
    source_rows, source_findings = _sources(setting, banks["full"])
    tables = {"probes": _table(rows), "sources": _table(source_rows)}
    tables = {name: table for name, table in tables.items() if len(table)}
    about = _note("features", f"Features: {found.note}.", features=found.name)
    return Audit(NAME, TITLE, tables, (*findings, *source_findings, *_unchecked(setting), about))


def probe(train, labels, scored, classes):
    """Fit a regularised logistic regression to features and predict.

    Parameters
    ----------
    train, scored : numpy.ndarray of shape (n, features) and (m, features)
    labels : sequence of str, length n
    classes : sequence of str
        k names; the order of the result's columns. A class without a training image gets probability 0.

    Returns
    -------
    numpy.ndarray of float64, shape (m, k)
        Probabilities. Features that are the same in all training images are left out; without any other, the
        classes' shares in training.
    """
    from sklearn.linear_model import LogisticRegression

    labels = np.asarray(labels, dtype=str)
    names, counts = np.unique(labels, return_counts=True)
    deviation = train.std(axis=0, dtype=np.float64)
    varying = deviation > 1e-6 * max(1.0, float(np.abs(train).max()))
    output = np.zeros((len(scored), len(classes)))
    columns = [list(classes).index(name) for name in names]
    if not varying.any():
        output[:, columns] = counts / counts.sum()
        return output
    mean = train[:, varying].mean(axis=0, dtype=np.float64)
    inputs = [_scaled(part[:, varying] - mean, deviation[varying]) for part in (train, scored)]
    fitted = LogisticRegression(C=_STRENGTH, max_iter=2000).fit(inputs[0], labels)
    output[:, columns] = fitted.predict_proba(inputs[1])
    return output


def _scaled(centred, deviation):
    """Bring features to a mean squared norm of 1, so that one penalty serves any number of them.

    Where training images hardly differ a new one may lie far off: it is cut, lest it outweigh all else.
    """
    return np.clip(centred / deviation, -_FARTHEST, _FARTHEST) / np.sqrt(len(deviation))


def _limited(subject, most, seed):
    from dataclasses import replace

    from covidcxr.data.records import Records
    from covidcxr.data.screening import screen

    parts = [subjects.limited(part, most, seed) for part in (subject.train, subject.scored)]
    table = pd.concat([part.table for part in parts], ignore_index=True)
    records = Records(table, subject.records.root, subject.records.exclusions)
    # A run screened its images before it trained.
    return replace(subject, records=records if subject.folder else screen(records))


def _features(subject, model, backbone, weights, size):
    from covidcxr.models import features

    if backbone == "auto" and weights is None:
        loaded = subject.model(model)
        return features.of_model(loaded) if loaded is not None else features.pixels()
    if backbone in (None, "pixels"):
        return features.pixels(size or 64)
    return features.backbone("mobilenet_v2" if backbone == "auto" else backbone, weights, size)


def _too_few(subject):
    for part in (subject.train, subject.scored):
        patients = part.table.groupby("label")["group"].nunique()
        few = patients[patients < FEWEST]
        if len(few):
            name = part.table["split"].iloc[0]
            return (
                f"The split {name} has {few.iloc[0]} patients of class {few.index[0]}; "
                f"no probe was fitted (at least {FEWEST} are needed)."
            )
    return None


def _usable(setting):
    """Return the surgeries that these images allow."""
    masked = all(path is not None for path in setting.masks)
    return [item for item in transforms.SURGERIES if masked or not item.needs_mask]


def _banks(setting):
    """Return features of every surgery; retraining needs those of the whole image, for the sources, and greys."""
    from covidcxr.models import features

    surgeries = _usable(setting)
    if setting.retrain:
        surgeries = [surgeries[0], *(item for item in surgeries if item.greys_only)]
    variants = {_variant_name(item, setting): _variant(item, setting) for item in surgeries}
    files = setting.records.files()
    values = features.extract(setting.features, files, variants, cache=setting.cache, say=setting.say)
    return {item.name: values[_variant_name(item, setting)] for item in surgeries}


def _variant_name(surgery, setting):
    shares = (transforms.BORDER, transforms.CORNER, transforms.EDGE, transforms.COARSE, transforms.BINS)
    name = f"{surgery.name} {shares}"
    if not surgery.needs_mask:
        return name
    states = [
        (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        for path, stat in ((path, path.stat()) for path in setting.masks)
    ]
    return f"{name} {transforms.MARGIN} {states}"


def _variant(surgery, setting):
    def variant(grey, row):
        if surgery.greys_only:
            marked = surgery.counted(grey.shape) if surgery.counted else None
            return transforms.grey_histogram(grey, marked)
        mask = transforms.read_mask(setting.masks[row], grey.shape) if surgery.needs_mask else None
        return surgery.cut(grey, mask)

    return variant


def _probes(setting, banks):
    rows, findings = _headline(setting), []
    for surgery in _usable(setting):
        summary = _scored(setting, surgery, banks)
        best = _best_class(summary, setting.subject.class_names)
        finding = _judged(surgery, summary, best, setting)
        rows.append(_row(surgery.name, surgery.keeps, summary, setting.records, best, finding))
        findings += [finding] if finding else []
    return rows, findings


def _scored(setting, surgery, banks):
    subject = setting.subject
    training = (setting.records.table["split"] == "train").to_numpy()
    table = setting.records.table[~training]
    if setting.retrain and not surgery.greys_only:
        if setting.say:
            setting.say(f"retraining on {surgery.keeps}")
        values = setting.retrain(surgery, subject.train, subject.scored)
    else:
        bank = banks[surgery.name]
        labels = setting.records.table["label"][training]
        values = probe(bank[training], labels, bank[~training], subject.class_names)
    return subjects.scores(table, subject.class_names, values, seed=setting.seed, resamples=setting.resamples)


def _headline(setting):
    """Return the row of the run's own predictions, if there are any."""
    from covidcxr.evaluation import intervals

    stored = setting.subject.predictions()
    if stored is None:
        return []
    summary = intervals.summarise(stored, seed=setting.seed, resamples=setting.resamples)
    best = summary["positive_class"]
    return [_row("headline", "the run's own predictions", summary, stored, best, None)]


def _best_class(summary, class_names):
    """Return the class with the greatest lower end of its ROC area."""

    def lower(name):
        value = summary["measures"][f"per_class.{name}.roc_auc"]["low"]
        return -1.0 if value is None else value

    positive = summary["positive_class"]
    best = max(class_names, key=lower)
    return best if lower(best) > lower(positive) else positive


def _row(name, keeps, summary, scored, best, finding):
    labels = scored.table["label"]
    if "split" in scored.table and name != "headline":
        labels = labels[scored.table["split"] != "train"]
    positive = summary["positive_class"]
    accuracy, area, telling = (
        summary["measures"][measure]
        for measure in ("accuracy", f"per_class.{positive}.roc_auc", f"per_class.{best}.roc_auc")
    )
    return {
        "probe": name,
        "keeps": keeps,
        "images": summary["images"],
        "patients": summary["patients"],
        "accuracy": accuracy["value"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "chance": float(labels.value_counts(normalize=True).iloc[0]),
        "class": positive,
        "roc_auc": area["value"],
        "roc_auc_low": area["low"],
        "roc_auc_high": area["high"],
        "best_class": best,
        "best_roc_auc": telling["value"],
        "best_low": telling["low"],
        "flag": finding.severity if finding else "",
    }


def _table(rows):
    """Return rows as a table, without what says nothing where two classes share one ROC area."""
    table = pd.DataFrame(rows)
    if len(table) and (table["best_class"] == table["class"]).all():
        return table.drop(columns=["best_class", "best_roc_auc", "best_low"])
    return table


def _judged(surgery, summary, best, setting):
    area = summary["measures"][f"per_class.{best}.roc_auc"]
    if surgery.disease == transforms.ALL or area["low"] is None or area["low"] <= CHANCE:
        return None
    flagged = surgery.disease == transforms.NONE and area["low"] > setting.threshold
    evidence = {
        "class": best,
        "roc_auc": area["value"],
        "low": area["low"],
        "high": area["high"],
        "threshold": setting.threshold,
        "images": summary["images"],
        "patients": summary["patients"],
    }
    text = (
        f"From no more than {surgery.keeps}, {best} is told from the rest with a ROC area of {area['value']:.2f} "
        f"({area['low']:.2f} to {area['high']:.2f}); {_meaning(surgery, flagged, setting)}."
    )
    return Finding(NAME, surgery.name, WARNING if flagged else NOTE, text, evidence)


def _meaning(surgery, flagged, setting):
    if surgery.disease == transforms.SOME:
        return "widespread disease shows there too, so this alone is no shortcut"
    if flagged:
        return "hardly any lung lies there, so a network can score without seeing a disease"
    return f"hardly any lung lies there, but the lower end is not above {setting.threshold:g}: too little to flag"


def _sources(setting, full):
    """Probe the source within each class that has several, and the class within each source that has several."""
    table = setting.records.table
    rows, findings = [], []
    for label, part in table.groupby("label", sort=True):
        result = _within(setting, full, part, "source")
        if result:
            finding = _recognised(label, part, result, setting)
            rows.append(_source_row(f"source within {label}", result, finding))
            findings.append(finding)
    for source, part in table.groupby("source", sort=True):
        result = _within(setting, full, part, "label")
        if result and table["source"].nunique() > 1:
            rows.append(_source_row(f"class within {source}", result, None))
    if not rows:
        findings.append(_note("sources", _why_no_sources(table)))
    return rows, [item for item in findings if item]


def _within(setting, full, part, column):
    """Predict `column` among these images, by classes with patients enough in training and in scoring."""
    patients = part.groupby([column, "split"])["group"].nunique().unstack(fill_value=0)
    patients = patients.reindex(columns=["train", setting.subject.headline], fill_value=0)
    enough = patients.index[(patients >= FEWEST).all(axis=1)]
    if len(enough) < 2:
        return None
    part = part[part[column].isin(enough)]
    names = sorted(enough)
    training = (part["split"] == "train").to_numpy()
    train, scored = part.index[training], part.index[~training]
    values = probe(full[train], part[column][training], full[scored], names)
    table = part[~training].assign(label=part[column])
    summary = subjects.scores(table, names, values, seed=setting.seed, resamples=setting.resamples)
    best = _best_class(summary, names)
    return {"summary": summary, "best": best, "names": names, "table": table}


def _source_row(name, result, finding):
    summary, best = result["summary"], result["best"]
    keeps = " against ".join(result["names"])
    scored = pd.DataFrame({"label": result["table"]["label"]})
    row = _row(name, keeps, summary, _Table(scored), best, finding)
    return {"between" if key == "keeps" else key: value for key, value in row.items()}


@dataclass(frozen=True)
class _Table:
    table: pd.DataFrame


def _recognised(label, part, result, setting):
    area = result["summary"]["measures"][f"per_class.{result['best']}.roc_auc"]
    if area["low"] is None or area["low"] <= setting.threshold:
        return None
    apart = _mixes_apart(setting.records.table)
    text = (
        f"Among the images of {label}, the source {result['best']} is recognised with a ROC area of "
        f"{area['value']:.2f} ({area['low']:.2f} to {area['high']:.2f}); "
    )
    if apart > MIX:
        text += (
            "the classes come from different mixes of sources, so to know the source is to guess the class."
        )
    else:
        text += "the classes have the same mix of sources, so this does not help to guess the class."
    evidence = {"label": label, "source": result["best"], "roc_auc": area["value"], "low": area["low"]}
    severity = WARNING if apart > MIX else NOTE
    return Finding(NAME, "source_recognisable", severity, text, {**evidence, "mix_difference": apart})


def _mixes_apart(table):
    """Return the largest total variation distance between two classes' shares of the sources."""
    shares = pd.crosstab(table["label"], table["source"], normalize="index").to_numpy()
    return float(max(np.abs(a - b).sum() / 2 for a in shares for b in shares))


def _why_no_sources(table):
    several = table.groupby("source")["label"].nunique()
    if table["source"].nunique() < 2:
        return "All images are of one source: whether sources can be told apart was not checked."
    if (several < 2).all():
        return "No source has images of two classes: class and source cannot be told apart at all."
    return "No class has enough patients of two sources in training and scoring: sources were not probed."


def _unchecked(setting):
    without = sum(path is None for path in setting.masks)
    if without:
        text = f"{without} of {len(setting.masks)} images have no lung mask: the lungs were neither kept nor removed."
        yield _note("masks", text)


def _note(name, text, **evidence):
    return Finding(NAME, name, NOTE, text, evidence)
