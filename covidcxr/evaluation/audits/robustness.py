"""Robustness: what becomes of a trained model's answers when the images change in ways that no disease makes.

The images of the headline's part are changed one way at a time and go through the model's stored preprocessing.
JPEG and the ways to resize act on the image as stored, before it is resized; everything else acts on the grey
image of the network's size.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr.data.images import read_grey, resize
from covidcxr.errors import DataError, ModelError
from covidcxr.evaluation.audits import subject as subjects
from covidcxr.evaluation.audits import transforms
from covidcxr.evaluation.audits.report import NOTE, WARNING, Audit, Finding
from covidcxr.evaluation.metrics import positive_class

NAME = "robustness"
TITLE = "Robustness: the same images, changed in ways that no disease makes"
# Lower end of the interval of a fall in accuracy or ROC area from which it counts as large.
FALL = 0.05
# Share of images with another predicted class from which a note is made where neither measure surely falls so far.
CHANGED = 0.10
_CHUNK = 32
_RESIZES = ("nearest", "bilinear", "bicubic", "lanczos", "cv2_area")


@dataclass(frozen=True)
class Change:
    """One way to change an image.

    Attributes
    ----------
    kind : str
        Such as ``"jpeg"``; also the name of the finding.
    level : str
        Such as ``"quality 50"``.
    stored : callable or None
        ``stored(grey) -> grey``, on the image as stored.
    interpolation : str or None
        In place of the model's own.
    resized : callable or None
        ``resized(grey, rng) -> grey``, at the network's size; `rng` is the image's own, so that what is drawn
        does not depend on the order of the images.
    """

    kind: str
    level: str
    stored: object = None
    interpolation: str | None = None
    resized: object = None


def changes(interpolation="bilinear"):
    """List the changes, the mild before the strong of each kind.

    Parameters
    ----------
    interpolation : str
        The model's own, which is left out.

    Returns
    -------
    tuple of Change
    """
    return (
        *(Change("jpeg", f"quality {q}", stored=partial(transforms.jpeg, q)) for q in (90, 70, 50, 30, 10)),
        *(Change("resize", name, interpolation=name) for name in _RESIZES if name != interpolation),
        *(
            _plain("contrast", f"x {factor}", transforms.contrast, factor)
            for factor in (0.8, 1.25, 0.6, 1.67)
        ),
        *(_plain("gamma", f"{power}", transforms.gamma, power) for power in (0.8, 1.25, 0.6, 1.67)),
        *(_plain("rotation", f"{turn:+d} degrees", transforms.rotate, turn) for turn in (3, -3, 10, -10)),
        *(
            _plain("shift", f"{share:+.0%} of the side", transforms.shift, share)
            for share in (0.02, -0.02, 0.05, -0.05)
        ),
        *(Change("noise", f"sd {sd} of 255", resized=partial(transforms.noise, sd)) for sd in (5, 10, 20)),
        _plain("flip", "left and right", transforms.flip),
        _plain("inverted", "black and white", transforms.invert),
    )


def audit(
    run_or_records,
    *,
    model=None,
    seed=0,
    say=None,
    data=None,
    most_images=600,
    resamples=2000,
    fall=FALL,
    **others,
):
    """Audit a trained model's robustness on the part that its headline is about.

    Parameters
    ----------
    run_or_records : path-like or Records
        A run's folder, or records; without the column `split` all of them are scored.
    model : keras.Model or path-like, optional
        Default the run's model.h5; needed for records.
    seed : int
        Of the bootstrap, the noise, and the draw where there are more than `most_images`.
    say : callable, optional
    data : path-like, optional
        Folder of a run's images, where it has moved.
    most_images : int
        More are drawn down to so many, whole patients, every class alike.
    resamples : int
        Of the bootstrap over patients; image and changed image are resampled together.
    fall : float
        Lower end of the interval of a fall from which it is flagged.

    Returns
    -------
    Audit
        Tables `changes`, a row a change, the first with none, and `falls`, how far each measure falls below
        that first row, with intervals. A warning is named by its kind: ``"jpeg"``,
        ``"resize"``, ``"contrast"``, ``"gamma"``, ``"rotation"``, ``"shift"``, ``"noise"``, ``"flip"``,
        ``"inverted"``.

    Raises
    ------
    ModelError
        If there is no model, or it says nothing of its preprocessing.
    DataError, ImageError
        If the images cannot be read, or none has a class of the model.
    """
    records, loaded, info = _inputs(run_or_records, model, data)
    records = subjects.limited(records, most_images, seed)
    loader = _loader(info)
    listed = changes(loader.interpolation)
    if say:
        say(f"predicting {len(records)} images, {len(listed)} changes each: {info.network}")
    plain, *changed = _predict(loaded, loader, records.files(), listed, seed)
    comparison = _Comparison(records, info.class_names, plain, seed, resamples)
    rows = [comparison.row(Change("none", ""), plain)]
    rows += [comparison.row(*pair, fall) for pair in zip(listed, changed, strict=True)]
    table = pd.DataFrame(rows)
    falling = [name for name in table if "_fall" in name]
    tables = {
        "changes": table.drop(columns=falling),
        "falls": table.loc[1:, ["change", "level", *falling, "flag"]].reset_index(drop=True),
    }
    return Audit(NAME, TITLE, tables, tuple(_findings(rows[1:])))


class _Comparison:
    """Holds what a model says of the unchanged images against what it says of changed ones."""

    def __init__(self, records, class_names, plain, seed, resamples):
        self.records, self.class_names, self.plain = records, class_names, plain
        self.seed, self.resamples = seed, resamples
        self.positive = positive_class(class_names)
        self.before = self._values(plain)

    def row(self, change, probabilities, fall=None):
        """Return a row of the table; falls are left out without a `fall` to judge them by."""
        from covidcxr.evaluation import intervals

        summary = intervals.summarise(
            self._predictions(probabilities), seed=self.seed, resamples=self.resamples
        )
        row = {"change": change.kind, "level": change.level, "images": len(self.records)}
        for name, measure in (("accuracy", "accuracy"), ("roc_auc", f"per_class.{self.positive}.roc_auc")):
            entry = summary["measures"][measure]
            row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
        row["changed"] = float((self.plain.argmax(axis=1) != probabilities.argmax(axis=1)).mean())
        if fall is None:
            return row | {"flag": ""}
        row |= self._falls(probabilities)
        return row | {"flag": _flag(row, fall)}

    def _falls(self, probabilities):
        """Return each measure's fall; the same patients are drawn for both sides of the difference."""
        row = {}
        after = self._values(probabilities)
        for name, before in self.before.items():
            fallen = before - after[name]
            known = fallen[1:][~np.isnan(fallen[1:])]
            low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
            row |= {f"{name}_fall": fallen[0], f"{name}_fall_low": low, f"{name}_fall_high": high}
        return {name: float(value) for name, value in row.items()}

    def _values(self, probabilities):
        """Return each measure's value, then those of the resamples, of shape (1 + resamples,)."""
        from covidcxr.evaluation import intervals
        from covidcxr.evaluation.metrics import Tally

        predictions = self._predictions(probabilities)
        tally = Tally(predictions, predictions.patients)
        point = tally.measures(np.ones((1, tally.size)))
        drawn = intervals.bootstrap(tally, seed=self.seed, resamples=self.resamples)
        column = list(self.class_names).index(self.positive)
        return {
            "accuracy": np.concatenate([part["accuracy"] for part in (point, drawn)]),
            "roc_auc": np.concatenate([part["class.roc_auc"][:, column] for part in (point, drawn)]),
        }

    def _predictions(self, probabilities):
        from covidcxr.evaluation.predictions import Predictions

        table = self.records.table.assign(patient_id=self.records.table["group"])
        return Predictions.from_arrays(table, self.class_names, probabilities)


