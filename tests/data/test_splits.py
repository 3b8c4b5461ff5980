import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, settings
from hypothesis import given as examples
from hypothesis import strategies as st
from PIL import Image

from covidcxr.data import splits
from covidcxr.data.duplicates import linked_groups
from covidcxr.data.records import Records
from covidcxr.errors import DataError, OptionError

SPLITS_OF_FIVE = {"train": 0.6, "val": 0.2, "test": 0.2}


def make(counts, patients=None):
    """Records of `counts` images a class; `patients` images in a row share a patient, if given."""
    rows = [
        {
            "path": f"{label}/{number:04d}.png",
            "label": label,
            "patient_id": f"{label}-{number // patients}" if patients else "",
            "source": "test",
        }
        for label, count in counts.items()
        for number in range(count)
    ]
    return Records.from_rows(rows, "pictures")


def split_of(records, column="split"):
    return dict(zip(records.table["path"], records.table[column], strict=True))


@pytest.mark.parametrize(
    ("normal", "val", "train", "steps"),
    [(207, 61, 248, None), (414, 102, 414, (13, 4))],
)
def test_random_split_gives_the_counts_ragab2022_prints(normal, val, train, steps):
    done = splits.random_split(make({"covid19": 102, "normal": normal}), {"val": 0.2}, seed=1)
    sizes = done.table["split"].value_counts()
    assert (sizes["val"], sizes["train"]) == (val, train)
    assert (done.table.query("label == 'covid19'")["split"] == "val").sum() == 20
    if steps:  # Figures 12 and 13: 13 training and 4 validation steps of 32
        assert tuple(int(np.ceil(sizes[name] / 32)) for name in ("train", "val")) == steps


def test_random_split_does_not_depend_on_row_order_but_on_the_seed():
    records = make({"a": 50, "b": 30}, patients=3)
    shuffled = Records.from_rows(records.table.sample(frac=1, random_state=3), records.root)
    for grouped in (False, True):
        one, other, third = (
            split_of(splits.random_split(rows, {"test": 0.3}, seed=seed, grouped=grouped))
            for rows, seed in ((records, 5), (shuffled, 5), (records, 6))
        )
        assert one == other
        assert one != third


def test_unstratified_split_counts_all_images_together():
    done = splits.random_split(make({"a": 7, "b": 6}), {"val": 0.5}, seed=0, stratify=False)
    assert (done.table["split"] == "val").sum() == 6  # int(0.5 * 13), where int per class gives 3 + 3 too
    stratified = splits.random_split(make({"a": 7, "b": 7}), {"val": 0.5}, seed=0)
    assert (stratified.table["split"] == "val").sum() == 6
    together = splits.random_split(make({"a": 7, "b": 7}), {"val": 0.5}, seed=0, stratify=False)
    assert (together.table["split"] == "val").sum() == 7


def test_filename_order_split_is_what_keras_does(tmp_path):
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    rows = []
    for label, count in (("covid", 11), ("normal", 7)):
        for number in range(count):
            # Names and folders whose order depends on how one sorts: capitals, digits, nesting.
            name = f"{'Bb'[number % 2]}{number * 5 % count}.png"
            path = tmp_path / label / ("sub", "", "Sub")[number % 3] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(path)
            rows.append({"path": path.relative_to(tmp_path).as_posix(), "label": label})
    done = splits.filename_order_split(Records.from_rows(rows, tmp_path), 0.25)
    generator = ImageDataGenerator(validation_split=0.25)
    for subset, split in (("validation", "val"), ("training", "train")):
        flow = generator.flow_from_directory(tmp_path, target_size=(4, 4), subset=subset, shuffle=False)
        assert set(flow.filenames) == set(done.table["path"][done.table["split"] == split])


def test_grouped_split_keeps_patients_whole_and_fractions_near():
    generator = np.random.default_rng(0)
    sizes = generator.geometric(0.4, 300)
    rows = [
        {"path": f"{patient}-{number}.png", "label": "ab"[patient % 3 == 0], "patient_id": f"p{patient}"}
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]
    done = splits.random_split(Records.from_rows(rows, "."), SPLITS_OF_FIVE, seed=2, grouped=True)
    assert splits.check(done) == []
    for row in splits.summary(done).itertuples():
        assert row.fraction == pytest.approx(SPLITS_OF_FIVE[row.split], abs=0.01)


