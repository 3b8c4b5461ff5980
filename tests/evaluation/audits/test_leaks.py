import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.data import duplicates, sources, splits
from covidcxr.data.records import Records
from covidcxr.data.sources import phantom
from covidcxr.evaluation.audits import leaks, report


def records_of(rows, split_column="split"):
    """Rows of (path, patient, part) or (path, patient, part, source, label)."""
    full = [(*row, "set", "normal")[:5] if len(row) == 3 else row for row in rows]
    names = ("path", "patient_id", split_column, "source", "label")
    return Records.from_rows(pd.DataFrame(full, columns=names), "/nowhere")


def prints_of(records, same=(), equal=(), near=(), broken=()):
    """Fingerprints in which pictures differ wholly, but for the pairs named."""
    generator = np.random.default_rng(5)
    count = len(records)
    table = pd.DataFrame(
        {
            "path": records.table["path"],
            "sha256": [f"sha-{row}" for row in range(count)],
            "pixels": [f"pixels-{row}" for row in range(count)],
            "phash": generator.integers(0, 2**63, count, dtype=np.uint64),
            "thumb": [generator.integers(0, 256, 1024, dtype=np.uint8).tobytes() for _ in range(count)],
            "width": 100,
            "height": 100,
            "error": "",
        }
    ).set_index("path", drop=False)
    for pairs, columns in (
        (same, ["sha256", "pixels", "phash", "thumb"]),
        (equal, ["pixels", "phash", "thumb"]),
        (near, ["phash", "thumb"]),
    ):
        for a, b in pairs:
            for column in columns:
                table.at[b, column] = table.at[a, column]
    table.loc[list(broken), ["sha256", "pixels", "error"]] = ["", "", "truncated"]
    return table.reset_index(drop=True)


FOUR = [("a", "p1", "train"), ("b", "p2", "test"), ("c", "p3", "train"), ("d", "p4", "val")]


def severities(audit):
    return {(item.severity, item.name) for item in audit.findings}


def test_a_sound_split_has_no_finding_but_every_check_is_named_with_its_zero():
    records = records_of(FOUR)
    found = leaks.audit(records, prints=prints_of(records))
    assert found.findings == ()
    checks = found.tables["checks"].set_index("check")
    assert checks.index.tolist() == ["patient", "file", "picture", "near_duplicate"]
    assert checks["across_parts"].tolist() == [0, 0, 0, 0]
    assert checks.loc["patient", "checked"] == "4 patients"
    assert checks.loc["file", "checked"] == "4 images"


def test_one_patient_in_two_parts_is_a_leak():
    records = records_of([*FOUR, ("e", "p1", "val"), ("f", "", "train"), ("g", "", "test")])
    found = leaks.audit(records, prints=prints_of(records))
    assert severities(found) == {("leak", "patient"), ("note", "unknown_patient")}
    assert found.named("patient")[0].evidence["patients"] == ["p1"]
    assert found.tables["patients"].loc[0, "parts"] == "1 in train, 1 in val"
    assert found.named("unknown_patient")[0].evidence == {"images": 2}


@pytest.mark.parametrize(
    ("kind", "name"), [("same", "file"), ("equal", "picture"), ("near", "near_duplicate")]
)
def test_a_picture_in_two_parts_is_a_leak_named_by_how_it_was_found(kind, name):
    records = records_of(FOUR)
    found = leaks.audit(records, prints=prints_of(records, **{kind: [("a", "b")]}))
    assert severities(found) == {("leak", name), ("leak", "linked_patient")}
    assert found.named(name)[0].evidence["pairs"] == [{"a": "a", "b": "b", "kind": name}]
    assert found.named("linked_patient")[0].evidence["groups"][0]["patients"] == ["p1", "p2"]
    inside = leaks.audit(records, prints=prints_of(records, **{kind: [("a", "c")]}))
    assert severities(inside) == {("warning", "linked_patient")}


def test_the_same_file_is_found_across_parts_though_its_first_copies_lie_in_one():
    records = records_of([("a", "", "train"), ("b", "", "train"), ("c", "", "test")])
    found = leaks.audit(records, prints=prints_of(records, same=[("a", "b"), ("a", "c")]))
    assert [pair["b"] for pair in found.named("file")[0].evidence["pairs"]] == ["c"]


def test_pictures_that_show_nothing_make_no_one_person_of_two():
    records = records_of(FOUR)
    prints = prints_of(records, same=[("a", "b")])
    prints.loc[[0, 1], "thumb"] = bytes(1024)
    assert severities(leaks.audit(records, prints=prints)) == {("leak", "file")}


