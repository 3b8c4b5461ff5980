"""Score a model on labelled images that it was not trained on, with an explicit mapping of classes."""

from dataclasses import dataclass, replace
from pathlib import Path

from covidcxr import atomic
from covidcxr.atomic import make_folder, write_csv, write_json
from covidcxr.data.records import Exclusion
from covidcxr.errors import DataError, OptionError, OutputError

FACTS = "evaluation.json"
SUBGROUPS = "subgroups.csv"
_WRITTEN = ("predictions.csv", "metrics.json", "exclusions.csv", SUBGROUPS, FACTS)


@dataclass(frozen=True)
class Evaluation:
    """A model's score on a set of labelled images.

    Attributes
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
    summary : dict
        Result of :func:`covidcxr.evaluation.intervals.summarise`.
    metrics : dict
        Result of :func:`covidcxr.evaluation.metrics.compute`.
    exclusions : tuple of covidcxr.data.records.Exclusion
    subgroups : pandas.DataFrame
        See :func:`covidcxr.evaluation.subgroups.subgroups`.
    absent : tuple of str
        Classes of the model that no image has: the images say nothing about them.
    """

    predictions: object
    summary: dict
    metrics: dict
    exclusions: tuple
    subgroups: object
    absent: tuple = ()

    def write(self, folder, facts=None):
        """Write predictions, scores, subgroups and exclusions into a folder, and with `facts` what was scored.

        Parameters
        ----------
        folder : path-like
        facts : dict, optional
            evaluation.json: the model, the data, the mapping of classes.
        """
        check_folder(folder)
        folder = make_folder(folder)
        atomic.sweep(folder)
        predictions, metrics, exclusions, groups, about = (folder / name for name in _WRITTEN)
        self.predictions.write_csv(predictions)
        write_json(metrics, {**self.metrics, "intervals": self.summary})
        write_csv(exclusions, self._left_out())
        write_csv(groups, self.subgroups)
        write_json(about, {"absent_classes": list(self.absent), **(facts or {})})

    def deidentified(self, facts=None):
        """Return the same scores with pseudonyms for images, patients and sources.

        Parameters
        ----------
        facts : dict, optional
            As for :meth:`write`.

        Returns
        -------
        Evaluation
            Its rows are in the order of the images' pseudonyms; every number is as before.
        facts : dict
            Without folders and commands.
        """
        from covidcxr.evaluation.deidentify import Pseudonyms, shuffled

        table, left_out = self.predictions.table, self._left_out()
        names = Pseudonyms(
            images=[("", path) for path in [*table["path"], *left_out["path"]]],
            patients=table["patient_id"],
            sources=[*table["source"], *left_out["source"]],
            shown=self.predictions.class_names,
        )
        predictions = names.predictions(self.predictions)
        exclusions = shuffled(names.table(left_out))
        shared = replace(
            self,
            predictions=replace(predictions, table=shuffled(predictions.table)),
            exclusions=tuple(Exclusion(*row) for row in exclusions.itertuples(index=False, name=None)),
            subgroups=names.subgroups(self.subgroups),
        )
        return shared, names.facts(facts or {})

    def print(self):
        """Print the table of results, the subgroups and what was left out."""
        from collections import Counter

        from rich.console import Console

        from covidcxr.evaluation.subgroups import subgroup_table
        from covidcxr.evaluation.tables import result_rows, results_table

        console = Console(highlight=False, markup=False, emoji=False)
        title = f"{self.summary['images']} images of {self.summary['patients']} patients"
        console.print(results_table(result_rows(self.summary), title=title))
        if len(self.subgroups):
            console.print(subgroup_table(self.subgroups))
        for name in self.absent:
            console.print(f"note: no image of the class {name}; what needs it is undefined")
        for reason, number in sorted(Counter(item.reason for item in self.exclusions).items()):
            console.print(f"left out: {number} images, {reason}")
        console.print("Not a medical device: no result here says anything about a patient.")

    def _left_out(self):
        import pandas as pd

        rows = [vars(item) for item in self.exclusions]
        return pd.DataFrame(rows, columns=["path", "source", "reason"], dtype=object)


def check_folder(folder):
    """See that :meth:`Evaluation.write` may use a folder, before anything is computed.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    OutputError
        If it cannot be written, or holds anything but an earlier evaluation: a run's own scores have the same
        names.
    """
    folder = Path(folder)
    atomic.check_folder(folder)
    with atomic.output_errors(folder):
        names = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in names if name not in _WRITTEN and not atomic.is_leftover(name)]
    if foreign:
        raise OutputError(
            f"{folder}: holds other files ({foreign[0]}); choose an empty or new folder with --out"
        )


