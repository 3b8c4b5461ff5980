"""The claims as data, what the checks find in them, and the page that tells of it."""

import csv
import importlib
import io
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from covidcxr.errors import OptionError
from covidcxr.evaluation import claims
from covidcxr.evaluation.claims import printed, rules

# Ids of the numbers of each contradiction, by rule.
FOUND = {
    "khalifa2020": {
        ("f1", "table2.squeezenet.f1"),
        ("same", "text.squeezenet.total"),
        ("between", "table1.googlenet.total"),
        ("same", "text.googlenet.total"),
        ("common_share", "table1.alexnet.total table1.squeezenet.total table1.resnet18.total"),
        ("common_share", "text.alexnet.total text.squeezenet.total"),
        (
            "same_order",
            "table1.resnet18.total table1.googlenet.total table1.alexnet.total table1.squeezenet.total",
        ),
        ("about", "conclusion.share_compared"),
    },
    "rahimzadeh2020": {
        ("rate_of_counts", "table4.fold2.resnet50v2.covid19.accuracy"),
        ("rate_of_counts", "table4.fold2.concatenated.covid19.accuracy"),
        ("rate_of_counts", "table4.fold4.xception.normal.accuracy"),
        ("rate_of_counts", "table4.fold4.resnet50v2.pneumonia.sensitivity"),
        # Two of these four show without counts too: an accuracy above both sensitivity and specificity.
        ("between", "table4.fold2.resnet50v2.covid19.accuracy"),
        ("between", "table4.fold4.resnet50v2.pneumonia.accuracy"),
    },
    "yin2020": {
        ("share_of_a_count", "table2.b.densenet121.test"),
        ("share_of_a_count", "table4.ours.accuracy"),
        ("share_of_a_count", "abstract.b_accuracy"),
        ("share_of_a_count", "results.b_accuracy"),
        ("share_of_a_count", "conclusion.b_accuracy"),
        ("share_of_a_count", "table2.b.nasnetmobile.val"),
        ("share_of_a_count", "table3.b.row1.sensitivity"),
        ("share_of_a_count", "table3.b.row4.sensitivity"),
        ("distinct", "table3.a.row4.f1"),
        ("distinct", "table3.b.row4.f1"),
        ("same", "conclusion.validation_accuracy"),
    },
}
# Of the other two, those that a careful reader finds; their lists are longer.
AMONG = {
    "ragab2022": {
        ("f1", "table6.a.f1"),
        ("same", "table6.a.f1"),
        ("same", "table6.a.precision"),
        ("same", "abstract.a_accuracy"),
        ("same", "conclusion.a_accuracy"),
        ("share_of_a_count", "abstract.a_accuracy"),
        ("same", "table9.a.accuracy"),
        ("same", "table9.b10.accuracy"),
        ("total", "conclusion.b_images"),
        ("unit", "table9.xception.sensitivity"),
        ("unit", "table9.inceptionresnetv2.sensitivity"),
        ("at_most", "text.mobilenetv2_trainable"),
        ("same", "results.batch_size"),
    },
    "nemati2022": {
        ("f1", "table2.row4.f1"),
        ("f1", "table2.row5.f1"),
        ("f1", "table2.row13.f1"),
        ("balanced_accuracy", "table2.row4.balanced_accuracy"),
        ("balanced_accuracy", "table2.row5.balanced_accuracy"),
        ("between", "table2.row15.accuracy"),
        ("parameters", "table1.row22.parameters_millions"),
        ("parameters", "table1.row27.parameters_millions"),
        ("distinct", "table1.row17.parameters_millions"),
    },
}


@pytest.fixture(scope="module")
def whole():
    return claims.report()


def _contradictions(report, key):
    checks = report.checks
    wrong = checks[(checks["paper"] == key) & (checks["verdict"] == "contradicts")]
    return set(zip(wrong["rule"], wrong["ids"], strict=True))


@pytest.mark.parametrize("key", FOUND)
def test_these_contradictions_and_no_others_are_found(whole, key):
    assert _contradictions(whole, key) == FOUND[key]


@pytest.mark.parametrize("key", AMONG)
def test_these_contradictions_are_among_those_found(whole, key):
    assert AMONG[key] <= _contradictions(whole, key)


