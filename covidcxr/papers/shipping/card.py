"""model_card.md of a shipped model."""

import shlex

from covidcxr.evaluation import tables
from covidcxr.evaluation.report import NOT_A_DEVICE, markdown_cell
from covidcxr.papers.reporting import comparison_card
from covidcxr.papers.shipping import facts, rules

_TEMPLATE = "model_card.md"
_SHORT = 12
_OF_EACH = ("sensitivity", "specificity", "roc_auc")


def text(name, recipe, model, scores, listing, generated):
    """Write the card.

    Parameters
    ----------
    name : str
        Of the shipped model.
    recipe : covidcxr.papers.recipe.Recipe
    model : covidcxr.papers.reporting.comparison_runs.TrainedModel
    scores : dict
        Of :func:`covidcxr.papers.shipping.facts.scores`.
    listing : pandas.DataFrame
        Of :func:`covidcxr.papers.shipping.split.listing`.
    generated : int
        Generated images that were trained on besides.

    Returns
    -------
    str
        Markdown.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    loader = PackageLoader("covidcxr.papers.shipping")
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["cell"] = markdown_cell
    about = scores["model"]
    header, counts = tables.count_cells(listing.groupby(["split", "label"]).size().reset_index(name="images"))
    known = comparison_card.card([_Runs(model)], {}, sorted(set(listing["source"])))
    return environment.get_template(_TEMPLATE).render(
        name=name,
        warning=NOT_A_DEVICE,
        title=f"{model.metrics['title']}. {recipe.citation}",
        classes=scores["classes"],
        facts=_facts(model, scores),
        preprocessing=[(key, value) for key, value in about["preprocessing"].items() if value is not None],
        training=_training(model, about),
        counts_header=header,
        counts=counts,
        generated=generated,
        notes=[facts.without_places(note, model) for note in known["data"]],
        licences=known["licences"],
        split=scores["split"],
        images=scores["images"],
        patients=scores["patients"],
        columns=("measure", "value [95 % interval]", "note"),
        rows=_results(scores),
        evaluate=_evaluate(name, scores),
        compared=about["images_compared"],
        largest=f"{about['largest_change']:.1e}",
        allowed=rules.LARGEST_CHANGE,
        limits=known["limits"],
    )


class _Runs:
    """One model, as the model card of a report takes runs."""

    def __init__(self, model):
        self.models = (model,)


def _facts(model, scores):
    about, weights = scores["model"], scores["model"]["weights"]
    start = "random numbers"
    if weights["file"]:
        digest = f", sha256 {weights['sha256'][:_SHORT]}…" if weights["sha256"] else ""
        start = f"{weights['file']}{digest}; licence of the weights: {weights['licence']}"
    return [
        ("network", model.config.get("network", "")),
        ("classes, in the order of the outputs", ", ".join(scores["classes"])),
        ("protocol", f"{model.protocol}: {model.config['protocol']['title']}"),
        ("seed", about["seed"]),
        ("began with", start),
        ("file", f"{about['bytes'] / 1e6:.1f} MB, stored as {about['storage']}, computes in float32"),
        ("sha256 of the file", about["sha256"]),
    ]


def _training(model, about):
    trained = about["trained"]
    stages = "; ".join(f"{stage['name']}: {stage['epochs']} epochs" for stage in model.config["stages"])
    return [
        ("command", about["command"]),
        ("stages", f"{stages}; batches of {model.config['batch_size']}"),
        (
            "layers trained",
            (
                f"{trained['layers']} of {trained['of_layers']} with weights, {trained['parameters']:,} of "
                f"{trained['of_parameters']:,} parameters"
            ),
        ),
        ("blocks of the backbone trained whole", ", ".join(trained["blocks"]) or "it has none"),
        ("blocks with frozen layers", ", ".join(trained["frozen"]) or "none"),
        ("versions", ", ".join(f"{key} {value}" for key, value in about["versions"].items())),
    ]


def _results(scores):
    """Return the usual measures, then those of every class and the mean ROC area."""
    each = [f"per_class.{name}.{measure}" for name in scores["classes"] for measure in _OF_EACH]
    further = dict.fromkeys(["macro.roc_auc", *each])
    rows = map(tables.result_cells, tables.result_rows(scores["intervals"], further))
    return [(measure, value, note) for measure, _, value, note in rows]


def _evaluate(name, scores):
    """Return the command that scores the model again on its own split."""
    words = ["covidcxr", "evaluate", name, "--data", "DATA"]
    words += ["--split-file", f"saved_models/{name}/split.csv", "--split", scores["split"]]
    mapping = scores["model"]["label_mapping"]
    for target in dict.fromkeys(mapping.values()):
        labels = ",".join(label for label, to in mapping.items() if to == target)
        words += ["--map", f"{labels}={target}"]
    # On one line nothing can end the block of code that it stands in.
    return " ".join(shlex.join(words).splitlines())
