"""The checks of ragab2022: tables against the printed matrices, test sizes, parameters, text against tables."""

from covidcxr.evaluation.claims import rules
from covidcxr.models import backbone_table

# Matrix of each case: its cells in Table 7, and the figure that prints it with its metrics.
CASES = {"a": "figure5", "b": "figure9", "b10": "figure14"}
_RELATED = ("vgg19", "mobilenetv2", "inception", "xception", "inceptionresnetv2")
_BACKBONES = {"mobilenet": "mobilenet", "mobilenetv2": "mobilenet_v2", "vgg16": "vgg16", "vgg19": "vgg19"}
_SPLIT = 0.2


def checks(numbers):
    """Yield every check of the paper.

    Parameters
    ----------
    numbers : covidcxr.evaluation.claims.printed.Numbers

    Yields
    ------
    covidcxr.evaluation.claims.rules.Check
    """
    for case, figure in CASES.items():
        yield from _matrix(numbers, case, figure)
    yield from _batches(numbers)
    yield from _accuracies(numbers)
    yield from _related(numbers)
    yield from _parameters(numbers)
    yield from _text(numbers)


def _cells(numbers, prefix):
    return [numbers[f"{prefix}.true{row}.predicted{column}"] for row in (0, 1) for column in (0, 1)]


def _part(images):
    """Return the validation images of a class: Keras rounds the share down in each folder."""
    return int(images * _SPLIT)


def _matrix(numbers, case, figure):
    cells, printed = _cells(numbers, f"table7.{case}"), _cells(numbers, figure)
    place = printed[0].table
    yield rules.same_matrix(cells, printed, f"the same matrix in {place}")
    measures = ("precision", "sensitivity", "f1")
    _, false_positives, missed, found = (int(cell.value) for cell in printed)
    counts = {
        "precision": (found, found + false_positives),
        "sensitivity": (found, found + missed),
        "f1": (2 * found, 2 * found + false_positives + missed),
    }
    for measure in measures:
        how = f"{place}'s matrix, class 1 positive"
        yield rules.rate_of_counts(numbers[f"{figure}.{measure}"], *counts[measure], how)
        yield rules.same(
            numbers[f"table6.{case}.{measure}"], numbers[f"{figure}.{measure}"], f"{place}'s {measure}"
        )
    for prefix in (f"table6.{case}", figure):
        yield rules.f1(*(numbers[f"{prefix}.{measure}"] for measure in ("f1", "precision", "sensitivity")))
    how = f"mean of the recalls of {place}'s hard labels"
    yield rules.hard_area(numbers[f"table8.{case}.roc_area"], printed, how)


def _batches(numbers):
    batch = int(numbers["text.batch_size"].value)
    for case, figure in CASES.items():
        for prefix in (f"table7.{case}", figure):
            cells = _cells(numbers, prefix)
            where = "Table 7" if prefix.startswith("table7") else cells[0].table
            yield rules.sums(
                cells, batch, f"images of the matrix in {where}, case {case.upper()}, against one batch"
            )
    covid19, normal_a, normal_b = (
        _part(numbers[f"abstract.{name}"].value) for name in ("b_covid19", "a_normal", "b_normal")
    )
    matrices = [
        (_cells(numbers, figure), (normal_a if case == "a" else normal_b, covid19))
        for case, figure in CASES.items()
    ]
    there = f"{covid19} COVID-19, {normal_a} (A) or {normal_b} (B) normal"
    how = f"rows of Figs. 5, 9 and 14 against the validation images: {there}"
    yield rules.one_class_order(matrices, how)
    images = numbers["abstract.b_images"].value
    held_out = covid19 + normal_b
    for where in ("text.batch_size", "results.batch_size"):
        trained = int(images - held_out)
        how = f"{trained} training images of B in batches of {numbers[where].printed}; Fig. 13 logs 13 steps"
        yield rules.batches(numbers["figure13.train_steps"], trained, numbers[where], how)
        how = (
            f"{held_out} validation images of B in batches of {numbers[where].printed}; Fig. 13 logs 4 steps"
        )
        yield rules.batches(numbers["figure13.val_steps"], held_out, numbers[where], how)


