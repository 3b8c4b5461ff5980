"""What the runs know about model, data and evaluation, in sentences: for the model card and the checklists."""

from covidcxr.evaluation import checklists
from covidcxr.papers.running import folder as run_folder

_SEE = "section '{}' of the report"
_LIMITS = (
    (
        "Public images of several places: age, view, scanner and post-processing differ between the classes, and a "
        "network can tell places apart instead of disease; see the audits."
    ),
    "Labels are those of the sources; no image was read again for this report.",
    (
        "Hospital, country and dates are unknown for most images: performance elsewhere is unknown unless an external "
        "set is in the table."
    ),
    (
        "An interval speaks of the images at hand, resampled by patient; it does not cover another training run, "
        "another split or another hospital."
    ),
)


def card(runs, splits, sources):
    """Return the facts of MODEL_CARD.md.

    Parameters
    ----------
    runs : sequence of covidcxr.papers.reporting.comparison_runs.Run
    splits : dict
        Of :func:`covidcxr.papers.reporting.comparison_data.splits_of`.
    sources : sequence of str

    Returns
    -------
    dict
        `model` and `licences` (pairs), `data` and `limits` (texts).
    """
    models = [model for run in runs for model in run.models]
    facts = [(model.title, _model_line(model)) for model in models]
    data = [
        f"split.csv {name[:12]}…: {len(models[0].split):,} images of {_patients(models[0].split)}, "
        f"sources {', '.join(sorted(set(models[0].split['source'])))}"
        for name, models in splits.items()
    ]
    notes = dict.fromkeys(note for model in models for note in model.config.get("notes", ()))
    return {"model": facts, "data": [*data, *notes], "licences": _licences(sources), "limits": _LIMITS}


def answers(recipe, runs, splits, externals, verdicts, *, audited, explained):
    """Answer what runs can of CLAIM and TRIPOD+AI.

    Parameters
    ----------
    recipe, runs, splits, externals
        As of :mod:`covidcxr.papers.reporting.comparison_page`.
    verdicts : sequence of str
    audited : collection of str
        Names of the audits in the report.
    explained : bool
        Whether the report holds attribution maps.

    Returns
    -------
    dict of str to str
        By the keys of the checklists' column `answer`.
    """
    models = [model for run in runs for model in run.models]
    return {
        **_on_data(models, splits),
        **_on_models(models),
        **_on_evaluation(models, externals, audited=audited, explained=explained),
        "aim": f"to reproduce {recipe.reference} and to see what is left under a sound protocol",
        "intended_use": "research only; not a medical device",
        "retrospective": "retrospective: images published before",
        "limits": "section 'Limits' of MODEL_CARD.md; " + _SEE.format("Audits"),
        "verdict": " ".join(verdicts),
        "protocol": f"recipe `covidcxr papers {recipe.key}`; differences from the paper in the report",
        "availability": "code: this package; model: model.h5 in each run folder; data: public sources, manifest.csv",
        "data_sharing": "public sources under their own licences (MODEL_CARD.md); manifest.csv names every image",
    }


def checklist(name, known):
    """Return a checklist for the report: `id`, `title`, `rows` (texts), `known` (how many are answered)."""
    rows = checklists.filled(name, known)
    return {
        "id": f"checklist-{name.replace('_', '-')}",
        "title": checklists.TITLES[name],
        "rows": [[row[key] for key in checklists.COLUMNS[:4]] for row in rows],
        "known": sum(row["state"] != "open" for row in rows),
        "items": rows,
    }


def _on_data(models, splits):
    first = models[0]
    sources = sorted({source for name in splits.values() for source in name[0].split["source"]})
    counts = "; ".join(
        f"{len(used[0].split):,} images of {_patients(used[0].split)}, {len(used[0].exclusions):,} left out"
        for used in splits.values()
    )
    protocols = dict.fromkeys(f"{model.protocol}: {model.config['protocol']['title']}" for model in models)
    return {
        "data_sources": ", ".join(sources),
        "exclusions": "exclusions.csv of each run, with the reason; " + _SEE.format("Data"),
        "preprocessing": ", ".join(
            f"{key} {value}" for key, value in first.config["preprocessing"].items() if value
        ),
        "selection": "; ".join(protocols),
        "missing": "sex, age and view are used for subgroups only; where unknown they stand as a group of their own",
        "labels": "the sources' own labels; see docs/data.md",
        "partitions": "; ".join(protocols),
        "disjoint": "; ".join(_disjoint(models)),
        "sample_size": "the paper's numbers of images, or all at hand where there are fewer",
        "flow": counts,
        "demographics": _SEE.format("Subgroups") + " (sex, age, view, source where known)",
        "inputs": f"pixels of one frontal radiograph, {first.config['preprocessing'].get('size')}",
        "imbalance": "none beyond what the paper does; see its recipe",
    }


