"""Score a trained model the way the paper did and the way its critics would."""

from dataclasses import dataclass

import numpy as np

from covidcxr.papers.running.monitoring import monitored


@dataclass(frozen=True)
class Scores:
    """What a run's model achieved.

    Attributes
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Every image outside the training split, as it is, through the code path that inference uses.
    augmented : covidcxr.evaluation.predictions.Predictions or None
        The headline split as the published protocol scores it, where that augments it.
    batch : covidcxr.evaluation.predictions.Predictions or None
        The one batch of `augmented` (or of the headline split) that the paper computes its figures on.
    metrics : dict
        metrics.json.
    rows : list of dict
        See :func:`covidcxr.evaluation.tables.result_cells`.
    """

    predictions: object
    augmented: object
    batch: object
    metrics: dict
    rows: list


def score(plan, records, model, history, scored_feed):
    """Predict and measure.

    Parameters
    ----------
    plan : Plan
    records : Records
        With the column `split`.
    model : keras.Model
        Trained, carrying its preprocessing.
    history : pandas.DataFrame
    scored_feed : covidcxr.data.batches.Batches
        The validation batches of training.

    Returns
    -------
    Scores
    """
    from covidcxr.evaluation import intervals, metrics
    from covidcxr.evaluation.predictions import Predictions
    from covidcxr.inference import predict_files

    names = plan.data_set.class_names
    held_out = records.where(records.table["split"] != "train")
    predictions = Predictions.from_arrays(held_out.table, names, predict_files(model, held_out.files()))
    positive = plan.recipe.positive_class
    seed = plan.seed
    splits = sorted(set(held_out.table["split"]))
    measured = {
        split: {
            **metrics.compute(predictions.subset(split), positive),
            "intervals": intervals.summarise(predictions.subset(split), seed=seed, positive=positive),
        }
        for split in splits
    }
    augmented = _augmented(plan, records, model, scored_feed)
    batch = _batch(plan, augmented)
    held = _thresholds(plan, predictions)
    rows = _rows(plan, history, measured[plan.protocol.headline], batch) + _threshold_rows(held)
    document = {
        "title": plan.title,
        "headline_split": plan.protocol.headline,
        "splits": measured,
        "thresholds": held,
        "as_published": _as_published(history, augmented, batch, positive),
        "rows": rows,
    }
    return Scores(predictions, augmented, batch, document, rows)


def _thresholds(plan, predictions):
    """Hold thresholds chosen on validation on the headline split; none where that is what is reported on."""
    from covidcxr.errors import DataError
    from covidcxr.evaluation import thresholds

    headline, positive = plan.protocol.headline, plan.recipe.positive_class
    if headline == "val" or "val" not in set(predictions.table["split"]):
        return []
    held = []
    for rule in _RULES:
        try:
            chosen = thresholds.choose(predictions, rule, positive=positive)
            held.append(thresholds.apply(chosen, predictions, split=headline, seed=plan.seed))
        except DataError:
            # A validation part of one kind only, as a handful of images may be.
            continue
    return held


def _threshold_rows(held):
    rows = []
    for summary in held:
        threshold, measures = summary["threshold"], summary["measures"]
        section = (
            f"{threshold['positive']} called from a probability of {threshold['value']:.3f} on, chosen on validation "
            f"({threshold['rule']})"
        )
        for name in ("sensitivity", "specificity", "precision"):
            entry = measures[f"per_class.{threshold['positive']}.{name}"]
            limits = {key: entry[key] for key in ("value", "low", "high")}
            rows.append(
                {
                    "section": section,
                    "measure": _TITLES[name],
                    "paper": None,
                    **limits,
                    "note": "",
                    "percent": True,
                }
            )
    return rows


def _augmented(plan, records, model, scored_feed):
    from covidcxr.data.batches import clear_errors
    from covidcxr.evaluation.predictions import Predictions

    if not plan.protocol.augment_evaluation:
        return None
    scored = monitored(records)
    with clear_errors(scored_feed):
        probabilities = model.predict(scored_feed.dataset.map(lambda images, targets: images), verbose=0)
    return Predictions.from_arrays(scored.table, plan.data_set.class_names, probabilities)


def _batch(plan, augmented):
    """Draw the batch that the paper's figures are made of: the first of a shuffled validation pass."""
    from dataclasses import replace

    size = plan.recipe.figures_batch
    if augmented is None or not size:
        return None
    order = np.random.default_rng([plan.seed, 2]).permutation(len(augmented))[:size]
    return replace(augmented, table=augmented.table.iloc[np.sort(order)].reset_index(drop=True))