def _plain(kind, level, function, *arguments):
    return Change(kind, level, resized=partial(_without_rng, function, arguments))


def _without_rng(function, arguments, grey, rng):
    return function(*arguments, grey)


def _inputs(run_or_records, model, data):
    """Return the scored records, the model and what it says of itself."""
    from covidcxr.data.records import Records
    from covidcxr.data.screening import screen
    from covidcxr.data.splits import group_names
    from covidcxr.models.files import info_of, load_model

    if isinstance(run_or_records, Records) and "split" not in run_or_records.table:
        records = run_or_records.with_columns(group=group_names(run_or_records))
        loaded = load_model(model) if isinstance(model, str | Path) else model
    else:
        subject = subjects.of(run_or_records, data)
        records, loaded = subject.scored, subject.model(model)
    info = info_of(loaded) if loaded is not None else None
    if info is None:
        raise ModelError(
            "robustness needs a trained model of this package; give a run with a model.h5, or a model"
        )
    records = records.where(records.table["label"].isin(info.class_names))
    if not len(records):
        raise DataError(f"{records.root}: no image of the model's classes {', '.join(info.class_names)}")
    return (screen(records) if isinstance(run_or_records, Records) else records), loaded, info


def _loader(info):
    from covidcxr.data.preprocessing import Preprocessing

    return Preprocessing.from_dict(info.preprocessing)