def test_every_cell_of_rahimzadehs_table_4_is_made_anew_from_table_3_here_too(whole):
    """By NumPy alone, from the rows of the CSV: 191 of 195 cells and all 39 averages agree to one unit."""
    numbers = printed.load("rahimzadeh2020")
    wrong = {ids for rule, ids in FOUND["rahimzadeh2020"] if rule == "rate_of_counts"}
    labels = ("covid19", "pneumonia", "normal")
    seen, kept = 0, {}
    for fold in range(1, 6):
        for network in ("xception", "resnet50v2", "concatenated"):
            prefix = f"fold{fold}.{network}"
            cells = [
                [numbers[f"table3.{prefix}.{label}.{name}_{what}"].value for label in labels]
                for name, what in (("true", "positives"), ("false", "negatives"), ("false", "positives"))
            ]
            tp, fn, fp = np.array(cells)
            n = (tp + fn).sum()
            tn = n - tp - fn - fp
            rates = {
                "sensitivity": tp / (tp + fn),
                "specificity": tn / (tn + fp),
                "accuracy": (tp + tn) / n,
                "precision": tp / (tp + fp),
            }
            made = {
                f"{label}.{name}": rate[i] for name, rate in rates.items() for i, label in enumerate(labels)
            }
            made["accuracy"] = tp.sum() / n
            for tail, value in made.items():
                cell = numbers[f"table4.{prefix}.{tail}"]
                seen += 1
                kept.setdefault(f"table4.mean.{network}.{tail}", []).append(value)
                # One unit: half for rounding, the other half for the cells that are cut off.
                agrees = abs(100 * value - cell.value) < 10.0**-cell.decimals + 1e-9
                assert agrees == (cell.id not in wrong), cell
    for key, values in kept.items():
        assert 100 * np.mean(values) == pytest.approx(numbers[key].value, abs=0.0151), key
    assert (seen, len(kept), len(wrong)) == (195, 39, 4)


def test_the_counts_of_the_papers_own_modules_are_the_same_numbers():
    """The tables were entered twice, here and for the comparison of runs."""
    from covidcxr.papers.rahimzadeh2020_tables import TABLE3, TABLE4

    numbers = printed.load("rahimzadeh2020")
    for (fold, network), row in TABLE3.items():
        assert [number.value for number in numbers.like(f"table3.fold{fold}.{network}.*")] == list(row)
    for (fold, network), row in TABLE4.items():
        name = "mean" if fold == "mean" else f"fold{fold}"
        cells = [
            *numbers.like(f"table4.{name}.{network}.accuracy"),
            *numbers.like(f"table4.{name}.{network}.*.*"),
        ]
        assert [number.value for number in cells] == list(row)


def test_nematis_rows_are_the_same_numbers_as_the_papers_module():
    from covidcxr.papers.nemati2022_tables import ROWS

    numbers = printed.load("nemati2022")
    for index, (_, _, _, (depth, size, millions, side), results) in enumerate(ROWS, start=1):
        first = [number.value for number in numbers.like(f"table1.row{index}.*")]
        assert first == [value for value in (depth, size, millions, side) if value is not None]
        assert [number.value for number in numbers.like(f"table2.row{index}.*")] == pytest.approx(results)


def test_yins_tables_are_the_same_numbers_as_the_papers_module():
    from covidcxr.papers.yin2020_tables import TABLE2, TABLE3, TABLE5

    numbers = printed.load("yin2020")
    for model, row in TABLE2.items():
        cells = [
            numbers[f"table2.{case}.{model}.{split}"].value for case in "ab" for split in ("val", "test")
        ]
        assert cells == list(row)
    for case, (rows, macro) in TABLE3.items():
        cells = [number.value for number in numbers.like(f"table3.{case.lower()}.row*")]
        assert cells == [value for row in rows for value in row]
        assert numbers[f"table3.{case.lower()}.macro_f1"].value == macro
    for model, row in TABLE5.items():
        assert [number.value for number in numbers.like(f"table5.{model}.*")] == list(row)


@pytest.mark.parametrize("key", ["khalifa2020", "ragab2022"])
def test_the_papers_claims_are_printed_numbers(key):
    """Every value that a run is compared with stands in the data as printed, in percent or as a fraction."""
    values = {number.value / number.scale for number in printed.load(key).values()}
    values |= {number.value for number in printed.load(key).values()}
    for claim in importlib.import_module(f"covidcxr.papers.{key}").CLAIMS:
        assert any(abs(claim.value - value) < 1e-9 for value in values), claim


