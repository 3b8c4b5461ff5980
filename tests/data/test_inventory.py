import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.data import inventory, sources
from covidcxr.data.duplicates import fingerprints
from covidcxr.data.records import Exclusion, Records

# data/README.md, "Known defects" of the covid-chestxray-dataset.
CHANGING = ["117", "173", "178", "221", "251", "253", "313b", "315", "316", "318", "325"]


@pytest.fixture(scope="module")
def real(shared):
    return inventory.build(sources.read(shared / "data"))


@pytest.fixture
def small(tmp_path):
    """Two sources whose sizes and ages differ by class, one picture under two patients, one file missing."""
    generator = np.random.default_rng(0)
    rows = []
    for label, source, side, ages in (("covid19", "first", 64, (40, 17)), ("normal", "second", 32, (5, 6))):
        for number in range(4):
            name = f"{label}-{number}.png"
            pixels = generator.integers(0, 256, (side, side - 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name)
            rows.append(
                {
                    "path": name,
                    "label": label,
                    "source": source,
                    "patient_id": f"{source}-{number // 2}",
                    "view": "PA",
                    "age": ages[number // 2],
                    "finding": f"{label} {'late' if number == 1 else 'early'}",
                    "given_split": "test" if number == 3 else "train",
                }
            )
    (tmp_path / "covid19-3.png").write_bytes((tmp_path / "covid19-0.png").read_bytes())
    (tmp_path / "normal-1.png").unlink()
    rows[-1]["patient_id"] = ""
    left_out = [
        Exclusion(f"{name}.png", "first", reason) for name, reason in (("b", "CT"), ("a", "CT"), ("c", "L"))
    ]
    return Records.from_rows(rows, tmp_path, left_out, ["a note"])


def test_real_patients_whose_finding_changes_are_the_known_eleven(real):
    changing = real.tables["changing"]
    first = changing[changing["source"] == "covid-chestxray-dataset"]
    assert first["patient_id"].tolist() == [f"ieee8023-{number}" for number in CHANGING]
    children = changing[changing["source"] == "kermany"]
    assert len(children) == 69
    assert set(children["findings"]) == {"bacterial_pneumonia | viral_pneumonia"}
    assert (changing["source"] == "rsna").sum() == 10


def test_real_person_numbers_in_train_and_test_are_the_known_35(real):
    reused = real.tables["reused"]
    both = reused["splits"].str.contains("train") & reused["splits"].str.contains("test")
    assert both.sum() == 35
    assert set(reused["source"]) == {"kermany"}


def test_real_counts_are_the_manifests(real, shared):
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    frontal = manifest[manifest["view"].isin(["", "PA", "AP", "AP Supine"])]
    frontal = frontal[(frontal["view"] != "") | frontal["source"].str.startswith("RSNA")]
    counted = real.tables["counts"].groupby("label")[["images", "unknown_patient"]].sum()
    assert counted["images"].to_dict() == frontal["label"].value_counts().to_dict()
    unknown = frontal[frontal["patient_id"] == ""]["label"].value_counts()
    assert counted.loc["normal", "unknown_patient"] == unknown["normal"] == 1924
    assert real.patients == frontal["patient_id"].replace("", None).nunique()
    assert real.tables["exclusions"]["images"].sum() == len(manifest) - len(frontal)


def test_real_sizes_and_repetitions_show_the_known_defects(shared):
    records = sources.read(shared / "data")
    found = inventory.build(records, fingerprints(records))
    sizes = found.tables["sizes"].set_index(["label", "source"])
    longest = sizes[["width_median", "height_median"]].max(axis=1)
    assert longest["covid19", "covid-chestxray-dataset"] == 512
    assert longest["normal", "rsna"] == 256
    pairs = found.tables["duplicates"]
    apart = pairs[pairs["relation"] == "two patients"]
    whose = {frozenset(pair) for pair in zip(apart["patient_a"], apart["patient_b"], strict=True)}
    assert whose == {
        frozenset(f"ieee8023-{number}" for number in pair)
        for pair in (("178", "97"), ("201", "78"), ("202", "137"), ("196", "192"))
    } | {frozenset(("kermany-NORMAL2-IM-0095", "kermany-NORMAL2-IM-0096"))}
    within = pairs[(pairs["relation"] == "one patient") & pairs["a"].str.startswith("covid")]
    assert set(within["patient_a"]) == {"ieee8023-192", "ieee8023-51"}
    for expected in ("covid19 512", "normal 256", "two patient ids", "unknown patients: 1924;"):
        assert any(expected in sentence for sentence in found.warnings)


def test_tables_of_a_small_set(small):
    found = inventory.build(small, fingerprints(small))
    rows = {name: list(table.itertuples(index=False, name=None)) for name, table in found.tables.items()}
    assert (found.images, found.patients, found.notes) == (8, 4, ("a note",))
    assert rows["counts"] == [("covid19", "first", "PA", 4, 2, 0), ("normal", "second", "PA", 4, 2, 1)]
    assert rows["exclusions"] == [("first", "CT", 2), ("first", "L", 1)]
    assert [row[0] for row in rows["excluded"]] == ["a.png", "b.png", "c.png"]
    assert rows["single_source"] == [("covid19", "first", 4), ("normal", "second", 4)]
    assert rows["ages"] == [
        ("covid19", "first", 4, 4, 28.5, 17, 40, 2),
        ("normal", "second", 4, 4, 5.5, 5, 6, 4),
    ]
    assert rows["changing"] == [
        ("first-0", "first", 2, "covid19 early | covid19 late"),
        ("second-0", "second", 2, "normal early | normal late"),
    ]
    assert rows["reused"] == [("first-1", "first", 2, "test | train")]
    assert rows["sizes"] == [
        ("covid19", "first", 4, 56, 56, 56, 64, 64, 64),
        ("normal", "second", 3, 24, 24, 24, 32, 32, 32),
    ]
    assert [row[:5] for row in rows["duplicates"]] == [
        ("two patients", "covid19-0.png", "covid19-3.png", "first-0", "first-1")
    ]
    assert rows["unusable"] == [("normal-1.png", "second", "file missing")]


def test_warnings_name_every_way_to_cheat(small):
    sentences = "\n".join(inventory.build(small, fingerprints(small)).warnings)
    for expected in (
        "first normal-1.png (file missing)",
        "first alone has covid19",
        "covid19 50%, normal 100%",
        "covid19 64, normal 32",
        "under two patient ids: 1;",
        "own splits: 1;",
        "several findings: 2;",
        "images of unknown patients: 1;",
    ):
        assert expected in sentences
    one = small.where(small.table["label"] == "covid19")
    assert any("only one class" in sentence for sentence in inventory.build(one).warnings)


def test_a_sound_set_gets_no_warning(tmp_path):
    rows = [
        {"path": f"{n}.png", "label": "ab"[n % 2], "source": f"s{n // 2}", "patient_id": f"p{n}", "age": 50}
        for n in range(4)
    ]
    for row in rows:
        (tmp_path / row["path"]).touch()
    assert inventory.build(Records.from_rows(rows, tmp_path)).warnings == ()


def test_without_pictures_only_presence_is_looked_up(small):
    found = inventory.build(small)
    assert not found.hashed
    assert not len(found.tables["sizes"])
    assert not len(found.tables["duplicates"])
    assert found.tables["unusable"]["path"].tolist() == ["normal-1.png"]


def test_row_order_does_not_matter_and_json_and_csv_hold_everything(small, tmp_path):
    prints = fingerprints(small)
    found = inventory.build(small, prints)
    order = np.random.default_rng(1).permutation(len(small))
    shuffled = Records.from_rows(small.table.iloc[order], small.root, small.exclusions[::-1], small.notes)
    again = inventory.build(shuffled, fingerprints(shuffled))
    as_read = json.loads(json.dumps(found.as_dict()))
    other = json.loads(json.dumps(again.as_dict()))
    assert as_read == other
    assert as_read["counts"][0]["images"] == 4
    found.write_csv(tmp_path / "tables")
    for name, table in found.tables.items():
        assert len(pd.read_csv(tmp_path / "tables" / f"{name}.csv")) == len(table)
