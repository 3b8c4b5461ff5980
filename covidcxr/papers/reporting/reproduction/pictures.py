"""A model's learning curves and confusion matrices, for the gallery and as a file beside the tables."""

from dataclasses import dataclass

from covidcxr.papers.reporting import comparison
from covidcxr.papers.reporting.reproduction import identity, store, svg
from covidcxr.papers.reporting.reproduction.collect import SEEN

TITLE = "learning curves and confusion matrices"
_LINES = "dashed in training, solid on images scored after each epoch"
_SCORINGS = (("as_paper", "scored on augmented images"), ("plain", "images as they are"))


@dataclass(frozen=True)
class Part:
    """One picture.

    Attributes
    ----------
    protocol, caption : str
    picture : covidcxr.papers.reporting.reproduction.svg.Picture
    """

    protocol: str
    caption: str
    picture: svg.Picture


class Pictures:
    """Draws what the CSV files hold.

    Parameters
    ----------
    results : covidcxr.papers.reporting.reproduction.store.Results
    """

    def __init__(self, results):
        self._history = results.numbers("history")
        self._confusion = results.numbers("confusion")

    def of(self, group):
        """List a model's pictures, published ones first.

        Parameters
        ----------
        group : covidcxr.papers.reporting.reproduction.sections.Group

        Returns
        -------
        list of Part
        """
        return [part for protocol in comparison.PROTOCOLS for part in self._parts(group, protocol)]

    def sheet(self, section, group):
        """Lay a model's pictures out on one sheet.

        Returns
        -------
        covidcxr.papers.reporting.reproduction.svg.Picture
        """
        shown = [(part.picture, part.caption) for part in self.of(group)]
        return svg.sheet(shown, f"{section.recipe.key}, {group.title}: {TITLE}")

    def _parts(self, group, protocol):
        runs = group.runs[group.runs["protocol"] == protocol]
        names = list(runs[store.RUN])
        count = f"{len(names)} model" + ("s" if len(names) > 1 else "")
        own = [self._history[self._history[store.RUN] == name] for name in names]
        own = [table for table in own if len(table)]
        if own:
            caption = f"Learning curves, {protocol}, {count}: {_LINES}"
            if (runs["epoch_kept"] == SEEN).any():
                caption += ", by which the epoch was chosen"
            yield Part(protocol, f"{caption}.", svg.curves(own, caption, svg.COLOURS[protocol]))
        yield from self._matrices(runs, protocol, count)

    def _matrices(self, runs, protocol, count):
        splits = dict(runs[[store.RUN, "headline_split"]].itertuples(index=False, name=None))
        table = self._confusion[self._confusion[store.RUN].isin(splits)]
        for scoring, words in _SCORINGS:
            rows = table[(table["scoring"] == scoring) & (table["split"] == table[store.RUN].map(splits))]
            if len(rows):
                yield _matrix(protocol, f"{words}, sum over {count}", rows)
        outside = table[table["scoring"] == "external"]
        for name, rows in outside.groupby("split", sort=True):
            yield _matrix(protocol, f"external set {name}", rows)


def name(section, group):
    """Return the name of a model's sheet, without ending; also its place in the gallery.

    Returns
    -------
    str
        Such as ``"ragab2022-b10-hub-1f00dcab"``; the digits stand for the setting.
    """
    words = [section.recipe.key, *group.title.split(), identity.digest(section.setting)]
    return "-".join(words).lower()


def _matrix(protocol, words, rows):
    caption = f"Confusion matrix, {protocol}, {words}"
    labels = sorted(set(rows["true"]) | set(rows["predicted"]))
    summed = rows.groupby(["true", "predicted"])["images"].sum()
    counts = [[int(summed.get((true, predicted), 0)) for predicted in labels] for true in labels]
    return Part(protocol, f"{caption}.", svg.confusion(labels, counts, caption))
