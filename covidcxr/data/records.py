"""Records: the one face of every source. A record is one image; a split is a column."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from covidcxr.atomic import write_csv
from covidcxr.data import containment
from covidcxr.errors import DataError
from covidcxr.formula_cells import plain_table

TEXT_COLUMNS = ("path", "label", "patient_id", "view", "source", "sex")
NUMBER_COLUMNS = ("age", "offset")
COLUMNS = TEXT_COLUMNS + NUMBER_COLUMNS


@dataclass(frozen=True)
class Exclusion:
    """A file or row that a source or a filter left out, and why.

    Attributes
    ----------
    path : str
        As in `Records.table.path`, or the name the table gave for a file that is not there.
    source : str
    reason : str
        A short phrase that groups: ``"lateral view"``, ``"CT"``, ``"file missing"``.
    """

    path: str
    source: str
    reason: str


@dataclass(frozen=True)
class Records:
    """Images with what is known of each, one row an image.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns `path` (POSIX, relative to `root`, unique), `label`, `patient_id`, `view`, `source`, `sex`
        (text, ``""`` where unknown), `age` (years) and `offset` (days since onset or admission), both float
        with NaN where unknown; then whatever else the source has (`finding`, `given_split`, `split`...).
        Patient ids carry their source as a prefix (``ieee8023-2``), so ids of two sources never meet.
    root : pathlib.Path
        Folder that `path` starts from.
    exclusions : tuple of Exclusion
        What was left out on the way here: nothing disappears silently.
    notes : tuple of str
        Sentences for the user about this set (assumptions made while reading it).
    """

    table: pd.DataFrame
    root: Path
    exclusions: tuple = field(default=())
    notes: tuple = field(default=())

    @classmethod
    def from_rows(cls, rows, root, exclusions=(), notes=()):
        """Build from an iterable of dictionaries, or a table; missing columns are filled as unknown.

        An image whose name is no text (bytes that are not UTF-8) becomes an exclusion: no table could name it.

        Raises
        ------
        DataError
            If two rows have the same path, or a row has no path.
        """
        table = _tidy(rows.copy() if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows)))
        spelled = table["path"].map(_spelled)
        odd = (spelled != table["path"]).to_numpy(dtype=bool)
        found = cls(table.assign(path=spelled), Path(root), tuple(exclusions), tuple(notes))
        return found.where(~odd, "name is not UTF-8; rename the file") if odd.any() else found

    def __len__(self):
        return len(self.table)

    def files(self):
        """Return the images' full paths, in row order."""
        return [self.root / path for path in self.table["path"]]

    def where(self, mask, reason=None):
        """Keep the rows where `mask` is true; with a `reason`, the others become exclusions."""
        mask = mask.to_numpy(dtype=bool) if hasattr(mask, "to_numpy") else mask
        dropped = self.table[~mask] if reason else self.table.iloc[:0]
        added = tuple(
            Exclusion(p, s, reason) for p, s in zip(dropped["path"], dropped["source"], strict=True)
        )
        kept = self.table[mask].reset_index(drop=True)
        return replace(self, table=kept, exclusions=self.exclusions + added)

    def with_columns(self, **columns):
        """Return the records with columns added or replaced (each as long as the table)."""
        return replace(self, table=_tidy(self.table.assign(**columns)))

    def classes(self):
        """Return the sorted distinct labels, as `flow_from_directory` orders its classes."""
        return sorted(self.table["label"].unique())

    def counts(self, *columns):
        """Count rows by the named columns (default: label), as a table with a column `images`."""
        by = list(columns) or ["label"]
        return self.table.groupby(by, sort=True, dropna=False).size().reset_index(name="images")

    def write_csv(self, path):
        """Write the table, whole or not at all; :func:`read_csv` gives the same table back."""
        write_csv(path, self.table)


def concat(parts):
    """Join records of several sources under their deepest common folder.

    Parameters
    ----------
    parts : sequence of Records
        At least one.

    Returns
    -------
    Records
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    root = _common_root([part.root for part in parts])
    tables = [part.table.assign(path=_rebase(part.table["path"], part.root, root)) for part in parts]
    exclusions = tuple(
        replace(item, path=_rebase([item.path], part.root, root)[0])
        for part in parts
        for item in part.exclusions
    )
    notes = tuple(note for part in parts for note in part.notes)
    return Records.from_rows(pd.concat(tables, ignore_index=True), root, exclusions, notes)


def read_csv(path, root=None):
    """Read records written by :meth:`Records.write_csv` (or any table with `path` and `label`).

    Parameters
    ----------
    path : path-like
    root : path-like, optional
        Folder that the paths start from; default the CSV's own folder.

    Returns
    -------
    Records

    Raises
    ------
    DataError
        If the file is not a readable table or lacks `path` or `label`, or a path leaves the folder.
    """
    path = Path(path)
    table = plain_table(read_text_csv(path))
    missing = {"path", "label"} - set(table.columns)
    if missing:
        raise DataError(
            f"{path}: lacks the column(s) {', '.join(sorted(missing))}; found {list(table.columns)}"
        )
    records = Records.from_rows(table, root or path.parent)
    containment.require_inside(records.table["path"], path)
    return records


def read_text_csv(path):
    """Read a CSV with every cell as text, empty cells as ``""``.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        If it is no table of comma-separated text in UTF-8 (with or without a byte-order mark).
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: not a readable CSV table ({error.strerror or error}); check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: is empty; a table needs a line of column names, then rows") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: not a readable CSV table ({reason}); save it as CSV again") from error
    require_aligned(table, path)
    return table


def require_aligned(table, path):
    """Refuse a table whose rows all have more cells than there are column names: pandas would shift them.

    Raises
    ------
    DataError
    """
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(
            f"{path}: its rows have more cells than its first line names columns; save it as CSV again"
        )


def _tidy(table):
    for column in TEXT_COLUMNS:
        values = table[column] if column in table else pd.Series("", index=table.index)
        table[column] = values.fillna("").astype(str)
    for column in NUMBER_COLUMNS:
        values = table[column] if column in table else pd.Series(float("nan"), index=table.index)
        table[column] = pd.to_numeric(values, errors="coerce").astype(float)
    if (table["path"] == "").any():
        raise DataError(f"row {int((table['path'] == '').argmax()) + 1} has no path; give every row one")
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise DataError(f"{twice.iloc[0]}: listed twice ({len(twice)} such paths); keep one row an image")
    extra = [column for column in table.columns if column not in COLUMNS]
    return table[[*COLUMNS, *extra]].reset_index(drop=True)


def _spelled(name):
    """Return a name as text: the odd bytes of one that is not UTF-8 stand in it as lone surrogates."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _common_root(roots):
    # Absolute, not resolved: a folder of links to several sets is their common folder.
    return Path(os.path.commonpath([root.absolute() for root in roots]))


def _rebase(paths, old_root, new_root):
    prefix = PurePosixPath(old_root.absolute().relative_to(new_root).as_posix())
    return [str(prefix / path) for path in paths]
