"""`covidcxr evaluate MODEL.h5 --data ...`: metrics with intervals on any labelled images."""

from covidcxr.cli.options import add_data, add_seed, pairs


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="score a model on labelled images, with intervals",
        description="Score a model on labelled images. Labels that the model does not know are left out and counted.",
    )
    parser.add_argument("model", metavar="MODEL.h5", help="a model of this package")
    add_data(parser)
    parser.add_argument(
        "--split-file", metavar="CSV", help="a run's split.csv: which images belong to which split"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="score only this split (needs --split-file or a split column)"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="LABEL=CLASS",
        help="count a label of the data as a class of the model, such as viral_pneumonia=pneumonia (repeatable)",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument(
        "--out", metavar="DIR", help="also write predictions.csv, metrics.json and exclusions.csv there"
    )
    add_seed(parser)
    parser.set_defaults(run=run)


def run(args):
    """Score and print."""
    from covidcxr.cli.console import positive, quiet_tensorflow
    from covidcxr.evaluation.external import check_folder, evaluate, labelled_images
    from covidcxr.models.files import load_model, read_info

    positive(args.batch_size, "--batch-size")
    if args.out:
        check_folder(args.out)
    info = read_info(args.model)
    records = labelled_images(
        args.data,
        info.class_names,
        mapping=pairs(args.map, "--map"),
        sources=pairs(args.source, "--source"),
        split_file=args.split_file,
        split=args.split,
    )
    quiet_tensorflow()
    result = evaluate(load_model(args.model), records, seed=args.seed, batch_size=args.batch_size)
    if args.out:
        result.write(args.out)
    result.print()
    return 0
