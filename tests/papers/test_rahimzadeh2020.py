"""rahimzadeh2020's folds and phases against what the paper prints, and its tables against one another."""

import numpy as np
import pandas as pd
import pytest

from covidcxr.data import screening, sources, splits
from covidcxr.data.records import Records
from covidcxr.data.sources import phantom
from covidcxr.errors import DataError, ModelError
from covidcxr.papers import rahimzadeh2020_tables as printed
from covidcxr.papers import tables
from covidcxr.papers.plan import RunOptions, settle
from covidcxr.papers.rahimzadeh2020 import AUGMENTATION, FIRST_SET, RECIPE
from covidcxr.papers.running import networks
from covidcxr.papers.units import Unit

FOLDS = (1, 2, 3, 4, 5)
PROTOCOLS = ("published", "sound")


def plan_of(fold=1, protocol="published", **options):
    return settle(RECIPE, RunOptions(fold=str(fold), protocol=protocol, **options))[0]


def patients(label, source, images, number, seed):
    """Rows of `images` images of exactly `number` patients, some with many."""
    extra = np.random.default_rng(seed).multinomial(
        images - number, np.random.default_rng(1).dirichlet([0.5] * number)
    )
    return [
        {
            "path": f"{source}/{label}-{patient:04d}-{image}.png",
            "label": label,
            "patient_id": f"{source}-{label}-{patient}",
            "source": source,
        }
        for patient, size in enumerate(extra + 1)
        for image in range(size)
    ]


@pytest.fixture(scope="module")
def everything():
    """15,085 images: of 118 and 25 patients in the first set (section 2.2), of one each in RSNA."""
    rows = patients("covid19", FIRST_SET, 180, 118, 0) + patients("pneumonia", FIRST_SET, 42, 25, 1)
    rows += patients("pneumonia", "rsna", 6012, 6012, 2) + patients("normal", "rsna", 8851, 8851, 3)
    return Records.from_rows(rows, "pictures")


def numbers(records, split):
    return records.table.loc[records.table["split"] == split, "label"].value_counts().to_dict()


def of_phase(records, number):
    return splits.in_phase(records, number).table["label"].value_counts().to_dict()


def first_set_tested(records):
    table = records.table
    return set(table["path"][(table["split"] == "test") & (table["source"] == FIRST_SET)])


@pytest.fixture(scope="module")
def arranged(everything):
    plans = {(fold, name): plan_of(fold, name) for fold in FOLDS for name in PROTOCOLS}
    grouped = everything.with_columns(group=everything.table["patient_id"])
    return {
        key: plan.protocol.arrangement(grouped if key[1] == "sound" else everything, plan)
        for key, plan in plans.items()
    }


@pytest.mark.parametrize("fold", FOLDS)
def test_our_folds_have_the_printed_numbers(arranged, fold):
    records = arranged[fold, "published"]
    covid = 150 if fold == 3 else 149
    assert numbers(records, "test") == {"covid19": 180 - covid, "pneumonia": 4420, "normal": 6851}
    assert numbers(records, "train") == {"covid19": covid, "pneumonia": 1634, "normal": 2000}
    for phase in range(1, 9):
        assert of_phase(records, phase) == {"covid19": covid, "pneumonia": 234, "normal": 250}
    assert splits.check(records) == []
    shared = records.table[(records.table["phase"] == 0) & (records.table["split"] == "train")]
    assert len(shared) == covid + 34
    assert set(shared["source"]) == {FIRST_SET}
    assert not records.notes


def test_each_fold_tests_other_covid19_patients_and_always_the_same_three_of_the_rest(arranged):
    tested = [first_set_tested(arranged[fold, "published"]) for fold in FOLDS]
    others = [{path for path in paths if "/pneumonia" in path} for paths in tested]
    assert len(set(map(frozenset, others))) == 1
    assert len(others[0]) == 8
    assert len({path.rpartition("-")[0] for path in others[0]}) == 3
    assert len({frozenset(paths) for paths in tested}) == 5


