"""How a protocol splits images: frozen rules that a recipe names, each a callable ``rule(records, plan)``.

Every rule has the attribute `grouped`: where it is true, the records carry the column `group` (patients, joined
where they share a picture) before the rule sees them, and no group is cut. Whatever is drawn follows
``plan.seed``.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ByFractions:
    """Shares of each class, drawn at random; `train` takes the remainder.

    Attributes
    ----------
    parts : mapping of str to float
        Split to share, such as ``{"val": 0.2}``.
    grouped : bool
    """

    parts: Mapping[str, float]
    grouped: bool

    def __call__(self, records, plan):
        """Return the records with the column `split`."""
        from covidcxr.data import splits

        return splits.random_split(records, dict(self.parts), seed=plan.seed, grouped=self.grouped)


@dataclass(frozen=True)
class ByCounts:
    """As many images of each class in each split as the paper prints (``plan.data_set.parts``).

    Attributes
    ----------
    grouped : bool
        True keeps patients whole and meets the printed numbers as nearly as that allows.
    """

    grouped: bool

    def __call__(self, records, plan):
        """Return the records with the column `split`; images not drawn are exclusions."""
        from covidcxr.data import splits

        parts = {label: dict(numbers) for label, numbers in plan.data_set.parts.items()}
        draw = splits.counted_group_split if self.grouped else splits.counted_split
        return draw(records, parts, seed=plan.seed)


@dataclass(frozen=True)
class ByFolds:
    """Cross-validation: one fold is tested, the others train.

    Attributes
    ----------
    number : int
        Folds.
    grouped : bool
    validation : float
        Share of the training images (patients, if grouped) that chooses the epoch; with 0 the tested fold
        itself is looked at after every epoch.
    """

    number: int
    grouped: bool
    validation: float = 0.0

    def __call__(self, records, plan):
        """Return the records with the columns `fold` and `split`, and `monitored` where there is no `val`."""
        from covidcxr.data import splits

        # The folds are the paper's; which of them is tested must not change them.
        folded = splits.one_fold(
            splits.k_fold(records, self.number, seed=plan.options.seed, grouped=self.grouped), plan.unit.fold
        )
        if not self.validation:
            return folded.with_columns(monitored=folded.table["split"] == "test")
        training = folded.where(folded.table["split"] == "train")
        held = splits.random_split(
            training, {"val": self.validation}, seed=plan.seed, grouped=self.grouped
        ).table.set_index("path")["split"]
        split = folded.table["path"].map(held).fillna("test")
        return folded.with_columns(split=split)
