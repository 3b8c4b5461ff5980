"""What is told of a shipped model besides its scores, freed of every place on the machine that trained it."""

import os
from dataclasses import replace
from pathlib import Path

from covidcxr.errors import OutputError
from covidcxr.models.weights_report import sha256
from covidcxr.papers.reporting.reproduction import identity

# Shorter ones, such as "/", stand in any text or in a network's bytes by chance.
SHORTEST = 5


def about(recipe, model, trained, path, made, mapping):
    """Return what metrics.json tells of the model.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel
    trained : covidcxr.papers.shipping.rules.Trained
    path : pathlib.Path
        The file that is shipped.
    made : covidcxr.papers.shipping.ship.Stored
    mapping : dict of str to str
        Of :func:`covidcxr.papers.shipping.split.mapping`.

    Returns
    -------
    dict
    """
    config = model.config
    weights = config.get("weights") or {}
    return {
        "paper": recipe.key,
        **{axis: getattr(model.unit, axis) for axis in ("case", "model", "fold", "trial", "arm")},
        "protocol": model.protocol,
        "seed": config["options"].get("seed", 0),
        "command": identity.command_of(config["command"]),
        "versions": config["environment"].get("packages", {}),
        "preprocessing": config["preprocessing"],
        "weights": {
            "file": Path(str(weights.get("source", ""))).name if weights.get("loaded") else "",
            "sha256": weights.get("sha256", ""),
            "licence": _weights_licence(config) if weights.get("loaded") else "",
        },
        "trained": {name: _plain(value) for name, value in vars(trained).items()},
        "storage": made.storage,
        "largest_change": made.largest_change,
        "images_compared": made.compared,
        "label_mapping": mapping,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
    }


def scores(recipe, model, made, described):
    """Return metrics.json: the shipped file's scores on the run's headline split, in the form of `covidcxr evaluate`.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel
    made : covidcxr.papers.shipping.ship.Stored
    described : dict
        Of :func:`about`.

    Returns
    -------
    dict
    """
    from covidcxr.evaluation import intervals, metrics

    name, positive = model.metrics["headline_split"], recipe.positive_class
    seed = model.metrics["splits"][name]["intervals"]["seed"]
    return {
        "model": described,
        "split": name,
        **metrics.compute(made.predictions, positive),
        "intervals": intervals.summarise(made.predictions, seed=seed, positive=positive),
    }


def clean_info(info, model):
    """Return what the model's file tells of it, with the name of the weight file in place of its folder.

    Parameters
    ----------
    info : covidcxr.models.files.ModelInfo
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel

    Returns
    -------
    covidcxr.models.files.ModelInfo
    """
    weights = model.config.get("weights") or {}
    given = Path(str(weights.get("source", ""))).name or "none"
    return replace(info, extra={**info.extra, "weights": given})


def without_places(text, model):
    """Return a note of a run without the folder of its images, and without the patient that it may name.

    Parameters
    ----------
    text : str
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel

    Returns
    -------
    str
    """
    shown = text.replace(f"{model.config['data_root']}{os.sep}", "").replace(
        model.config["data_root"], "the data"
    )
    return shown.partition(", such as ")[0]


def refuse_places(folder, model, data=None):
    """See that no file that is to be shipped names a place on this machine.

    Parameters
    ----------
    folder : pathlib.Path
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel
    data : path-like, optional
        Where the images are now.

    Raises
    ------
    OutputError
        If one does.
    """
    options = model.config["options"]
    given = [
        model.config["data_root"],
        data,
        *(options.get(name) for name in ("data", "weights", "out", "split")),
    ]
    places = {str(place) for place in given if place and os.path.isabs(str(place))}
    places |= {os.path.expanduser("~"), os.getcwd()}
    for path in sorted(folder.iterdir()):
        text = path.read_bytes()
        named = next((p for p in sorted(places) if len(p) >= SHORTEST and os.fsencode(p) in text), None)
        if named:
            raise OutputError(
                f"{path.name}: names {named}, a place on this machine; rename it in the run's notes"
            )


def _weights_licence(config):
    """Return the licence of the published weights that a run began with; of several files the one of its input."""
    from covidcxr.models import backbones, weight_catalog

    backbone = backbones.get(config["backbone"])
    fitting = [
        entry
        for entry in weight_catalog.of(backbone.key)
        if entry.value_range == config["preprocessing"].get("mode")
    ]
    return fitting[0].licence if fitting else backbone.licence


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