def test_image_level_split_leaks_and_check_names_the_images():
    done = splits.random_split(make({"a": 20, "b": 20}, patients=5), {"test": 0.3}, seed=0)
    leaks = splits.check(done)
    by_hand = done.table.groupby("patient_id")["split"].nunique()
    assert [leak.group for leak in leaks] == sorted(by_hand[by_hand > 1].index)
    assert leaks, "five images a patient and 30 % drawn by image: some patient must be cut"
    first = done.table[done.table["patient_id"] == leaks[0].group]
    assert {path for paths in leaks[0].paths.values() for path in paths} == set(first["path"])


def test_images_of_unknown_patients_are_their_own_groups():
    done = splits.random_split(make({"a": 20, "b": 20}), {"test": 0.25}, seed=0, grouped=True)
    assert done.table.groupby("label")["split"].value_counts().to_dict() == {
        ("a", "train"): 15,
        ("a", "test"): 5,
        ("b", "train"): 15,
        ("b", "test"): 5,
    }


def test_given_groups_and_the_column_group_take_the_place_of_patients():
    records = make({"a": 12, "b": 12}, patients=1)
    pairs = [f"g{number // 2}" for number in range(24)]
    by_argument = splits.random_split(records, {"test": 0.5}, seed=0, grouped=True, groups=pairs)
    by_column = splits.random_split(records.with_columns(group=pairs), {"test": 0.5}, seed=0, grouped=True)
    assert split_of(by_argument) == split_of(by_column)
    assert splits.check(by_column) == []
    assert by_column.table.groupby("group")["split"].nunique().max() == 1
    with pytest.raises(OptionError, match="23 groups for 24 images"):
        splits.check(by_argument, pairs[1:])


@settings(max_examples=150, deadline=None)
@examples(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=4, max_size=60),
    st.integers(2, 4),
    st.integers(0, 9),
)
def test_grouped_folds_partition_without_leak_and_hold_every_class(images, k, seed):
    rows = [
        {"path": f"{number}.png", "label": label, "patient_id": f"p{patient}"}
        for number, (label, patient) in enumerate(images)
    ]
    records = Records.from_rows(rows, ".")
    if records.table.groupby("label")["patient_id"].nunique().min() < k or len(records.classes()) < 2:
        with pytest.raises(DataError, match=r"patients for|only one class"):
            splits.k_fold(records, k, seed=seed, grouped=True)
        return
    try:
        done = splits.k_fold(records, k, seed=seed, grouped=True)
    except DataError:
        # Few patients who each have several classes may not go round.
        assume(False)
    assert set(done.table["fold"]) == set(range(1, k + 1))
    assert done.table.groupby("patient_id")["fold"].nunique().max() == 1
    assert (done.table.groupby("label")["fold"].nunique() == k).all()


def test_grouped_folds_are_as_even_as_sklearns():
    from sklearn.model_selection import StratifiedGroupKFold

    generator = np.random.default_rng(4)
    rows = [
        {"path": f"{patient}-{number}.png", "label": "ab"[patient % 4 == 0], "patient_id": f"p{patient:03d}"}
        for patient, size in enumerate(generator.geometric(0.3, 200))
        for number in range(size)
    ]
    records = Records.from_rows(rows, ".")
    ours = splits.k_fold(records, 5, seed=0, grouped=True).table["fold"].to_numpy()
    labels, patients = records.table["label"], records.table["patient_id"]
    theirs = np.zeros(len(rows), dtype=int)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, patients)
    for number, (_, tested) in enumerate(folds):
        theirs[tested] = number + 1

    def worst(fold):
        return (pd.crosstab(labels, fold, normalize="index") - 0.2).abs().to_numpy().max()

    assert worst(ours) <= worst(theirs) + 0.01


def test_folds_by_image_differ_by_one_image_a_class():
    done = splits.k_fold(make({"a": 23, "b": 14}), 5, seed=0)
    sizes = pd.crosstab(done.table["label"], done.table["fold"])
    assert (sizes.max(axis=1) - sizes.min(axis=1)).max() <= 1
    assert sizes.sum().max() - sizes.sum().min() <= 1
    parts = [splits.one_fold(done, number).table for number in range(1, 6)]
    tested = [set(part["path"][part["split"] == "test"]) for part in parts]
    assert sum(map(len, tested)) == len(set.union(*tested)) == 37
    with pytest.raises(DataError, match="folds 1 to 5"):
        splits.one_fold(done, 6)