@pytest.mark.parametrize("fold", FOLDS)
def test_sound_tests_the_same_images_and_takes_its_validation_part_from_training(arranged, fold):
    published, sound = arranged[fold, "published"], arranged[fold, "sound"]
    split = dict(zip(published.table["path"], published.table["split"], strict=True))
    for row in sound.table.itertuples():
        assert (row.split == "test") == (split[row.path] == "test")
    assert splits.check(sound) == []
    held = numbers(sound, "val")
    for label, number in numbers(published, "train").items():
        assert 0.1 <= held[label] / number <= 0.2
    assert "monitored" not in sound.table
    for label, number in numbers(sound, "train").items():
        sizes = [of_phase(sound, phase)[label] for phase in range(1, 9)]
        assert max(sizes) - min(sizes) <= 1
        if label == "normal":
            assert sum(sizes) == number


def test_published_looks_at_all_covid19_and_300_of_the_others_of_the_test_part(arranged):
    records = arranged[3, "published"]
    watched = records.table[records.table["monitored"].astype(bool)]
    assert watched["label"].value_counts().to_dict() == {"covid19": 30, "normal": 300, "pneumonia": 300}
    assert set(watched["split"]) == {"test"}


def test_the_seed_and_not_the_order_of_rows_settles_a_fold(everything, arranged):
    shuffled = Records.from_rows(everything.table.sample(frac=1, random_state=0), everything.root)

    def of(records, seed):
        plan = plan_of(2, seed=seed)
        table = plan.protocol.arrangement(records, plan).table.sort_values("path")
        return table[["split", "phase", "monitored"]].to_numpy().tolist()

    known = (
        arranged[2, "published"]
        .table.sort_values("path")[["split", "phase", "monitored"]]
        .to_numpy()
        .tolist()
    )
    assert of(shuffled, 0) == known
    assert of(shuffled, 1) != known


def test_training_pictures_of_tested_patients_are_dropped_by_the_sound_protocol(everything, arranged):
    published = arranged[1, "published"].table
    tested = published.query("split == 'test' and label == 'covid19'").iloc[0]
    trained = published.query("split == 'train' and label == 'covid19'").iloc[0]
    groups = everything.table["patient_id"].replace(trained["patient_id"], tested["patient_id"])
    plan = plan_of(1, "sound")
    records = plan.protocol.arrangement(everything.with_columns(group=groups), plan)
    dropped = {item.path for item in records.exclusions if item.reason == "a tested patient's picture"}
    assert trained["path"] in dropped
    assert dropped == set(published["path"][published["patient_id"] == trained["patient_id"]])
    assert splits.check(records) == []


def test_patients_with_images_of_two_pools_stay_in_one_part(everything):
    table = everything.table.copy()
    rsna = table.index[table["source"] == "rsna"]
    # Every third RSNA image belongs to one of 1,500 patients, across both classes.
    table.loc[rsna[::3], "patient_id"] = [f"nih-{number % 1500}" for number in range(len(rsna[::3]))]
    plan = plan_of(1)
    records = plan.protocol.arrangement(Records.from_rows(table, "pictures"), plan)
    assert splits.check(records) == []
    assert numbers(records, "train")["normal"] == 2000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    counts = {"covid19": 16, "normal": 30, "pneumonia": 30}
    return phantom.write(tmp_path_factory.mktemp("phantom"), counts, size=64)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fold", [1, 2])
def test_the_phantom_at_smoke_size_is_scaled_and_says_so(small, protocol, fold):
    plan = plan_of(fold, protocol, preset="smoke")
    drawn = plan.data_set.select(small, plan)
    records = plan.protocol.arrangement(drawn.with_columns(group=drawn.table["patient_id"]), plan)
    assert splits.check(records) == []
    assert [stage.data for stage in plan.stages] == ["phase 1", "phase 2"]
    for stage in (1, 2):
        assert set(of_phase(records, stage)) == {"covid19", "normal", "pneumonia"}
    assert set(numbers(records, "test")) == {"covid19", "normal", "pneumonia"}
    assert any("stand in for its 42" in note for note in records.notes)
    assert any("in proportion over 2 phases" in note for note in records.notes)


def test_the_phantom_at_full_size_has_the_printed_numbers():
    rows = [
        {"path": f"{label}/{number:05d}.png", "label": label, "patient_id": f"{label}-{number * 2 // 5}"}
        for label, count in RECIPE.data_sets["rebuilt"].counts.items()
        for number in range(count)
    ]
    records = Records.from_rows([{**row, "source": "phantom"} for row in rows], "pictures")
    plan = plan_of(1)
    done = plan.protocol.arrangement(records, plan)
    assert numbers(done, "test") == {"covid19": 31, "pneumonia": 4420, "normal": 6851}
    assert of_phase(done, 8) == {"covid19": 149, "pneumonia": 234, "normal": 250}
    assert splits.check(done) == []
    assert [note.partition(":")[0] for note in done.notes] == ["pneumonia"]


