"""split.csv of a shipped model: which images, by name and hash; no patient, no place on any machine."""

from covidcxr.data import sources
from covidcxr.errors import CovidcxrError, DataError
from covidcxr.models.weights_report import sha256
from covidcxr.papers.running.folder import GENERATED

COLUMNS = ("path", "label", "source", "split", "sha256")


def listing(model, root):
    """List the images of a run.

    Parameters
    ----------
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel
    root : pathlib.Path
        Folder of the images.

    Returns
    -------
    table : pandas.DataFrame
        With :data:`COLUMNS`, `path` relative to the folder of the data; what a run generated is left out.
    generated : int
        How many images that were, all of them trained on.

    Raises
    ------
    DataError
        If an image is not there, or the run was scored on generated images.
    """
    table = model.split
    made = table["source"] == GENERATED
    if (made & (table["split"] != "train")).any():
        raise DataError(
            f"{model.folder}: was scored on generated images, which nobody else has; ship a run of the sound protocol"
        )
    kept = table[~made].reset_index(drop=True)
    missing = [path for path in kept["path"] if not (root / path).is_file()]
    if missing:
        raise DataError(
            f"{root}: {len(missing)} images of the run are not there ({missing[0]}); say where they are with --data"
        )
    hashed = kept.assign(sha256=[sha256(root / path) for path in kept["path"]])
    return hashed[list(COLUMNS)], int(made.sum())


def mapping(table, root):
    """Return which labels of the data, read as `covidcxr evaluate` reads it, count as which class of the run.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`listing`.
    root : pathlib.Path

    Returns
    -------
    dict of str to str
        Empty where the labels are the same, or the data cannot be read so.
    """
    try:
        known = sources.read(root).table.set_index("path")["label"]
    except CovidcxrError:
        return {}
    pairs = {
        (known[path], label)
        for path, label in zip(table["path"], table["label"], strict=True)
        if path in known
    }
    return {label: name for label, name in sorted(pairs) if label != name}
