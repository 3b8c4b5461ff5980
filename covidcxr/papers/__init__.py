"""The papers, one module each. `get(key)` returns a paper; `get(key).run(...)` trains it."""

import difflib
import importlib

from covidcxr.errors import OptionError

KEYS = ("ragab2022",)


def get(key):
    """Return the paper with this key.

    Parameters
    ----------
    key : str
        One of :data:`KEYS`.

    Returns
    -------
    covidcxr.papers.runner.Paper

    Raises
    ------
    OptionError
        If there is no such paper.
    """
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise OptionError(f"unknown paper '{key}'{hint} (papers: {', '.join(KEYS)})")
    from covidcxr.papers.runner import Paper

    return Paper(_recipe(key))


def print_all():
    """Print one line a paper."""
    from covidcxr.papers.show import print_list

    print_list([_recipe(key) for key in KEYS])


def _recipe(key):
    return importlib.import_module(f"covidcxr.papers.{key}").RECIPE