def _as_published(history, augmented, batch, positive):
    from covidcxr.evaluation import metrics

    if augmented is None:
        return None
    last = history.iloc[-1]
    document = {
        "validation_accuracy": float(last["val_accuracy"]),
        "validation_loss": float(last["val_loss"]),
        "augmented_validation": metrics.compute(augmented, positive),
    }
    if batch is not None:
        document["one_batch"] = metrics.compute(batch, positive)
    return document


def _rows(plan, history, measured, batch):
    """Set the paper's numbers beside this run's: first as the paper measured, then with intervals."""
    claims = _claims(plan)
    rows = _published_rows(plan, claims, history, batch) if plan.protocol.augment_evaluation else []
    plain = {} if plan.protocol.augment_evaluation else claims
    return rows + _interval_rows(plan, plain, measured)


def _claims(plan):
    """Return what the paper prints of this very model on the headline split, by measure or by (measure, label)."""
    claims = {}
    for claim in plan.recipe.claims_of(plan.unit):
        if claim.split in ("", plan.protocol.headline):
            of_all = claim.label in ("", plan.recipe.positive_class)
            claims.setdefault(claim.measure if of_all else (claim.measure, claim.label), claim)
    return claims


def _published_rows(plan, claims, history, batch):
    from covidcxr.evaluation import metrics

    last = history.iloc[-1]
    values = {"accuracy": float(last["val_accuracy"]), "loss": float(last["val_loss"])}
    how = dict.fromkeys(values, "")
    if batch is not None:
        block = metrics.compute(batch, plan.recipe.positive_class)["positive"]
        values.update({name: block[name] for name in ("precision", "sensitivity", "f1")})
        values["roc_auc"] = _area_of_labels(block)
        how.update(dict.fromkeys(("precision", "sensitivity", "f1"), f"one batch of {len(batch)}"))
        how["roc_auc"] = f"one batch of {len(batch)}, hard labels"
    return [
        {
            "section": "as the paper measures: validation images, augmented, after the last epoch",
            "measure": _TITLES[name],
            "paper": claims[name].value if name in claims else None,
            "value": value,
            "note": "; ".join(filter(None, (how[name], claims[name].where if name in claims else ""))),
            "percent": name not in ("loss", "roc_auc"),
        }
        for name, value in values.items()
    ]


def _area_of_labels(block):
    """Area under the two-step ROC curve of hard labels: what Fig. 6 and Table 8 of ragab2022 hold."""
    pair = (block["sensitivity"], block["specificity"])
    return None if None in pair else sum(pair) / 2


def _interval_rows(plan, claims, measured):
    entries = measured["intervals"]["measures"]
    names = {
        name: entries.get(name) or entries[f"per_class.{plan.recipe.positive_class}.{name}"] for name in _MAIN
    }
    others = {
        key: entries[f"per_class.{key[1]}.{key[0]}"]
        for key in claims
        if isinstance(key, tuple) and f"per_class.{key[1]}.{key[0]}" in entries
    }
    return [
        _interval_row(plan, key, entry, claims.get(key), measured)
        for key, entry in {**names, **others}.items()
    ]


def _interval_row(plan, key, entry, claim, measured):
    name, label = (key, "") if isinstance(key, str) else key
    if len(plan.data_set.class_names) > 2 and name in _OF_ONE_CLASS:
        label = label or plan.recipe.positive_class
    return {
        "section": _population(plan, measured),
        "measure": _TITLES.get(name, name.replace("_", " ")) + (f" of {label}" if label else ""),
        "paper": claim.value if claim else None,
        "value": entry["value"],
        "low": entry["low"],
        "high": entry["high"],
        "note": "; ".join(filter(None, (claim.where, claim.note))) if claim else "",
        "percent": name != "roc_auc",
    }


def _population(plan, measured):
    noun = {"val": "validation", "test": "test"}[plan.protocol.headline]
    return f"as they are: {measured['images']} {noun} images of {measured['patients']} patients"


_MAIN = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc")
# Youden's, and the highest threshold that finds 95 % of the validation images of the class.
_RULES = ("youden", 0.95)
_OF_ONE_CLASS = ("sensitivity", "specificity", "precision", "f1", "roc_auc")
_TITLES = {
    "accuracy": "accuracy",
    "loss": "loss",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1": "F1",
    "roc_auc": "ROC area",
}
