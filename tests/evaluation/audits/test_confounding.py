import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from covidcxr.data import sources
from covidcxr.data.phantom.patients import draw_patient, draw_pose
from covidcxr.data.records import Records
from covidcxr.evaluation.audits import confounding, report

CLASSES = ("bacterial_pneumonia", "covid19", "normal")


def phantoms(seed, patients=40, classes=CLASSES):
    """Records of phantom patients as the phantom draws them, two images each, and what their files would be."""
    generator = np.random.default_rng(seed)
    rows = [
        {
            "path": f"{classes[number % len(classes)]}/{number:04d}-{image}.png",
            "label": classes[number % len(classes)],
            "patient_id": f"phantom-{number:04d}",
            "source": generator.choice(["one", "two"]),
            "view": draw_pose(number, image, seed).view,
            "sex": draw_patient(number, seed).sex,
            "age": float(draw_patient(number, seed).age),
        }
        for number in range(patients * len(classes))
        for image in (1, 2)
    ]
    table = pd.DataFrame(rows)
    width, height = generator.integers(400, 600, len(table)), generator.integers(400, 600, len(table))
    return table, pd.DataFrame({"path": table["path"], "width": width, "height": height, "error": ""})


def audited(table, prints, seed=0):
    return confounding.audit(Records.from_rows(table, "/nowhere"), prints=prints, seed=seed)


def plant(name, table, prints, generator):
    """Let a factor hang on the class covid19; returns the names that must be told."""
    ill = (table["label"] == "covid19").to_numpy()
    likely = np.where(ill, 0.9, 0.15)
    hit = generator.random(len(table)) < likely
    if name == "source":
        table["source"] = np.where(hit, "clinic", "archive")
    elif name == "view":
        table["view"] = np.where(hit, "AP", "PA")
    elif name == "sex":
        by_patient = dict(zip(table["patient_id"], hit, strict=True))
        table["sex"] = ["M" if by_patient[patient] else "F" for patient in table["patient_id"]]
    elif name == "age":
        table.loc[ill, "age"] = table.loc[ill, "age"] + 25
    elif name == "children":
        table.loc[~ill, "age"] = table.loc[~ill, "age"] / 20 + 1
        return {"children", "age"}
    elif name == "size":
        prints.loc[ill, ["width", "height"]] *= 2
    elif name == "aspect":
        prints.loc[ill, "width"] = (prints.loc[ill, "height"] * 0.75).round().astype(int)
        return {"aspect", "size"}
    return {name}


@pytest.mark.parametrize("name", ["source", "view", "sex", "age", "children", "size", "aspect"])
def test_a_planted_confounder_is_flagged_by_its_name(name):
    for seed in range(3):
        table, prints = phantoms(seed)
        expected = plant(name, table, prints, np.random.default_rng([seed, 7]))
        found = audited(table, prints)
        # A changed width changes the longer side too: what follows from the planted trait may be told.
        assert name in found.flags()
        assert set(found.flags()) <= expected
        flagged = found.named(name)[0]
        assert "covid19" in flagged.text
        pairs = {(pair["class_a"], pair["class_b"]) for pair in flagged.evidence["pairs"]}
        assert pairs == {("bacterial_pneumonia", "covid19"), ("covid19", "normal")}


def test_the_format_of_files_is_flagged():
    table, prints = phantoms(0)
    table["path"] = prints["path"] = [
        path.replace(".png", ".jpeg") if path.startswith("covid19") else path for path in table["path"]
    ]
    assert audited(table, prints).flags() == ["format"]


def test_without_confounders_nothing_is_flagged_over_twenty_seeds():
    alarms = {}
    for seed in range(20):
        found = audited(*phantoms(seed))
        alarms[seed] = found.flags()
        assert not found.named("single_source")
    assert not any(alarms.values()), alarms


def test_few_patients_raise_no_alarm_over_twenty_seeds():
    alarms = [audited(*phantoms(seed, patients=6)).flags() for seed in range(20)]
    assert not any(alarms), alarms


def test_images_of_one_patient_count_once():
    # Two hundred images a class, but of six patients: their views prove nothing.
    table, _ = phantoms(0, patients=6, classes=CLASSES[1:])
    table["view"] = np.where(table["patient_id"].str[-1].astype(int) % 4 < 2, "AP", "PA")
    many = pd.concat([table.assign(path=table["path"] + f"-{copy}") for copy in range(20)], ignore_index=True)
    once, twenty = audited(table, None).tables["tests"], audited(many, None).tables["tests"]
    pd.testing.assert_frame_equal(once, twenty)


