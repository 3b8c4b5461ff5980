"""`covidcxr report RUN...`: the paper's figures beside ours, as one page; two words do more.

`report claims` checks the papers' own arithmetic, `report reproduce` makes all results from their CSV files.
"""

import sys

from covidcxr.cli import report_reproduce
from covidcxr.cli.options import add_seed
from covidcxr.errors import OptionError

_CLAIMS = "claims"


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "report",
        help="set a paper's figures beside finished runs; claims: the papers' own arithmetic; reproduce: all results",
        description="Of finished runs of one paper: one HTML page and Markdown with the paper's figures, the "
        "published and the sound protocol and external sets side by side, figures, audits, data manifest, model "
        "card and checklists. With the word claims: contradictions among the numbers that the papers print. With the "
        "word reproduce: CSV files of many runs of all papers, and every table and the gallery made from them.",
        epilog="Exit code 3 when reproduce --check finds a difference.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN... | claims [KEY] | reproduce",
        help="run folders; or claims and a paper's key; or reproduce",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default reports/KEY)")
    parser.add_argument(
        "--external",
        nargs="+",
        action="extend",
        default=[],
        metavar="EVAL_DIR",
        help="folders of `covidcxr evaluate --out`",
    )
    parser.add_argument("--audit", action="store_true", help="audit runs that have no audit yet")
    parser.add_argument("--explain", action="store_true", help="draw Grad-CAM maps of each model's images")
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="numbers drawn at random for images, patients and sources that are not public; no folder, date or image; "
        "the runs' tables go along (default folder reports/KEY-deidentified)",
    )
    parser.add_argument("--markdown", action="store_true", help="claims only: print Markdown")
    add_seed(parser)
    report_reproduce.add_options(parser)
    parser.set_defaults(run=run)


def run(args):
    """Write the report, print the claims, or make the results."""
    if args.words[0] == report_reproduce.WORD:
        return report_reproduce.run(args)
    report_reproduce.refuse(args)
    if args.words[0] == _CLAIMS:
        return _claims(args)
    if args.markdown:
        raise OptionError("--markdown belongs to `covidcxr report claims`; a report of runs always has it")
    if args.deidentify and args.explain:
        raise OptionError(
            "--explain shows radiographs, and names may be burnt into them; leave it or --deidentify out"
        )
    from covidcxr.papers.reporting import comparison_page, sharing
    from covidcxr.papers.reporting.comparison_runs import read_external, read_runs

    recipe, runs = read_runs(args.words)
    externals = [read_external(folder, recipe) for folder in args.external]
    out = args.out or f"reports/{recipe.key}{'-deidentified' if args.deidentify else ''}"
    (sharing if args.deidentify else comparison_page).check(out)
    if args.audit:
        _audit([run.folder for run in runs if not run.audits])
    if args.explain:
        from covidcxr.cli.console import quiet_tensorflow

        quiet_tensorflow()
    options = {"explain": args.explain, "seed": args.seed}
    if args.deidentify:
        # The report is made from what is given away, so it can tell no more.
        runs, externals = sharing.shared(runs, externals, out)
        options["beside"] = (sharing.FOLDER,)
    comparison_page.write(recipe, runs, externals, out, **options).print()
    return 0


def _audit(folders):
    from covidcxr.cli import build_parser

    for folder in folders:
        words = build_parser().parse_args(["audit", str(folder)])
        # What it finds stands in the report: a leak is no reason to write none.
        words.run(words)


def _claims(args):
    from covidcxr import papers
    from covidcxr.evaluation.claims import report

    _, *keys = args.words
    if len(keys) > 1:
        raise OptionError(f"report claims {' '.join(keys)}: give one paper's KEY, or none for all")
    if args.out or args.external or args.audit or args.explain or args.deidentify:
        raise OptionError(
            "--out, --external, --audit, --explain and --deidentify belong to a report of runs, not to claims"
        )
    for key in keys:
        # An unknown key is met with the papers' own words.
        papers.get(key)
    found = report(keys[0] if keys else None)
    if args.markdown:
        sys.stdout.write(found.to_markdown())
    else:
        found.print()
    return 0