def test_phases_give_the_counts_rahimzadeh2020_prints():
    sets = {"covid19": 180, "first": 42, "normal": 8851, "pneumonia": 6012}
    records = make(sets)
    table = records.table
    shared = table["label"].isin(["covid19", "first"]).to_numpy()
    aside = shared & (
        table["path"].between("covid19/0149", "covid19/9999")
        | table["path"].between("first/0034", "first/9999")
    )
    relabelled = table["label"].replace("first", "pneumonia")
    records = records.with_columns(label=relabelled, split=np.where(aside, "test", "train"))
    done = splits.phases(records, 8, shared=shared, seed=0, per_phase={"normal": 250, "pneumonia": 200})
    first, last = splits.in_phase(done, 1), splits.in_phase(done, 8)
    for part in (first, last):
        sizes = part.table["label"].value_counts().to_dict()
        assert sizes == {"normal": 250, "pneumonia": 234, "covid19": 149}
    assert len(set(first.table["path"]) & set(last.table["path"])) == 149 + 34
    tested = done.table.query("split == 'test'")["label"].value_counts().to_dict()
    # What section 2.1 leaves to test on.
    assert tested == {"normal": 6851, "pneumonia": 4420, "covid19": 31}


def test_phases_deal_all_evenly_by_default_and_say_when_there_are_too_few():
    records = make({"few": 3, "many": 22})
    shared = records.table["label"] == "few"
    done = splits.phases(records, 4, shared=shared, seed=0)
    assert [len(splits.in_phase(done, number)) for number in (1, 2, 3, 4)] == [9, 9, 8, 8]
    kept = splits.phases(records, 4, shared=shared, seed=0, per_phase={"many": 5}, leftover=None)
    assert len(kept) == 23
    assert [item.reason for item in kept.exclusions] == ["in no phase"] * 2
    with pytest.raises(DataError, match="use at most 5 a phase"):
        splits.phases(records, 4, shared=shared, seed=0, per_phase={"many": 6})


def test_counted_split_gives_yin2020s_third_set_and_names_what_it_leaves():
    counts = {
        "covid19": {"train": 118, "val": 30, "test": 38},
        "sars": {"train": 10, "val": 3, "test": 3},
    }
    done = splits.counted_split(make({"covid19": 200, "sars": 16, "normal": 5}), counts, seed=0)
    got = done.table.groupby("label")["split"].value_counts()
    assert {label: {split: got[label, split] for split in splits.SPLITS} for label in counts} == counts
    assert len(done.exclusions) == 14 + 5
    with pytest.raises(DataError, match="class sars: 16 images asked for, 15 there"):
        splits.counted_split(make({"covid19": 200, "sars": 15}), counts, seed=0)


def patients_of(sizes, label="a"):
    return [
        {"path": f"{label}/{patient:03d}-{number}.png", "label": label, "patient_id": f"{label}{patient}"}
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]


def test_counted_group_split_meets_yin2020s_counts_with_whole_patients():
    generator = np.random.default_rng(1)
    rows = patients_of(generator.geometric(0.5, 150), "covid19") + patients_of([2, 2, 1] * 4, "sars")
    counts = {
        "covid19": {"train": 118, "val": 30, "test": 38},
        "sars": {"train": 10, "val": 3, "test": 3},
    }
    draws = []
    for seed in range(5):
        done = splits.counted_group_split(Records.from_rows(rows, "."), counts, seed=seed)
        got = done.table.groupby("label")["split"].value_counts()
        assert {label: {split: got[label, split] for split in splits.SPLITS} for label in counts} == counts
        assert splits.check(done) == []
        assert {item.reason for item in done.exclusions} == {"not drawn"}
        assert len(done) + len(done.exclusions) == len(rows)
        draws.append(frozenset(split_of(done).items()))
    assert len(set(draws)) == 5
    again = splits.counted_group_split(Records.from_rows(rows[::-1], "."), counts, seed=4)
    assert frozenset(split_of(again).items()) == draws[4]


def test_counted_group_split_never_exceeds_and_says_what_patients_did_not_allow():
    records = Records.from_rows(patients_of([6, 5, 5]) + patients_of([1] * 16, "b"), ".")
    counts = {label: {"train": 10, "val": 3, "test": 3} for label in "ab"}
    done = splits.counted_group_split(records, counts, seed=0)
    got = done.table.groupby("label")["split"].value_counts()
    assert [got["b", split] for split in splits.SPLITS] == [10, 3, 3]
    assert [got["a", split] for split in ("val", "test")] == [3, 3]
    assert 5 <= got["a", "train"] <= 6
    (note,) = done.notes
    assert note.startswith(f"a: {got['a', 'train']} train images, where 10 were asked for")