def test_two_ids_of_one_person_leak_though_the_shared_picture_is_on_one_side():
    # p1 and p2 share a picture in training; another picture of p2 is tested on.
    records = records_of([("a", "p1", "train"), ("b", "p2", "train"), ("c", "p2", "test")])
    found = leaks.audit(records, prints=prints_of(records, near=[("a", "b")]))
    groups = found.named("linked_patient")[0].evidence["groups"]
    assert ("leak", "linked_patient") in severities(found)
    assert groups[0]["parts"] == ["test", "train"]


def test_without_a_split_nothing_leaks_yet_and_what_would_is_told():
    records = records_of(
        [
            ("a", "p1", "", "one", "normal"),
            ("b", "p2", "", "two", "covid19"),
            ("c", "p3", "", "two", "covid19"),
        ]
    )
    found = leaks.audit(records, prints=prints_of(records, near=[("a", "b")], broken=["c"]))
    assert severities(found) == {
        ("warning", "linked_patient"),
        ("warning", "across_sources"),
        ("warning", "label"),
        ("note", "no_split"),
        ("note", "unreadable"),
    }
    assert found.tables["checks"]["across_parts"].isna().all()
    assert "c (truncated)" in found.named("unreadable")[0].text


def test_the_sources_own_split_is_checked_where_there_is_no_other():
    records = records_of([*FOUR, ("e", "p1", "test")], "given_split")
    found = leaks.audit(records, prints=prints_of(records))
    assert report.leaks([found])[0].evidence["scope"] == "the source's own split"
    drawn = records.with_columns(split=["train", "test", "train", "val", "train"])
    assert leaks.audit(drawn, prints=prints_of(drawn)).findings == ()


def test_findings_do_not_depend_on_the_order_of_rows():
    records = records_of([*FOUR, ("e", "p1", "test")])
    prints = prints_of(records, near=[("a", "b")], same=[("c", "d")])
    turned = Records.from_rows(records.table.iloc[::-1].reset_index(drop=True), records.root)
    assert leaks.audit(records, prints=prints).findings == leaks.audit(turned, prints=prints[::-1]).findings


