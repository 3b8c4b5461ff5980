import os
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.data import duplicates
from covidcxr.data.records import Records


def records_of(folder, patients=None):
    names = sorted(path.name for path in folder.iterdir())
    rows = [{"path": name, "label": "a", "patient_id": (patients or {}).get(name, "")} for name in names]
    return Records.from_rows(rows, folder)


def texture(seed, side=96):
    """A smooth random picture: perceptual hashes of white noise say nothing."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def hashed(bits, thumbs):
    """A table of fingerprints with given hashes and thumbnails, every picture different in its pixels."""
    count = len(bits)
    return pd.DataFrame(
        {
            "path": [f"{number:05d}" for number in range(count)],
            "sha256": [str(number) for number in range(count)],
            "pixels": [str(number) for number in range(count)],
            "phash": np.asarray(bits, np.uint64),
            "thumb": thumbs,
            "error": "",
        }
    )


def test_manifest_names_the_same_near_duplicates(shared):
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    records = Records.from_rows(manifest, shared / "data")
    prints = duplicates.fingerprints(records)
    assert prints["sha256"].tolist() == manifest["sha256"].tolist()
    assert prints["width"].astype(str).tolist() == manifest["width"].tolist()
    assert prints["height"].astype(str).tolist() == manifest["height"].tolist()
    pairs = duplicates.near_duplicates(prints)
    expected = manifest[manifest["near_duplicate_of"] != ""]
    assert len(expected) == 17
    assert set(pairs["b"]) == set(expected["path"])
    assert set(zip(expected["near_duplicate_of"], expected["path"], strict=True)) <= set(
        zip(pairs["a"], pairs["b"], strict=True)
    )
    groups = duplicates.linked_groups(records, pairs)
    members = records.table.groupby(groups.to_numpy())["patient_id"].agg(lambda ids: tuple(sorted(set(ids))))
    joined = {ids for ids in members if len(ids) > 1}
    # The data's README: 178 = 97, 201 = 78, 202 = 137, 196 = 192, and one pair among the children.
    assert joined == {
        ("ieee8023-178", "ieee8023-97"),
        ("ieee8023-201", "ieee8023-78"),
        ("ieee8023-137", "ieee8023-202"),
        ("ieee8023-192", "ieee8023-196"),
        ("kermany-NORMAL2-IM-0095", "kermany-NORMAL2-IM-0096"),
    }


def test_fingerprint_is_imagehashs_and_hashlibs(tmp_path):
    import hashlib

    import imagehash

    for seed in range(5):
        texture(seed, 64 + 31 * seed).save(tmp_path / f"{seed}.png")
    prints = duplicates.fingerprints(records_of(tmp_path))
    for row in prints.itertuples():
        with Image.open(tmp_path / row.path) as image:
            assert f"{row.phash:016x}" == str(imagehash.phash(image))
            assert (row.width, row.height) == image.size
        assert row.sha256 == hashlib.sha256((tmp_path / row.path).read_bytes()).hexdigest()


def test_copies_recompressed_and_shrunk_pictures_are_found_and_others_are_not(tmp_path):
    picture = texture(1, 200)
    picture.save(tmp_path / "a-original.png")
    (tmp_path / "b-copy.png").write_bytes((tmp_path / "a-original.png").read_bytes())
    picture.save(tmp_path / "c-same-pixels.bmp")
    picture.save(tmp_path / "d-jpeg.jpg", quality=60)
    picture.resize((120, 120), Image.Resampling.LANCZOS).save(tmp_path / "e-small.png")
    for seed in range(2, 12):
        texture(seed, 200).save(tmp_path / f"x{seed:02d}.png")
    prints = duplicates.fingerprints(records_of(tmp_path))
    exact = duplicates.exact_duplicates(prints)
    assert list(exact.itertuples(index=False, name=None)) == [
        ("a-original.png", "b-copy.png", "bytes"),
        ("a-original.png", "c-same-pixels.bmp", "pixels"),
    ]
    near = duplicates.near_duplicates(prints)
    assert {path[0] for path in near["b"]} == {"b", "c", "d", "e"}
    assert near[near["b"].str[0].isin(["b", "c"])]["correlation"].tolist() == [1.0, 1.0]
    assert not near["a"].str.startswith("x").any()


def test_files_that_cannot_be_read_are_kept_with_the_reason(tmp_path):
    texture(0).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    records = records_of(tmp_path)
    records = Records.from_rows(
        [*records.table.to_dict("records"), {"path": "gone.png", "label": "a"}], tmp_path
    )
    prints = duplicates.fingerprints(records).set_index("path")
    assert prints.loc["gone.png", "error"] == "file missing"
    assert prints.loc["bad.png", "error"]
    assert str(tmp_path) not in prints.loc["bad.png", "error"]
    assert prints.loc["good.png", "error"] == ""
    assert not len(duplicates.near_duplicates(prints.reset_index()))


def test_search_is_complete_against_brute_force():
    generator = np.random.default_rng(0)
    centres = generator.integers(0, 2**63, 40, dtype=np.uint64)
    flips = [
        np.bitwise_or.reduce(np.uint64(1) << generator.integers(0, 64, 3, np.uint64)) for _ in range(400)
    ]
    bits = np.concatenate([centres, generator.choice(centres, 400) ^ np.array(flips, np.uint64)])
    thumbs = [bytes(row) for row in generator.integers(0, 256, (len(bits), 1024), dtype=np.uint8)]
    found = duplicates.near_duplicates(hashed(bits, thumbs), correlation=0.0)
    pixels = np.array([np.frombuffer(thumb, np.uint8) for thumb in thumbs])
    correlations = np.corrcoef(pixels)
    expected = {
        (f"{a:05d}", f"{b:05d}"): (int(bits[a] ^ bits[b]).bit_count(), correlations[a, b])
        for a in range(len(bits))
        for b in range(a + 1, len(bits))
        if int(bits[a] ^ bits[b]).bit_count() <= 4 and correlations[a, b] >= 0
    }
    assert len(expected) > 200
    got = {(row.a, row.b): (row.distance, row.correlation) for row in found.itertuples()}
    assert got.keys() == expected.keys()
    for pair, (distance, correlation) in got.items():
        assert distance == expected[pair][0]
        assert correlation == pytest.approx(expected[pair][1], abs=1e-12)


def test_flat_pictures_are_alike_only_if_equal():
    flat, other, picture = bytes(1024), bytes([7]) * 1024, bytes(range(256)) * 4
    found = duplicates.near_duplicates(hashed([0, 0, 0, 0], [flat, flat, other, picture]))
    assert found[["a", "b"]].to_numpy().tolist() == [["00000", "00001"]]


def test_linked_groups_join_chains_and_have_stable_names():
    rows = [
        {"path": f"{number}.png", "label": "a", "patient_id": patient}
        for number, patient in enumerate(["p3", "p1", "p2", "", "p9", "", "p1"])
    ]
    records = Records.from_rows(rows, ".")
    pairs = pd.DataFrame(
        [("0.png", "2.png"), ("2.png", "6.png"), ("3.png", "2.png"), ("4.png", "not there.png")],
        columns=["a", "b"],
    )
    groups = duplicates.linked_groups(records, pairs)
    assert groups.tolist() == ["p1", "p1", "p1", "p1", "p9", "file:5.png", "p1"]
    backwards = Records.from_rows(rows[::-1], ".")
    turned = pairs.iloc[::-1].rename(columns={"a": "b", "b": "a"})
    assert duplicates.linked_groups(backwards, turned).tolist() == groups.tolist()[::-1]


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    side = 256
    template = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(template).save(tmp_path / "0000.png", compress_level=0)
    for number in range(1, 1000):
        os.link(tmp_path / "0000.png", tmp_path / f"{number:04d}.png")
    records = records_of(tmp_path)
    few = records.where(records.table["path"] < "0100.png")
    peaks = []
    for part in (few, few, records):
        tracemalloc.start()
        duplicates.near_duplicates(duplicates.fingerprints(part))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first pass pays for the imports. A picture is 64 kB; its fingerprint must stay a small part of that.
    assert (peaks[2] - peaks[1]) / 900 < 4096
