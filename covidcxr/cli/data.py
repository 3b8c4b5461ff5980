"""`covidcxr data`: which sources there are, what a folder holds, and making a folder or table to train on."""

import os
import sys
from pathlib import Path

PHANTOM = "phantom"
_ROWS = 40
# The first set of ragab2022.
_COUNT = ("covid19=102", "normal=207")


def add_parser(commands):
    """Add the command and its sub-commands to the parser."""
    from covidcxr.cli import weights

    parser = commands.add_parser("data", help="list, inspect, prepare or download image sets and weights")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_list(actions)
    _add_inspect(actions)
    _add_prepare(actions)
    _add_download(actions)
    weights.add_parser(actions)


def _add_list(actions):
    parser = actions.add_parser("list", help="the data sets that can be read, licences, how to get them")
    parser.set_defaults(run=run_list)


def _add_inspect(actions):
    parser = actions.add_parser(
        "inspect",
        help="what a folder holds, and what in it would flatter a classifier",
        description="Count images and patients, name what is left out and why, and look for repeated "
        "pictures, patients with several findings, and classes that source, age or size alone give away.",
    )
    parser.add_argument("data", metavar="DIR|CSV")
    parser.add_argument("--all", action="store_true", help="print every row, and name each image left out")
    parser.add_argument("--no-images", action="store_true", help="open no picture: no sizes, no repetitions")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON too (-: print only that)")
    parser.add_argument("--csv", metavar="DIR", help="write each table as a CSV file too")
    parser.set_defaults(run=run_inspect)


def _add_prepare(actions):
    parser = actions.add_parser(
        "prepare",
        help="make phantom radiographs, or a table of a folder's images",
        description="'phantom' renders synthetic radiographs into --out DIR. A folder is read as --data "
        "would and written to --out FILE.csv, which --data then takes; the CSV must stand above the images. "
        "(For a folder that is itself called phantom, write ./phantom.)",
    )
    parser.add_argument("what", metavar="phantom|DIR")
    parser.add_argument("--out", required=True, metavar="DIR|FILE.csv")
    parser.add_argument("--contact-sheet", action="store_true", help="draw a page of samples beside it (PNG)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="everything random follows it")
    phantom = parser.add_argument_group("phantom only")
    phantom.add_argument(
        "--count",
        action="append",
        default=[],
        metavar="LABEL=N",
        help=f"images of a class (repeatable; default {' '.join(_COUNT)})",
    )
    phantom.add_argument(
        "--size", type=int, default=256, metavar="PX", help="side of a picture (default 256)"
    )
    phantom.add_argument(
        "--confounder",
        action="append",
        default=[],
        metavar="KIND=LABEL",
        help="give one class a trait that is not the disease: marker, border or contrast (repeatable)",
    )
    phantom.add_argument("--masks", action="store_true", help="write the true lung fields too")
    parser.set_defaults(run=run_prepare)


def _add_download(actions):
    parser = actions.add_parser("download", help="get a public set, or be told how to")
    parser.add_argument("key", metavar="KEY", help="as `covidcxr data list` names it")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.set_defaults(run=run_download)


def run_list(_args):
    """Print the sources."""
    from covidcxr.data.download import DOWNLOADS
    from covidcxr.data.sources import SOURCES

    for source in SOURCES.values():
        print(f"{source.key}: {source.title}")
        print(f"    licence: {source.licence}")
        print(f"    access: {source.access}")
        if source.homepage:
            print(f"    {source.homepage}")
    print(f"covidcxr data download KEY knows: {', '.join(DOWNLOADS)}")
    return 0


def run_inspect(args):
    """Print the inventory of a folder or CSV, and write it where asked."""
    from covidcxr.atomic import check_target, write_json
    from covidcxr.data import inventory, sources
    from covidcxr.data.duplicates import fingerprints

    if args.json not in (None, "-"):
        check_target(args.json)
    records = sources.read(args.data)
    prints = None
    if not args.no_images:
        with _Progress("reading images") as progress:
            prints = fingerprints(records, progress)
    found = inventory.build(records, prints)
    if args.csv:
        found.write_csv(args.csv)
    if args.json == "-":
        _print_json(found.as_dict())
        return 0
    if args.json:
        write_json(args.json, found.as_dict())
    _print_inventory(found, args.all)
    return 0


def run_prepare(args):
    """Render phantoms, or write a folder's records as a CSV."""
    records, where = _prepare_phantom(args) if args.what == PHANTOM else _prepare_table(args)
    print(f"{len(records)} images, {len(records.classes())} classes: {where}")
    if args.contact_sheet:
        from covidcxr.atomic import whole_file
        from covidcxr.data.contact_sheet import contact_sheet

        sheet = where.with_suffix(".png") if where.suffix else where / "contact-sheet.png"
        with whole_file(sheet) as temporary:
            contact_sheet(records, seed=args.seed).save(temporary)
        print(f"contact sheet: {sheet}")
    return 0


def run_download(args):
    """Fetch a source into a folder."""
    from covidcxr.data import download

    with _Progress(f"downloading {args.key}") as progress:
        where = download.fetch(args.key, args.out, progress)
    print(where)
    return 0


def _prepare_phantom(args):
    from covidcxr.cli.options import pairs
    from covidcxr.data.sources import phantom

    wanted = pairs(args.count or _COUNT, "--count")
    counts = {label: _whole(number, label) for label, number in wanted.items()}
    with _Progress("rendering phantoms") as progress:
        records = phantom.write(
            args.out,
            counts,
            size=args.size,
            seed=args.seed,
            confounders=pairs(args.confounder, "--confounder"),
            masks=args.masks,
            progress=progress,
        )
    return records, Path(args.out)


def _whole(number, label):
    from covidcxr.errors import OptionError

    if not number.isdecimal() or not int(number):
        raise OptionError(f"--count {label}={number}: give a whole number of at least 1")
    return int(number)


def _prepare_table(args):
    from covidcxr.atomic import make_folder
    from covidcxr.data import sources
    from covidcxr.data.records import Records
    from covidcxr.errors import OptionError, OutputError

    target = Path(args.out)
    if target.suffix.lower() != ".csv":
        raise OptionError(f"--out {target}: images are listed in a table; give a name ending in .csv")
    records = sources.read(args.what)
    root, above = _below(records.root, target.parent)
    if root is None:
        raise OptionError(f"--out {target}: the images are not below it; put it into {records.root} or above")
    for path in [target, *([target.with_suffix(".png")] if args.contact_sheet else [])]:
        if os.path.lexists(path):
            raise OutputError(f"{path}: is there already, perhaps a data set's own; choose another --out")
    moved = [(root / path).as_posix() for path in records.table["path"]]
    make_folder(target.parent)
    records = Records.from_rows(records.table.assign(path=moved), above)
    records.write_csv(target)
    return records, target


def _below(folder, above):
    """Return (`folder` from `above`, `above`), both absolute; the first is None if it lies elsewhere."""
    # First by name, so that a link to the images beside the table will do.
    for real in (os.path.abspath, os.path.realpath):
        inner, outer = Path(real(folder)), Path(real(above))
        if inner.is_relative_to(outer):
            return inner.relative_to(outer), outer
    return None, above


class _Progress:
    """A bar on stderr if that is a terminal, else one line when done."""

    def __init__(self, title):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._title = title
        self._last = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self):
        self._bar.start()
        return self._step

    def __exit__(self, kind, error, trace):
        self._bar.stop()
        if kind is None and self._last and not sys.stderr.isatty():
            print(f"{self._title}: {self._last}", file=sys.stderr)

    def _step(self, done, total):
        self._last = f"{done}/{total}"
        self._bar.update(self._task, completed=done, total=total)