def test_too_few_images_for_eight_phases_are_named():
    rows = [
        {"path": f"{label}{number}.png", "label": label, "patient_id": f"{label}{number}", "source": "rsna"}
        for label in ("covid19", "normal", "pneumonia")
        for number in range(7)
    ]
    plan = plan_of(1)
    with pytest.raises(DataError, match=r"are too few for 8 phases|is left to test"):
        plan.protocol.arrangement(Records.from_rows(rows, "x"), plan)


@pytest.fixture
def unscreened(monkeypatch):
    """Drawing without decoding what the data tests decode anyway."""
    monkeypatch.setattr(screening, "screen", lambda records, **options: records)


@pytest.mark.parametrize("fold", [1, 3])
def test_the_images_at_hand_are_drawn_from_the_papers_sources(shared, unscreened, fold):
    plan = plan_of(fold, data=str(shared / "data"))
    records = plan.data_set.select(sources.read(shared / "data", **plan.data_set.reading), plan)
    drawn = records.counts("label", "source").set_index(["label", "source"])["images"].to_dict()
    # The data's readme: 129 pneumonia and 2,000 normal images of RSNA, 41 of the paper's findings and views.
    assert drawn == {
        ("covid19", FIRST_SET): 180,
        ("pneumonia", FIRST_SET): 41,
        ("pneumonia", "rsna"): 129,
        ("normal", "rsna"): 2000,
    }
    done = plan.protocol.arrangement(records, plan)
    assert numbers(done, "test")["covid19"] == (30 if fold == 3 else 31)
    assert of_phase(done, 1)["normal"] == round(250 * 2000 / 8851)
    assert splits.check(done) == []
    assert any("129 images, where the paper has 6012" in note for note in done.notes)
    assert not any("taken from" in note for note in done.notes)
    assert any("its numbers in proportion over 8 phases" in note for note in done.notes)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_authors_fold_files_are_followed(shared, unscreened, protocol):
    from covidcxr.data.sources import rahimzadeh

    plan = plan_of(3, protocol, case="authors", data=str(shared / "data"))
    read = sources.read(shared / "data", **plan.data_set.reading)
    records = plan.data_set.select(read, plan)
    done = plan.protocol.arrangement(records.with_columns(group=records.table["patient_id"]), plan)
    wanted = rahimzadeh.assign(read, rahimzadeh.read_lists(shared / "data" / "rahimzadeh2020-splits"), 3)
    theirs = wanted.table.set_index("path")
    ours = done.table.set_index("path")
    tested = theirs.index[theirs["split"] == "test"]
    assert set(ours.index[ours["split"] == "test"]) == set(tested)
    trained = ours[ours["split"] == "train"]
    assert (theirs.loc[trained.index, "phase"] == trained["phase"]).all()
    if protocol == "published":
        assert set(trained.index) == set(theirs.index[theirs["split"] == "train"])
        assert numbers(done, "train")["covid19"] == 150
    else:
        leaks = splits.check(done)
        assert leaks == []
        assert {"covid19", "normal", "pneumonia"} == set(numbers(done, "val"))
    missing = [
        item for item in done.exclusions if item.reason == "file missing" and item.source == rahimzadeh.SOURCE
    ]
    assert len(missing) == 15085 - 426


def test_without_the_authors_fold_files_the_way_out_is_named(tmp_path):
    plan = plan_of(1, case="authors", data=str(tmp_path))
    with pytest.raises(DataError, match=r"no sub-folder with the authors' fold files .* --case rebuilt"):
        plan.data_set.select(Records.from_rows([{"path": "a.png", "label": "normal"}], tmp_path), plan)


def test_one_optimiser_state_spans_eight_phases_of_100_epochs():
    for name, schedule in (("legacy_nadam", "legacy"), ("nadam", "nadam")):
        plan = plan_of(1, schedule=schedule)
        assert plan.total_epochs == 800
        assert [stage.data for stage in plan.stages] == [f"phase {number}" for number in range(1, 9)]
        assert [stage.optimizer is None for stage in plan.stages] == [False] + [True] * 7
        assert (plan.stages[0].optimizer.name, plan.stages[0].optimizer.learning_rate) == (name, 1e-4)
    assert {key: plan_of(1, model=key).batch_size for key in RECIPE.networks} == {
        "xception": 30,
        "resnet50v2": 30,
        "concatenated": 20,
    }


