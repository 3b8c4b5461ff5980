import dataclasses
import math
import tempfile
from functools import partial
from types import SimpleNamespace

import keras
import pytest
from keras import layers

from covidcxr import papers
from covidcxr.data import splits
from covidcxr.models import memory, pretrained
from covidcxr.papers.dry_run import costs as dry_costs
from covidcxr.papers.dry_run import counts as dry_counts
from covidcxr.papers.dry_run import describe
from covidcxr.papers.plan import RunOptions, settle
from covidcxr.papers.recipe import Arm, Stage
from covidcxr.papers.running.images import Gatherer
from covidcxr.training.optimizers import OptimizerSpec

RAGAB = papers.get("ragab2022").recipe
SMOKE = dataclasses.replace(RAGAB, **RAGAB.smoke, smoke={})


def tiny(classes, dropout, input_size, filters=2):
    inputs = keras.Input((input_size, input_size, 3))
    x = layers.Conv2D(filters, 3, strides=4, trainable=False)(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def recipe_of(**networks):
    """ragab2022's recipe at the smoke preset's size, with networks that are traced in no time."""
    hub = SMOKE.networks["hub"]
    made = {key: dataclasses.replace(hub, build=build) for key, build in networks.items()}
    return dataclasses.replace(SMOKE, networks=made, default_network=next(iter(made)))


TINY = recipe_of(tiny=tiny)


def dry(recipe=TINY, **options):
    return describe(settle(recipe, RunOptions(**{"weights": "none", **options})))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """One folder for all, so that the phantom is rendered once."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture
def free(monkeypatch):
    """Nothing is timed: reading takes nothing, a step 80 ms (160 where all learns), a scored batch 40 ms."""
    monkeypatch.setattr(dry_costs, "reading_seconds", lambda plan, images: 0)
    monkeypatch.setattr(dry_counts, "sample", lambda plan, records, folder: None)

    def measure(plans, timed, most_memory):
        estimate = memory.MemoryEstimate(4, 4, 8, 100)
        steps = {"as built": 0.08, "all": 0.16} if timed else {}
        return dry_costs.NetworkCost(10, 2, estimate, plans[0].batch_size, steps, 0.04, "timed")

    monkeypatch.setattr(dry_costs, "measure", measure)


@pytest.mark.parametrize("protocol", ["published", "sound"])
def test_images_are_those_that_a_run_gathers(protocol, rendered, free):
    (plan,) = settle(TINY, RunOptions(protocol=protocol, weights="none"))
    table = Gatherer(rendered).gather(plan).table
    images = dry(protocol=protocol).images
    counted = images.set_index(["part", "label"])["images"]
    wanted = table.groupby(["split", "label"]).size()
    assert counted.to_dict() == wanted.to_dict()


@pytest.mark.parametrize("protocol", ["published", "sound"])
def test_stand_ins_have_the_phantoms_names_patients_and_views(protocol, rendered, tmp_path):
    (plan,) = settle(TINY, RunOptions(protocol=protocol, weights="none"))
    columns = ["path", "label", "patient_id", "view", "sex", "age", "source", "split"]
    real = Gatherer(rendered).gather(plan).table[columns]
    counted = dry_counts.CountingGatherer(tmp_path).gather(plan).table[columns]
    assert counted.to_dict("list") == real.to_dict("list")


def test_steps_are_batches_times_epochs_and_add_up(free):
    found = dry(case="A,B10", batch_size=7, epochs=12)
    train = found.images.query("part == 'train'").groupby("case")["images"].sum()
    for row in found.stages.itertuples():
        assert row.steps_per_epoch == math.ceil(train[row.case] / 7)
        assert row.steps == row.epochs * row.steps_per_epoch
    assert found.models["steps"].tolist() == found.stages.groupby("case", sort=False)["steps"].sum().tolist()
    assert found.steps == found.stages["all_steps"].sum() == sum(12 * -(-each // 7) for each in train)


@pytest.mark.parametrize(("cards", "slow"), [([], 2 * (32 + 8) * 0.1 + 2 * (4 * 0.08 + 0.04)), (["GPU"], 8)])
def test_time_is_that_of_reading_and_computing_or_beside_a_card_of_the_slower(cards, slow, free, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: cards)
    # 32 images in 4 steps of 0.08 s, 8 scored at 0.04 s a batch of 8; two epochs.
    monkeypatch.setattr(dry_costs, "reading_seconds", lambda plan, images: 0)
    assert dry().seconds == pytest.approx(2 * (4 * 0.08 + 0.04))
    monkeypatch.setattr(dry_costs, "reading_seconds", lambda plan, images: 0.1)
    assert dry().seconds == pytest.approx(slow)


def test_once_all_layers_train_they_all_do(free):
    found = dry(case="A", fine_tune="all", epochs=3)
    assert found.stages["trains"].tolist() == ["as built", "all"]
    scored = 3 * 0.04
    assert found.seconds == pytest.approx(1 * 4 * 0.08 + 2 * 4 * 0.16 + scored)
    spec = OptimizerSpec("adam", 1e-3)
    stages = (Stage("a", 1, spec), Stage("b", 1, spec, trainable="all"), Stage("c", 1, None))
    assert dry_costs.trained(stages) == ["as built", "all", "all"]


def test_networks_are_built_measured_and_timed():
    found = dry(model="all", fine_tune="all", case="A", batch_size=4)
    (row,) = found.networks.to_dict("records")
    head = 2 * 2 + 2
    body = 3 * 3 * 3 * 2 + 2
    assert (row["parameters"], row["trainable"]) == (body + head, head)
    # The stage that trains everything takes most.
    assert (row["weights"], row["gradients"], row["optimizer"]) == tuple(
        4 * n * (body + head) for n in (1, 1, 2)
    )
    assert row["memory"] == sum(row[name] for name in ("weights", "gradients", "optimizer", "activations"))
    assert row["step"] > 0
    assert "of 4 images" in row["timed"]
    assert 0 < found.seconds < 60


def test_networks_with_other_settings_are_told_apart_and_folds_are_not(free):
    arms = {"thin": Arm("thin", settings={"filters": 1}), "wide": Arm("wide", settings={"filters": 9})}
    recipe = dataclasses.replace(TINY, arms=arms, trials=3)
    found = dry(recipe, arm="all", trial="all")
    assert found.networks[["model", "arm"]].to_numpy().tolist() == [["tiny", "thin"], ["tiny", "wide"]]
    assert len(found.models) == 6
    assert found.stages["models"].sum() == 6 * found.stages["stage"].nunique()


def test_of_many_networks_the_first_few_are_timed_and_the_others_said_not_to_be(free, capsys):
    recipe = recipe_of(**{f"net{number}": tiny for number in range(7)})
    found = dry(recipe, model="all")
    assert found.models["seconds"].notna().tolist() == [True] * 5 + [False] * 2
    found.print()
    out = " ".join(capsys.readouterr().out.split())
    assert "for the models that were timed; not timed: net5, net6" in out
    assert "7 networks" in out


def test_nothing_is_written_downloaded_or_left_behind(tmp_path, monkeypatch):
    here, aside = tmp_path / "here", tmp_path / "aside"
    here.mkdir()
    aside.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(aside))

    def refused(*_):
        raise AssertionError("a dry run fetches nothing")

    monkeypatch.setattr(pretrained, "_download", refused)
    found = dry(weights="imagenet")
    assert list(here.iterdir()) == list(aside.iterdir()) == []
    assert not (tmp_path / "keras").exists()
    assert found.models["missing"].tolist() == [
        "ImageNet weights of mobilenet_v2, which a run fetches if it can"
    ]


def test_weights_in_the_cache_are_found_and_others_are_a_line(tmp_path, free, capsys):
    name = pretrained.cache_names(papers_backbone(), input_size=64)[0]
    file = tmp_path / "keras" / "models" / name
    file.parent.mkdir(parents=True)
    file.touch()
    assert dry(weights="imagenet").models["missing"].tolist() == [""]
    found = dry(weights=str(tmp_path))
    found.print()
    assert f"weights not at hand: {tmp_path}: no weights of mobilenet_v2" in capsys.readouterr().out.replace(
        "\n", ""
    )


def papers_backbone():
    from covidcxr.models import backbones

    return backbones.get("mobilenet_v2")


def test_small_networks_and_networks_of_two_are_looked_for_part_by_part(tmp_path, free):
    hub = TINY.networks["tiny"]
    both = {key: dataclasses.replace(hub, backbone=key) for key in ("alexnet", "concatenated")}
    recipe = dataclasses.replace(TINY, networks=both, default_network="alexnet")
    first, second = dry(recipe, model="all", weights="imagenet").models["missing"]
    assert "alexnet" in first
    assert "xception, resnet50_v2" in second
    (tmp_path / "folder").mkdir()
    missing = dry(recipe, weights=str(tmp_path / "folder")).models["missing"].item()
    assert missing == f"{tmp_path / 'folder'}: no weights of alexnet there"


def test_a_network_that_does_not_fit_is_warned_of_and_not_timed(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    found = dry(batch_size=8)
    assert found.seconds is None
    from covidcxr.papers.dry_run.page import lines

    (warning,) = [line for line in lines(found) if line.startswith("warning")]
    assert "tiny" in warning
    assert "lower --batch-size" in warning
    assert found.networks["timed"].item() == "not timed: takes more memory than there is"


@pytest.mark.parametrize(("enlarge", "train", "val"), [("everything", 96, 24), ("training", 96, 8)])
def test_generated_images_are_counted_where_they_go_and_none_is_generated(enlarge, train, val, free):
    arms = {"real": Arm("real"), "gan": Arm("gan", generated=True)}
    published = dataclasses.replace(TINY.protocols["published"], enlarge=enlarge)
    recipe = dataclasses.replace(
        TINY, arms=arms, enlargement=SimpleNamespace(times=3), protocols={"published": published}
    )
    found = dry(recipe, arm="all")
    counts = found.images.groupby(["arm", "part"])["images"].sum()
    assert (counts["real", "train"], counts["real", "val"]) == (32, 8)
    assert (counts["gan", "train"], counts["gan", "val"]) == (train, val)
    assert found.stages.query("arm == 'gan'")["steps_per_epoch"].unique() == [12]
    assert any("without the networks that generate images" in note for note in found.notes)


def in_two_phases(records, plan):
    table = records.table
    shared = table["label"] == "covid19"
    phased = splits.phases(records, 2, shared=shared, seed=0, per_phase={"normal": 5})
    return phased.with_columns(monitored=phased.table["split"] == "test")


def test_phases_and_what_is_scored_each_epoch_are_counted(free):
    in_two_phases.grouped = False
    spec = OptimizerSpec("adam", 1e-3)
    stages = (Stage("one", 1, spec, data="phase 1"), Stage("two", 2, None, data="phase 2"))
    case = dataclasses.replace(TINY.cases["A"], stages={"adam": stages})
    protocol = dataclasses.replace(TINY.protocols["published"], arrangement=in_two_phases)
    recipe = dataclasses.replace(TINY, cases={"A": case}, default_case="A", protocols={"published": protocol})
    found = dry(recipe)
    counts = found.images.groupby("part")["images"].sum()
    assert counts.to_dict() == {"train": 30, "test": 10, "phase 1": 25, "phase 2": 25, "each epoch": 10}
    assert found.stages["steps_per_epoch"].tolist() == [4, 4]
    assert found.stages["optimizer"].tolist() == ["adam 0.001", "as before"]
    assert found.steps == 4 + 2 * 4


def test_it_can_be_printed_and_shown_in_a_notebook(free, capsys):
    found = dry(case="all")
    found.print()
    out = capsys.readouterr().out
    for word in ("Images", "Models", "Stages", "Networks", "covid19", "memory:", "(h:mm)", "an estimate"):
        assert word in out
    page = found._repr_html_()
    assert page.count("<table") == 4
    assert found.table() is found.models


def test_titles_and_names_cannot_break_the_page(free):
    recipe = recipe_of(**{"<b>": partial(tiny)})
    assert "<td><b></td>" not in dry(recipe)._repr_html_()


@pytest.mark.slow
def test_the_command_tells_and_trains_nothing(tmp_path, monkeypatch, capsys):
    from covidcxr.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", "ragab2022", "--preset", "smoke", "--dry-run"]) == 0
    assert "2,260,546" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
