"""Result and count tables: as rows of text, and as tables for the terminal."""

RESULT_COLUMNS = ("measure", "paper", "this run [95 % interval]", "note")
BLANK = "—"
_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "roc_auc": "ROC area",
    "average_precision": "average precision",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "expected calibration error",
}
_PERCENT = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1")
_FIRST = ("accuracy", "balanced_accuracy")
_OF_POSITIVE = ("sensitivity", "specificity", "precision", "f1", "roc_auc", "average_precision")
_LAST = ("macro.f1", "mcc", "brier", "ece")


def result_rows(summary, paper=None, notes=None):
    """Set a run's measures beside a paper's.

    Parameters
    ----------
    summary : dict
        Result of :func:`covidcxr.evaluation.intervals.summarise`.
    paper : mapping of str to str or float, optional
        What the paper printed, by dotted name (``"accuracy"``, ``"per_class.covid19.sensitivity"``): text as
        it stands there, or a number in the measure's own unit (fractions, not percent).
    notes : mapping of str to str, optional
        By dotted name; follow the reason why a measure has no value or no interval.

    Returns
    -------
    list of dict
        `measure`, `paper`, `value`, `low`, `high`, `note`, `percent`: the headline measures, then what
        else the paper claims; a claim whose measure this run does not have keeps its row, with `value` None.
    """
    paper, notes = paper or {}, notes or {}
    of_positive = [f"per_class.{summary['positive_class']}.{name}" for name in _OF_POSITIVE]
    names = list(dict.fromkeys([*_FIRST, *of_positive, *_LAST, *paper]))
    return [_row(name, summary["measures"].get(name, {}), paper.get(name), notes.get(name)) for name in names]


def result_cells(row):
    """Turn one row of :func:`result_rows` into the texts of `RESULT_COLUMNS`.

    Parameters
    ----------
    row : mapping
        `measure`; optional `paper`, `value`, `low`, `high`, `note`, `percent` (default True).

    Returns
    -------
    tuple of str
    """
    percent = row.get("percent", True)
    value, low, high = (row.get(key) for key in ("value", "low", "high"))
    run = _number(value, percent)
    if value is not None and low is not None:
        run += f" [{_number(low, percent, unit='')}, {_number(high, percent, unit='')}]"
    paper = row.get("paper")
    return (
        row["measure"],
        paper if isinstance(paper, str) else _number(paper, percent),
        run,
        row.get("note") or "",
    )


def count_cells(counts):
    """Cross split with class.

    Parameters
    ----------
    counts : pandas.DataFrame
        Columns `split`, `label`, `images` (``Records.counts("split", "label")``).

    Returns
    -------
    header : list of str
        ``split``, the classes, ``all``.
    rows : list of list of str
        One a split, in the order train, val, test, others; then ``all``.
    """
    grid = counts.pivot_table(index="split", columns="label", values="images", aggfunc="sum", fill_value=0)
    usual = ["train", "val", "test"]
    order = sorted(grid.index, key=lambda split: (usual.index(split) if split in usual else 9, split))
    grid = grid.loc[order].astype(int)
    grid["all"] = grid.sum(axis=1)
    rows = [[str(split) or "(none)", *map("{:,}".format, values)] for split, values in grid.iterrows()]
    return ["split", *map(str, grid.columns)], [*rows, ["all", *map("{:,}".format, grid.sum())]]


def results_table(rows, title=None):
    """Lay result rows out for the terminal.

    Parameters
    ----------
    rows : sequence of mapping
        See :func:`result_cells`.
    title : str, optional

    Returns
    -------
    rich.table.Table
    """
    cells = [result_cells(row) for row in rows]
    # Without a paper to compare with, or remarks, a column of dashes would only take room.
    shown = [
        i
        for i in range(len(RESULT_COLUMNS))
        if i in (0, 2) or any(row[i] not in ("", BLANK) for row in cells)
    ]
    header = [RESULT_COLUMNS[i] for i in shown]
    numbers = [shown.index(i) for i in (1, 2) if i in shown]
    return _rich(header, [[row[i] for i in shown] for row in cells], title, numbers=numbers)


def counts_table(counts, title=None):
    """Lay images by split and class out for the terminal.

    Parameters
    ----------
    counts : pandas.DataFrame
        See :func:`count_cells`.
    title : str, optional

    Returns
    -------
    rich.table.Table
    """
    header, rows = count_cells(counts)
    return _rich(header, rows, title, numbers=range(1, len(header)))


def _row(name, entry, paper, note):
    measure = name.rsplit(".", 1)[-1]
    remarks = [text for text in (entry.get("reason"), _method_note(entry), note) if text]
    return {
        "measure": _title(name),
        "paper": paper,
        "value": entry.get("value"),
        "low": entry.get("low"),
        "high": entry.get("high"),
        "note": "; ".join(remarks),
        "percent": measure in _PERCENT,
    }


def _method_note(entry):
    method = entry.get("method")
    return None if method in (None, "patient bootstrap") else f"interval: {method}"


def _title(name):
    parts = name.split(".")
    measure = _WORDS.get(parts[-1], parts[-1])
    if len(parts) == 1:
        return measure
    return f"{measure}, {'mean of classes' if parts[0] == 'macro' else '.'.join(parts[1:-1])}"


def _number(value, percent, unit=" %"):
    if value is None or value != value:
        return BLANK
    return f"{100 * value:.2f}{unit}" if percent else f"{value:.3f}"


def _rich(header, rows, title, numbers):
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None)
    for i, name in enumerate(header):
        table.add_column(Text(name), justify="right" if i in numbers else "left")
    for row in rows:
        # Text, since a label in square brackets would be read as markup.
        table.add_row(*map(Text, row))
    return table