def test_twenty_thousand_images_are_searched_in_seconds():
    generator = np.random.default_rng(0)
    count = 20_000
    # Radiographs are alike: hashes in clusters, so that many pairs must be told apart by their thumbnails.
    centres = generator.integers(0, 2**63, 2_000, dtype=np.uint64)
    flips = np.uint64(1) << generator.integers(0, 63, count).astype(np.uint64)
    hashes = centres[generator.integers(0, len(centres), count)] ^ flips
    thumbs = generator.integers(0, 256, (count, 1024), dtype=np.uint8)
    rows = [(f"{row:05d}.png", f"p{row // 2}", ("train", "test")[row // 2 % 2]) for row in range(count)]
    records = records_of(rows)
    prints = prints_of(records).assign(phash=hashes, thumb=[thumb.tobytes() for thumb in thumbs])
    near = thumbs[11].astype(int)  # A little noise on the thumbnail, two bits of the hash.
    prints.loc[17_020, "phash"] = hashes[11] ^ np.uint64(0b11)
    prints.at[17_020, "thumb"] = (
        np.clip(near + generator.integers(-9, 10, 1024), 0, 255).astype(np.uint8).tobytes()
    )
    begun = time.perf_counter()
    found = leaks.audit(records, prints=prints)
    seconds = time.perf_counter() - begun
    assert found.named("near_duplicate")[0].evidence["pairs"] == [
        {"a": "00011.png", "b": "17020.png", "kind": "near_duplicate"}
    ]
    # Seconds are what it takes; the rest of five minutes is for decoding, and for a busy machine.
    print(f"20,000 fingerprints compared in {seconds:.1f} s")
    assert seconds < 60


def test_phantoms_split_by_patient_do_not_leak_and_by_image_do(tmp_path):
    records = phantom.write(tmp_path / "p", {"covid19": 12, "normal": 12}, size=64, images_per_patient=(2, 3))
    prints = duplicates.fingerprints(records)
    for seed in range(20):
        sound = splits.random_split(records, {"val": 0.3}, seed=seed, grouped=True)
        assert not report.leaks([leaks.audit(sound, prints=prints)])
        loose = splits.random_split(records, {"val": 0.3}, seed=seed)
        expected = {leak.group for leak in splits.check(loose)}
        named = leaks.audit(loose, prints=prints).named("patient")
        assert set(named[0].evidence["patients"] if named else ()) == expected
        assert expected


def test_fine_detail_tells_two_people_apart_and_knows_a_picture_again(tmp_path):
    records = phantom.write(tmp_path / "p", {"normal": 8}, size=256, images_per_patient=(1, 1))
    first = records.table["path"].iloc[0]
    with Image.open(tmp_path / "p" / first) as image:
        image.resize((180, 180), Image.Resampling.LANCZOS).save(tmp_path / "p" / "small.jpg", quality=60)
        image.crop((3, 2, 254, 254)).save(tmp_path / "p" / "cropped.png")
    Image.new("L", (64, 64), 90).save(tmp_path / "p" / "flat.png")
    others = list(records.table["path"].iloc[1:])
    pairs = pd.DataFrame({"a": first, "b": ["small.jpg", "cropped.png", "flat.png", "gone.png", *others]})
    small, cropped, flat, gone, *people = duplicates.detail_correlations(records, pairs)
    assert small > 0.85
    assert cropped > duplicates.DETAIL
    assert flat == 0
    assert np.isnan(gone)
    assert max(people) < duplicates.DETAIL


@pytest.mark.slow
def test_no_false_alarm_between_phantom_patients_over_twenty_seeds(tmp_path):
    alarms = {}
    for seed in range(20):
        counts = {"covid19": 20, "normal": 20}
        records = phantom.write(tmp_path / str(seed), counts, size=128, seed=seed, images_per_patient=(1, 2))
        found = leaks.audit(splits.random_split(records, {"val": 0.5}, seed=seed, grouped=True))
        alarms[seed] = [item.name for item in found.findings if item.severity != report.NOTE]
    assert not any(alarms.values()), alarms


@pytest.fixture(scope="module")
def real(shared):
    """The real sets, with fingerprints of the pictures that their manifest knows to be there twice."""
    records = sources.read(shared / "data")
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    twice = manifest[manifest["near_duplicate_of"] != ""]
    wanted = {*twice["path"], *twice["near_duplicate_of"]}
    some = records.where(records.table["path"].isin(wanted))
    return records, duplicates.fingerprints(some)


def test_the_known_defects_of_the_real_sets_are_found_by_name(real):
    records, prints = real
    found = leaks.audit(records, prints=prints)
    groups = found.named("linked_patient")[0].evidence["groups"]
    # The data's README: the same picture under two patient ids.
    assert {tuple(group["patients"]) for group in groups} == {
        ("ieee8023-178", "ieee8023-97"),
        ("ieee8023-201", "ieee8023-78"),
        ("ieee8023-137", "ieee8023-202"),
        ("ieee8023-192", "ieee8023-196"),
        ("kermany-NORMAL2-IM-0095", "kermany-NORMAL2-IM-0096"),
    }
    reused = found.named("patient")[0]
    assert reused.severity == report.LEAK
    assert len(reused.evidence["patients"]) == 35
    assert all(name.startswith("kermany-person") for name in reused.evidence["patients"])
    assert not report.leaks(
        [leaks.audit(records.where(records.table["source"] != "kermany"), prints=prints[:0])]
    )


def test_a_split_by_the_sources_patient_ids_leaks_what_the_ids_hide(real):
    records, prints = real
    rows = records.where(records.table["patient_id"].isin(["ieee8023-178", "ieee8023-97"]))
    halves = np.where(rows.table["patient_id"] == "ieee8023-97", "test", "train")
    found = leaks.audit(
        rows.with_columns(split=halves), prints=prints[prints["path"].isin(rows.table["path"])]
    )
    assert len(found.named("near_duplicate")[0].evidence["pairs"]) == 4
    assert {item.name for item in report.leaks([found])} == {"near_duplicate", "linked_patient"}


@pytest.mark.slow
def test_a_split_of_the_real_sets_by_patient_id_leaks_and_one_by_linked_patients_does_not(shared):
    everything = sources.read(shared / "data")
    table = everything.table
    kept = (table["label"] == "covid19") | ((table["label"] == "normal") & (table["source"] == "rsna"))
    records = everything.where(kept)
    prints = duplicates.fingerprints(records)
    linked = duplicates.linked_groups(records, duplicates.near_duplicates(prints)).to_numpy()
    ways = {
        "by image": {},
        "by patient id": {"grouped": True},
        "by linked patient": {"grouped": True, "groups": linked},
    }
    leaking = dict.fromkeys(ways, 0)
    for way, options in ways.items():
        for seed in range(20):
            drawn = splits.random_split(records, {"test": 0.2}, seed=seed, **options)
            leaking[way] += bool(report.leaks([leaks.audit(drawn, prints=prints)]))
    print(leaking)
    assert leaking["by image"] == 20
    assert leaking["by patient id"] > 10
    assert leaking["by linked patient"] == 0