def test_counted_group_split_takes_the_column_group_and_lets_a_group_have_several_classes():
    records = make({"a": 30, "b": 30}, patients=1)
    pairs = [f"g{number % 15}" for number in range(60)]
    counts = {label: {"train": 6, "val": 4, "test": 4} for label in "ab"}
    done = splits.counted_group_split(records.with_columns(group=pairs), counts, seed=0)
    assert (pd.crosstab(done.table["label"], done.table["split"]) == [4, 6, 4]).all(axis=None)
    assert done.table.groupby("group")["split"].nunique().max() == 1


@settings(max_examples=100, deadline=None)
@examples(st.lists(st.integers(1, 9), min_size=3, max_size=30), st.integers(0, 9))
def test_counted_group_split_fills_every_part_without_leak(sizes, seed):
    records = Records.from_rows(patients_of(sizes) + patients_of([1] * 9, "b"), ".")
    total = sum(sizes)
    assume(total >= 3)
    held = max(1, total // 5)
    counts = {"a": {"train": total - 2 * held, "val": held, "test": held}, "b": {"train": 3, "test": 1}}
    done = splits.counted_group_split(records, counts, seed=seed)
    assert splits.check(done) == []
    got = done.table.groupby("label")["split"].value_counts()
    assert {split for label, split in got.index if label == "a"} == set(splits.SPLITS)
    assert all(got[label, split] <= counts[label][split] for label, split in got.index)
    if max(sizes) == 1:
        assert len(done) == total + 4


def test_counted_group_split_refuses_too_few():
    counts = {"a": {"train": 3, "val": 1, "test": 1}}
    with pytest.raises(DataError, match="class a: 5 images asked for, 4 there"):
        splits.counted_group_split(make({"a": 4}), counts, seed=0)
    with pytest.raises(DataError, match="class a: 2 patients for 3 parts"):
        splits.counted_group_split(make({"a": 8}, patients=4), counts, seed=0)
    with pytest.raises(OptionError, match="'dev'"):
        splits.counted_group_split(make({"a": 8}), {"a": {"dev": 1}}, seed=0)


@settings(max_examples=100, deadline=None)
@examples(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 30), st.integers(0, 3))
def test_whole_groups_reach_what_some_combination_reaches(sizes, wanted, number):
    names = [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]
    chosen = splits.whole_groups(names, wanted, np.random.default_rng(0), number or None)
    subsets = [[group for group in range(len(sizes)) if mask >> group & 1] for mask in range(2 ** len(sizes))]
    sums = {(len(subset), sum(sizes[group] for group in subset)) for subset in subsets}
    counted = [images for groups, images in sums if groups == number and images <= wanted]
    best = max(counted) if number and counted else max(images for _, images in sums if images <= wanted)
    assert sum(name in chosen for name in names) == best
    if number and counted:
        assert len(chosen) == number


def test_whole_groups_vary_with_the_generator_and_not_with_the_order_of_rows():
    names = [row["patient_id"] for row in patients_of([3, 2, 1] * 20)]
    draws = [splits.whole_groups(names, 31, np.random.default_rng(seed)) for seed in range(9)]
    assert len(set(map(frozenset, draws))) == 9
    assert splits.whole_groups(names[::-1], 31, np.random.default_rng(8)) == draws[8]


def test_a_written_split_comes_back_and_missing_rows_are_named(tmp_path):
    records = make({"a": 8, "b": 8}, patients=2)
    done = splits.k_fold(records.with_columns(split="train"), 2, seed=0, grouped=True)
    done = splits.one_fold(done, 1)
    path = tmp_path / "split.csv"
    splits.write(done, path)
    back = splits.from_csv(records, path)
    pd.testing.assert_frame_equal(back.table, done.table, check_dtype=False)
    assert back.table["fold"].tolist() == done.table["fold"].tolist()
    fewer = records.where(records.table["path"] > "a/0001.png")
    with pytest.raises(DataError, match=r"names what is not among the images read: a/0000.png and 1 more"):
        splits.from_csv(fewer, path)
    more = make({"a": 9, "b": 8})
    with pytest.raises(DataError, match=r"has no row for a/0008\.png; draw"):
        splits.from_csv(more, path)