def _console():
    from rich.console import Console

    # Into a file or pipe nothing is folded to a window's width.
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, markup=False, emoji=False, highlight=False)


def _grid(title, columns, rows):
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(value):
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_TITLES = {
    "counts": "Images and patients",
    "exclusions": "Left out",
    "excluded": "Left out, by name",
    "unusable": "Missing or unreadable",
    "single_source": "Classes of one source only",
    "ages": "Ages, and children (under 18 or of a paediatric source)",
    "sizes": "Sizes in pixels, quartiles",
    "duplicates": "The same picture twice",
    "changing": "Patients with more than one finding",
    "reused": "Patients in more than one of the source's own splits",
}


def _print_inventory(found, everything):
    console = _console()
    console.print(f"{found.root}: {found.images} images, {found.patients} known patients")
    for name, title in _TITLES.items():
        table = found.tables[name]
        if not len(table):
            continue
        shown = len(table) if everything or name in ("counts", "exclusions") else _ROWS
        console.print()
        _print_table(console, name, title, table.head(shown))
        if len(table) > shown:
            console.print(f"... and {len(table) - shown} more (--all)")
    _print_list(console, "Notes", found.notes)
    _print_list(console, "Warnings", found.warnings)
    if not found.hashed:
        console.print("\nNo picture was opened (--no-images): sizes and repeated pictures are unknown.")


def _print_table(console, name, title, table):
    if name != "duplicates":
        console.print(_grid(title, table.columns, table.itertuples(index=False)))
        return
    console.print(title)
    for row in table.itertuples():
        whose = row.patient_a if row.patient_a == row.patient_b else f"{row.patient_a} = {row.patient_b}"
        alike = f"{row.distance} bits apart, correlation {row.correlation:.4f}"
        console.print(f"- {row.relation} {whose}: {row.a} = {row.b} ({alike})", soft_wrap=True)


def _print_list(console, title, sentences):
    if sentences:
        console.print(f"\n{title}")
        for sentence in sentences:
            console.print(f"- {sentence}", soft_wrap=True)


def _print_json(value):
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
