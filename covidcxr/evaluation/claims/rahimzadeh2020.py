"""The checks of rahimzadeh2020: Table 4 from Table 3's counts, averages, sizes, text against tables."""

from covidcxr.evaluation.claims import rules

CLASSES = ("covid19", "pneumonia", "normal")
NETWORKS = ("xception", "resnet50v2", "concatenated")
FOLDS = (1, 2, 3, 4, 5)
_RATES = {
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "accuracy": (("tp", "tn"), ("tp", "tn", "fp", "fn")),
    "precision": (("tp",), ("tp", "fp")),
}
_COLUMNS = {"tp": "true_positives", "fn": "false_negatives", "fp": "false_positives"}


def checks(numbers):
    """Yield every check of the paper.

    Parameters
    ----------
    numbers : covidcxr.evaluation.claims.printed.Numbers

    Yields
    ------
    covidcxr.evaluation.claims.rules.Check
    """
    yield from _sizes(numbers)
    yield from _rows_of_counts(numbers)
    rates = list(_rates(numbers))
    yield from rates
    misprints = {check.numbers[0].id: _exact(numbers, check.numbers[0]) for check in rates if _wrong(check)}
    yield from _averages(numbers, misprints)
    yield from _mixtures(numbers, misprints)
    yield from _text(numbers)


def _wrong(check):
    return check.verdict == rules.CONTRADICTS


def _counts(numbers, fold, network):
    """Return TP, FN, FP, TN of each class, the true negatives by the size of the test set."""
    found = {
        label: {
            short: int(numbers[f"table3.fold{fold}.{network}.{label}.{name}"].value)
            for short, name in _COLUMNS.items()
        }
        for label in CLASSES
    }
    images = sum(cell["tp"] + cell["fn"] for cell in found.values())
    for cell in found.values():
        cell["tn"] = images - cell["tp"] - cell["fn"] - cell["fp"]
    return found


def _quotient(numbers, cell):
    """Return numerator, denominator and formula of a cell of Table 4, by the paper's definitions."""
    counts = _counts(numbers, cell.subset.rsplit(" ", 1)[-1], cell.model)
    if not cell.label:
        right = sum(counts[label]["tp"] for label in CLASSES)
        return right, sum(counts[label]["tp"] + counts[label]["fn"] for label in CLASSES), "correct / all"
    above, below = _RATES[cell.measure]
    own = counts[cell.label]
    top = " + ".join(above)
    formula = f"{f'({top})' if len(above) > 1 else top} / ({' + '.join(below)})".upper()
    return sum(own[name] for name in above), sum(own[name] for name in below), formula


def _exact(numbers, cell):
    numerator, denominator, _ = _quotient(numbers, cell)
    return numerator / denominator


def _sizes(numbers):
    for label in CLASSES:
        parts = [numbers[f"table1.{part}.{label}"] for part in ("first", "rsna")]
        yield rules.total(numbers[f"table1.total.{label}"], parts, "both data sets of Table 1")
        parts = [numbers[f"table1.{part}.{label}"] for part in ("train", "test")]
        yield rules.total(numbers[f"table1.total.{label}"], parts, "training and validation set of Table 1")
        yield rules.same(numbers[f"results.test_{label}"], numbers[f"table1.test.{label}"])
    tested = [numbers[f"table1.test.{label}"] for label in CLASSES]
    trained = [numbers[f"table1.train.{label}"] for label in CLASSES]
    yield rules.total(numbers["abstract.test_images"], tested, "Table 1's validation set")
    yield rules.total(
        numbers["discussion.other_images"], tested[1:], "Table 1's pneumonia and normal test images"
    )
    for where in ("text", "results", "conclusion"):
        yield rules.total(numbers[f"{where}.training_images"], trained, "Table 1's training set")
    phases = numbers["text.phases"].value
    pneumonia = [numbers["text.common_pneumonia"], phases * numbers["text.unique_pneumonia"].value]
    yield rules.total(
        numbers["table1.train.pneumonia"], pneumonia, "34 in every phase and 200 of its own in each of 8"
    )
    normal = [phases * numbers["text.unique_normal"].value]
    yield rules.total(numbers["table1.train.normal"], normal, "250 of its own in each of 8 phases")
    own = [numbers["text.common_pneumonia"], numbers["text.unique_pneumonia"]]
    yield rules.total(numbers["text.phase_pneumonia"], own, "34 in every phase and 200 of its own")
    for where in ("text", "conclusion"):
        parts = [numbers[f"{where}.phase_{label}"] for label in CLASSES]
        yield rules.total(numbers[f"{where}.phase_images"], parts, "the three classes of a phase")
    epochs = [phases * numbers["text.phase_epochs"].value]
    yield rules.total(numbers["text.epochs"], epochs, "100 epochs in each of 8 phases")
    fold3 = [numbers["results.fold3_test_covid19"], numbers["results.fold3_train_covid19"]]
    yield rules.total(numbers["table1.total.covid19"], fold3, "training and test images of fold 3")


