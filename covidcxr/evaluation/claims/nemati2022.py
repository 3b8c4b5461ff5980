"""The checks of nemati2022: Table II against itself and the test size, Table I against the networks."""

from covidcxr.evaluation.claims import rules
from covidcxr.models import backbone_table

ROWS = range(1, 28)
_SPELLED = {
    "inceptionv3": "inception_v3",
    "inceptionresnetv2": "inception_resnet_v2",
    "mobilenetv2": "mobilenet_v2",
}

# Keras' count without moving statistics, of the network whose printed number is that one.
_TRAINABLE = {"resnet101": 44_601_832}


def checks(numbers):
    """Yield every check of the paper.

    Parameters
    ----------
    numbers : covidcxr.evaluation.claims.printed.Numbers

    Yields
    ------
    covidcxr.evaluation.claims.rules.Check
    """
    yield from _parameters(numbers)
    yield from _rows(numbers)
    for row in ROWS:
        yield from _result(numbers, row)
    table = [_cells(numbers, row, "accuracy", "sensitivity", "specificity") for row in ROWS]
    how = "share q of COVID-19 in accuracy = q sensitivity + (1 - q) specificity; all networks see the same folds"
    yield rules.common_share(table, how)


def _cells(numbers, row, *measures):
    return tuple(numbers[f"table2.row{row}.{measure}"] for measure in measures)


def _parameters(numbers):
    known = {facts.key: facts for facts in backbone_table.BACKBONES}
    for row in ROWS:
        cell = numbers[f"table1.row{row}.parameters_millions"]
        facts = known[_backbone(cell.model)]
        how = f"{facts.key} with ImageNet's classifier has {facts.parameters_with_top:,}"
        yield rules.parameters(cell, facts.parameters_with_top, how, _TRAINABLE.get(facts.key))


def _backbone(model):
    """Return our key of a network: ``resnet50v2`` is ``resnet50_v2``, ``efficientnetb0`` is ``efficientnet_b0``."""
    for start, parted in (("efficientnetb", "efficientnet_b"), ("nasnet", "nasnet_")):
        model = model.replace(start, parted)
    parted = model.replace("v2", "_v2") if model.startswith("resnet") else model
    return _SPELLED.get(parted, parted)


def _rows(numbers):
    names = [numbers[f"table1.row{row}.parameters_millions"] for row in ROWS]
    claimed = int(numbers["text.networks"].value)
    yield rules.distinct(names, claimed, f"{claimed} networks are claimed; names of Table I's rows")
    for where in ("abstract", "results", "conclusion"):
        yield rules.same(numbers[f"{where}.networks"], numbers["text.networks"])


def _result(numbers, row):
    accuracy, precision, sensitivity, specificity, f1, balanced = _cells(
        numbers, row, "accuracy", "precision", "sensitivity", "specificity", "f1", "balanced_accuracy"
    )
    images = 2 * numbers["text.covid19_images"].value
    folds = int(numbers["results.folds"].value)
    tested = round(images * numbers["text.test_share"].value / 100)
    how = f"k/{tested} (20 % of {images:.0f} images) or, over {folds} folds, k/{folds * tested}"
    yield rules.share_of_a_count(accuracy, (tested, folds * tested), how)
    yield rules.f1(f1, precision, sensitivity, folds=folds)
    how = "mean of the printed sensitivity and specificity"
    yield rules.average(balanced, [sensitivity, specificity], how, "balanced_accuracy")
    how = f"sensitivity {sensitivity.printed}, specificity {specificity.printed}"
    yield rules.between(accuracy, [sensitivity, specificity], how)
