"""A paper's tables from the runs: one long table of every measure of every model, and ways to lay it out.

`results`, one row a measure:

==========  ================================================================================================
case ...    the model: `case`, `model`, `fold`, `trial`, `arm` (numbers 0 and text "" where there are none)
scoring     ``"plain"``: images as they are; ``"published"``: as the paper scores them, where that differs;
            ``"batch"``: the one batch that a paper computes its figures on
split       ``val`` or ``test``
label       class of a per-class measure; "" for measures of the whole, ``macro`` for means over classes
measure     ``accuracy``, ``sensitivity``, ``true_positives``...
value       fractions, counts or nats; `low` and `high` its 95 % interval, NaN where there is none
==========  ================================================================================================

`models`, one row a model: the same five columns, then `state` (``done`` or why not), `backbone`, `parameters`,
`trainable`, `frozen_layers`, `epochs`, `seconds` and the folder of its run.
"""

import pandas as pd

AXES = ("case", "model", "fold", "trial", "arm")
RESULT_COLUMNS = (*AXES, "headline", "scoring", "split", "label", "measure", "value", "low", "high")
MODEL_COLUMNS = (
    *AXES,
    "state",
    "backbone",
    "parameters",
    "trainable",
    "frozen_layers",
    "epochs",
    "seconds",
    "folder",
)
COUNTS = ("true_positives", "false_negatives", "false_positives", "true_negatives")


def long_results(unit, metrics):
    """Lay one run's metrics.json out as rows.

    Parameters
    ----------
    unit : covidcxr.papers.units.Unit
    metrics : dict
        As written by :mod:`covidcxr.papers.running.scores`.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`RESULT_COLUMNS`; `headline` tells whether the split is the protocol's headline.
    """
    rows = []
    for split, block in metrics["splits"].items():
        rows += _block_rows("plain", split, block)
    published = metrics.get("as_published") or {}
    for scoring, name in (("published", "augmented_validation"), ("batch", "one_batch")):
        if published.get(name):
            rows += _block_rows(scoring, metrics["headline_split"], published[name])
    table = pd.DataFrame(rows, columns=RESULT_COLUMNS[6:])
    axes = {axis: getattr(unit, axis) for axis in AXES}
    return table.assign(**axes, headline=table["split"] == metrics["headline_split"])[list(RESULT_COLUMNS)]


def model_row(unit, **facts):
    """Return one row of `models`; facts that are not given are empty."""
    row = dict.fromkeys(MODEL_COLUMNS)
    return {**row, **{axis: getattr(unit, axis) for axis in AXES}, **facts}


def joined(parts, columns):
    """Join tables of the same columns; none gives an empty one."""
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))


def headline(results, scoring="plain"):
    """Return the rows that stand beside the paper's numbers.

    Parameters
    ----------
    results : pandas.DataFrame
    scoring : str
        Another than ``"plain"`` is taken where a model has it, else the plain one.
    """
    rows = results[results["headline"].astype(bool)]
    kinds = rows["scoring"].isin(["plain", scoring])
    rows = rows[kinds]
    has_own = rows.groupby(list(AXES))["scoring"].transform(lambda found: (found == scoring).any())
    return rows[rows["scoring"] == has_own.map({True: scoring, False: "plain"})]


def layout(rows, index, columns, mean_over=()):
    """Lay measures out as a paper does: one row a model, one column a measure.

    Parameters
    ----------
    rows : pandas.DataFrame
        A selection of `results`.
    index : sequence of str
        Columns whose combinations make the rows, in the order they first stand in.
    columns : mapping of str to (str or (str, str))
        Printed heading to measure, or to (measure, label).
    mean_over : sequence of str
        Columns that a cell is the mean over, such as ``("fold",)``; more than one value otherwise is an error.

    Returns
    -------
    pandas.DataFrame
        Index columns, then the printed headings; empty cells where nothing was measured.
    """
    index, mean_over = list(index), list(mean_over)
    out = rows[index].drop_duplicates().reset_index(drop=True)
    for heading, what in columns.items():
        measure, label = (what, "") if isinstance(what, str) else what
        found = rows[(rows["measure"] == measure) & (rows["label"] == label)]
        cells = found.groupby([*index, *mean_over], sort=False)["value"]
        if mean_over and len(found):
            cells = cells.mean().groupby(index, sort=False)
        means = (
            cells.mean().rename(heading).reset_index() if len(found) else found[index].assign(**{heading: []})
        )
        out = out.merge(means, on=index, how="left")
    return out


def in_order(table, column, keys):
    """Sort rows by the place of a column's value in `keys`, keys without a row as empty rows."""
    found = table.set_index(column).reindex(list(keys))
    return found.rename_axis(column).reset_index()


def _block_rows(scoring, split, block):
    measured = block.get("intervals", {}).get("measures", {})
    rows = []
    for name, label, value, key in _values(block):
        entry = measured.get(key, {})
        rows.append((scoring, split, label, name, value, entry.get("low"), entry.get("high")))
    for label, counts in _counts(block).items():
        rows += [(scoring, split, label, name, float(count), None, None) for name, count in counts.items()]
    return rows


def _values(block):
    for name, value in block.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, "", float(value), name
    groups = [("macro", "macro", block["macro"])]
    groups += [(f"per_class.{label}", label, measures) for label, measures in block["per_class"].items()]
    for prefix, label, measures in groups:
        for name, value in measures.items():
            if value is not None:
                yield name, label, float(value), f"{prefix}.{name}"


def _counts(block):
    matrix = block.get("confusion_matrix")
    if matrix is None:
        return {}
    names = block["classes"]
    total = sum(map(sum, matrix))
    counts = {}
    for place, label in enumerate(names):
        hits, true = matrix[place][place], sum(matrix[place])
        predicted = sum(row[place] for row in matrix)
        values = (hits, true - hits, predicted - hits, total - true - predicted + hits)
        counts[label] = dict(zip(COUNTS, values, strict=True))
        # The matrix's own row, for papers that print it whole.
        counts[label].update(
            {f"predicted_{name}": cell for name, cell in zip(names, matrix[place], strict=True)}
        )
    return counts
