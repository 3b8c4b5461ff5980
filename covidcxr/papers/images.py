"""The images of one run: read from the sources, drawn by the paper's counts, split by the protocol."""

from pathlib import Path

from covidcxr.errors import DataError, OptionError

PHANTOM_FOLDER = "phantom"


def gather(plan, progress=None):
    """Collect a run's images and split them.

    Parameters
    ----------
    plan : Plan
    progress : callable, optional
        ``progress(text)`` before each step that takes a while.

    Returns
    -------
    Records
        With the columns `split` and, where patients are kept together, `group`.

    Raises
    ------
    DataError
        If the data cannot serve this paper.
    """
    from covidcxr.data import screening, selection

    say = progress or (lambda text: None)
    everything = _read(plan, say)
    if plan.data_set.sources:
        _check_sources(everything, plan)
    say("drawing the paper's images")
    drawn = selection.draw(
        everything,
        plan.data_set.counts,
        plan.data_set.sources,
        seed=plan.options.seed,
        screen=screening.screen,
    )
    return _split(drawn, plan, say)


def _read(plan, say):
    from covidcxr.data import sources
    from covidcxr.data.sources import phantom

    if str(plan.options.data) == "phantom":
        say("rendering phantom radiographs")
        folder = Path(plan.out) / PHANTOM_FOLDER
        return phantom.write(folder, dict(plan.data_set.counts), seed=plan.options.seed)
    return sources.read(plan.options.data)


def _check_sources(records, plan):
    """Insist on a source that was asked for by name; the paper's own may be replaced by what is at hand."""
    for label, source in plan.options.sources.items():
        at_hand = records.table.loc[records.table["label"] == label, "source"].unique()
        if source not in at_hand:
            found = ", ".join(sorted(at_hand)) or "none"
            raise OptionError(f"--source {label}={source}: no such images here (sources of {label}: {found})")


def _split(records, plan, say):
    from covidcxr.data import duplicates, splits

    if plan.protocol.grouped:
        say("looking for the same picture under two patients")
        prints = duplicates.fingerprints(records)
        pairs = duplicates.near_duplicates(prints)
        records = records.with_columns(group=duplicates.linked_groups(records, pairs).to_numpy())
    records = splits.random_split(
        records, dict(plan.protocol.fractions), seed=plan.options.seed, grouped=plan.protocol.grouped
    )
    training = int((records.table["split"] == "train").sum())
    if training < plan.batch_size:
        raise DataError(
            f"{records.root}: {training} training images are fewer than one batch of {plan.batch_size}; "
            "add images or lower --batch-size"
        )
    return records
