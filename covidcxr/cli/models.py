"""`covidcxr models list` and `covidcxr models ship RUN`: the models that come with the package."""


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        help="the trained models that come with the package; ship: make one of a finished run",
        description="The trained models that come with the package. Their names stand in place of MODEL.h5 for "
        "`covidcxr predict` and `covidcxr evaluate`. Not a medical device.",
    )
    words = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = words.add_parser("list", help="name, classes and scores of each, and which is the default")
    listing.set_defaults(run=run_list)
    ship = words.add_parser(
        "ship",
        help="make one of a finished run",
        description="Write model.h5, model_card.md, metrics.json and split.csv of a finished run into a folder, and "
        "index.csv of all models beside it. Refused: a file over 15 MB (30 MB with the others), one that predicts "
        "otherwise than the run did, and a backbone whose last block was not trained.",
    )
    ship.add_argument("run_folder", metavar="RUN", help="folder of one model's run")
    ship.add_argument("--out", required=True, metavar="DIR", help="such as saved_models/NAME")
    ship.add_argument(
        "--data", metavar="DIR", help="where the run's images are now (default: where they were)"
    )
    ship.add_argument(
        "--storage",
        default="auto",
        metavar="KIND",
        help="auto (default: 16 bits where the file then predicts the same), float16 or float32",
    )
    ship.add_argument("--overwrite", action="store_true", help="replace the model that stands there")
    ship.set_defaults(run=run_ship)


def run_list(_args):
    """Print the shipped models."""
    print_models()
    return 0


def print_models():
    """Print name, classes and scores of every shipped model; the default is marked."""
    from covidcxr.models import shipped

    models = shipped.listed()
    for one in models:
        row = one.row
        print(f"{one.name}{' (default)' if one.is_default else ''}")
        print(f"  classes: {', '.join(one.classes)}")
        print(f"  from: {row['paper']} {row['case']} {row['model']}, {row['protocol']} protocol")
        print(f"  scored on: {row['images']} images of {row['patients']} patients, split {row['split']}")
        for score in shipped.SCORES:
            print(f"  {score.replace('_', ' ')}: {one.score(score)}")
    print(f"in {shipped.folder()}: {len(models)} in all; brackets are 95 % intervals. Not a medical device.")


def run_ship(args):
    """Make a shipped model, and print what index.csv now holds."""
    from covidcxr.cli.console import quiet_tensorflow
    from covidcxr.papers.shipping import ship

    quiet_tensorflow()
    rows = ship.ship(args.run_folder, args.out, args.data, storage=args.storage, overwrite=args.overwrite)
    for row in rows:
        print(f"{row['name']}{' (default)' if row['default'] else ''}: {int(row['bytes']) / 1e6:.1f} MB")
    return 0
