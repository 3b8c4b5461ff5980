"""`covidcxr data weights`: pretrained weights, where they come from, fetching, converting and checking them."""

import sys

_STATES = {
    "whole": "whole",
    "partial": "partial",
    "source": "to convert",
    "unknown": "here",
    "absent": "-",
}
_DIGESTS = {
    "published": "the published file",
    "other": "not the published file",
    "none published": "no digest is published",
}


def add_parser(actions):
    """Add `weights` and its four sub-commands to the actions of `covidcxr data`."""
    parser = actions.add_parser("weights", help="list, fetch, convert or verify pretrained weights")
    choices = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_list(choices)
    _add_fetch(choices)
    _add_convert(choices)
    _add_verify(choices)


def _add_list(choices):
    parser = choices.add_parser("list", help="every network's published weights, and which are here")
    parser.add_argument("--weights", metavar="DIR", help="look into this folder instead of the caches")
    parser.add_argument("--json", action="store_true", help="print JSON, with addresses and digests")
    parser.set_defaults(run=run_list)


def _add_fetch(choices):
    parser = choices.add_parser(
        "fetch",
        help="download published weights",
        description="Download over https, check the published digest, and put the file where training looks for "
        "it. PyTorch's and Caffe's files are converted on the way.",
    )
    parser.add_argument("keys", nargs="+", metavar="KEY", help="as `covidcxr data weights list` names it")
    parser.add_argument("--out", metavar="DIR", help="default: Keras' cache")
    parser.set_defaults(run=run_fetch)


def _add_convert(choices):
    parser = choices.add_parser(
        "convert", help="rewrite a torchvision .pth or a .caffemodel as .h5 weights for Keras"
    )
    parser.add_argument("file", metavar="FILE.pth|FILE.caffemodel")
    parser.add_argument("key", metavar="KEY", help="the network, such as alexnet or squeezenet1_1")
    parser.add_argument("--out", required=True, metavar="FILE.h5")
    parser.set_defaults(run=run_convert)


def _add_verify(choices):
    parser = choices.add_parser(
        "verify",
        help="which network a file is for, whether it is the published one, and whether it is whole",
        description="Load each file into the network it seems to be for. Exit code 2 if one fits none.",
    )
    parser.add_argument("path", metavar="FILE|DIR")
    parser.add_argument("key", nargs="?", metavar="KEY", help="the network to hold it against")
    parser.add_argument("--json", action="store_true", help="print JSON, with SHA-256")
    parser.set_defaults(run=run_verify)


def run_list(args):
    """Print the catalogue."""
    from pathlib import Path

    from covidcxr.errors import ModelError
    from covidcxr.models import weight_catalog

    if args.weights and not Path(args.weights).is_dir():
        raise ModelError(f"{args.weights}: no such folder; --weights takes a folder of weight files")
    found = [(entry, weight_catalog.where(entry, args.weights)) for entry in weight_catalog.entries()]
    if args.json:
        _print_json([_listed(entry, place) for entry, place in found])
    else:
        _print_catalogue(found, bool(args.weights))
    return 0


def run_fetch(args):
    """Download, one after the other; all keys are looked up before the first."""
    from covidcxr.cli.console import quiet_tensorflow
    from covidcxr.models import weight_catalog

    wanted = [weight_catalog.get(key) for key in args.keys]
    if any(entry.publisher != "Keras" for entry in wanted):
        quiet_tensorflow()
    for entry in wanted:
        with _bar(entry.name) as progress:
            path = weight_catalog.fetch(entry, args.out, progress)
        print(path)
    return 0


def run_convert(args):
    """Convert one file."""
    from covidcxr.cli.console import quiet_tensorflow
    from covidcxr.models import backbones, convert
    from covidcxr.models.backbone_table import VALUE_RANGES

    network = backbones.get(args.key).key
    convert.value_range_of(args.file, network)
    quiet_tensorflow()
    origin = convert.convert(args.file, network, args.out)
    print(f"{args.out}: {network}, from {origin.source} (SHA-256 {origin.sha256})")
    print(f"expects {VALUE_RANGES[origin.value_range]}")
    return 0


def run_verify(args):
    """Print what each file is."""
    from dataclasses import asdict

    from covidcxr.cli.console import quiet_tensorflow
    from covidcxr.models import weight_check

    quiet_tensorflow()
    with _bar("checking") as progress:
        verdicts = weight_check.verify(args.path, args.key, progress)
    if args.json:
        _print_json([{**asdict(verdict), "path": str(verdict.path)} for verdict in verdicts])
    else:
        for verdict in verdicts:
            print(_sentence(verdict))
    return 2 if any(verdict.state == "other" for verdict in verdicts) else 0


def _listed(entry, place):
    from dataclasses import asdict

    path = None if place.path is None else str(place.path)
    return {**asdict(entry), "path": path, "state": place.state, "share": place.share}


def _print_catalogue(found, in_one_folder):
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for name in ("network", "from", "file", "MiB", "digest", "licence", "here"):
        table.add_column(name, overflow="fold", justify="right" if name == "MiB" else "left")
    for entry, place in found:
        digest = entry.digest.partition(":")[0] or "none"
        licence = entry.licence.partition(";")[0]
        facts = (entry.key, entry.publisher, entry.name, _size(entry), digest, licence)
        table.add_row(*facts, _state(place, in_one_folder))
    # Into a file or pipe nothing is folded to a window's width.
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    console.print(table)
    console.print(
        "~ the network's numbers alone, 4 bytes each. Addresses and digests: --json", soft_wrap=True
    )


def _size(entry):
    if entry.mebibytes is not None:
        return f"{entry.mebibytes:.1f}"
    return "" if entry.float_mebibytes is None else f"~{entry.float_mebibytes:.1f}"


def _state(place, in_one_folder):
    share = f" ({place.share:.0%})" if place.state == "partial" else ""
    where = "" if place.path is None else f": {place.path.name if in_one_folder else place.path}"
    return f"{_STATES[place.state]}{share}{where}"


def _sentence(verdict):
    if verdict.state == "other":
        return f"{verdict.path}: {verdict.note}"
    name = verdict.network if verdict.alpha == 1 else f"{verdict.network}@{verdict.alpha}"
    extent = f"whole, {verdict.layers} layers with weights"
    if verdict.state == "trunk":
        extent = (
            f"a trunk, {verdict.loaded} of {verdict.layers} layers (without {verdict.first_missing} and on)"
        )
    classifier = ", and a classifier" if verdict.classifier else ""
    note = f", {verdict.note}" if verdict.note else ""
    return f"{verdict.path}: {name}, {extent}{classifier}; {_DIGESTS[verdict.digest]}{note}"


def _bar(title):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    class Bar(Progress):
        def __enter__(self):
            super().__enter__()
            task = self.add_task(title, total=None)
            return lambda done, total: self.update(task, completed=done, total=total)

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _print_json(value):
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
