"""`covidcxr predict [MODEL] IMAGE|FOLDER...`: class probabilities as CSV or JSON."""

import os
import sys
from pathlib import Path

from covidcxr.errors import DataError, ImageError, OptionError, one_line

_SHOWN = 10
_MODEL_SUFFIXES = (".h5", ".hdf5", ".keras")


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "predict",
        help="class probabilities for images, as CSV or JSON",
        usage="covidcxr predict [-h] [options] [MODEL] IMAGE|FOLDER ...",
        description="Predict class probabilities, preparing images as the model file says. Without MODEL the best "
        "of the models that come with the package is used, and named on stderr. Not a medical device.",
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="[MODEL] IMAGE|FOLDER",
        help="a model's file (.h5 or .keras) or the name of one that comes with the package, if any; then files, or "
        "folders searched recursively",
    )
    parser.add_argument("--list", action="store_true", help="list the models that come with the package")
    parser.add_argument("--format", choices=("csv", "json"), help="default: by the ending of --out, else csv")
    parser.add_argument("--out", metavar="FILE", help="where to write (default: standard output)")
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="default: what was measured to be fastest for the runtime"
    )
    parser.add_argument(
        "--runtime",
        default="keras",
        metavar="NAME",
        help="keras (default), onnxruntime or openvino, which pip install 'covidcxr[runtimes]' brings",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="NAME",
        help="float32 (default) or bfloat16: faster on some processors, refused where it changes probabilities",
    )
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="numbers drawn at random in place of file names, and rows in their order",
    )
    parser.set_defaults(run=run)


def run(args):
    """Predict and write; images that cannot be read are named on stderr and kept as rows with an error."""
    from covidcxr.atomic import check_target
    from covidcxr.cli.console import positive, quiet_tensorflow, require_apart, require_stdout
    from covidcxr.models.files import read_info

    if args.list:
        return _list(args)
    if args.batch_size is not None:
        positive(args.batch_size, "--batch-size")
    path, images, ours = _model_and_images(args.images)
    from covidcxr.inference import expand, runtimes

    runtimes.check(args.runtime, args.precision)
    info = read_info(path)
    files = expand(images)
    if args.out:
        check_target(args.out)
        require_apart(args.out, [path, *files])
    else:
        require_stdout()
    if ours:
        _announce(ours)
    quiet_tensorflow()
    result, errors = _predict(args, path, info, files)
    if len(errors) == len(files):
        raise ImageError(_none_readable(errors))
    _write(_deidentified(result) if args.deidentify else result, args)
    _name(errors, len(files))
    return 0


def _list(args):
    from covidcxr.cli.models import print_models

    if args.images:
        raise OptionError("--list: stands alone; leave the images out, or --list")
    print_models()
    return 0


def _model_and_images(words):
    """Part the words into the model's file and the images; without a model the shipped default is taken.

    The third value is the shipped model, None where it is another.

    Raises
    ------
    DataError
        If the first word is neither a model nor an image.
    ModelError
        If no model is named and none is shipped.
    OptionError
        If there is no image.
    """
    from covidcxr.models import shipped

    if not words:
        raise OptionError("name images to predict, after a MODEL.h5 or without one; or see --list")
    first, *others = words
    ours = None if Path(first).suffix in _MODEL_SUFFIXES else shipped.find(first)
    if ours is None and not _is_model_file(first):
        if not os.path.lexists(first):
            raise DataError(
                f"{first}: no such image or folder, and no model that `covidcxr models list` shows"
            )
        chosen = shipped.default()
        return chosen.path, words, chosen
    if not others:
        raise OptionError(f"{first}: is a model; name the images after it")
    return ours.path if ours else first, others, ours


def _is_model_file(word):
    """Tell whether a word is a model's file, or a run's folder, which is no folder of radiographs."""
    path = Path(word)
    return path.suffix in _MODEL_SUFFIXES or (path / "model.h5").is_file() or _is_hdf5(path)


def _is_hdf5(path):
    from covidcxr.models.model_config import HDF5_SIGNATURE

    try:
        with open(path, "rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except OSError:
        return False


def _announce(model):
    print(
        f"covidcxr: model {model.name}{' (the default)' if model.is_default else ''} tells "
        f"{', '.join(model.classes)} apart, whatever the image shows. Not a medical device.",
        file=sys.stderr,
    )


def _none_readable(errors):
    first = errors[min(errors)]
    return first if len(errors) == 1 else f"{first} (none of the {len(errors)} images can be read)"


def _name(errors, count):
    for index in sorted(errors)[:_SHOWN]:
        print(f"covidcxr: left out: {one_line(errors[index])}", file=sys.stderr)
    if errors:
        print(
            f"covidcxr: {len(errors)} of {count} images could not be read; the column error says why",
            file=sys.stderr,
        )


def _predict(args, path, info, files):
    import pandas as pd
    from rich.console import Console
    from rich.progress import Progress

    from covidcxr import inference
    from covidcxr.models.files import load_model

    errors = {}

    def on_bad(index, error):
        errors[index] = str(error)

    model = load_model(path)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("predict", total=len(files))
        probabilities = inference.predict_files(
            model,
            files,
            args.batch_size,
            on_bad,
            lambda done: bar.update(task, completed=done),
            runtime=args.runtime,
            precision=args.precision,
        )
    result = inference.table(probabilities, info.class_names)
    result.insert(0, "path", [_text(path) for path in files])
    return pd.concat([result, _error_column(errors, len(files))], axis=1), errors


def _text(path):
    """Return a path as text that any encoding of Unicode can hold, the odd bytes of a name spelled out."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _error_column(errors, count):
    import pandas as pd

    return pd.Series([_text(errors.get(index, "")) for index in range(count)], name="error")


def _deidentified(result):
    """Return the table without names of files, in an order that does not tell them either."""
    from covidcxr.evaluation.deidentify import Pseudonyms, shuffled

    names = Pseudonyms(images=[("", path) for path in result["path"]])
    # The reason names the file, and may quote it.
    error = result["error"].where(result["error"] == "", "could not be read")
    return shuffled(result.assign(path=[names.image(path) for path in result["path"]], error=error))


def _write(result, args):
    from covidcxr import formula_cells
    from covidcxr.atomic import write_text

    kind = args.format or ("json" if str(args.out).endswith(".json") else "csv")
    if kind == "json":
        text = result.to_json(orient="records", indent=2, double_precision=10) + "\n"
    else:
        text = formula_cells.to_csv(result, float_format="%.9g")
    if args.out:
        write_text(args.out, text)
    else:
        sys.stdout.write(text)
