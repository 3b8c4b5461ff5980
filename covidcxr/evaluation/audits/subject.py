"""What an audit of a model looks at: the images of a run's folder or of records, and what was said of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcxr import json_files
from covidcxr.data import splits
from covidcxr.data.records import Records
from covidcxr.errors import DataError
from covidcxr.evaluation.audits.inputs import CONFIG, SPLIT

_MODEL, _PREDICTIONS = "model.h5", "predictions.csv"
_TRAIN = "train"


@dataclass(frozen=True)
class Subject:
    """Images with a split, and the run they belong to.

    Attributes
    ----------
    records : Records
        With `split`; the column `group` is the patient, or patients who share a picture, never empty.
    headline : str
        The split that is reported on: ``"test"``, or ``"val"`` where there is no test part.
    class_names : tuple of str
    folder : pathlib.Path or None
        Of the run.
    """

    records: Records
    headline: str
    class_names: tuple
    folder: Path | None = None

    def part(self, name):
        """Return the records of one split."""
        return self.records.where(self.records.table["split"] == name)

    @property
    def train(self):
        """The training images."""
        return self.part(_TRAIN)

    @property
    def scored(self):
        """The images of the headline."""
        return self.part(self.headline)

    def model(self, given=None):
        """Return the model given, or the run's own, or None.

        Parameters
        ----------
        given : keras.Model or path-like, optional
        """
        from covidcxr.models.files import load_model

        if given is not None:
            return load_model(given) if isinstance(given, str | Path) else given
        path = self.folder / _MODEL if self.folder else None
        return load_model(path) if path is not None and path.is_file() else None

    def predictions(self):
        """Return the run's own predictions on the headline's split, or None."""
        from covidcxr.evaluation import predictions

        path = self.folder / _PREDICTIONS if self.folder else None
        if path is None or not path.is_file():
            return None
        stored = predictions.read_csv(path)
        return stored.subset(self.headline) if self.headline in set(stored.table["split"]) else stored


def of(run_or_records, data=None):
    """Open a run's folder, or take records with a split.

    Parameters
    ----------
    run_or_records : path-like or Records
    data : path-like, optional
        Folder that a run's images lie in, if it is no longer the one the run names.

    Returns
    -------
    Subject

    Raises
    ------
    DataError
        If there is no split, no training part or no part to score, or the run's files cannot be read.
    """
    if isinstance(run_or_records, Records):
        records, folder, headline, classes = run_or_records, None, None, None
    else:
        folder = Path(run_or_records)
        records, headline, classes = _of_run(folder, data)
    if "split" not in records.table:
        raise DataError(f"{records.root}: the images have no column split; make or read a split first")
    headline = headline or ("test" if (records.table["split"] == "test").any() else "val")
    records = records.with_columns(group=splits.group_names(records))
    subject = Subject(records, headline, tuple(classes or records.classes()), folder)
    for name in (_TRAIN, headline):
        found = len(subject.part(name).classes())
        if found < 2:
            raise DataError(
                f"{folder or records.root}: the split {name} has images of {found} class(es); two are needed"
            )
    return subject


def limited(records, most, seed):
    """Draw at most so many images, whole groups, every class alike.

    Parameters
    ----------
    records : Records
        With `group`.
    most : int
        In all; a class with fewer than its share is kept whole.
    seed : int

    Returns
    -------
    Records
    """
    if len(records) <= most:
        return records
    table = records.table
    share = most // table["label"].nunique()
    kept = np.zeros(len(table), dtype=bool)
    for number, (_, rows) in enumerate(table.groupby("label", sort=True)):
        generator = np.random.default_rng([seed, number])
        groups = splits.whole_groups(rows["group"].to_numpy(), share, generator)
        kept[rows.index] = rows["group"].isin(groups)
    return records.where(kept)


def scores(table, class_names, probabilities, *, seed, resamples):
    """Return accuracy and each class's ROC area with their patient-level intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        With `path`, `label` and `group`.
    class_names : sequence of str
    probabilities : array of shape (n, k)
    seed, resamples : int

    Returns
    -------
    dict
        As :func:`covidcxr.evaluation.intervals.summarise`.
    """
    from covidcxr.evaluation import intervals
    from covidcxr.evaluation.predictions import Predictions

    grouped = table.assign(patient_id=table["group"])
    predictions = Predictions.from_arrays(grouped, class_names, probabilities)
    return intervals.summarise(predictions, seed=seed, resamples=resamples)


def _of_run(folder, data):
    config = _config(folder / CONFIG)
    path = folder / SPLIT
    if not path.is_file():
        raise DataError(f"{path}: not there; give the folder of one model's run (see its models folder)")
    root = _root(folder, config, data)
    records = splits.read(path, root)
    # A class that the network has no output for was never trained on.
    known = records.table["label"].isin(config["classes"])
    return records.where(known), config["protocol"]["headline"], config["classes"]


def _root(folder, config, data):
    """Return the folder of the images; phantoms lie in the run's own, which may have been moved."""
    named = Path(data or config["data_root"])
    if named.is_dir():
        return named
    moved = folder / named.name
    if moved.is_dir():
        return moved
    raise DataError(f"{named}: the images of {folder} are no longer there; name their folder")


def _config(path):
    try:
        config = json_files.read(path)
        _check_config(config)
        return {name: config[name] for name in ("classes", "protocol", "data_root")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: not a readable run configuration ({reason}); give a run's folder"
        ) from error


def _check_config(config):
    classes, headline = config["classes"], config["protocol"]["headline"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes of another kind")
    if not isinstance(headline, str) or not isinstance(config["data_root"], str):
        raise ValueError("headline or data_root of another kind")
