"""The images of one run: read from the sources, drawn by the paper's counts, split by the protocol."""

from dataclasses import replace
from pathlib import Path

from covidcxr.errors import DataError, OptionError

PHANTOM_FOLDER = "phantom"
GIVEN = "given"


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
    say = progress or (lambda text: None)
    everything = _read(plan, say)
    _check_sources(everything, plan)
    say("drawing the paper's images")
    return _split(_chosen(everything, plan), plan, say)


def _chosen(records, plan):
    from covidcxr.data import screening, selection, splits

    if plan.options.split and plan.options.split != GIVEN:
        # A split made before names its images: none is drawn.
        listed = set(splits.read(plan.options.split).table["path"])
        return screening.screen(records.where(records.table["path"].isin(listed)))
    return selection.draw(
        records,
        plan.data_set.counts,
        plan.data_set.sources,
        seed=plan.options.seed,
        screen=screening.screen,
    )


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
    from covidcxr.data import splits

    if plan.options.split == GIVEN:
        records = _given(records, plan)
    elif plan.options.split:
        records = _named(splits.from_csv(records, plan.options.split), plan, plan.options.split)
    else:
        records = _drawn(records, plan, say)
    training = int((records.table["split"] == "train").sum())
    if training < plan.batch_size:
        raise DataError(
            f"{records.root}: {training} training images are fewer than one batch of {plan.batch_size}; "
            "add images or lower --batch-size"
        )
    return _with_losses(_with_leaks(records))


def _with_losses(records):
    """Note how many images could not be read; exclusions.csv names them."""
    lost = sum(item.reason.startswith("unreadable") for item in records.exclusions)
    if not lost:
        return records
    return replace(records, notes=(*records.notes, f"{lost} images could not be read: see exclusions.csv"))


def _drawn(records, plan, say):
    from covidcxr.data import duplicates, splits

    if plan.protocol.grouped:
        say("looking for the same picture under two patients")
        prints = duplicates.fingerprints(records)
        pairs = duplicates.near_duplicates(prints)
        records = records.with_columns(group=duplicates.linked_groups(records, pairs).to_numpy())
    return splits.random_split(
        records, dict(plan.protocol.fractions), seed=plan.options.seed, grouped=plan.protocol.grouped
    )


def _given(records, plan):
    from covidcxr.data import splits

    return _named(splits.given(records), plan, "the data's own split")


def _named(records, plan, origin):
    """See that a split made elsewhere has the parts that the protocol trains, validates and reports on."""
    split = records.table["split"]
    wanted = {"train", "val", plan.protocol.headline}
    if wanted == {"train", "val"} and "val" not in set(split):
        # ragab2022's folders are called train and test, and it validates on the second.
        split = split.replace("test", "val")
    missing = sorted(wanted - set(split))
    if missing:
        found = ", ".join(sorted(set(split))) or "none"
        raise DataError(
            f"{origin}: has no part {', '.join(missing)}, which the {plan.options.protocol} protocol needs "
            f"(parts: {found})"
        )
    return records.with_columns(split=split)


def _with_leaks(records):
    """Note how many patients stand in several parts: no fault of the published protocol, but its weakness."""
    from covidcxr.data import splits

    leaks = splits.check(records)
    if not leaks:
        return records
    note = f"{len(leaks)} patients have images in more than one split, such as {leaks[0]}"
    return replace(records, notes=(*records.notes, note))
