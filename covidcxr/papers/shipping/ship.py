"""From a finished run to a shipped model: the file, its card, its scores and its split, or none of them."""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from covidcxr.atomic import (
    check_folder,
    make_folder,
    output_errors,
    place_folder,
    write_csv,
    write_json,
    write_text,
)
from covidcxr.errors import OptionError, OutputError
from covidcxr.models import shipped
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.shipping import card, facts, index, rules, split

STORAGES = ("auto", "float16", "float32")


@dataclass(frozen=True)
class Stored:
    """A run's network as the file that is shipped.

    Attributes
    ----------
    storage : {"float16", "float32"}
    predictions : covidcxr.evaluation.predictions.Predictions
        Of the headline split, by the file itself.
    largest_change : float
        The largest difference of a probability from what the run predicted, over all images that it scored.
    compared : int
        How many images these are.
    """

    storage: str
    predictions: object
    largest_change: float
    compared: int


def ship(run, out, data=None, *, storage="auto", overwrite=False):
    """Make a shipped model of a finished run.

    Parameters
    ----------
    run : path-like
        Folder of one model's run, or of one model in a study.
    out : path-like
        Folder to write: that of the shipped models, then the name of this one.
    data : path-like, optional
        Where the run's images are now; default where they were.
    storage : {"auto", "float16", "float32"}, optional
        ``"auto"`` stores kernels in 16 bits where the file then predicts what the run did, else in 32.
    overwrite : bool, optional
        Replace the shipped model that stands there.

    Returns
    -------
    list of dict
        The rows of index.csv beside it, made anew (see :mod:`covidcxr.papers.shipping.index`).

    Raises
    ------
    DataError
        If the run is not finished, or its images are not there.
    ModelError
        If the backbone's last block stayed frozen, the file is too large, or it predicts otherwise than the run.
    OptionError
        If the folder holds several models, or a name or storage has no meaning.
    OutputError
        If something else stands at `out`, or it cannot be written.
    """
    out = Path(out)
    if storage not in STORAGES:
        raise OptionError(f"--storage {storage}: choose one of {', '.join(STORAGES)}")
    rules.check_name(out.name)
    _check_place(out, overwrite)
    recipe, model = _one_model(run)
    from covidcxr.models.files import load_model

    network = load_model(model.folder / run_folder.MODEL)
    trained = rules.trained(network, model.folder / run_folder.MODEL)
    root = Path(data or model.config["data_root"])
    listing, generated = split.listing(model, root)
    with _aside(out) as place:
        made = _store(network, model, root, storage, place / shipped.MODEL)
        _check_size(place / shipped.MODEL, out)
        about = facts.about(recipe, model, trained, place / shipped.MODEL, made, split.mapping(listing, root))
        scores = facts.scores(recipe, model, made, about)
        write_json(place / shipped.METRICS, scores)
        write_csv(place / shipped.SPLIT, listing)
        write_text(place / shipped.CARD, card.text(out.name, recipe, model, scores, listing, generated))
        facts.refuse_places(place, model, data)
    return index.write(out.parent)


def _one_model(run):
    from covidcxr.papers.reporting import comparison_runs

    recipe, (found,) = comparison_runs.read_runs([run])
    if len(found.models) != 1:
        names = ", ".join(model.folder.name for model in found.models[:3]) or "none finished"
        raise OptionError(
            f"{run}: holds {len(found.models)} models ({names}); name one of its folders {run_folder.MODELS}/..."
        )
    (model,) = found.models
    model.read()
    return recipe, model


def _check_place(out, overwrite):
    check_folder(out)
    with output_errors(out):
        names = {entry.name for entry in out.iterdir()} if out.exists() else set()
    foreign = sorted(names - set(shipped.FILES))
    if foreign:
        raise OutputError(f"{out}: holds other files ({foreign[0]}); choose another name with --out")
    if names and not overwrite:
        raise OutputError(f"{out}: a shipped model stands there; add --overwrite, or choose another --out")


@contextlib.contextmanager
def _aside(out):
    """Give a folder beside `out`; put it in its place only if the block succeeds."""
    parent = make_folder(out.parent)
    with output_errors(out):
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=parent))
        try:
            yield aside
            if out.exists():
                shutil.rmtree(out)
            aside.chmod(0o755)
            place_folder(aside, out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _store(network, model, root, storage, path):
    """Write the file, in 16 bits where it may be, and see that it predicts what the run did."""
    if storage == "auto":
        made, classes = _stored(network, model, root, "float16", path)
        if rules.is_same(made.largest_change, classes):
            return made
        storage = "float32"
    made, classes = _stored(network, model, root, storage, path)
    rules.check_change(made.largest_change, classes, model.folder)
    return made


def _stored(network, model, root, kind, path):
    from covidcxr.inference import predict_files
    from covidcxr.models import export, files

    info = facts.clean_info(files.info_of(network), model)
    files.attach_info(network, info)
    if kind == "float16":
        export.export(network, path, "h5-float16").unlink()
    else:
        files.save_model(network, path, info)
    run = model.predictions
    names = [root / name for name in run.table["path"]]
    after = predict_files(files.load_model(path), names)
    largest, classes = rules.change(run.probabilities, after)
    from covidcxr.evaluation.predictions import Predictions

    again = Predictions.from_arrays(run.table, run.class_names, after)
    return Stored(kind, again.subset(model.metrics["headline_split"]), largest, len(names)), classes


def _check_size(path, out):
    others = [place / shipped.MODEL for place in index.places(out.parent) if place != out]
    rules.check_size(path.stat().st_size, sum(other.stat().st_size for other in others), out)
