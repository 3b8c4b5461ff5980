"""The figures of a report over several runs."""

import pandas as pd

from covidcxr.atomic import make_folder
from covidcxr.papers.running import folder as run_folder

# Of each of so many models everything is drawn; of more, what compares them.
MOST = 4
_TOLD = {
    "learning_curves": ("Accuracy and loss by epoch; dotted lines part the phases", True),
    "confusion": ("Confusion matrix, images as they are: counts, and shares of the true class", False),
    "reliability": ("Reliability of the predicted probabilities; whiskers: Wilson 95 %", False),
    "roc": ("ROC curve with the band of 95 % of resampled patients", False),
    "precision_recall": (
        "Precision and sensitivity with the band of 95 % of resampled patients; dotted: guessing",
        False,
    ),
    "predictions": ("Images with their predicted class", True),
}


def draw(recipe, runs, out):
    """Draw every figure below ``out/figures``.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    runs : sequence of covidcxr.papers.reporting.comparison_runs.Run
    out : pathlib.Path

    Returns
    -------
    list of dict
        `path` (relative to `out`), `caption`, `wide`, in the report's order.
    """
    place = make_folder(out / run_folder.FIGURES)
    models = [model for run in runs for model in run.models]
    figures = _overview(recipe, models, place)
    if len(models) <= MOST:
        for number, model in enumerate(models, 1):
            figures += _of_model(recipe, model, place, number)
    return figures


def explained(model, out, number, *, masks=None, most=16, seed=0):
    """Draw where a model looks; needs the model's file and its images.

    Parameters
    ----------
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel
    out : pathlib.Path
    number : int
        Of the model in the report.
    masks : path-like, optional
        See :func:`covidcxr.evaluation.explanations.explain`.
    most, seed : int

    Returns
    -------
    dict
        As of :func:`draw`.
    """
    from pathlib import Path

    from covidcxr.evaluation.explanations import explain
    from covidcxr.models.files import load_model

    table = model.headline.table
    files = [Path(model.config["data_root"]) / path for path in table["path"]]
    found = explain(
        load_model(model.folder / run_folder.MODEL),
        files,
        masks=masks,
        most=most,
        seed=seed,
        patients=list(table["patient_id"].fillna("")),
    )
    path = make_folder(out / run_folder.FIGURES) / f"{number}-gradcam"
    found.figure(path)
    name = f"{run_folder.FIGURES}/{path.name}.png"
    return {
        "path": name,
        "caption": f"Grad-CAM of the predicted class. {model.title}. {_preference(found)}",
        "wide": True,
    }


def _preference(found):
    """Say how much of the attribution lies in the lungs, as a multiple of what chance would put there."""
    measured = found.lung_preference()
    if measured["value"] is None:
        return ""
    kind = " and ".join(measured["lung_field"])
    limits = "" if measured["low"] is None else f" [{measured['low']:.2f}, {measured['high']:.2f}]"
    return (
        f"Attribution per area of the lung field ({kind}), as a multiple of that of the whole picture: "
        f"{measured['value']:.2f}{limits} over {measured['images']} images."
    )


def _of_model(recipe, model, place, number):
    from covidcxr.evaluation import figures

    headline = model.headline
    block = model.metrics["splits"][model.metrics["headline_split"]]
    summary, positive = block["intervals"], recipe.positive_class
    paths = {name: place / f"{number}-{name}" for name in _TOLD}
    figures.learning_curves(model.history, paths["learning_curves"])
    figures.confusion(block["confusion_matrix"], headline.class_names, paths["confusion"])
    figures.reliability(headline, paths["reliability"])
    figures.roc(headline, paths["roc"], summary=summary, positive=positive)
    figures.precision_recall(headline, paths["precision_recall"], summary=summary, positive=positive)
    drawn = [name for name in _TOLD if name != "predictions"]
    if _copied(model.folder / run_folder.FIGURES / "predictions", paths["predictions"]):
        drawn.append("predictions")
    return [_listed(paths[name], f"{_TOLD[name][0]}. {model.title}.", wide=_TOLD[name][1]) for name in drawn]


def _copied(source, target):
    """Take over a picture grid of the run: the images themselves may not be here any more."""
    from covidcxr.atomic import whole_file

    found = [ending for ending in (".png", ".svg") if source.with_suffix(ending).is_file()]
    for ending in found:
        with whole_file(target.with_suffix(ending)) as temporary:
            temporary.write_bytes(source.with_suffix(ending).read_bytes())
    return ".png" in found


def _overview(recipe, models, place):
    from covidcxr.evaluation import figures

    table = pd.DataFrame([_row(model) for model in models])
    drawn = []
    if len(models) > 1:
        claims = {
            group: claim.value
            for group, case, network, arm in table[["group", "case", "network", "arm"]]
            .drop_duplicates()
            .itertuples(index=False)
            for claim in recipe.claims
            if _speaks_of(claim, case, network, arm)
        }
        figures.strips(table, place / "strips", paper=claims)
        drawn.append(
            _listed(
                place / "strips",
                "Accuracy of every model, images as they are; star: the paper",
                wide=table["group"].nunique() > 3,
            )
        )
    if table["trainable"].nunique() > 1:
        means = (
            table.groupby(["name", "trainable"], sort=False)[["value", "low", "high"]].mean().reset_index()
        )
        figures.accuracy_by_size(means, place / "accuracy_by_size")
        drawn.append(
            _listed(
                place / "accuracy_by_size", "Accuracy against the number of trainable parameters", wide=True
            )
        )
    return drawn


def _speaks_of(claim, case, network, arm):
    mine = claim.measure == "accuracy" and claim.fold in ("", "mean") and not claim.label and not claim.split
    return mine and claim.case in ("", case) and claim.model in ("", network) and claim.arm in ("", arm)


def _row(model):
    entry = model.metrics["splits"][model.metrics["headline_split"]]["intervals"]["measures"]["accuracy"]
    unit = model.unit
    group = " ".join(filter(None, (unit.case, unit.model, unit.arm, model.protocol)))
    return {
        "group": group,
        "name": group,
        "case": unit.case,
        "network": unit.model,
        "arm": unit.arm,
        "trainable": max(int(model.config.get("trainable") or 1), 1),
        **{name: float("nan") if entry[name] is None else entry[name] for name in ("value", "low", "high")},
    }


def _listed(path, caption, *, wide):
    return {"path": f"{run_folder.FIGURES}/{path.name}.png", "caption": caption, "wide": wide}
