"""The CSV files that every table and picture of the results is made from: columns, order, reading, writing."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from covidcxr.atomic import make_folder, write_csv
from covidcxr.data.records import require_aligned
from covidcxr.errors import DataError
from covidcxr.formula_cells import plain_table

FOLDER = "docs/results"
RUN = "run"
LEFT_OUT = "left_out"
"""The table of models that a study could not train; it alone names no run."""
CURVES = ("accuracy", "loss", "val_accuracy", "val_loss")
"""What is kept of every epoch."""
COLUMNS = {
    "runs": (
        RUN,
        "paper",
        "case",
        "model",
        "fold",
        "trial",
        "arm",
        "protocol",
        "seed",
        "setting",
        "sources",
        "headline_split",
        "images_scored",
        "patients_scored",
        "images_trained",
        "shared_patients",
        "weights_of",
        "epoch_kept",
        "epochs",
        "seconds",
        "parameters",
        "trainable",
        "environment",
        "versions",
        "devices",
        "command",
    ),
    "measures": (
        RUN,
        "scoring",
        "split",
        "headline",
        "label",
        "measure",
        "value",
        "low",
        "high",
        "method",
        "images",
        "patients",
    ),
    "history": (RUN, "epoch", "stage", *CURVES),
    "confusion": (RUN, "scoring", "split", "true", "predicted", "images"),
    "images": (RUN, "split", "label", "source", "images", "patients"),
    "audits": (
        RUN,
        "audit",
        "check",
        "severity",
        "measure",
        "label",
        "value",
        "low",
        "high",
        "images",
        "patients",
    ),
    "left_out": ("paper", "case", "model", "arm", "protocol", "reason", "command"),
}
"""File (without its ending) to columns; what each holds is told in docs/results/README.md."""

_NUMBERS = {
    "runs": (
        "fold",
        "trial",
        "images_scored",
        "patients_scored",
        "images_trained",
        "shared_patients",
        "epochs",
        "seconds",
    ),
    "measures": ("value", "low", "high", "images", "patients"),
    "history": ("epoch", *CURVES),
    "confusion": ("images",),
    "images": ("images", "patients"),
    "audits": ("value", "low", "high", "images", "patients"),
    "left_out": (),
}
# What a model that was left out, and a run of it later, have in common.
_MODEL = ["paper", "case", "model", "arm", "protocol"]
# Order inside a run that is not the alphabet's.
_ORDER = {"history": (RUN, "epoch"), "measures": (RUN, "scoring", "split", "label", "measure")}
_COLLECT = "collect the runs with `covidcxr report reproduce --collect RUN...`"


@dataclass(frozen=True)
class Results:
    """All CSV files of a results folder.

    Attributes
    ----------
    tables : dict of str to pandas.DataFrame
        Text throughout, by the keys of :data:`COLUMNS`; "" where there is nothing.
    """

    tables: dict = field(default_factory=lambda: {name: _empty(name) for name in COLUMNS})

    def numbers(self, name):
        """Return a table with its numeric columns as numbers, NaN where there is none."""
        table = self.tables[name]
        return table.assign(**{column: pd.to_numeric(table[column]) for column in _NUMBERS[name]})

    def replaced(self, added):
        """Return these results with the runs of others in place of their own of the same name.

        Parameters
        ----------
        added : Results
            Scores on external sets alone replace those of the same set, and leave the run itself.
        """
        names = set(added.tables["runs"][RUN])
        tables = {}
        for name, table in self.tables.items():
            new = added.tables[name]
            if name == LEFT_OUT:
                continue
            gone = table[RUN].isin(names) & ~_external(table)
            keys = {tuple(row) for row in new[_external(new)][_keys(new)].itertuples(index=False, name=None)}
            same = [tuple(row) in keys for row in table[_keys(table)].itertuples(index=False, name=None)]
            gone |= _external(table) & pd.Series(same, index=table.index, dtype=bool)
            tables[name] = _sorted(name, pd.concat([table[~gone], new], ignore_index=True))
        both = [self.tables[LEFT_OUT], added.tables[LEFT_OUT]]
        return Results({**tables, LEFT_OUT: _still_left_out(both, tables["runs"])})


def of_rows(rows):
    """Make results of rows.

    Parameters
    ----------
    rows : dict of str to list of dict
        By the keys of :data:`COLUMNS`. Numbers are written with six digits.

    Returns
    -------
    Results
    """
    tables = {}
    for name, columns in COLUMNS.items():
        lines = [{column: _text(line.get(column)) for column in columns} for line in rows.get(name, ())]
        tables[name] = _sorted(name, pd.DataFrame(lines, columns=list(columns), dtype=str))
    return Results(tables)


def exist(folder):
    """Tell whether a folder holds results, whole or damaged."""
    return any((Path(folder) / f"{name}.csv").is_file() for name in COLUMNS)


def read(folder):
    """Read the CSV files of a results folder; one without any has no results yet.

    Raises
    ------
    DataError
        If one is missing or damaged: columns, numbers, runs that runs.csv does not name, or names one of twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of results; {_COLLECT}")
    if not exist(folder):
        return Results()
    results = Results({name: _read(folder / f"{name}.csv", columns) for name, columns in COLUMNS.items()})
    known = results.tables["runs"][RUN]
    if known.duplicated().any():
        raise DataError(f"{folder / 'runs.csv'}: {known[known.duplicated()].iloc[0]} twice; {_COLLECT}")
    for name, table in results.tables.items():
        if name != LEFT_OUT:
            _check_runs(folder / f"{name}.csv", table, known)
        _check_numbers(folder / f"{name}.csv", name, table)
    return results