def _predict(model, loader, files, listed, seed):
    """Return probabilities (n, k) without change, then for each change."""
    listed = (Change("none", ""), *listed)
    parts = [[] for _ in listed]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for start in range(0, len(files), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(files)))
            stored = list(pool.map(lambda row: read_grey(files[row], loader.reading), chunk))
            for number, change in enumerate(listed):
                work = partial(_changed, change, number, loader, seed)
                greys = np.stack(list(pool.map(work, stored, chunk)))
                parts[number].append(_answer(model, loader, greys))
    return [np.concatenate(part) for part in parts]


def _changed(change, number, loader, seed, grey, row):
    grey = change.stored(grey) if change.stored else grey
    grey = resize(grey, loader.size, change.interpolation or loader.interpolation)
    return change.resized(grey, np.random.default_rng([seed, number, row])) if change.resized else grey


def _answer(model, loader, greys):
    batch = loader.standardize(loader.expand(greys))
    lacking = _CHUNK - len(batch)
    # One shape only, so that the network is compiled once.
    batch = np.concatenate([batch, np.repeat(batch[-1:], lacking, axis=0)]) if lacking else batch
    return np.asarray(model.predict_on_batch(batch), dtype=np.float64)[: len(greys)]


def _flag(row, fall):
    falls = [(row[f"{name}_fall"], row[f"{name}_fall_low"]) for name in ("accuracy", "roc_auc")]
    if any(low > fall for _, low in falls):
        return WARNING
    likely = any(value > fall and low > 0 for value, low in falls)
    return NOTE if likely or row["changed"] > CHANGED else ""


def _findings(rows):
    """Yield one finding a kind: its first flagged change, the mildest in the list."""
    for kind in dict.fromkeys(row["change"] for row in rows):
        flagged = [row for row in rows if row["change"] == kind and row["flag"]]
        flagged.sort(key=lambda row: row["flag"] != WARNING)
        if flagged:
            yield _finding(kind, flagged[0])


def _finding(kind, row):
    text = (
        f"After {kind} ({row['level']}) accuracy is {_fell(row, 'accuracy')} and the ROC area {_fell(row, 'roc_auc')}; "
        f"{row['changed']:.0%} of the images change their predicted class."
    )
    return Finding(NAME, kind, row["flag"], text, {key: row[key] for key in row if key != "flag"})


def _fell(row, name):
    fall, low, high = (row[f"{name}_fall{end}"] for end in ("", "_low", "_high"))
    return f"{row[name]:.2f}, lower by {fall:.2f} ({low:.2f} to {high:.2f})"