def _disjoint(models):
    for protocol in dict.fromkeys(model.protocol for model in models):
        split = next(model for model in models if model.protocol == protocol).split
        shared, unknown = _shared_patients(split), int((split["patient_id"] == "").sum())
        text = f"{shared} patients have images in more than one split" if shared else "patient"
        alone = (
            f"; {unknown:,} images of unknown patients are taken as patients of their own" if unknown else ""
        )
        yield f"{protocol}: {text}{alone}"


def _shared_patients(split):
    known = split[split["patient_id"] != ""]
    return int((known.groupby("patient_id")["split"].nunique() > 1).sum())


def _on_models(models):
    first = models[0].config
    packages = first["environment"].get("packages", {})
    stages = "; ".join(
        f"{stage.get('name', '')}: {stage.get('epochs')} epochs" for stage in first.get("stages", ())
    )
    names = dict.fromkeys(str(model.config.get("network", "")) for model in models)
    return {
        "model_kind": "convolutional neural networks (deep learning)",
        "architecture": "; ".join(filter(None, names)),
        "software": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "initialisation": _initial(first),
        "training": f"{stages}; batches of {first.get('batch_size')}; config.json of each run has every setting",
        "selection_of_model": "; ".join(dict.fromkeys(map(_kept, models))),
        "ensembling": "none",
        "output": f"one probability a class ({', '.join(first['classes'])}); the most probable class is the decision",
        "updating": "none",
        "poor_input": "files that are no radiograph are left out with the reason; no check of image quality",
        "predictions": "model.h5 with the preprocessing stored in it; predictions.csv has every image",
    }


def _kept(model):
    protocol = model.config["protocol"]
    rule = f" by {protocol['monitor']}" if protocol["keep"] == "best" and "monitor" in protocol else ""
    return f"{model.protocol}: the {protocol['keep']} epoch{rule}"


def _initial(config):
    weights = config.get("weights")
    source = weights.get("source") if isinstance(weights, dict) else weights
    return f"weights: {source or 'random'}, seed {config['options'].get('seed', 0)}"


def _on_evaluation(models, externals, *, audited, explained):
    return {
        "measures": "accuracy, sensitivity, specificity, precision, F1, balanced accuracy, ROC and PR area, "
        "Matthews correlation, Brier score, log loss, calibration error (metrics.json)",
        "uncertainty": "95 % percentile intervals, 2,000 resamples of patients; Wilson and Newcombe where these agree",
        "robustness": _SEE.format("Audits") if {"robustness", "shortcuts"} & set(audited) else "",
        "explanations": "Grad-CAM, " + _SEE.format("Figures") if explained else "",
        "internal": "; ".join(
            dict.fromkeys(f"{model.protocol}: split {model.metrics['headline_split']}" for model in models)
        ),
        "external": ", ".join(f"{item.name} ({item.metrics['images']:,} images)" for item in externals),
        "performance": "validation and test where the protocol has both (metrics.json); training images are not scored",
        "failures": f"{run_folder.PREDICTIONS} of each run; "
        + _SEE.format("Figures")
        + " (prediction grids)",
        "subgroups": _SEE.format("Subgroups"),
    }


def _model_line(model):
    config = model.config
    parts = [str(config.get("network", "")), f"classes {', '.join(config['classes'])}"]
    if config.get("parameters"):
        parts.append(f"{config['parameters']:,} parameters, {config.get('trainable', 0):,} trainable")
    parts += [_initial(config), f"input {config['preprocessing'].get('size')}", f"file {run_folder.MODEL}"]
    return "; ".join(filter(None, parts))


def _patients(split):
    known = split.loc[split["patient_id"] != "", "patient_id"].nunique()
    unknown = int((split["patient_id"] == "").sum())
    return f"{known:,} patients" + (f" and {unknown:,} images of unknown patients" if unknown else "")


def _licences(sources):
    from covidcxr.data.sources import SOURCES

    known = [(name, SOURCES[name].licence) for name in sources if name in SOURCES]
    others = [(name, checklists.OPEN) for name in sources if name not in SOURCES]
    return known + others
