"""What an audit hands back, how it is printed, and how it is kept beside a run.

Every audit is a module of this package with one function of the same face:

    audit(run_or_records, *, model=None, seed=0, say=None, **options) -> Audit

`run_or_records` is :class:`covidcxr.data.records.Records` (with the column `split` where there is a split) or,
for an audit that needs a trained model, the path of a run's folder; `model` is a loaded model that stands in for
the folder's own; `say` is called with a line of text where something takes long. Options that an audit does not
know it takes and passes over, so that one command can call them all. What could not be checked is a finding of
severity ``"note"``: an audit never stays silent about what it did not look at.
"""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from covidcxr import json_files
from covidcxr.atomic import make_folder, output_errors, write_csv, write_json
from covidcxr.errors import DataError
from covidcxr.formula_cells import plain_table

LEAK = "leak"
WARNING = "warning"
NOTE = "note"
SEVERITIES = (LEAK, WARNING, NOTE)
FILE = "audit.json"
FOLDER = "audit"
"""Where an audit lies in the folder of a run."""

ROWS = 20
_FORMAT = 1


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    Attributes
    ----------
    audit : str
        The audit's name, such as ``"leaks"``.
    name : str
        What was found, in one word that stays the same from version to version: ``"patient"``, ``"source"``.
    severity : str
        ``"leak"`` (training and test share something: the score is not to be believed), ``"warning"`` (the
        classes differ in something that is not the disease) or ``"note"`` (for the reader; what could not be
        checked).
    text : str
        One sentence for a reader who does not know the program.
    evidence : dict
        The numbers and names behind it, as JSON can hold them.
    """

    audit: str
    name: str
    severity: str
    text: str
    evidence: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r}: one of {', '.join(SEVERITIES)}")


@dataclass(frozen=True)
class Audit:
    """What one audit looked at and found.

    Attributes
    ----------
    name : str
        One word: ``"leaks"``, ``"confounding"``, ``"shortcuts"``, ``"robustness"``.
    title : str
        Heading for a reader.
    tables : dict of str to pandas.DataFrame
        By a name that can be part of a file's; the index means nothing.
    findings : tuple of Finding
    """

    name: str
    title: str
    tables: dict = field(default_factory=dict)
    findings: tuple = ()

    def named(self, name):
        """Return the findings of one name."""
        return tuple(item for item in self.findings if item.name == name)

    def flags(self):
        """Return the sorted names of what was found, notes left out."""
        return sorted({item.name for item in self.findings if item.severity != NOTE})


def leaks(audits):
    """Return every finding of severity ``"leak"``."""
    return tuple(item for audit in audits for item in audit.findings if item.severity == LEAK)


def write(audits, folder):
    """Write audit.json and a table audit-<audit>-<table>.csv each; audit.json comes last.

    Parameters
    ----------
    audits : sequence of Audit
    folder : path-like
        Made if need be. Tables of an earlier audit that this one does not have are removed.

    Returns
    -------
    pathlib.Path
        Of audit.json.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    folder = make_folder(folder)
    listed = [_as_dict(audit) for audit in audits]
    written = {name for audit in listed for name in audit["tables"].values()}
    with output_errors(folder):
        for path in folder.glob("audit-*.csv"):
            if path.name not in written:
                path.unlink()
    for audit, entry in zip(audits, listed, strict=True):
        for name, file in entry["tables"].items():
            write_csv(folder / file, audit.tables[name])
    write_json(folder / FILE, {"format": _FORMAT, "audits": listed})
    return folder / FILE


def read(folder):
    """Read what :func:`write` wrote.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    tuple of Audit
        Empty if there is no audit.json.

    Raises
    ------
    DataError
        If audit.json or one of its tables is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return ()
    try:
        listed = json_files.read(path)["audits"]
        return tuple(_from_dict(entry, path.parent) for entry in listed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable audit ({reason}); audit again") from error


def print_audits(audits, rows=ROWS):
    """Print tables and findings.

    Parameters
    ----------
    audits : sequence of Audit
    rows : int or None
        Of a table, at most; None prints all.
    """
    from rich.console import Console

    # Into a file or pipe nothing is folded to a window's width.
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    for audit in audits:
        console.print(f"\n{audit.title}", style="bold")
        for name, table in audit.tables.items():
            _print_table(console, name.replace("_", " ").replace("-", " "), table, rows)
        for item in sorted(audit.findings, key=lambda item: SEVERITIES.index(item.severity)):
            console.print(f"{item.severity.upper()} {item.name}: {item.text}", soft_wrap=True)
        if not any(item.severity != NOTE for item in audit.findings):
            console.print("nothing found")


def _print_table(console, title, table, rows):
    if not len(table):
        return
    if {"label", "images", "patients"} < set(table.columns):
        title, table = f"{title} by class: images (patients)", _crossed(table)
    shown = table if rows is None else table.head(rows)
    if {"a", "b", "kind"} <= set(table.columns):
        _print_pairs(console, title, shown)
    else:
        # Not the grid's own title: that would be folded to the grid's width.
        console.print(title, style="italic")
        console.print(_grid(shown))
    if len(table) > len(shown):
        console.print(f"... and {len(table) - len(shown)} more (--all)")


def _crossed(table):
    """Lay a factor's counts out as its values by the classes."""
    texts = [f"{row.images:,} ({row.patients:,})" for row in table.itertuples()]
    value = next(name for name in table.columns if name != "label")
    wide = table.assign(cell=texts).pivot(index=value, columns="label", values="cell")
    return wide.reset_index().rename_axis(columns=None)


def _print_pairs(console, title, pairs):
    console.print(title, style="italic")
    for row in pairs.itertuples():
        whose = " = ".join(dict.fromkeys(filter(None, (row.patient_id_a, row.patient_id_b))))
        alike = f"{row.kind}, {row.distance} bits apart, correlation {row.correlation:.3f}, in detail {row.detail:.3f}"
        console.print(f"- {whose or 'patient unknown'}: {row.a} = {row.b} ({alike})", soft_wrap=True)


def _grid(table):
    from rich.table import Table
    from rich.text import Text

    grid = Table(show_edge=False, pad_edge=False)
    for name in table.columns:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        grid.add_column(Text(str(name)), justify="right" if numeric else "left", overflow="fold")
    for row in table.itertuples(index=False):
        # Text, since a path in square brackets would be read as markup.
        grid.add_row(*(Text(_cell(value)) for value in row))
    return grid


def _cell(value):
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_dict(audit):
    return {
        "name": audit.name,
        "title": audit.title,
        "findings": [_plain(vars(item)) for item in audit.findings],
        "tables": {name: f"audit-{audit.name}-{name}.csv" for name in audit.tables},
    }


def _from_dict(entry, folder):
    outside = next((file for file in entry["tables"].values() if Path(file).name != file), None)
    if outside is not None:
        raise ValueError(f"{outside!r} is no table beside it")
    tables = {name: _read_table(folder / file) for name, file in entry["tables"].items()}
    findings = tuple(Finding(**item) for item in entry["findings"])
    return Audit(entry["name"], entry["title"], tables, findings)


def _read_table(path):
    try:
        return plain_table(pd.read_csv(path, keep_default_na=False, na_values=[""]))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _plain(value):
    """Return a value as JSON holds it: NumPy's numbers as Python's, what is not finite as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