def _accuracies(numbers):
    for number in numbers.values():
        if number.n and number.measure in ("accuracy", "val_accuracy"):
            how = f"k/{number.n}, the validation images that a 20 % split of each class leaves"
            yield rules.share_of_a_count(number, (number.n,), how)
    cells = _cells(numbers, "figure5")
    right, images = cells[0].value + cells[3].value, sum(cell.value for cell in cells)
    how = "right / all of Fig. 5's matrix"
    yield rules.rate_of_counts(numbers["table9.a.accuracy"], int(right), int(images), how)
    for number, other in (
        ("figure13.final.val_loss", "figure13.epoch10.val_loss"),
        ("figure13.final.val_accuracy", "figure13.epoch10.val_accuracy"),
        ("figure13.final_loss", "figure13.final.val_loss"),
        ("figure13.final_accuracy", "figure13.final.val_accuracy"),
        ("table5.b10.loss", "figure13.final.val_loss"),
        ("table5.b10.accuracy", "figure13.final.val_accuracy"),
        ("table9.b10.accuracy", "table5.b10.accuracy"),
        ("table9.b.accuracy", "table5.b.accuracy"),
    ):
        yield rules.same(numbers[number], numbers[other])
    how = "accuracy of A in Table 5, of the validation images; 93.75 is 30/32, of Fig. 5's batch"
    yield rules.same(numbers["table9.a.accuracy"], numbers["table5.a.accuracy"], how)


def _related(numbers):
    rows = [
        tuple(
            numbers[f"table9.{network}.{measure}"] for measure in ("accuracy", "sensitivity", "specificity")
        )
        for network in _RELATED
    ]
    for accuracy, sensitivity, specificity in rows:
        how = f"sensitivity {sensitivity.printed}, specificity {specificity.printed}"
        yield rules.between(accuracy, [sensitivity, specificity], how)
    how = "share q of COVID-19 in accuracy = q sensitivity + (1 - q) specificity; one source, one test set"
    yield rules.common_share(rows, how)
    # The row that pins the share down most closely.
    share = rules.share_interval(*rows[2])
    for accuracy, sensitivity, specificity in rows[3:]:
        how = f"what the share of COVID-19 of the row Inception, {100 * share[0]:.2f} to {100 * share[1]:.2f} %, needs"
        yield rules.unit(sensitivity, accuracy, specificity, share, how)


def _parameters(numbers):
    known = {facts.key: facts for facts in backbone_table.BACKBONES}
    for model, key in {**_BACKBONES, "resnet50": "resnet50"}.items():
        how = f"{key} with ImageNet's classifier"
        yield rules.parameters(numbers[f"table3.{model}.parameters"], known[key].parameters_with_top, how)
    for figure in ("figure2", "figure12"):
        backbone, head = numbers[f"{figure}.backbone"], numbers[f"{figure}.head"]
        features = int(numbers[f"{figure}.feature_vector"].value)
        yield rules.parameters(backbone, known["mobilenet_v2"].parameters, "mobilenet_v2 without classifier")
        yield rules.total(head, [2 * (features + 1)], "2 classes of 1,280 weights and a bias")
        yield rules.total(numbers[f"{figure}.total"], [backbone, head], "the layers listed")
        yield rules.total(numbers[f"{figure}.trainable"], [head], "the head")
        yield rules.total(numbers[f"{figure}.frozen"], [backbone], "the backbone")
    yield rules.same(numbers["text.parameters"], numbers["figure2.total"])
    yield rules.same(numbers["text.trainable"], numbers["figure2.trainable"])
    limit = known["mobilenet_v2"].parameters_with_top
    how = "parameters of MobileNetV2 in all, trainable or not; the printed number is MobileNet's"
    yield rules.at_most(numbers["text.mobilenetv2_trainable"], limit, how)


def _text(numbers):
    for where in ("abstract", "text", "conclusion"):
        for case in "ab":
            parts = [numbers[f"{where}.{case}_{label}"] for label in ("covid19", "normal")]
            how = f"COVID-19 {parts[0].printed} and normal {parts[1].printed}"
            yield rules.total(numbers[f"{where}.{case}_images"], parts, how)
    for where in ("abstract", "conclusion"):
        for case in "ab":
            yield rules.same(numbers[f"{where}.{case}_accuracy"], numbers[f"table5.{case}.accuracy"])
    how = "dropout of A in section 'Evaluation Results': 0.4"
    yield rules.same(numbers["abstract.a_dropout"], numbers["results.a_dropout"], how)
    yield rules.same(numbers["results.batch_size"], numbers["text.batch_size"])
