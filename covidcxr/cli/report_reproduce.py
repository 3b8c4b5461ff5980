"""`covidcxr report reproduce`: gather finished runs as CSV files, make every table and the gallery from these."""

from pathlib import Path

from covidcxr.errors import OptionError

WORD = "reproduce"
DIFFERENT = 3


def add_options(parser):
    """Add the options that belong to this word alone."""
    group = parser.add_argument_group("options of reproduce")
    group.add_argument(
        "--collect", nargs="+", action="extend", metavar="RUN", help="finished runs to put into the CSVs"
    )
    group.add_argument("--results", metavar="DIR", help="folder of the CSVs (default docs/results)")
    group.add_argument(
        "--check",
        action="store_true",
        help="compare only; exit code 3 where a made file differs from the CSVs",
    )
    group.add_argument(
        "--serve", action="store_true", help="then show the gallery on 127.0.0.1 until interrupted"
    )
    group.add_argument("--port", type=int, metavar="N", help="for --serve (default 8000)")


def refuse(args):
    """Refuse these options without the word.

    Raises
    ------
    OptionError
        If one was given.
    """
    for name in ("collect", "results", "check", "serve", "port"):
        if getattr(args, name) not in (None, False):
            raise OptionError(f"--{name} belongs to `covidcxr report {WORD}`")


def run(args):
    """Collect, make, check or serve."""
    from covidcxr.papers.reporting.reproduction import making, store

    _check_words(args)
    folder = Path(args.results or store.FOLDER)
    if args.check:
        found = making.differences(folder)
        for line in found:
            print(line)
        count = "1 difference" if len(found) == 1 else f"{len(found)} differences"
        print(count if found else "every made file is what the CSV files make")
        return DIFFERENT if found else 0
    if args.collect:
        _collect(args, folder)
    for path in making.write(folder):
        print(f"{'wrote' if path.is_file() else 'removed'} {path}")
    if args.serve:
        _serve(folder, args.port)
    return 0


def _check_words(args):
    if args.words[1:]:
        raise OptionError(f"report {WORD} {args.words[1]}: name finished runs with --collect")
    if args.out or args.audit or args.explain or args.markdown or args.deidentify:
        raise OptionError(
            f"--out, --audit, --explain, --deidentify and --markdown do not belong to `covidcxr report {WORD}`"
        )
    if args.check and (args.collect or args.serve):
        raise OptionError("--check only compares; leave --collect and --serve out")
    if args.external and not args.collect:
        raise OptionError("--external belongs to --collect: name the run that was scored too")
    if args.port is not None and not args.serve:
        raise OptionError("--port belongs to --serve")


def _collect(args, folder):
    from covidcxr.papers.reporting.reproduction import collect, store

    added = collect.collect(args.collect, args.external)
    there = store.read(folder) if store.exist(folder) else store.Results()
    store.write(there.replaced(added), folder)
    for name in added.tables["runs"][store.RUN]:
        print(f"collected {name}")


def _serve(folder, port):
    from covidcxr.papers.reporting.reproduction import serving

    with serving.server(folder, serving.PORT if port is None else port) as opened:
        print(f"http://{serving.HOST}:{opened.server_port}/ (end with Ctrl-C)", flush=True)
        try:
            opened.serve_forever()
        except KeyboardInterrupt:
            print()
