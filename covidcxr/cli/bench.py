"""`covidcxr bench`: every fast path timed against its peer on this machine."""

import sys
from pathlib import Path

from covidcxr.cli.options import add_seed


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast the fast paths are, each beside its peer",
        description="Time each fast path and its peer (Keras' own generator, fit or predict, the papers' loops, other "
        "runtimes) in turns on the same work. Leave the machine alone meanwhile.",
        epilog="Ratios are the result. Every timed second is in benchmarks.json, which is complete after each part.",
    )
    parser.add_argument("--quick", action="store_true", help="smaller work and fewer repeats: minutes in all")
    parser.add_argument("--only", metavar="PARTS", help="some parts, with commas")
    parser.add_argument("--list", action="store_true", help="list the parts and end")
    parser.add_argument("--data", metavar="DIR|CSV", help="real images (default: rendered phantoms)")
    parser.add_argument(
        "--weights",
        default="none",
        metavar="imagenet|none|DIR",
        help="weights of the networks (default none)",
    )
    parser.add_argument(
        "--out",
        default=".",
        metavar="DIR|FILE",
        help="where benchmarks.json is written (default: the current folder)",
    )
    parser.add_argument(
        "--into",
        metavar="FILE",
        help="put the parts of --only into this saved benchmarks.json of the same machine and settings",
    )
    parser.add_argument("--markdown", metavar="FILE", help="also write a page, such as docs/benchmarks.md")
    parser.add_argument(
        "--from", dest="saved", metavar="FILE", help="show a saved benchmarks.json again and measure nothing"
    )
    add_seed(parser)
    parser.set_defaults(run=run)


def run(args):
    """Measure or read, print, write."""
    from covidcxr.bench import runner, terminal

    if args.list:
        for name in runner.PARTS:
            print(f"{name:14} {runner.title_of(name)}")
        return 0
    report = _saved(args) if args.saved else _measured(args)
    terminal.print_summary(report)
    if args.markdown:
        from covidcxr.bench import page

        page.write(report, args.markdown)
        print(f"page: {args.markdown}")
    return 0


def _saved(args):
    from covidcxr.bench import results, terminal
    from covidcxr.errors import OptionError

    given = [name for name in ("quick", "only", "data", "into") if getattr(args, name)]
    if given:
        raise OptionError(f"--{given[0]}: --from measures nothing; leave one of them out")
    report = results.load(args.saved)
    for part in report.parts:
        terminal.print_part(part)
    return report


def _measured(args):
    from covidcxr import atomic
    from covidcxr.bench import results, runner, session, terminal
    from covidcxr.errors import OptionError

    if args.into and not args.only:
        raise OptionError("--into: name the parts to measure with --only")
    names = runner.choose(args.only)
    base = results.load(args.into) if args.into else None
    out = results.place(args.into or args.out)
    for path in filter(None, (out, args.markdown)):
        atomic.make_folder(Path(path).parent)
        atomic.check_target(path)
    settings = {
        "quick": args.quick,
        "data": Path(args.data) if args.data else None,
        "weights": args.weights,
        "seed": args.seed,
    }
    session.check(settings)
    report = session.run(settings, names, out, say=_say, show=terminal.print_part, base=base)
    print(f"\nsaved: {out}")
    return report


def _say(text):
    print(text, file=sys.stderr)
