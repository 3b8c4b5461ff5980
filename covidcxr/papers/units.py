"""A paper trains many models; each is one unit: a case, a network, a fold, a trial and an arm."""

import difflib
import itertools
from dataclasses import dataclass

from covidcxr.errors import OptionError

ALL = "all"


@dataclass(frozen=True)
class Unit:
    """One model of a paper.

    Attributes
    ----------
    case, model : str
    fold, trial : int
        From 1; 0 where the paper has none.
    arm : str
        "" where the paper compares nothing.
    """

    case: str
    model: str
    fold: int = 0
    trial: int = 0
    arm: str = ""

    @property
    def name(self):
        """Folder of its run, such as ``B-densenet121-half``."""
        numbers = [
            f"{word}{number}" for word, number in (("fold", self.fold), ("trial", self.trial)) if number
        ]
        return "-".join(filter(None, (self.case, self.model, *numbers, self.arm)))

    def covers(self, claim):
        """Tell whether a claim of the paper speaks of this model."""
        mine = {"case": self.case, "model": self.model, "fold": str(self.fold), "arm": self.arm}
        return all(getattr(claim, name) in ("", value) for name, value in mine.items())


def chosen(recipe, options):
    """Return the units that a run's options choose, in the paper's order.

    Parameters
    ----------
    recipe : Recipe
    options : RunOptions
        `case`, `model`, `fold`, `trial` and `arm` are keys, lists of keys with commas, or ``"all"``.

    Returns
    -------
    tuple of Unit

    Raises
    ------
    OptionError
        If a key is unknown, or the paper does not vary what an option names.
    """
    axes = (
        _keys("case", options.case, recipe.cases, recipe.default_case),
        _keys("model", options.model, recipe.networks, recipe.default_network),
        _numbers("trial", options.trial, recipe.trials, recipe.default_trial),
        _numbers("fold", options.fold, recipe.folds, recipe.default_fold),
        _arms(options.arm, recipe),
    )
    return tuple(
        Unit(case, model, fold, trial, arm) for case, model, trial, fold, arm in itertools.product(*axes)
    )


def pick(choices, key, what):
    """Return ``choices[key]``, or say what there is.

    Raises
    ------
    OptionError
        If there is no such key.
    """
    if key in choices:
        return choices[key]
    near = difflib.get_close_matches(str(key), choices, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise OptionError(f"unknown {what} '{key}'{hint} (choose from {', '.join(choices)})")


def _keys(what, wanted, choices, default):
    words = _words(wanted or default or next(iter(choices)))
    if words == [ALL]:
        return list(choices)
    for word in words:
        pick(choices, word, what)
    # In the paper's order, each once.
    return [key for key in choices if key in words]


def _numbers(what, wanted, count, default):
    if not count:
        if wanted:
            raise OptionError(f"--{what} {wanted}: this paper has no {what}s")
        return [0]
    choices = {str(number): number for number in range(1, count + 1)}
    return [choices[key] for key in _keys(what, wanted, choices, default)]


def _arms(wanted, recipe):
    if not recipe.arms:
        if wanted:
            raise OptionError(f"--arm {wanted}: this paper compares no arms")
        return [""]
    return _keys("arm", wanted, recipe.arms, recipe.default_arm)


def _words(text):
    return [word.strip() for word in str(text).split(",") if word.strip()] or [str(text)]