def write(results, folder):
    """Write the CSV files, each whole or not at all."""
    folder = make_folder(folder)
    for name, table in results.tables.items():
        write_csv(folder / f"{name}.csv", table)


def _read(path, columns):
    try:
        table = plain_table(pd.read_csv(path, dtype=str, keep_default_na=False))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable table ({reason}); {_COLLECT}") from error
    require_aligned(table, path)
    if list(table.columns) != list(columns):
        odd = sorted(set(columns) ^ set(table.columns))
        raise DataError(
            f"{path}: other columns than expected ({', '.join(odd) or 'their order'}); {_COLLECT}"
        )
    return table


def _check_runs(path, table, known):
    strange = table[~table[RUN].isin(known)]
    if len(strange):
        where = f"{path}:{strange.index[0] + 2}"
        raise DataError(f"{where}: run '{strange[RUN].iloc[0]}' is not in runs.csv; {_COLLECT}")


def _check_numbers(path, name, table):
    for column in _NUMBERS[name]:
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = table[numbers.isna() & (table[column] != "")]
        if len(wrong):
            raise DataError(
                f"{path}:{wrong.index[0] + 2}: {column} '{wrong[column].iloc[0]}' is no number; {_COLLECT}"
            )


def _still_left_out(tables, runs):
    """Join what was left out, the later word last, without models that were run since."""
    joined = pd.concat(tables, ignore_index=True).drop_duplicates(_MODEL, keep="last")
    trained = set(runs[_MODEL].itertuples(index=False, name=None))
    still = [tuple(row) not in trained for row in joined[_MODEL].itertuples(index=False, name=None)]
    return _sorted(LEFT_OUT, joined[pd.Series(still, index=joined.index, dtype=bool)])


def _external(table):
    return table["scoring"] == "external" if "scoring" in table else pd.Series(False, index=table.index)


def _keys(table):
    return [RUN, "split"] if "split" in table else [RUN]


def _empty(name):
    return pd.DataFrame(columns=list(COLUMNS[name]), dtype=str)


def _sorted(name, table):
    numeric = {column: pd.to_numeric(table[column], errors="coerce") for column in _NUMBERS[name]}
    keys = list(_ORDER.get(name, (column for column in COLUMNS[name] if column not in _NUMBERS[name])))
    ranks = table.assign(**numeric).sort_values(keys, kind="stable").index
    return table.loc[ranks].reset_index(drop=True)


def _text(value):
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())
