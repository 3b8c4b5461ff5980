"""The face of predictions.csv: one row an image, with its label and the probability of every class."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr.atomic import write_csv
from covidcxr.data.records import require_aligned
from covidcxr.errors import DataError
from covidcxr.formula_cells import plain_table

RECORD_COLUMNS = ("path", "label", "patient_id", "source", "view", "sex", "age", "split")
PROBABILITY_PREFIX = "prob_"
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Predictions:
    """What a model said about each image, beside what is known of the image.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns `path`, `label`, `patient_id`, `source`, `view`, `sex`, `age` (years, NaN where unknown),
        `split`, `predicted`, then `prob_<class>` (float64, in [0, 1]) in the order of `class_names`.
        `label` is ``""`` where nobody knows it; such rows can be written and read, not evaluated.
    class_names : tuple of str
        The classes in the order of the model's outputs, at least two.
    """

    table: pd.DataFrame
    class_names: tuple

    @classmethod
    def from_arrays(cls, records_table, class_names, probabilities):
        """Join a table of records with a model's output; the predicted class is the most probable one.

        Parameters
        ----------
        records_table : pandas.DataFrame
            With `path` and `label`; the other columns of `RECORD_COLUMNS` are filled as unknown.
        class_names : sequence of str
            k names, in the order of the columns of `probabilities`.
        probabilities : array of float, shape (n, k)
            In [0, 1], each row summing to 1 within `SUM_TOLERANCE`; row i belongs to the table's row i.

        Returns
        -------
        Predictions

        Raises
        ------
        DataError
            If the shapes do not fit, a probability is out of range or a label is none of the classes.
        """
        names = tuple(class_names)
        values = np.asarray(probabilities, dtype=np.float64)
        if values.shape != (len(records_table), len(names)):
            raise DataError(
                f"probabilities of shape {values.shape} do not fit {len(records_table)} images and "
                f"{len(names)} classes; give one row an image and one column a class"
            )
        table = records_table.reset_index(drop=True).drop(columns=["predicted"], errors="ignore")
        columns = {PROBABILITY_PREFIX + name: values[:, i] for i, name in enumerate(names)}
        return cls(_tidy(table.assign(**columns), names, "predictions"), names)

    def __len__(self):
        return len(self.table)

    @property
    def probabilities(self):
        """Probabilities, float64 of shape (n, k), columns in the order of `class_names`."""
        return self.table[_probability_columns(self.class_names)].to_numpy(dtype=np.float64)

    @property
    def y_true(self):
        """Index into `class_names` of each image's label, int64 of shape (n,).

        Raises `DataError` if an image has no label.
        """
        unknown = int((self.table["label"] == "").sum())
        if unknown:
            raise DataError(
                f"{unknown} of {len(self)} predictions have no label; fill the column 'label' first"
            )
        return self._indices("label")

    @property
    def y_pred(self):
        """Index into `class_names` of each predicted class, int64 of shape (n,)."""
        return self._indices("predicted")

    @property
    def patients(self):
        """Group number of each image's patient, int64 of shape (n,), from 0 without gaps.

        An image whose patient is unknown is taken as a patient of its own.
        """
        ids = self.table["patient_id"]
        keys = ids.where(ids != "", "image " + self.table["path"])
        return pd.factorize(keys)[0].astype(np.int64)

    def subset(self, split):
        """Keep the rows of one split (``"test"``).

        Raises
        ------
        DataError
            If the split has no rows.
        """
        chosen = self.table["split"] == split
        if not chosen.any():
            known = ", ".join(sorted(set(self.table["split"]) - {""})) or "none"
            raise DataError(f"no prediction of the split {split!r}; splits in this table: {known}")
        return replace(self, table=self.table[chosen].reset_index(drop=True))

    def write_csv(self, path):
        """Write predictions.csv, whole or not at all; :func:`read_csv` gives the same numbers back."""
        write_csv(path, self.table)

    def _indices(self, column):
        place = {name: i for i, name in enumerate(self.class_names)}
        return self.table[column].map(place).to_numpy(dtype=np.int64)


def read_csv(path):
    """Read a table written by :meth:`Predictions.write_csv`, or by any other program.

    Parameters
    ----------
    path : path-like
        A CSV file with `path`, `label` and two or more columns `prob_<class>`. A column `predicted` is
        taken as it stands (a threshold may have chosen it); without one it is the most probable class.

    Returns
    -------
    Predictions
        Classes in the order of the file's `prob_<class>` columns.

    Raises
    ------
    DataError
        If the file is not readable, a column is missing, a probability is not in [0, 1], a row does not
        sum to 1 within `SUM_TOLERANCE`, or a label is none of the classes.
    """
    path = Path(path)
    try:
        table = plain_table(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable CSV table ({reason}); expected a predictions.csv") from error
    require_aligned(table, path)
    names = tuple(c.removeprefix(PROBABILITY_PREFIX) for c in table if c.startswith(PROBABILITY_PREFIX))
    return Predictions(_tidy(table, names, path), names)


def _probability_columns(names):
    return [PROBABILITY_PREFIX + name for name in names]


def _tidy(table, names, where):
    _check_columns(table, names, where)
    tidy = pd.DataFrame(index=table.index)
    for column in RECORD_COLUMNS:
        values = table[column] if column in table else pd.Series("", index=table.index)
        tidy[column] = ["" if gap else str(value) for value, gap in zip(values, values.isna(), strict=True)]
    tidy["age"] = pd.to_numeric(tidy["age"], errors="coerce").astype(float)
    probabilities = _numbers(table[_probability_columns(names)], where)
    _check_probabilities(probabilities, where)
    best = pd.Series([names[i] for i in probabilities.argmax(axis=1)], index=table.index, dtype=object)
    tidy["predicted"] = table["predicted"].astype(str) if "predicted" in table else best.astype(str)
    _check_classes(tidy["label"], {*names, ""}, "label", where)
    _check_classes(tidy["predicted"], set(names), "predicted class", where)
    tidy[_probability_columns(names)] = probabilities
    return tidy


def _check_columns(table, names, where):
    missing = [column for column in ("path", "label") if column not in table]
    if missing:
        raise DataError(f"{where}: lacks the column(s) {', '.join(missing)}; found {list(table.columns)}")
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"{where}: needs two or more different classes (prob_<class>), found {list(names)}")


def _numbers(table, where):
    try:
        # Python's float reads what pandas wrote to the last bit; pandas' own parser may not.
        return np.array([[float(value) for value in row] for row in table.to_numpy()]).reshape(table.shape)
    except ValueError as error:
        raise DataError(f"{where}: a probability is not a number ({error}); write it as 0.93") from error


def _check_probabilities(values, where):
    outside = ~((values >= 0) & (values <= 1)).all(axis=1)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(f"{where}: row {row + 1}: probabilities {values[row].tolist()} are not all in [0, 1]")
    off = np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE
    if off.any():
        row = int(off.argmax())
        raise DataError(
            f"{where}: row {row + 1}: probabilities sum to {values[row].sum():.6g}; they must sum to 1 "
            f"within {SUM_TOLERANCE} (is the last layer a softmax?)"
        )


def _check_classes(column, allowed, what, where):
    strange = ~column.isin(allowed)
    if strange.any():
        row = int(strange.to_numpy().argmax())
        known = ", ".join(sorted(allowed - {""}))
        raise DataError(f"{where}: row {row + 1}: {what} {column.iloc[row]!r} is none of the classes {known}")
