"""`covidcxr train PAPER`, also installed as `covidcxr-train`."""

import dataclasses

from covidcxr.cli.options import add_data, add_seed, pairs
from covidcxr.errors import OptionError

_CHOICE = "KEY[,KEY]|all"


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train a paper's models and score them beside the paper's claims",
        description="Train a paper's models from raw images to a run folder with model.h5 and report.html. "
        "`covidcxr papers KEY` lists what each option can choose.",
    )
    parser.add_argument(
        "paper", metavar="PAPER", help="key of the paper, such as ragab2022 (covidcxr papers)"
    )
    parser.add_argument("--protocol", default="published", help="published (default) or sound")
    _add_choices(parser.add_argument_group("which of the paper's models"))
    _add_data(parser.add_argument_group("images and weights"))
    _add_settings(parser.add_argument_group("instead of the paper's settings"))
    _add_devices(parser.add_argument_group("devices"))
    _add_speed(parser.add_argument_group("speed"))
    _add_folder(parser.add_argument_group("run folder"))
    add_seed(parser)
    parser.set_defaults(run=run)


def run(args):
    """Train, print the closing table, return the exit code."""
    if args.workers is not None:
        return _launch(args)
    from covidcxr.cli.console import quiet_tensorflow

    quiet_tensorflow()
    from covidcxr import papers
    from covidcxr.papers.plan import RunOptions

    names = [field.name for field in dataclasses.fields(RunOptions) if field.name != "sources"]
    options = {name: getattr(args, name) for name in names}
    options["sources"] = pairs(args.source, "--source")
    paper = papers.get(args.paper)
    result = paper.dry_run(**options) if args.dry_run else paper.run(**options)
    if result is not None:
        result.print()
    return 0


def _add_choices(group):
    group.add_argument("--case", metavar=_CHOICE, help="row of the paper's results, such as A, B or B10")
    group.add_argument("--model", metavar=_CHOICE, help="network of the paper")
    group.add_argument("--fold", metavar="N[,N]|all", help="fold of its cross-validation")
    group.add_argument("--trial", metavar="N[,N]|all", help="repetition with other images or another seed")
    group.add_argument("--arm", metavar=_CHOICE, help="side of a comparison, such as real or gan")
    group.add_argument("--schedule", metavar="KEY", help="reading of its optimiser, such as adam or rmsprop")
    group.add_argument(
        "--preset", metavar="smoke", help="smoke: the whole in seconds, with few small images and two epochs"
    )


def _add_data(group):
    add_data(group, default="phantom")
    group.add_argument(
        "--split",
        metavar="CSV|given",
        help="instead of the protocol's draw: a split.csv written before, or the data's own train/test folders",
    )
    group.add_argument(
        "--weights",
        metavar="imagenet|none|DIR|FILE",
        help="starting weights: Keras' own (default), random, a folder of weight files, a file, or a TF-Hub "
        "SavedModel",
    )
    group.add_argument(
        "--partial-weights", action="store_true", help="accept a file that covers only some layers"
    )


def _add_settings(group):
    group.add_argument("--epochs", type=int, metavar="N", help="N epochs in all")
    group.add_argument("--batch-size", type=int, metavar="N", help="images a step, on all devices together")
    group.add_argument("--dropout", type=float, metavar="RATE")
    group.add_argument(
        "--fine-tune", choices=("head", "all"), default="head", help="what the second stage trains"
    )


def _add_devices(group):
    group.add_argument(
        "--strategy",
        default="auto",
        metavar="auto|single|mirrored|multiworker|tpu",
        help="auto: all GPUs of this machine, or the workers that TF_CONFIG names",
    )
    group.add_argument(
        "--precision",
        default="float32",
        metavar="float32|mixed_bfloat16|mixed_float16|auto",
        help="auto: bfloat16 where this CPU and the network were measured to gain from it; results differ",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="start N workers on this machine, to try several out"
    )


def _add_speed(group):
    group.add_argument(
        "--engine",
        default="fast",
        metavar="fast|keras",
        help="what augments: fast (default), or Keras' ImageDataGenerator, whose transforms it repeats",
    )
    group.add_argument(
        "--cache",
        default="auto",
        metavar="auto|memory|off|DIR",
        help="where decoded images are kept: auto (default) is memory where they are few, else a file that ends with "
        "the run; a folder serves later runs too",
    )
    group.add_argument(
        "--draws",
        default="auto",
        metavar="N|all|auto|off",
        help="random transforms of an image whose frozen features are computed once and kept (auto: 16); all: as "
        "many as epochs; off: none are kept",
    )


def _add_folder(group):
    group.add_argument("--out", metavar="DIR", help="run folder (default: runs/PAPER-CHOICE-PROTOCOL-seedN)")
    group.add_argument("--overwrite", action="store_true", help="replace a run that stands in the run folder")
    group.add_argument(
        "--resume", action="store_true", help="go on after the last finished epoch of the run folder"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be trained and what it would cost; start nothing",
    )


def _launch(args):
    """Start workers that run this very command, without --workers."""
    import sys

    from covidcxr.training import workers

    if args.workers < 2:
        raise OptionError(f"--workers {args.workers}: give at least 2, or leave it out")
    if args.dry_run:
        raise OptionError("--dry-run starts nothing, --workers starts several; give one of the two")
    return workers.launch(_without_workers(sys.argv[1:]), args.workers, args.out)


def _without_workers(words):
    kept, skip = [], False
    for word in words:
        if not skip and word != "--workers" and not word.startswith("--workers="):
            kept.append(word)
        skip = word == "--workers"
    return kept[1:] if kept[:1] == ["train"] else kept
