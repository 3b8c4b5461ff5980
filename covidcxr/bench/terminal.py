"""The benchmark on the terminal, part by part as each is measured."""

import sys

from rich.console import Console
from rich.table import Table

from covidcxr.bench import cells
from covidcxr.bench.results import MEASURED

_FILE_WIDTH = 160


def print_part(part):
    """Print one part's tables on standard output, or why there are none.

    Parameters
    ----------
    part : covidcxr.bench.results.PartResult
    """
    console = _console()
    if part.state != MEASURED:
        console.print(f"\n{part.title}: {part.extent}, {part.state}: {part.problem}")
        if not part.items:
            return
    console.print(f"\n{part.title} ({part.seconds:.0f} s)")
    _print_rows(console, cells.RACE_HEAD, map(cells.race_row, cells.races(part.items)))
    _print_rows(console, cells.FACT_HEAD, map(cells.fact_row, cells.facts(part.items)))
    for item in part.items:
        if item.note:
            console.print(f"{item.key}: {item.note}", style="dim")


def print_summary(report):
    """Print how many goals were met, which were not, and what may have disturbed the measurement."""
    console = _console()
    judged = [item for part in report.parts for item in part.items if item.met is not None]
    missed = [item for _, item in report.missed()]
    console.print(f"\ngoals met: {len(judged) - len(missed)} of {len(judged)}")
    for item in missed:
        console.print(f"not reached: {item.title}")
    for part in report.parts:
        if part.state != MEASURED:
            console.print(f"{part.extent}: {part.title}")
    for warning in report.about["warnings"]:
        console.print(f"warning: {warning}")


def _print_rows(console, head, rows):
    rows = list(rows)
    if not rows:
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in head:
        table.add_column(name, no_wrap=name in ("goal", "met"))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _console():
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)