def labelled_images(data, class_names, *, mapping=None, drop=(), sources=None, split_file=None, split=None):
    """Read images and keep those whose label is, or is mapped to, a class of the model.

    No label is left out by itself: what is neither a class, nor mapped, nor named to be dropped is an error.

    Parameters
    ----------
    data : path-like
        Folder with public sets, class folders, or a CSV of records.
    class_names : sequence of str
        Of the model.
    mapping : mapping of str to str, optional
        Label of the data to class of the model.
    drop : sequence of str
        Labels of the data to leave out.
    sources : mapping of str to str, optional
        Class to the only source it is taken from.
    split_file : path-like, optional
        A split.csv; images outside it are left out.
    split : str, optional
        The split to keep.

    Returns
    -------
    Records
        Labels are classes of the model; all else is among the exclusions.

    Raises
    ------
    DataError
        If nothing is left, or only one class.
    OptionError
        If a class, source, label or split that was named is not there, or a label has no place.
    """
    from covidcxr.data import sources as source_room

    records = source_room.read(data)
    records = _mapped(records, class_names, mapping or {})
    records = _dropped(records, class_names, tuple(drop))
    records = _in_split(records, split_file, split)
    _refuse_unplaced(records, class_names)
    records = _from_sources(records, class_names, sources or {})
    if len(records.classes()) < 2:
        found = ", ".join(records.classes()) or "none"
        raise DataError(
            f"{data}: needs images of two of the model's classes {', '.join(class_names)}; found {found}"
        )
    return records


def evaluate(model, records, *, seed=0, batch_size=32):
    """Predict and measure.

    Parameters
    ----------
    model : keras.Model
        Loaded by :func:`covidcxr.load_model`.
    records : Records
        Of :func:`labelled_images`.
    seed : int
        Of the bootstrap.
    batch_size : int

    Returns
    -------
    Evaluation
    """
    from covidcxr.data.screening import screen
    from covidcxr.evaluation import intervals, metrics
    from covidcxr.evaluation.predictions import Predictions
    from covidcxr.evaluation.subgroups import subgroups
    from covidcxr.inference import predict_files
    from covidcxr.models.files import info_of

    records = screen(records)
    probabilities = predict_files(model, records.files(), batch_size)
    names = info_of(model).class_names
    predictions = Predictions.from_arrays(records.table, names, probabilities)
    return Evaluation(
        predictions,
        intervals.summarise(predictions, seed=seed),
        metrics.compute(predictions),
        records.exclusions,
        subgroups(predictions, seed=seed),
        tuple(name for name in names if name not in records.classes()),
    )


def _mapped(records, class_names, mapping):
    strange = sorted(set(mapping.values()) - set(class_names))
    if strange:
        raise OptionError(f"--map ...={strange[0]}: the model has the classes {', '.join(class_names)}")
    absent = sorted(set(mapping) - set(records.table["label"]))
    if absent:
        raise OptionError(
            f"--map {absent[0]}=...: no image has this label (labels: {', '.join(records.classes())})"
        )
    return records.with_columns(label=records.table["label"].replace(mapping))


def _dropped(records, class_names, drop):
    absent = sorted(set(drop) - set(records.table["label"]))
    if absent:
        found = ", ".join(records.classes())
        raise OptionError(f"--drop {absent[0]}: no image has this label (labels: {found})")
    kept = ~records.table["label"].isin(drop)
    return records.where(kept, reason="label dropped by choice (--drop)") if drop else records


def _refuse_unplaced(records, class_names):
    strange = [label for label in records.classes() if label not in class_names]
    if strange:
        raise OptionError(
            f"labels {', '.join(strange)} are no classes of the model ({', '.join(class_names)}); "
            f"map each with --map LABEL=CLASS, or leave them out with --drop {','.join(strange)}"
        )


def _from_sources(records, class_names, sources):
    for label, source in sources.items():
        table = records.table
        if label not in class_names:
            raise OptionError(f"--source {label}=...: the model has the classes {', '.join(class_names)}")
        at_hand = sorted(table.loc[table["label"] == label, "source"].unique())
        if source not in at_hand:
            found = ", ".join(at_hand) or "none"
            raise OptionError(f"--source {label}={source}: no such images here (sources of {label}: {found})")
        kept = (table["label"] != label) | (table["source"] == source)
        records = records.where(kept, reason=f"{label} of another source than {source}")
    return records


def _in_split(records, split_file, split):
    from covidcxr.data import splits

    if split_file:
        listed = set(splits.read(split_file).table["path"])
        inside = records.table["path"].isin(listed)
        records = splits.from_csv(records.where(inside, reason=f"not in {split_file}"), split_file)
    if not split:
        return records
    if "split" not in records.table:
        raise OptionError(f"--split {split}: the data has no column split; give --split-file CSV")
    named = sorted(set(records.table["split"]))
    if split not in named:
        raise OptionError(f"--split {split}: no image is in it (splits: {', '.join(named) or 'none'})")
    return records.where(records.table["split"] == split, reason=f"not in the split {split}")