@pytest.mark.parametrize("key", printed.KEYS)
def test_every_row_of_the_data_is_what_its_printed_text_says(key):
    text = resources.files("covidcxr.evaluation.claims").joinpath(f"{key}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == printed.COLUMNS
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        digits = row["printed"].replace(",", "").replace("%", "").strip()
        assert float(digits) == float(row["value"]), row
        places = len(digits.partition(".")[2])
        whole = float(row["value"]).is_integer()
        assert int(row["decimals"]) == places or (whole and int(row["decimals"]) > places), row
        assert ("%" not in row["printed"]) or row["unit"] == "percent"
        assert row["unit"]
        assert row["section"]


@pytest.mark.parametrize("key", printed.KEYS)
def test_every_result_of_a_table_is_held_to_some_rule_or_named_as_not(whole, key):
    """Results of other work, settings and numbers that nothing else in the paper bears on are the only ones left."""
    checks = whole.checks[whole.checks["paper"] == key]
    module_numbers = printed.load(key)
    held = {name for ids in checks["ids"] for name in ids.split()}
    results = [number for number in module_numbers.values() if number.measure in ("accuracy", "f1")]
    loose = {number.id for number in results if number.id not in held}
    used_as_input = {
        "ragab2022": ("figure13.epoch*.accuracy",),
        "yin2020": ("table4.*.accuracy", "results.validation_accuracy", "table3.*.f1"),
        "khalifa2020": ("table1.*.normal", "table1.*.pneumonia", "table3.*.accuracy", "table1.*.total"),
    }.get(key, ())
    known = {number.id for pattern in used_as_input for number in module_numbers.like(pattern)}
    assert loose <= known


def test_a_report_of_one_paper_and_of_all(whole):
    one = claims.report("rahimzadeh2020")
    assert one.keys == ["rahimzadeh2020"]
    assert len(one.contradictions) == 6
    assert whole.keys == list(printed.KEYS)
    assert len(whole.table) == len(whole.contradictions) == whole.summary["contradictions"].sum()
    assert whole.summary["numbers"].sum() == len(whole.numbers)
    assert whole.summary["checks"].sum() == len(whole.checks)
    parts = whole.summary[["agree", "truncated or padded", "remarks"]].sum().sum()
    assert parts + (whole.checks["verdict"] == "contradicts").sum() == len(whole.checks)
    assert {found.verdict for found in whole.milder} <= {"truncated", "padded"}


def test_equal_numbers_with_one_fault_are_one_contradiction(whole):
    found = [c for c in whole.contradictions if c.paper == "yin2020" and c.printed.startswith("98.69")]
    assert len(found) == 1
    assert len(found[0].ids) == 5
    assert (found[0].recomputed, found[0].tolerance) == ("98.684 %", 0.005)
    assert "150/152" in found[0].how


def test_the_area_of_hard_labels_is_a_remark_and_no_contradiction(whole):
    assert ("table8.a.roc_area",) in {found.ids for found in whole.remarks}
    assert not any("table8.a.roc_area" in found.ids for found in whole.contradictions)


def test_rows_are_ready_for_a_template_and_html_is_escaped(whole):
    row = whole.rows[0]
    assert all(isinstance(value, (str, float)) for value in row.values())
    html = whole.to_html()
    assert html.count("<table") == 2
    assert "resnet18 &gt; squeezenet" in html


def test_print_names_every_contradiction(whole, capsys):
    whole.print()
    words = capsys.readouterr().out
    # A blank line before each, after the counts.
    blocks = words.strip("\n").split("\n\n")[1:]
    assert len(blocks) == len(whole.contradictions)
    for block, found in zip(blocks, whole.contradictions, strict=True):
        assert block.startswith(f"{found.paper}: {found.where}\n  printed {found.printed[:20]}")
    stream = io.StringIO()
    claims.report("yin2020").print(file=stream)
    assert "98.684 %" in stream.getvalue()
    assert capsys.readouterr().out == ""


def test_an_unknown_paper_is_named_with_those_there_are():
    with pytest.raises(OptionError, match=r"no claims of a paper 'yin2021'; there are khalifa2020"):
        claims.report("yin2021")


def test_every_rule_has_words_for_its_kind(whole):
    assert set(whole.checks["rule"]) == set(rules.RULES)


def test_a_misprint_put_in_is_found_and_nothing_else_changes():
    """Change each cell of Table 4's folds in turn by two units of its last place."""
    from dataclasses import replace

    from covidcxr.evaluation.claims import rahimzadeh2020

    numbers = printed.load("rahimzadeh2020")
    cells = [cell for cell in numbers.like("table4.fold1.*") if not cell.printed.endswith("0")]
    for cell in cells[::7]:
        changed = replace(cell, value=cell.value + 2 * 10.0**-cell.decimals)
        changed = printed.Numbers({**numbers, cell.id: changed}.values())
        wrong = {
            check.numbers[0].id
            for check in rahimzadeh2020.checks(changed)
            if check.verdict == rules.CONTRADICTS and check.rule == "rate_of_counts"
        }
        known = {ids for rule, ids in FOUND["rahimzadeh2020"] if rule == "rate_of_counts"}
        assert wrong == known | {cell.id}


def test_the_page_is_what_the_report_makes_now(whole):
    page = Path(__file__).parents[2] / "docs" / "claims.md"
    assert page.read_text(encoding="utf-8") == whole.to_markdown()
