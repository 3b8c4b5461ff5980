"""The checks of khalifa2020: totals as mixtures of the classes, Table 2 from Table 1, text against tables."""

from covidcxr.evaluation.claims import rules

NETWORKS = ("alexnet", "squeezenet", "googlenet", "resnet18")


def checks(numbers):
    """Yield every check of the paper.

    Parameters
    ----------
    numbers : covidcxr.evaluation.claims.printed.Numbers

    Yields
    ------
    covidcxr.evaluation.claims.rules.Check
    """
    for network in NETWORKS:
        yield from _network(numbers, network)
    for where in ("table1.{}.total", "text.{}.total"):
        table = [
            tuple(numbers[key.format(network)] for key in (where, "table1.{}.normal", "table1.{}.pneumonia"))
            for network in NETWORKS
        ]
        source = "Table 1" if where.startswith("table1") else "section 6.1"
        how = f"share q of normal images in {source}: total = q normal + (1 - q) pneumonia; one test set for all"
        yield rules.common_share(table, how)
    yield from _highest(numbers)
    yield from _text(numbers)


def _network(numbers, network):
    classes = [numbers[f"table1.{network}.{label}"] for label in ("normal", "pneumonia")]
    precision, recall, f1 = (
        numbers[f"table2.{network}.{name}"] for name in ("precision", "sensitivity", "f1")
    )
    ends = f"Table 1's normal {classes[0].printed} and pneumonia {classes[1].printed}"
    for where in ("table1", "text"):
        total = numbers[f"{where}.{network}.total"]
        yield rules.between(total, classes, ends)
        size = round(numbers["text.images_enlarged"].value * numbers["text.test_share"].value / 100)
        how = f"k/{size} (20 % of 6,240 images) or, over three trials, k/{3 * size}"
        yield rules.share_of_a_count(total, (size, 3 * size), how)
    yield rules.average(recall, classes, "mean of Table 1's two classes", "macro_average")
    how = "2PR/(P + R) of Table 2's precision and recall; the mean of three trials' F1 may be lower"
    yield rules.f1(f1, precision, recall, how)
    yield rules.same(numbers[f"text.{network}.total"], numbers[f"table1.{network}.total"])


def _highest(numbers):
    for label in ("normal", "pneumonia", "total"):
        members = numbers.like(f"table1.*.{label}")
        yield rules.largest(
            numbers[f"results.{label}_highest"], members, f"highest of Table 1's row {members[0].row}"
        )
    for measure in ("precision", "sensitivity", "f1"):
        members = numbers.like(f"table2.*.{measure}")
        how = f"highest of Table 2's row {members[0].row}"
        yield rules.largest(numbers["results.performance_highest"], members, how)
    for where in ("abstract", "results", "conclusion"):
        claimed = numbers[f"{where}.{'highest_' if where == 'results' else ''}accuracy"]
        yield rules.same(claimed, numbers["table1.resnet18.total"])
    members = numbers.like("table3.*.accuracy")
    yield rules.largest(numbers["table3.proposed.accuracy"], members, "highest of Table 3")
    order = sorted(NETWORKS, key=lambda network: -numbers[f"text.{network}.total"].value)
    how = "order of the four networks in section 6.1, against Table 1's totals"
    yield rules.same_order([numbers[f"table1.{network}.total"] for network in order], how)


def _text(numbers):
    used, whole = numbers["text.images_used"], numbers["text.images"]
    yield rules.rate_of_counts(
        numbers["text.share_used"], int(used.value), int(whole.value), "images used / all"
    )
    enlarged = [used.value * numbers["text.enlargement"].value]
    yield rules.total(numbers["text.images_enlarged"], enlarged, "624 images made ten times as many")
    for where in ("abstract", "conclusion"):
        yield rules.same(numbers[f"{where}.images"], whole)
    # 624 of 5,863 are 10.64 %, which the paper rounds to a tenth.
    for where in (
        "abstract.share_used",
        "results.share_used",
        "conclusion.share_used",
        "conclusion.share_compared",
    ):
        yield rules.about(numbers[where], used.value / whole.value, "624/5,863", within=0.01)
    for where in ("abstract", "results", "conclusion"):
        generated = 1 - used.value / numbers["text.images_enlarged"].value
        yield rules.about(numbers[f"{where}.share_generated"], generated, "1 - 624/6,240", within=0.005)
    for reference in ("26", "27", "28", "29", "30"):
        yield rules.same(numbers[f"related.{reference}.accuracy"], numbers[f"table3.{reference}.accuracy"])
    yield rules.same(numbers["table3.proposed.accuracy"], numbers["table1.resnet18.total"])
