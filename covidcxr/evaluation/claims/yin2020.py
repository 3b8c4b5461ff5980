"""The checks of yin2020: accuracies as counts, Table 3 against itself, totals, frozen shares, text against tables."""

from covidcxr.evaluation.claims import rules
from covidcxr.models import backbone_table

FOUR = ("bacterial_pneumonia", "covid19", "normal", "viral_pneumonia")
CLASSES = {"a": FOUR, "b": FOUR, "c": ("covid19", "normal", "sars")}
SPLITS = ("train", "val", "test")
_BACKBONES = {
    "vgg19": "vgg19",
    "inceptionv3": "inception_v3",
    "mobilenet": "mobilenet",
    "densenet121": "densenet121",
}
_MEASURES = ("precision", "sensitivity", "f1")


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
    yield from _counts(numbers)
    for case in "ab":
        yield from _table3(numbers, case)
    yield from _frozen(numbers)
    yield from _text(numbers)


def _images(numbers, case, splits=SPLITS):
    return [numbers[f"table1.{case}.{label}.{split}"] for label in CLASSES[case] for split in splits]


def _sizes(numbers):
    for case in "ab":
        yield rules.total(numbers["text.images_ab"], _images(numbers, case), f"Table 1, CXR {case.upper()}")
    yield rules.total(numbers["text.images_c"], _images(numbers, "c"), "Table 1, CXR C")
    sars = [numbers[f"table1.c.sars.{split}"] for split in SPLITS]
    yield rules.total(
        numbers["abstract.images"], [numbers["text.images_ab"], *sars], "744 and the SARS images of Table 1"
    )
    yield rules.same(numbers["table4.ours.images"], numbers["text.images_ab"])


def _counts(numbers):
    for number in numbers.values():
        if number.n and number.measure in ("accuracy", "sensitivity"):
            what = "test images of the class" if number.label else "images that Table 1 gives for this part"
            yield rules.share_of_a_count(number, (number.n,), f"k/{number.n}, the {what}")


def _table3(numbers, case):
    rows = [
        {measure: numbers[f"table3.{case}.row{row}.{measure}"] for measure in _MEASURES}
        for row in (1, 2, 3, 4)
    ]
    for row in rows:
        yield rules.f1(row["f1"], row["precision"], row["sensitivity"])
    macro = numbers[f"table3.{case}.macro_f1"]
    yield rules.average(macro, [row["f1"] for row in rows], "mean of the four classes' F1", "macro_average")
    yield rules.distinct(
        [row["f1"] for row in rows], 4, f"four classes of CXR {case.upper()}; names of Table 3's rows"
    )
    recalls = [row["sensitivity"] for row in rows]
    accuracy = numbers[f"table2.{case}.densenet121.test"]
    how = f"mean of Table 3's recalls of CXR {case.upper()}, whose four classes are equally large"
    yield rules.average(accuracy, recalls, how, "macro_average")


def _frozen(numbers):
    known = {facts.key: facts for facts in backbone_table.BACKBONES}
    for model, key in _BACKBONES.items():
        whole = known[key].parameters
        cells = (numbers[f"table5.{model}.{name}"] for name in ("trainable_percent", "trainable_millions"))
        yield rules.share_of_network(
            *cells, whole, f"printed millions of {key}'s {whole:,} without classifier"
        )


def _text(numbers):
    best = numbers["table2.b.densenet121.test"]
    for where in ("abstract", "results", "conclusion"):
        yield rules.same(numbers[f"{where}.b_accuracy"], best)
        if where != "abstract":
            yield rules.same(numbers[f"{where}.a_accuracy"], numbers["table2.a.densenet121.test"])
    yield rules.same(numbers["table4.ours.accuracy"], best)
    for where in ("abstract", "results"):
        yield rules.same(numbers[f"{where}.macro_f1"], numbers["table3.b.macro_f1"])
        yield rules.same(numbers[f"{where}.models"], numbers["abstract.models"])
    yield rules.same(numbers["abstract.trainable_percent"], numbers["table5.densenet121.trainable_percent"])
    for case in "ab":
        tested = numbers.like(f"table2.{case}.*.test")
        how = f"highest test accuracy of CXR {case.upper()} in Table 2"
        yield rules.largest(numbers[f"results.{case}_accuracy"], tested, how)
    lowest = min(numbers.like("table2.*.val"), key=lambda number: number.value)
    # Section 6 excepts this network; section 7 says 100 % of all data sets.
    how = f"Table 2 has {lowest.printed} ({lowest.row}, CXR B)"
    yield rules.same(numbers["conclusion.validation_accuracy"], lowest, how)