def test_a_class_of_one_source_is_named_only_where_sources_differ_between_classes():
    table, prints = phantoms(1)
    ill = table["label"] == "covid19"
    table["source"] = np.where(ill, "clinic", table["source"])
    found = audited(table, prints)
    assert found.flags() == ["single_source", "source"]
    assert found.named("single_source")[0].evidence == {"source": "clinic", "classes": ["covid19"]}
    table["source"] = "one"
    assert audited(table, prints).flags() == []


def test_what_is_unknown_is_told_and_not_compared():
    table, prints = phantoms(2)
    table.loc[table["label"] == "normal", "view"] = ""
    table["age"] = np.nan
    found = audited(table, prints)
    assert found.flags() == []
    assert found.named("unknown")[0].evidence == {"view": {"normal": 0}, "age": dict.fromkeys(CLASSES, 0)}
    tests = found.tables["tests"]
    assert set(tests.loc[tests["factor"] == "view", "class_b"]) == {"covid19"}


def test_association_is_scipys_corrected_for_bias_and_fishers_exact_p():
    generator = np.random.default_rng(0)
    large = np.array([[300, 100], [120, 280]])
    v, p = confounding.association(large, generator)
    assert p == pytest.approx(stats.chi2_contingency(large, correction=False).pvalue, rel=1e-12)
    # Bergsma's correction vanishes with the number of patients.
    assert v == pytest.approx(stats.contingency.association(large, method="cramer"), abs=2e-3)
    small = np.array([[7, 1], [1, 6]])
    _, drawn = confounding.association(small, generator)
    assert drawn == pytest.approx(stats.fisher_exact(small).pvalue, abs=2e-3)
    assert confounding.association(np.array([[5], [9]]), generator) == (0.0, 1.0)


def test_cramers_v_of_independent_counts_is_not_biased():
    generator = np.random.default_rng(1)
    values = [
        confounding.association(table, generator)[0]
        for table in stats.random_table([20, 20], [10, 10, 10, 10], seed=generator).rvs(200)
    ]
    raw = [
        stats.contingency.association(table)
        for table in stats.random_table([20, 20], [10, 10, 10, 10], seed=1).rvs(200)
    ]
    assert np.mean(values) < 0.5 * np.mean(raw)


def test_tell_apart_is_sklearns_area():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, 50).round(1), generator.normal(0.7, 1, 30).round(1)
    area, p = confounding.tell_apart(first, second)
    truth = np.repeat([0, 1], [50, 30])
    assert area == pytest.approx(roc_auc_score(truth, np.concatenate([first, second])), abs=1e-12)
    assert confounding.tell_apart(second, first) == pytest.approx((area, p))
    assert confounding.tell_apart(np.ones(9), np.ones(4)) == (0.5, 1.0)


def test_tables_count_what_the_records_hold_and_are_read_back(tmp_path):
    table, prints = phantoms(0)
    found = audited(table, prints)
    counts = found.tables["view"]
    assert counts["images"].sum() == len(table)
    pa = counts[(counts["view"] == "PA") & (counts["label"] == "normal")].iloc[0]
    of_class = table[table["label"] == "normal"]
    assert pa["images"] == (of_class["view"] == "PA").sum()
    assert pa["patients"] == of_class.loc[of_class["view"] == "PA", "patient_id"].nunique()
    report.write([found], tmp_path)
    (again,) = report.read(tmp_path)
    assert again.findings == found.findings
    for name, written in found.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], written, check_dtype=False)


def test_the_real_sets_have_the_confounding_that_critics_name(shared):
    records = sources.read(shared / "data")
    found = confounding.audit(records)
    assert {"source", "single_source", "children", "view", "format"} <= set(found.flags())
    alone = found.named("single_source")[0].evidence
    assert alone["source"] == "covid-chestxray-dataset"
    assert "covid19" in alone["classes"]
    by_class = found.tables["children"].set_index(["children", "label"])["images"]
    # Manifest: 500 images each of normal, bacterial and viral are Kermany's children.
    assert by_class["child", "viral_pneumonia"] == 500
    assert by_class["child", "normal"] > by_class["adult", "normal"]
    pairs = found.named("children")[0].evidence["pairs"]
    assert ("covid19", "normal") in {(pair["class_a"], pair["class_b"]) for pair in pairs}
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    listed = manifest[(manifest["label"] == "covid19") & manifest["view"].str.startswith(("PA", "AP"))]
    views = found.tables["view"]
    shown = views[views["label"] == "covid19"].set_index("view")["images"]
    assert shown.to_dict() == listed["view"].value_counts().to_dict()
