"""`covidcxr audit DATA|RUN`: leaks, confounding, shortcuts, robustness. Exit code 3 when a leak is found."""

import importlib
import sys
from pathlib import Path

from covidcxr.cli.options import add_seed

AUDITS = ("leaks", "confounding", "shortcuts", "robustness")
LEAK_FOUND = 3

_OF_IMAGES = ("leaks", "confounding")


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "audit",
        help="look for leaks and shortcuts in images, a split or a run",
        description="Look for what lets a model score well without seeing disease: images that training and test "
        "share, classes that differ in source, view, age or size, shortcuts that a model can take.",
        epilog="Exit code 3 when a leak is found; warnings do not change it.",
    )
    parser.add_argument(
        "subject", metavar="DATA|RUN", help="a folder or CSV of images, or the folder of a run"
    )
    parser.add_argument("--split", metavar="CSV", help="the split.csv that the images of DATA are divided by")
    parser.add_argument(
        "--data", metavar="DIR|CSV", help="where the images of RUN are now, if they were moved"
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help=f"some of {','.join(AUDITS)} (default: {','.join(_OF_IMAGES)} for DATA, all for RUN)",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="write audit.json and the tables there (default for RUN: RUN/audit)"
    )
    parser.add_argument("--masks", metavar="DIR", help="lung masks, named as the images, for shortcuts")
    parser.add_argument(
        "--backbone",
        metavar="KEY",
        help="network whose frozen features shortcuts looks at (default: the run's own)",
    )
    parser.add_argument("--weights", metavar="imagenet|DIR|FILE", help="weights of that network")
    parser.add_argument(
        "--retrain",
        action="store_true",
        help="for shortcuts, train RUN's model again on what each probe leaves of its images: hours, not minutes",
    )
    parser.add_argument("--all", action="store_true", help="print every row of the tables")
    add_seed(parser)
    parser.set_defaults(run=run)


def run(args):
    """Audit, print, write where asked."""
    from covidcxr.evaluation.audits import inputs, report

    of_run = inputs.is_run(args.subject)
    _check(args, of_run)
    names = _names(args.only, of_run)
    found = []
    for subject in inputs.run_folders(args.subject) if of_run else [args.subject]:
        if str(subject) != args.subject:
            print(f"\n{subject}")
        found += _audit(subject, names, args, of_run)
    return LEAK_FOUND if report.leaks(found) else 0


def _check(args, of_run):
    from covidcxr import atomic
    from covidcxr.errors import OptionError

    if of_run and args.split:
        raise OptionError(
            f"--split {args.split}: {args.subject} is a run and has its own split; leave it out"
        )
    if args.data and not of_run:
        raise OptionError(f"--data {args.data}: {args.subject} is no run; give the images as DATA alone")
    if args.retrain and not of_run:
        raise OptionError(f"--retrain: {args.subject} is no run; give the folder of one")
    if args.masks and not Path(args.masks).is_dir():
        raise OptionError(f"--masks {args.masks}: no such folder; check the path")
    if args.out:
        atomic.check_folder(args.out)


def _names(only, of_run):
    from covidcxr.errors import OptionError

    if not only:
        return AUDITS if of_run else _OF_IMAGES
    asked = only.split(",")
    unknown = [name for name in asked if name not in AUDITS]
    if unknown:
        raise OptionError(f"--only {only}: there is no audit {unknown[0]!r}; choose from {','.join(AUDITS)}")
    return tuple(name for name in AUDITS if name in asked)


def _audit(subject, names, args, of_run):
    """Carry out the audits of one set of images or one model, each printed and written as soon as it is done."""
    from covidcxr.cli.console import quiet_tensorflow
    from covidcxr.evaluation.audits import inputs, report

    records = inputs.run_records(subject, args.data) if of_run else inputs.data_records(subject, args.split)
    of_model = subject if of_run else inputs.with_own_split(records)
    for note in (*records.notes, *_left_out(records)):
        _say(note)
    out = _place(subject, args, of_run)
    options = _options(subject, args, out if of_run else None)
    if set(names) - set(_OF_IMAGES):
        quiet_tensorflow()
    if set(names) & set(_OF_IMAGES):
        options["prints"] = _fingerprints(records)
    done = []
    before = report.read(out) if of_run and args.only and not args.out else ()
    for name in names:
        looked_at = records if name in _OF_IMAGES else of_model
        done.append(_one(name, looked_at, options, strict=bool(args.only)))
        report.print_audits(done[-1:], None if args.all else report.ROWS)
        if out:
            # Of the same run, an audit asked for alone does not undo the others.
            by_name = {audit.name: audit for audit in (*before, *done)}
            report.write([by_name[name] for name in AUDITS if name in by_name], out)
    if out:
        print(f"\naudit: {out / report.FILE}")
    return done


def _left_out(records):
    from collections import Counter

    counts = Counter(item.reason for item in records.exclusions)
    return [f"left out: {number} images, {reason}" for reason, number in sorted(counts.items())]


def _options(subject, args, out):
    """Gather the options of all audits; each takes those that it knows."""
    options = {"seed": args.seed, "say": _say, "masks": args.masks, "data": args.data}
    if args.retrain:
        from covidcxr.papers.running.retraining import Retrainer

        options["retrain"] = Retrainer(subject, args.data, args.masks)
    if args.backbone:
        options["backbone"] = args.backbone
    if args.weights:
        options["weights"] = args.weights
    if out:
        options["cache"] = out / "cache"
    return options


def _one(name, subject, options, *, strict):
    """Carry out one audit; one that was not asked for by name and cannot be done does not stop the others."""
    from covidcxr.errors import CovidcxrError
    from covidcxr.evaluation.audits import report

    module = importlib.import_module(f"covidcxr.evaluation.audits.{name}")
    try:
        return module.audit(subject, **options)
    except CovidcxrError as error:
        if strict:
            raise
        text = f"could not be done: {error}"
        return report.Audit(name, module.TITLE, {}, (report.Finding(name, "not_done", report.NOTE, text),))


def _place(subject, args, of_run):
    from covidcxr.evaluation.audits.report import FOLDER

    if not args.out:
        return Path(subject) / FOLDER if of_run else None
    # Models of a study have the same tables: each its own folder.
    several = of_run and str(subject) != args.subject
    return Path(args.out) / Path(subject).name if several else Path(args.out)


def _fingerprints(records):
    from rich.console import Console
    from rich.progress import Progress

    from covidcxr.data.duplicates import fingerprints

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading images", total=len(records))
        return fingerprints(records, lambda done, _total: bar.update(task, completed=done))


def _say(text):
    print(text, file=sys.stderr)
