"""The shortcut audit against phantoms whose confounders are known, and against closed forms."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from covidcxr.data import splits
from covidcxr.data.records import Records
from covidcxr.data.sources import phantom
from covidcxr.errors import DataError, OptionError
from covidcxr.evaluation.audits import shortcuts
from covidcxr.evaluation.audits.report import NOTE, read, write

# What each of the phantom's confounders has to be called, and what it must not.
NAMED = {
    "marker": ({"corners", "lungs_removed"}, {"border", "border_grey_levels"}),
    "border": ({"border", "border_grey_levels", "lungs_removed"}, {"corners"}),
    "contrast": ({"border_grey_levels"}, set()),
}


def phantoms(folder, seed=0, images=40, masks=False, **confounders):
    counts = {"covid19": images, "normal": images}
    options = {"size": 64, "seed": seed, "images_per_patient": (1, 2)}
    records = phantom.write(folder, counts, confounders=confounders, masks=masks, **options)
    return splits.random_split(records, {"test": 0.35}, seed=seed, grouped=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Phantoms without any confounder: the disease alone tells the classes apart."""
    return phantoms(tmp_path_factory.mktemp("plain"), images=90)


@pytest.fixture(scope="module")
def audited(plain):
    return shortcuts.audit(plain, resamples=100)


def squares(folder, sources=("here",), images=24, levels=None):
    """Plain grey squares, whose level is drawn from `levels[label][source]`."""
    rng = np.random.default_rng(0)
    rows = []
    for label in ("covid19", "normal"):
        for source in sources:
            for number in range(images):
                name = f"{label}-{source}-{number}.png"
                level = rng.normal((levels or {}).get((label, source), 100), 5)
                grey = np.clip(rng.normal(level, 3, (64, 64)), 0, 255).astype(np.uint8)
                Image.fromarray(grey).save(folder / name)
                split = "test" if number % 3 == 0 else "train"
                rows.append({"path": name, "label": label, "source": source, "split": split})
    return Records.from_rows(rows, folder)


def areas(audit):
    return audit.tables["probes"].set_index("probe")["roc_auc"]


@pytest.mark.parametrize("trait", NAMED)
def test_a_planted_confounder_is_flagged_by_its_name(tmp_path, trait):
    audit = shortcuts.audit(phantoms(tmp_path, masks=True, **{trait: "covid19"}), resamples=100)
    wanted, unwanted = NAMED[trait]
    assert wanted <= set(audit.flags())
    assert not unwanted & set(audit.flags())


def test_without_a_confounder_the_disease_alone_raises_no_flag(audited):
    assert audited.flags() == []
    assert areas(audited)["full"] > 0.8
    assert areas(audited)["centre"] > 0.8


def test_what_was_not_checked_is_said(audited):
    named = {item.name: item.text for item in audited.findings if item.severity == NOTE}
    assert "no lung mask" in named["masks"]
    assert "one source" in named["sources"]
    assert "no network" in named["features"]
    assert "lungs_removed" not in set(audited.tables["probes"]["probe"])


def test_the_table_survives_writing_and_reading(tmp_path, audited):
    write([audited], tmp_path)
    (again,) = read(tmp_path)
    assert again.findings == audited.findings
    assert np.allclose(areas(again), areas(audited))


def test_two_audits_of_one_seed_agree_and_the_second_reads_no_image(tmp_path, monkeypatch):
    records = squares(tmp_path)
    first = shortcuts.audit(records, cache=tmp_path / "cache", resamples=50, seed=3)
    monkeypatch.setattr("covidcxr.data.preprocessing.Preprocessing.load", None)
    second = shortcuts.audit(records, cache=tmp_path / "cache", resamples=50, seed=3)
    pd.testing.assert_frame_equal(first.tables["probes"], second.tables["probes"])


def test_chance_is_the_largest_class(plain, audited):
    scored = plain.table[plain.table["split"] == "test"]["label"]
    assert audited.tables["probes"]["chance"].iloc[0] == max(scored.value_counts()) / len(scored)


def test_sources_that_differ_are_recognised_and_warned_of_only_where_classes_mix_them_otherwise(tmp_path):
    levels = {("covid19", "a"): 60, ("normal", "a"): 60, ("covid19", "b"): 160, ("normal", "b"): 160}
    records = squares(tmp_path, ("a", "b"), levels=levels)
    even = shortcuts.audit(records, resamples=100)
    assert {item.severity for item in even.named("source_recognisable")} == {NOTE}
    assert even.tables["sources"].set_index("probe")["roc_auc"]["source within covid19"] == 1.0
    within = even.tables["sources"].set_index("probe").loc["class within a"]
    assert within["roc_auc_low"] < 0.5 < within["roc_auc_high"]
    table = records.table
    number = table["path"].str.extract(r"-(\d+)\.png")[0].astype(int)
    few = (table["label"] == "covid19") & (table["source"] == "b") & (number % 3 == 1)
    few |= (table["label"] == "normal") & (table["source"] == "a") & (number % 3 == 1)
    more = (table["label"] == "covid19") & (table["source"] == "b") & (number > 16)
    more |= (table["label"] == "normal") & (table["source"] == "a") & (number > 16)
    skewed = shortcuts.audit(records.where(~(few | more)), resamples=100)
    assert "source_recognisable" in skewed.flags()


def test_a_class_of_one_source_each_is_said_to_be_inseparable_from_it(tmp_path):
    records = squares(tmp_path)
    records = records.with_columns(source=records.table["label"] + "-hospital")
    audit = shortcuts.audit(records, resamples=50)
    assert "cannot be told apart" in audit.named("sources")[0].text


