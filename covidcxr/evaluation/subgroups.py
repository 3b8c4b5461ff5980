"""Scores by sex, age, view and source: a mean over all hides for whom a model fails."""

import numpy as np
import pandas as pd

from covidcxr.evaluation.metrics import positive_class

RESAMPLES = 1000
AGE_EDGES = (18, 45, 65)
MEASURES = ("accuracy", "sensitivity", "specificity", "roc_auc")
COLUMNS = ("by", "group", "images", "patients", "measure", "value", "low", "high", "method")
_UNKNOWN = "unknown"


def subgroups(predictions, *, seed, positive=None, resamples=RESAMPLES):
    """Score each group of images apart.

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled, with `sex`, `age` (years), `view` and `source` where known.
    seed, resamples : int
        Of the bootstrap.
    positive : str, optional
        See :func:`covidcxr.evaluation.metrics.positive_class`.

    Returns
    -------
    pandas.DataFrame
        Columns `by` (sex, age, view, source), `group`, `images`, `patients`, `measure` (accuracy; sensitivity,
        specificity and ROC area of the positive class), `value`, `low`, `high` (NaN where undefined) and
        `method`. A property that is the same, or unknown, for every image has no rows.
    """
    parts = []
    for by, names in _properties(predictions.table).items():
        groups = sorted(set(names) - {_UNKNOWN}) + [_UNKNOWN] * (_UNKNOWN in set(names))
        if len(groups) > 1:
            for group in groups:
                parts += _rows(predictions, by, group, names == group, seed, positive, resamples)
    return pd.DataFrame(parts, columns=list(COLUMNS))


def age_bands(ages):
    """Name each age's band: children, 18-44, 45-64, 65 and over, unknown.

    Parameters
    ----------
    ages : array of float
        Years, NaN where unknown.

    Returns
    -------
    array of str
    """
    ages = np.asarray(ages, dtype=float)
    first, second, third = AGE_EDGES
    names = np.array([f"0-{first - 1}", f"{first}-{second - 1}", f"{second}-{third - 1}", f"{third}+"])
    chosen = names[np.searchsorted(AGE_EDGES, ages, side="right")]
    return np.where(np.isnan(ages), _UNKNOWN, chosen).astype(object)


def wide(table):
    """Lay subgroups out as text: one row a group, one column a measure.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`subgroups`.

    Returns
    -------
    columns : list of str
    rows : list of list of str
    """
    measures = list(dict.fromkeys(table["measure"]))
    rows = []
    for (by, group), part in table.groupby(["by", "group"], sort=False):
        cells = part.set_index("measure")
        first = part.iloc[0]
        rows.append(
            [by, group, f"{int(first['images']):,}", f"{int(first['patients']):,}"]
            + [_text(cells.loc[measure], measure) for measure in measures]
        )
    titles = [measure.replace("roc_auc", "ROC area") for measure in measures]
    return ["by", "group", "images", "patients", *titles], rows


def subgroup_table(table):
    """Lay subgroups out for the terminal, as a :class:`rich.table.Table`."""
    from rich.table import Table
    from rich.text import Text

    columns, rows = wide(table)
    shown = Table(title="subgroups")
    for place, name in enumerate(columns):
        shown.add_column(Text(name), justify="right" if place > 1 else "left")
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def _properties(table):
    text = {by: table[by].astype(str).replace("", _UNKNOWN).to_numpy() for by in ("sex", "view", "source")}
    return {
        "sex": text["sex"],
        "age": age_bands(table["age"]),
        "view": text["view"],
        "source": text["source"],
    }


def _rows(predictions, by, group, mask, seed, positive, resamples):
    from dataclasses import replace

    from covidcxr.evaluation.intervals import summarise

    part = replace(predictions, table=predictions.table[mask].reset_index(drop=True))
    summary = summarise(part, seed=seed, resamples=resamples, positive=positive)
    label = positive_class(predictions.class_names, positive)
    for measure in MEASURES:
        name = measure if measure == "accuracy" else f"per_class.{label}.{measure}"
        entry = summary["measures"][name]
        method = entry.get("method") or entry.get("reason") or ""
        counts = (summary["images"], summary["patients"])
        yield (by, group, *counts, measure, entry["value"], entry.get("low"), entry.get("high"), method)


def _text(row, measure):
    value, low, high = (
        float(row[name]) if row[name] not in ("", None) else np.nan for name in ("value", "low", "high")
    )
    if np.isnan(value):
        return "—"
    # Groups are small: decimals would promise what they cannot hold.
    scale, digits = (1, 2) if measure == "roc_auc" else (100, 0)
    text = f"{scale * value:.{digits}f}" + ("" if scale == 1 else " %")
    return text if np.isnan(low) else f"{text} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