def test_the_augmentation_is_that_of_table_2_and_the_authors_generator():
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    theirs = ImageDataGenerator(
        horizontal_flip=True,
        vertical_flip=True,
        rescale=1 / 255,
        zoom_range=0.05,
        rotation_range=360,
        width_shift_range=0.05,
        height_shift_range=0.05,
        shear_range=0.05,
    )
    for name in (
        "rotation_range",
        "width_shift_range",
        "height_shift_range",
        "shear_range",
        "rescale",
        "fill_mode",
    ):
        assert getattr(AUGMENTATION, name) == getattr(theirs, name)
    zoom = AUGMENTATION.zoom_range
    assert [1 - zoom, 1 + zoom] == list(theirs.zoom_range)
    assert AUGMENTATION.horizontal_flip
    assert AUGMENTATION.vertical_flip
    assert AUGMENTATION.brightness_range is None


@pytest.mark.parametrize(
    "model", ["xception", "resnet50v2", pytest.param("concatenated", marks=pytest.mark.slow)]
)
def test_every_network_can_be_built_small(model):
    plan = plan_of(1, model=model, preset="smoke")
    side = plan.network.input_size[0]
    net = plan.network.build(classes=3, dropout=plan.dropout, input_size=side)
    assert net.output_shape == (None, 3)
    assert all(layer.trainable for layer in net.layers)


@pytest.mark.slow
def test_the_concatenated_network_has_its_parameters():
    network = RECIPE.networks["concatenated"]
    assert network.build(classes=3, dropout=0.5, input_size=300).count_params() == network.total_parameters


def test_weights_of_both_parts_are_looked_for_and_the_missing_one_named(shared):
    plan = plan_of(1, model="concatenated", weights=str(shared / "weights"))
    with pytest.raises(ModelError) as raised:
        networks.find_weights(plan)
    assert "\n" not in str(raised.value)
    found = networks.find_weights(plan_of(1, model="concatenated", weights="none"))
    assert {key: each.kind for key, each in found.items()} == {"xception": "none", "resnet50_v2": "none"}


def computed():
    """Table 4's measures of Table 3's counts, by the paper's own definitions (section 3), in percent."""
    for (fold, model), cells in printed.TABLE3.items():
        hits, missed, wrong = (np.array(cells[start::3]) for start in range(3))
        images = (hits + missed).sum()
        rest = images - hits - missed - wrong
        rates = (hits / (hits + missed), rest / (rest + wrong), (hits + rest) / images, hits / (hits + wrong))
        yield (fold, model), 100 * np.concatenate([[hits.sum() / images], *rates])


def test_table_3_counts_every_test_image():
    for (fold, _), cells in printed.TABLE3.items():
        hits, missed, wrong = (np.array(cells[start::3]) for start in range(3))
        assert (hits + missed).tolist() == [30 if fold == 3 else 31, 4420, 6851]
        assert missed.sum() == wrong.sum()


def test_table_4_follows_from_table_3_but_for_four_misprints():
    names = [("accuracy", "")] + [(measure, label) for measure in printed.RATES for label in printed.LABELS]
    known = dict(computed())
    for model in printed.MODELS:
        known[printed.MEAN, model] = np.mean([known[fold, model] for fold in FOLDS], axis=0)
    wrong = {
        (fold, model, *name): value
        for (fold, model), values in known.items()
        for name, value, cell in zip(names, values, printed.TABLE4[fold, model], strict=True)
        # The paper cuts digits off as often as it rounds.
        if abs(value - cell) > 0.0101
    }
    assert set(wrong) == set(printed.MISPRINTS)
    for key, value in wrong.items():
        assert f"{value:.2f}" in printed.MISPRINTS[key]


