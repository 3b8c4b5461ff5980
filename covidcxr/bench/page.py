"""A saved benchmark as a page in Markdown."""

import os
from pathlib import Path

from covidcxr.bench import cells
from covidcxr.bench.measuring import Race
from covidcxr.bench.results import MEASURED

FIGURE = "benchmarks-scaling.png"

_READING = """## How to read this

- A race times two ways of doing the same work in turns, after one run of each to warm up. Its ratio is the peer's
  seconds over ours, pair by pair: the median, and in brackets the smallest and largest. Above 1, ours is faster.
- Rates are medians and hold for this machine. Ratios carry over better, though not to another kind of processor.
- Each part has a process of its own. `benchmarks.json`, which the command writes, holds every timed second.
- GFLOP/s count a multiplication and an addition as two operations, of convolutions and dense layers alone; a training
  step counts as three passes forward. The share of the measured matmul peak says how far from the limit that is.
"""

_GPU = """## On a GPU, or anywhere else

```bash
covidcxr bench --quick                               # a few minutes, smaller work
covidcxr bench --data DIR --weights DIR              # everything; leave the machine alone meanwhile
covidcxr bench --only training,inference             # some parts; --list names them
covidcxr bench --only scaling --into benchmarks.json # measured by itself, and put in the place of what stands there
covidcxr bench --from benchmarks.json --markdown benchmarks.md     # this page from a saved run, nothing is measured
```

With the extra `gpu` (`pip install -e ".[gpu]"`) the networks of both sides run on the first GPU, and the page names it.
The extras `bench` and `runtimes` install the peers that are no part of the package; without them their races are left
out, by name.
"""


def render(report, figure=None):
    """Render a report.

    Parameters
    ----------
    report : covidcxr.bench.results.Report
    figure : str, optional
        Where the figure of the scaling part lies, as the page links to it.

    Returns
    -------
    str
        Markdown, ending in a line feed.
    """
    blocks = ["# Benchmarks", _made_by(report.about), _machine(report.about), _not_reached(report)]
    blocks += [_part(part, figure) for part in report.parts]
    blocks += [_READING.strip(), _GPU.strip()]
    return "\n\n".join(block for block in blocks if block) + "\n"


def write(report, path):
    """Write the page, and the figure of the scaling part into `images/` beside it.

    Parameters
    ----------
    report : covidcxr.bench.results.Report
    path : path-like

    Raises
    ------
    OutputError
    """
    from covidcxr import atomic
    from covidcxr.bench import scaling_figure

    path = Path(path)
    curves = scaling_figure.curves_of(report)
    place = None
    if curves:
        place = path.parent / "images" / FIGURE
        atomic.make_folder(place.parent)
        scaling_figure.draw(curves, place)
    link = place and Path(os.path.relpath(place, path.parent)).as_posix()
    atomic.write_text(path, render(report, link))


def _made_by(about):
    images = "real radiographs" if about["images"] == "real" else "rendered phantoms"
    text = f"Made by `{about['command']}` on {about['date'][:10]}, seed {about['seed']}, on {images}."
    if about["quick"]:
        text += " The quick form: small work, few repeats, wider spread."
    return "\n\n".join([text, *(f"**Warning:** {warning}." for warning in about["warnings"])])


def _machine(about):
    machine = about["hardware"]
    memory = machine["memory"]
    rows = [
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("instruction sets", ", ".join(machine["flags"]) or "none of those that matter here"),
        ("memory", f"{memory / 2**30:.0f} GiB" if memory else "not known"),
        ("GPU", ", ".join(machine["gpus"]) or "none"),
        ("system", machine["system"]),
        ("load before, after", ", ".join(str(about["load"][when]) for when in ("start", "end"))),
        ("versions", ", ".join(f"{name} {version}" for name, version in about["versions"].items())),
    ]
    return "## Machine\n\n" + _table(("", ""), rows)


def _not_reached(report):
    lines = [_missed(part, item) for part, item in report.missed()]
    lines += [
        f"- {part.title}: {part.extent}, {part.state}: {part.problem}"
        for part in report.parts
        if part.state != MEASURED
    ]
    judged = any(item.met is not None for part in report.parts for item in part.items)
    nothing = "Every goal was reached." if judged else "No goal was set for what was measured."
    return "## Not reached\n\n" + ("\n".join(lines) or nothing)


def _missed(part, item):
    if isinstance(item, Race):
        found = f"{cells.number(item.ratio)}x of {cells.number(item.goal)}x"
    else:
        found = f"{cells.number(item.value)} {item.unit}, aimed at {item.goal}"
    return f"- {part.title}, {item.title}: {found}. {item.note}".rstrip()


def _part(part, figure):
    if part.state != MEASURED and not part.items:
        return ""
    blocks = [f"## {part.title}"]
    if part.again:
        blocks.append(f"Measured by itself, {part.again}.")
    races, facts = cells.races(part.items), cells.facts(part.items)
    if races:
        blocks.append(_table(cells.RACE_HEAD, map(cells.race_row, races)))
    if facts:
        blocks.append(_table(cells.FACT_HEAD, map(cells.fact_row, facts)))
    notes = [f"- {item.title}: {item.note}" for item in part.items if item.note]
    if notes:
        blocks.append("\n".join(notes))
    if figure and part.name == "scaling":
        blocks.append(f"![Seconds against the amount of work]({figure})")
    return "\n\n".join(blocks)


def _table(head, rows):
    lines = [_row(head), _row(["---"] * len(head))]
    return "\n".join(lines + [_row(row) for row in rows])


def _row(row):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
