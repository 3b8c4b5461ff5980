"""Why published and sound figures differ, in words, each with the count that the runs show for it."""

from covidcxr.papers.reporting import comparison
from covidcxr.papers.reporting.reproduction import audits, store
from covidcxr.papers.reporting.reproduction.collect import SEEN

_WHOLE = "everything"


def reasons(recipe, arm, runs, rows, audited):
    """Say what the protocols of one model do that a figure can come from.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    arm : str
    runs : pandas.DataFrame
        Rows of runs.csv, numbers as numbers.
    rows : sequence of covidcxr.papers.reporting.comparison.Row
    audited : pandas.DataFrame
        audits.csv, of all runs.

    Returns
    -------
    iterator of str
        Sentences; none about what no run shows.
    """
    for protocol in comparison.PROTOCOLS:
        own = runs[runs["protocol"] == protocol]
        if len(own):
            yield from _on_patients(protocol, own)
            yield from _on_pictures(protocol, own, audited)
    published = runs[runs["protocol"] == "published"]
    if not len(published):
        return
    if (published["epoch_kept"] == SEEN).any():
        yield "published: the epoch was chosen on the scored images"
    generated = arm in recipe.arms and recipe.arms[arm].generated
    if generated and recipe.protocols["published"].enlarge == _WHOLE:
        yield "published: images were generated from all images, the scored ones too, before the split"
    yield from _on_augmentation(rows)


def _on_patients(protocol, runs):
    counts = runs["shared_patients"].fillna(0).astype(int)
    if counts.max() or protocol == "published":
        yield f"{protocol}: {_range(counts)} known {_plural('patient', counts)} in training and in the scored images"


def _on_pictures(protocol, runs, audited):
    found = audited[
        audited[store.RUN].isin(runs[store.RUN])
        & (audited["audit"] == audits.LEAKS)
        & (audited["measure"] == audits.PAIRS)
        # Patients are counted from the split itself, for every run.
        & (audited["check"] != "patient")
    ]
    if len(found):
        pairs = found.groupby(store.RUN)["value"].sum().astype(int)
        yield f"{protocol}: {_range(pairs)} {_plural('pair', pairs)} of the same picture across parts of the split"


def _on_augmentation(rows):
    for row in rows:
        if row.measure == "accuracy" and row.as_paper and row.published:
            change = comparison.points(row.as_paper.value - row.published.value, row.percent, signed=True)
            yield f"published: scored on augmented images, as the paper does, the accuracy moves by {change} points"
            return


def _range(counts):
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _plural(word, counts):
    return word if counts.max() == counts.min() == 1 else f"{word}s"
