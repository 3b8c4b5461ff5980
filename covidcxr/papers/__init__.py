"""The papers, one module each. `get(key)` returns a paper; `get(key).run(...)` trains it.

A module is a paper's where its name is an author's and a year (``yin2020``); it defines `RECIPE`.
"""

import difflib
import importlib
import pkgutil
import re

from covidcxr.errors import OptionError

_PAPER = re.compile(r"[a-z]+\d{4}")


def keys():
    """Return the keys of all papers, in alphabetical order."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return tuple(sorted(name for name in names if _PAPER.fullmatch(name)))


def get(key):
    """Return the paper with this key.

    Parameters
    ----------
    key : str
        One of :func:`keys`.

    Returns
    -------
    covidcxr.papers.running.runner.Paper

    Raises
    ------
    OptionError
        If there is no such paper.
    """
    if key not in keys():
        near = difflib.get_close_matches(key, keys(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise OptionError(f"unknown paper '{key}'{hint} (papers: {', '.join(keys())})")
    from covidcxr.papers.running.runner import Paper

    return Paper(_recipe(key))


def print_all():
    """Print one line a paper."""
    from covidcxr.papers.reporting.show import print_list

    print_list([_recipe(key) for key in keys()])


def print_protocols():
    """Print both protocols of every paper as a table in Markdown."""
    from covidcxr.papers.reporting.protocols import markdown

    print(markdown(map(_recipe, keys())), end="")


def _recipe(key):
    return importlib.import_module(f"covidcxr.papers.{key}").RECIPE