def test_reading_a_split_refuses_other_names_and_broken_numbers(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("path,label,split\nx.png,a,training\n")
    with pytest.raises(DataError, match=r"x\.png is in split 'training'"):
        splits.read(path)
    path.write_text("path,label,split,fold\nx.png,a,train,one\n")
    with pytest.raises(DataError, match="column fold must hold whole numbers"):
        splits.read(path)
    path.write_text("path,label\nx.png,a\n")
    with pytest.raises(DataError, match="lacks the column split"):
        splits.read(path)


def test_given_uses_the_sources_split_and_names_what_has_none():
    records = make({"a": 2, "b": 2})
    names = ["train", "test", "val", "train"]
    done = splits.given(records.with_columns(given_split=names))
    assert done.table["split"].tolist() == names
    with pytest.raises(DataError, match=r"b/0001.png is in split '' \(1 such\)"):
        splits.given(records.with_columns(given_split=[*names[:3], ""]))
    with pytest.raises(DataError, match="no column given_split"):
        splits.given(records)


@pytest.mark.parametrize("cut", [splits.random_split, splits.k_fold])
def test_one_class_alone_is_refused(cut):
    parts = 2 if cut is splits.k_fold else {"val": 0.5}
    with pytest.raises(DataError, match=r"only one class \(a\)"):
        cut(make({"a": 9}), parts, seed=0)


def test_a_class_with_too_few_images_or_patients_is_named():
    with pytest.raises(DataError, match=r"class b: 4 images are too few for a val part of 0\.2"):
        splits.random_split(make({"a": 20, "b": 4}), {"val": 0.2}, seed=0)
    with pytest.raises(DataError, match="class b: 2 patients for 3 parts"):
        splits.random_split(make({"a": 20, "b": 8}, patients=4), SPLITS_OF_FIVE, seed=0, grouped=True)
    with pytest.raises(DataError, match="class b: 2 images for 3 parts"):
        splits.k_fold(make({"a": 20, "b": 2}), 3, seed=0)
    with pytest.raises(DataError, match=r"no image of class sars \(found: a, b\)"):
        splits.require_classes(make({"a": 1, "b": 1}), ["a", "sars"])


@pytest.mark.parametrize(
    ("fractions", "complaint"),
    [
        ({"val": 0.5, "test": 0.5}, "leave some for train"),
        ({"val": 0}, "above 0"),
        ({"train": 0.5, "val": 0.2}, "add up to 0.7"),
        ({"validation": 0.2}, "'validation'"),
        ({}, "above 0"),
    ],
)
def test_fractions_without_meaning_are_refused(fractions, complaint):
    with pytest.raises(OptionError, match=complaint):
        splits.random_split(make({"a": 9, "b": 9}), fractions, seed=0)


def test_linked_patients_of_the_real_set_stay_together(shared):
    from covidcxr.data import sources

    records = sources.read(shared / "data" / "covid-chestxray-dataset")
    records = records.where(records.table["label"].isin(["covid19", "sars", "bacterial_pneumonia"]))
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    same = manifest[manifest["near_duplicate_of"].str.startswith("covid-chestxray-dataset/")]
    pairs = pd.DataFrame({"a": same["near_duplicate_of"], "b": same["path"]}).map(
        lambda path: path.partition("/")[2]
    )
    linked = records.with_columns(group=linked_groups(records, pairs))
    leaked = set()
    for seed in range(5):
        by_patient = split_of(splits.random_split(records, SPLITS_OF_FIVE, seed=seed, grouped=True))
        leaked |= {b for a, b in pairs.itertuples(index=False) if by_patient[a] != by_patient[b]}
        done = splits.random_split(linked, SPLITS_OF_FIVE, seed=seed, grouped=True)
        by_group = split_of(done)
        assert all(by_group[a] == by_group[b] for a, b in pairs.itertuples(index=False))
        assert splits.check(done) == []
        assert (
            splits.summary(done)["fraction"] - splits.summary(done)["split"].map(SPLITS_OF_FIVE)
        ).abs().max() < 0.07
    assert leaked, "a split by patient id alone parts some pictures of the known pairs"


def test_what_a_run_monitors_is_written_and_read_back(tmp_path):
    rows = [{"path": f"{i}.png", "label": "ab"[i % 2], "split": "test", "monitored": i < 3} for i in range(6)]
    records = Records.from_rows(rows, tmp_path)
    splits.write(records, tmp_path / "split.csv")
    plain = Records.from_rows([{"path": row["path"], "label": row["label"]} for row in rows], tmp_path)
    assert list(splits.from_csv(plain, tmp_path / "split.csv").table["monitored"]) == [True] * 3 + [False] * 3
    text = (tmp_path / "split.csv").read_text().replace("True", "perhaps")
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match="column monitored must hold True or False"):
        splits.read(tmp_path / "split.csv")
