"""The images of one model: read from the sources, drawn by the paper's counts, split by the protocol."""

from dataclasses import replace
from pathlib import Path

from covidcxr.errors import DataError, OptionError
from covidcxr.papers.running.caching import ImageCache

PHANTOM_FOLDER = "phantom"
GIVEN = "given"


class Gatherer:
    """Collects the images of one plan after another; what several have in common is read and compared once.

    Parameters
    ----------
    folder : path-like
        Of the whole run: phantom and generated images are written there.
    say : callable, optional
        ``say(text)`` before each step that takes a while.

    Attributes
    ----------
    cache : covidcxr.papers.running.caching.ImageCache
        Their decoded images.
    """

    def __init__(self, folder, say=None):
        self.folder = Path(folder)
        self.say = say or (lambda text: None)
        self.cache = ImageCache(folder)
        self._drawn = {}

    def gather(self, plan):
        """Collect a plan's images and split them.

        Parameters
        ----------
        plan : Plan

        Returns
        -------
        Records
            With the columns `split`, `monitored` (what is scored after every epoch) and, where patients are
            kept together, `group`.

        Raises
        ------
        DataError
            If the data cannot serve this paper.
        """
        key = (plan.case.data_set, plan.seed)
        if key not in self._drawn:
            # One set of images at a time is remembered: a run goes through its cases one after the other.
            self._drawn = {key: self._draw(plan)}
        return _checked(self._split(self._drawn[key], plan), plan)

    def _draw(self, plan):
        everything = self._read(plan)
        _check_sources(everything, plan)
        self.say("drawing the paper's images")
        drawn = _chosen(_only(everything, plan.data_set.only), plan)
        return drawn if plan.options.split else self._grouped(drawn, plan)

    def _read(self, plan):
        from covidcxr.data import sources
        from covidcxr.data.sources import phantom

        if str(plan.options.data) == "phantom":
            self.say("rendering phantom radiographs")
            several = len(plan.recipe.data_sets) > 1 and Path(plan.out) != self.folder
            name = f"{PHANTOM_FOLDER}-{plan.case.data_set}" if several else PHANTOM_FOLDER
            return phantom.write(self.folder / name, dict(plan.data_set.counts), seed=plan.options.seed)
        return sources.read(plan.options.data, **plan.data_set.reading)

    def _grouped(self, records, plan):
        from covidcxr.data import duplicates

        if not plan.protocol.arrangement.grouped:
            return records
        self.say("looking for the same picture under two patients")
        pairs = duplicates.near_duplicates(duplicates.fingerprints(records))
        return records.with_columns(group=duplicates.linked_groups(records, pairs).to_numpy())

    def _split(self, records, plan):
        from covidcxr.data import splits

        if plan.options.split == GIVEN:
            return self._enlarged(_named(splits.given(records), plan, "the data's own split"), plan)
        if plan.options.split:
            named = _named(splits.from_csv(records, plan.options.split), plan, plan.options.split)
            return self._enlarged(named, plan)
        if plan.recipe.enlargement is not None:
            from covidcxr.papers.running.enlargement import enlarged

            return enlarged(records, plan, self.folder, self.say)
        return plan.protocol.arrangement(records, plan)

    def _enlarged(self, records, plan):
        """Add generated images to a split made elsewhere."""
        if not plan.arm.generated:
            return records
        if plan.protocol.enlarge != "training":
            raise OptionError(
                f"--split {plan.options.split}: the {plan.options.protocol} protocol splits what is generated too; "
                "leave --split out, or choose --arm real"
            )
        from covidcxr.papers.running.enlargement import with_generated

        return with_generated(records, plan, self.folder, self.say)


def _only(records, wanted):
    for column, value in wanted.items():
        if column in records.table:
            records = records.where(records.table[column].isin([value, ""]), f"{column} is not {value}")
    return records


def _chosen(records, plan):
    from covidcxr.data import screening, selection, splits

    if plan.options.split and plan.options.split != GIVEN:
        # A split made before names its images: none is drawn.
        listed = set(splits.read(plan.options.split).table["path"])
        return screening.screen(records.where(records.table["path"].isin(listed)))
    if plan.data_set.select is not None:
        return plan.data_set.select(records, plan)
    return selection.draw(
        records, plan.data_set.counts, plan.data_set.sources, seed=plan.seed, screen=screening.screen
    )


def _check_sources(records, plan):
    """Insist on a source that was asked for by name; the paper's own may be replaced by what is at hand."""
    for label, source in plan.options.sources.items():
        at_hand = records.table.loc[records.table["label"] == label, "source"].unique()
        if source not in at_hand:
            found = ", ".join(sorted(at_hand)) or "none"
            raise OptionError(f"--source {label}={source}: no such images here (sources of {label}: {found})")


def _checked(records, plan):
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


def _named(records, plan, origin):
    """See that a split made elsewhere has the parts that the protocol trains, validates and reports on."""
    split = records.table["split"]
    chooses = plan.protocol.keep == "best" and "monitored" not in records.table
    wanted = {"train", plan.protocol.headline} | ({"val"} if chooses else set())
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
    note = f"{len(leaks)} patients have images in more than one split; `covidcxr audit` names them"
    return replace(records, notes=(*records.notes, note))