def test_retraining_takes_the_place_of_the_frozen_features(tmp_path):
    records = squares(tmp_path)
    seen = []

    def retrain(surgery, train, scored):
        seen.append(surgery.name)
        right = (scored.table["label"] == "covid19").to_numpy(dtype=float)
        answers = right if surgery.name == "border" else np.full(len(scored), 0.5)
        return np.stack([answers, 1 - answers], axis=1)

    audit = shortcuts.audit(records, retrain=retrain, resamples=100)
    assert audit.flags() == ["border"]
    assert areas(audit)["border"] == 1.0
    assert areas(audit)["full"] == 0.5
    # A histogram of greys is no image to train on.
    histograms = ["grey_levels", "border_grey_levels"]
    assert seen == [name for name in audit.tables["probes"]["probe"] if name not in histograms]


def test_of_several_classes_the_one_told_best_decides_and_stands_beside_the_positive_one(tmp_path):
    records = squares(tmp_path, images=36)
    number = records.table["path"].str.extract(r"-(\d+)\.png")[0].astype(int)
    labels = records.table["label"].where((records.table["label"] == "covid19") | (number % 2 == 0), "sars")
    for name in records.table["path"][labels == "sars"]:
        grey = np.asarray(Image.open(tmp_path / name)).copy()
        grey[:4, 20:40] = 255
        Image.fromarray(grey).save(tmp_path / name)
    audit = shortcuts.audit(records.with_columns(label=labels), resamples=100)
    row = audit.tables["probes"].set_index("probe").loc["border"]
    assert (row["class"], row["best_class"], row["best_roc_auc"], row["flag"]) == (
        "covid19",
        "sars",
        1.0,
        "warning",
    )
    assert row["roc_auc"] < 1.0


def test_too_few_patients_are_said_and_not_scored(tmp_path):
    audit = shortcuts.audit(squares(tmp_path, images=9))
    assert audit.tables == {}
    assert "3 patients of class covid19" in audit.named("too_few")[0].text


def test_patients_are_what_the_interval_counts(tmp_path):
    records = squares(tmp_path, images=36)
    number = records.table["path"].str.extract(r"-(\d+)\.png")[0].astype(int)
    people = records.table["label"] + (number // 12 * 6 + number % 6).astype(str)
    audit = shortcuts.audit(records.with_columns(patient_id=people), resamples=50)
    scored = records.table["split"] == "test"
    assert audit.tables["probes"]["patients"].iloc[0] == people[scored].nunique()


def test_without_a_split_there_is_nothing_to_learn_from(tmp_path):
    records = squares(tmp_path)
    bare = Records(records.table.drop(columns="split"), records.root)
    with pytest.raises(DataError, match="no column split"):
        shortcuts.audit(bare)
    with pytest.raises(DataError, match="split train"):
        shortcuts.audit(records.with_columns(split="test"))
    with pytest.raises(OptionError, match="threshold"):
        shortcuts.audit(records, threshold=1.2)


def test_large_sets_are_drawn_down_by_whole_patients(tmp_path):
    records = squares(tmp_path)
    audit = shortcuts.audit(records, most_images=12, resamples=50)
    assert (audit.tables["probes"]["images"] == 12).all()


def test_the_probe_is_scikit_learns_regression_on_standardised_features():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 30)
    train = rng.normal(size=(90, 8)) + (labels == "b")[:, None]
    scored = rng.normal(size=(40, 8))
    scaler = StandardScaler().fit(train)
    # Features divided by sqrt(8) with strength 10 are features as they are with strength 10 / 8.
    judge = LogisticRegression(C=10 / 8, max_iter=2000).fit(scaler.transform(train), labels)
    ours = shortcuts.probe(train, labels, scored, ["c", "a", "b"])
    assert np.allclose(ours[:, [1, 2, 0]], judge.predict_proba(scaler.transform(scored)), atol=1e-3)


def test_the_probe_of_nothing_is_chance():
    blank = np.zeros((10, 4), dtype=np.float32)
    result = shortcuts.probe(blank, ["a"] * 7 + ["b"] * 3, blank, ["a", "b"])
    assert np.allclose(result, [0.7, 0.3])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(10), range(10, 20)], ids=["first-ten", "second-ten"])
@pytest.mark.parametrize("trait", [None, *NAMED])
def test_false_alarms_and_misses_over_20_seeds(tmp_path, trait, seeds):
    """Counts to be read with -s: both tens together are those of docs/audits-shortcuts.md."""
    counts, notes = {}, {}
    for seed in seeds:
        planted = {trait: "covid19"} if trait else {}
        records = phantoms(tmp_path / str(seed), seed=seed, images=120, masks=True, **planted)
        audit = shortcuts.audit(records, seed=seed, resamples=500)
        for name in audit.flags():
            counts[name] = counts.get(name, 0) + 1
        for item in audit.findings:
            if item.severity == NOTE and "roc_auc" in item.evidence:
                notes[item.name] = notes.get(item.name, 0) + 1
    print(f"\n{trait or 'nothing'} planted, seeds {seeds}: flags {counts}, notes {notes}")
    wanted, unwanted = NAMED.get(trait, (set(), {"border", "corners", "border_grey_levels", "lungs_removed"}))
    assert all(counts.get(name) == len(seeds) for name in wanted)
    assert not any(name in counts for name in unwanted)
