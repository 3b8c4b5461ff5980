"""`covidcxr train PAPER`, also installed as `covidcxr-train`."""

from covidcxr.cli.options import add_data, add_seed, pairs


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train a paper's model and score it beside the paper's claim",
        description="Train a paper's model from raw images to a run folder with model.h5 and report.html.",
    )
    parser.add_argument(
        "paper", metavar="PAPER", help="key of the paper, such as ragab2022 (covidcxr papers)"
    )
    add_data(parser, default="phantom")
    parser.add_argument(
        "--split",
        metavar="CSV|given",
        help="instead of the protocol's draw: a split.csv written before, or the data's own train/test folders",
    )
    parser.add_argument("--protocol", default="published", help="published (default) or sound")
    parser.add_argument(
        "--case", help="row of the paper's results, such as A, B or B10 (covidcxr papers KEY)"
    )
    parser.add_argument("--model", help="network of the paper (covidcxr papers KEY lists them)")
    parser.add_argument("--schedule", help="reading of the paper's optimiser, such as adam or rmsprop")
    parser.add_argument("--epochs", type=int, metavar="N", help="at most N epochs instead of the paper's")
    parser.add_argument("--batch-size", type=int, metavar="N", help="instead of the paper's")
    parser.add_argument("--dropout", type=float, metavar="RATE", help="instead of the paper's")
    parser.add_argument(
        "--fine-tune", choices=("head", "all"), default="head", help="what the second stage trains"
    )
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="imagenet|none|DIR|FILE",
        help="starting weights: Keras' own, random, a folder of weight files, a file, or a TF-Hub SavedModel",
    )
    parser.add_argument(
        "--partial-weights", action="store_true", help="accept a file that covers only some layers"
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/PAPER-CASE-PROTOCOL-seedN)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a run that stands in the run folder"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on after the last finished epoch of the run folder"
    )
    add_seed(parser)
    parser.set_defaults(run=run)


def run(args):
    """Train, print the closing table, return the exit code."""
    from covidcxr.cli.console import quiet_tensorflow

    quiet_tensorflow()
    from covidcxr import papers

    options = {
        name: getattr(args, name)
        for name in [
            "data",
            "split",
            "protocol",
            "case",
            "model",
            "schedule",
            "epochs",
            "batch_size",
            "dropout",
            "fine_tune",
            "weights",
            "partial_weights",
            "out",
            "overwrite",
            "resume",
            "seed",
        ]
    }
    result = papers.get(args.paper).run(sources=pairs(args.source, "--source"), **options)
    result.print()
    return 0
