"""`covidcxr export MODEL`: a trained model for ONNX Runtime, TensorFlow Serving, Keras 2, or half as large."""

_FORMATS = ("onnx", "saved_model", "h5-keras2", "h5-float16")


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write a model as ONNX, SavedModel, an .h5 of Keras 2, or an .h5 of half the size",
        description="Write a model for programs without this package, in float32; or, as h5-float16, for this package, "
        "stored in 16 bits and computing in 32. Beside it stands a JSON file with "
        "the class names and the preprocessing: the exported network takes preprocessed images. "
        "Not a medical device.",
    )
    parser.add_argument("model", metavar="MODEL.h5", help="a model of this package")
    parser.add_argument("--format", choices=_FORMATS, default="onnx", help="default: onnx")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE|DIR",
        help="ending in .onnx or .h5; for saved_model a new folder",
    )
    parser.set_defaults(run=run)


def run(args):
    """Export, and print what was written."""
    from covidcxr.cli.console import quiet_tensorflow, require_apart
    from covidcxr.models.export import export
    from covidcxr.models.files import read_info

    read_info(args.model)
    require_apart(args.out, [args.model])
    quiet_tensorflow()
    beside = export(args.model, args.out, args.format)
    print(f"{args.out}\n{beside}")
    return 0