def _rows_of_counts(numbers):
    """Hold each row of Table 3 to the class sizes, and its wrong detections to its missed images."""
    for fold in FOLDS:
        for network in NETWORKS:
            counts = _counts(numbers, fold, network)
            for label in CLASSES:
                special = fold == 3 and label == "covid19"
                size = numbers["results.fold3_test_covid19" if special else f"results.test_{label}"]
                found = [counts[label]["tp"], counts[label]["fn"]]
                where = f"detected and not detected {label} images of Table 3, fold {fold}, {network}"
                yield rules.total(size, found, where)
            cells = [numbers[f"table3.fold{fold}.{network}.{label}.false_positives"] for label in CLASSES]
            missed = sum(counts[label]["fn"] for label in CLASSES)
            how = f"images of fold {fold}, {network}, detected as a wrong class, against images not detected"
            yield rules.sums(cells, missed, how)


def _rates(numbers):
    for cell in numbers.like("table4.fold*"):
        numerator, denominator, formula = _quotient(numbers, cell)
        yield rules.rate_of_counts(cell, numerator, denominator, f"{formula} from Table 3")


def _averages(numbers, misprints):
    for cell in numbers.like("table4.mean.*"):
        tail = cell.id.removeprefix("table4.mean.")
        members = [numbers[f"table4.fold{fold}.{tail}"] for fold in FOLDS]
        mended = [
            f"fold {fold}" for fold, member in zip(FOLDS, members, strict=True) if member.id in misprints
        ]
        how = "mean of the five folds as printed"
        how += f", of {', '.join(mended)} as Table 3's counts have it" if mended else ""
        yield rules.average(cell, members, how, replaced=misprints)


def _mixtures(numbers, misprints):
    """Hold each class's accuracy to its own row, which needs no counts."""
    for cell in numbers.like("table4.*.*.*.accuracy"):
        row = cell.id.removesuffix("accuracy")
        rates = [numbers[row + name] for name in ("sensitivity", "specificity")]
        how = f"sensitivity {rates[0].printed}, specificity {rates[1].printed}"
        wrong = [number.measure for number in (cell, *rates) if number.id in misprints]
        how += f"; Table 3's counts contradict the {' and '.join(wrong)}" if wrong else ""
        yield rules.between(cell, rates, how)


def _text(numbers):
    for where in ("abstract", "conclusion"):
        for measure, cell in (("covid19_accuracy", "covid19.accuracy"), ("accuracy", "accuracy")):
            yield rules.same(numbers[f"{where}.{measure}"], numbers[f"table4.mean.concatenated.{cell}"])
    sensitivity = numbers["table4.mean.concatenated.covid19.sensitivity"]
    yield rules.same(numbers["conclusion.covid19_sensitivity"], sensitivity)
    for measure in ("true_positives", "false_positives"):
        cell = numbers[f"table3.fold1.concatenated.covid19.{measure}"]
        yield rules.same(numbers[f"discussion.fold1_{measure}"], cell)
    for where, other in (
        ("abstract.covid19_images", "table1.total.covid19"),
        ("text.covid19_images", "table1.first.covid19"),
        ("text.first_pneumonia", "table1.first.pneumonia"),
        ("text.rsna_pneumonia", "table1.rsna.pneumonia"),
        ("text.rsna_normal", "table1.rsna.normal"),
        ("discussion.test_covid19", "table1.test.covid19"),
        ("conclusion.covid19_images", "table1.total.covid19"),
        ("conclusion.pneumonia_images", "table1.total.pneumonia"),
        ("conclusion.normal_images", "table1.total.normal"),
    ):
        yield rules.same(numbers[where], numbers[other])
