"""Papers, all networks, and a run's progress, on the terminal."""

import difflib
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from covidcxr.errors import OptionError

# Columns of characters that a table of networks needs, and what it gets in a file or another program.
_NARROWEST, _FILE_WIDTH = 112, 160
# More networks than this are counted in the list of papers, and named on the paper's own page.
_FEW = 5
_STDERR = Console(stderr=True, highlight=False, markup=False, emoji=False)


def step(text):
    """Say what a run is doing now, on standard error."""
    _STDERR.print(text)


def print_list(recipes):
    """Print one line a paper."""
    table = Table(title="Papers")
    table.add_column("key", no_wrap=True)
    for column in ("paper", "models", "cases"):
        table.add_column(column)
    for recipe in recipes:
        models = list(recipe.networks)
        table.add_row(
            recipe.key,
            f"{recipe.title}\n{recipe.citation}",
            ", ".join(models) if len(models) <= _FEW else f"{len(models)} networks",
            ", ".join(recipe.cases),
        )
    wide_console().print(table)


def print_models(paper=None, weights=None):
    """Print a table of every network: size, depth, input, what its weights expect, and whether they are here.

    Parameters
    ----------
    paper : str, optional
        Only the networks of this paper.
    weights : path-like, optional
        Folder to look for weights in, before the caches of Keras, of this package and of PyTorch.

    Raises
    ------
    OptionError
        If no paper of that name uses any, or the folder does not exist.
    """
    from covidcxr.models.backbone_table import VALUE_RANGES

    if weights and not Path(weights).is_dir():
        raise OptionError(f"--weights {weights}: no such folder")
    networks = _networks_of(paper)
    table = Table("network", title="Networks")
    for column in ("input", "parameters", "with top", "depth"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("values", "papers, input printed", "weights here"):
        table.add_column(column, overflow="fold")
    for network in networks:
        table.add_row(
            network.key,
            str(network.input_size),
            f"{network.parameters:,}",
            f"{network.parameters_with_top:,}",
            str(network.depth),
            network.value_range,
            _printed_inputs(network, paper),
            escape(_weights_here(network, weights)),
        )
    console = wide_console()
    console.print(table)
    console.print(
        "Input: side in pixels that the weights were published for; a paper without a number prints none. "
        "Parameters: all, moving statistics included; top: the classifier, of 1000 classes, concatenated's 3. "
        "Depth: layers with parameters."
    )
    for kind in sorted({network.value_range for network in networks}):
        console.print(f"{kind}: {escape(VALUE_RANGES[kind])}")


def _networks_of(paper):
    from covidcxr.models import backbones

    networks = [*map(backbones.get, backbones.keys())]
    known = sorted({key for network in networks for key in network.papers})
    if paper is None:
        return networks
    if paper not in known:
        near = difflib.get_close_matches(paper, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise OptionError(f"--paper {paper}: no such paper{hint} (papers: {', '.join(known)})")
    return [network for network in networks if paper in network.papers]


def _printed_inputs(network, paper):
    shown = [paper] if paper else sorted(network.papers)
    return ", ".join(" ".join(filter(None, (key, str(network.papers[key] or "")))) for key in shown)


def _weights_here(network, folder):
    from covidcxr.models import backbones, weight_catalog

    if network.parts:
        return "; ".join(_weights_here(backbones.get(part), folder) for part in network.parts)
    entries = [
        entry for entry in weight_catalog.entries() if (entry.network, entry.alpha) == (network.key, 1)
    ]
    looks = (where for entry in entries for where in _looks(weight_catalog, entry, folder))
    found = next((place for place in looks if place.path), None)
    return "no" if found is None else f"{found.path.name}{_REMARKS[found.state].format(found.share or 0)}"


def _looks(weight_catalog, entry, folder):
    if folder:
        yield weight_catalog.where(entry, folder)
    yield weight_catalog.where(entry)


_REMARKS = {
    "whole": "",
    "partial": " (only {:.0%} of the numbers)",
    "source": " (converted on first use)",
    "unknown": " (not counted)",
}


def wide_console():
    """Return a console for tables that need room: a terminal's width, and enough of it in a file."""
    plain = Console()
    width = max(plain.width, _NARROWEST) if plain.is_terminal else _FILE_WIDTH
    return Console(highlight=False, width=width)