def metrics_of(cells):
    """metrics.json as a run would have it, of a matrix with the printed counts."""
    hits, missed, wrong = (dict(zip(printed.LABELS, cells[start::3], strict=True)) for start in range(3))
    names = ("covid19", "normal", "pneumonia")
    off = pd.DataFrame(0, names, names)
    # One of the matrices that have these sums: COVID-19 missed is called normal, the rest follows.
    as_covid = wrong["normal"] - missed["covid19"] - missed["pneumonia"] + wrong["covid19"]
    off.loc["covid19", "normal"] = missed["covid19"]
    off.loc["normal"] = [as_covid, 0, missed["normal"] - as_covid]
    off.loc["pneumonia"] = [wrong["covid19"] - as_covid, missed["pneumonia"] - wrong["covid19"] + as_covid, 0]
    matrix = off.to_numpy() + np.diag([hits[name] for name in names])
    total = matrix.sum()
    rates = {}
    for place, name in enumerate(names):
        hit, true, found = matrix[place, place], matrix[place].sum(), matrix[:, place].sum()
        rest = total - true - found + hit
        rates[name] = {
            "sensitivity": hit / true,
            "specificity": rest / (total - true),
            "accuracy": (hit + rest) / total,
            "precision": hit / found,
        }
    block = {
        "classes": list(names),
        "confusion_matrix": matrix.tolist(),
        "accuracy": float(np.trace(matrix) / total),
        "macro": {},
        "per_class": rates,
    }
    return {"headline_split": "test", "splits": {"test": block}, "as_published": None}


@pytest.fixture(scope="module")
def results():
    keys = [(1, "concatenated"), (3, "concatenated"), (1, "xception")]
    parts = [
        tables.long_results(Unit("rebuilt", model, fold), metrics_of(printed.TABLE3[fold, model]))
        for fold, model in keys
    ]
    return tables.joined(parts, tables.RESULT_COLUMNS)


def test_the_tables_have_the_papers_rows_columns_and_numbers(results):
    third, fourth = (RECIPE.tables[name].make(results, None) for name in ("table3", "table4"))
    assert len(third.columns) == 2 + 9
    assert third["Network"].tolist() == ["Xception", "ResNet50V2", "Concatenated"] * 5
    row = third.set_index(["Fold", "Network"]).loc[(1, "Concatenated")]
    assert row.tolist() == list(printed.TABLE3[1, "concatenated"])
    assert third.set_index(["Fold", "Network"]).loc[(2, "Xception")].isna().all()
    assert len(fourth.columns) == 2 + 13
    lines = fourth.set_index(["Fold", "Network"])
    assert lines.loc[(1, "Concatenated")].tolist() == pytest.approx(
        printed.TABLE4[1, "concatenated"], abs=0.0101
    )
    means = (lines.loc[(1, "Concatenated")] + lines.loc[(3, "Concatenated")]) / 2
    assert lines.loc[("Average", "Concatenated")].tolist() == pytest.approx(means.tolist(), abs=0.0101)
    assert lines.loc[("Average", "ResNet50V2")].isna().all()


def test_two_cases_stand_apart(results):
    both = pd.concat([results, results.assign(case="authors")], ignore_index=True)
    made = RECIPE.tables["table3"].make(both, None)
    assert made["Folds"].tolist() == ["rebuilt"] * 15 + ["authors"] * 15


def test_confusion_matrices_are_listed_and_drawn(results, tmp_path):
    figure = RECIPE.tables["figure4"]
    table = figure.make(results, None)
    assert len(table) == 3 * 3
    first = table[(table["Fold"] == 1) & (table["Network"] == "Xception")]
    columns = [f"predicted {title}" for title in printed.LABELS.values()]
    assert np.trace(first[columns].to_numpy()) == 26 + 3983 + 6245
    figure.draw(table, tmp_path / "figure4")
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {
        "figure4.png",
        "figure4-1-concatenated.png",
        "figure4-1-xception.png",
        "figure4-3-concatenated.png",
    }


def test_the_claims_are_both_tables():
    claims = RECIPE.claims
    assert len(claims) == 15 * 9 + 18 * 13
    mean = {
        (claim.measure, claim.label): claim.value
        for claim in claims
        if claim.fold == "mean" and claim.model == "concatenated"
    }
    # The abstract.
    assert mean["accuracy", ""] == 0.914
    assert mean["accuracy", "covid19"] == 0.995
    assert sum(bool(claim.note) for claim in claims) == 4
    of_fold = RECIPE.claims_of(Unit("authors", "xception", 4))
    assert len(of_fold) == 9 + 13
