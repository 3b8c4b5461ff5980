"""`covidcxr evaluate MODEL.h5 --data ...`: metrics with intervals on any labelled images."""

from covidcxr.cli.options import add_data, add_seed, pairs


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="score a model on labelled images, with intervals",
        description="Score a model on labelled images, in all and by sex, age, view and source. Every label of the "
        "data must be a class of the model, be mapped to one with --map, or be left out with --drop.",
    )
    parser.add_argument(
        "model", metavar="MODEL.h5", help="a model of this package, or the name of one that comes with it"
    )
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
        metavar="LABEL[,LABEL]=CLASS",
        help="count labels of the data as a class of the model, such as "
        "bacterial_pneumonia,viral_pneumonia=pneumonia (repeatable)",
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="LABEL[,LABEL]",
        help="leave out images with these labels, which are no classes of the model (repeatable)",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="also write predictions.csv, metrics.json, subgroups.csv and exclusions.csv there",
    )
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="numbers drawn at random for images, patients and sources that are not public; no folder, no date",
    )
    add_seed(parser)
    parser.set_defaults(run=run)


def run(args):
    """Score and print."""
    from covidcxr.cli.console import positive, quiet_tensorflow
    from covidcxr.evaluation.external import check_folder, evaluate, labelled_images
    from covidcxr.models.files import load_model, read_info
    from covidcxr.models.shipped import model_file

    positive(args.batch_size, "--batch-size")
    if args.out:
        check_folder(args.out)
    path = model_file(args.model)
    info = read_info(path)
    mapping = _mapping(args.map)
    drop = [label for words in args.drop for label in words.split(",")]
    records = labelled_images(
        args.data,
        info.class_names,
        mapping=mapping,
        drop=drop,
        sources=pairs(args.source, "--source"),
        split_file=args.split_file,
        split=args.split,
    )
    quiet_tensorflow()
    result = evaluate(load_model(path), records, seed=args.seed, batch_size=args.batch_size)
    facts = _facts(args, info, mapping, drop)
    if args.deidentify:
        result, facts = result.deidentified(facts)
    if args.out:
        result.write(args.out, facts)
    result.print()
    return 0


def _mapping(items):
    """Turn ``["a,b=c"]`` into ``{"a": "c", "b": "c"}``."""
    return {
        label: name for labels, name in pairs(items, "--map").items() for label in labels.split(",") if label
    }


def _facts(args, info, mapping, drop):
    """Say what was scored on what: a report finds the model's row by it."""
    from covidcxr import environment

    axes = {name: info.extra[name] for name in ("case", "fold", "trial", "arm") if name in info.extra}
    return {
        "paper": info.paper,
        "protocol": info.protocol,
        "unit": {"model": info.network, **axes} if "case" in axes else None,
        "model": str(args.model),
        "data": str(args.data),
        "mapping": mapping,
        "dropped": drop,
        "split_file": args.split_file,
        "split": args.split,
        "command": environment.command_line(),
    }
