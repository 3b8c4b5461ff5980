"""Where generated images go, and what they are generated from."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.records import Records
from covidcxr.errors import OutputError
from covidcxr.papers.khalifa2020 import RECIPE
from covidcxr.papers.plan import RunOptions, settle
from covidcxr.papers.running import enlargement
from covidcxr.papers.running.enlargement import DCGANEnlargement, enlarged, with_generated

PRINTED = {"normal": 169, "pneumonia": 455}


def plan_of(protocol, arm="gan", trial="1", seed=0, recipe=RECIPE):
    options = RunOptions(protocol=protocol, arm=arm, trial=trial, model="squeezenet", seed=seed)
    (plan,) = settle(recipe, options)
    return plan


def listed(root, counts, images_per_patient=3, write=lambda path, number: path.touch()):
    """Records of empty files; every patient has several images."""
    rows = []
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            name = f"{label}/{number:04d}.png"
            write(root / name, number)
            patient = f"kermany-{label}-{number // images_per_patient}"
            rows.append({"path": name, "label": label, "patient_id": patient, "source": "kermany"})
    records = Records.from_rows(rows, root)
    return records.with_columns(given_split="train", group=records.table["patient_id"])


class Drawer:
    """Stands for a trained network: images of its seed."""

    def __init__(self, seed):
        self.seed = seed

    def generate(self, n, seed):
        return np.random.default_rng([self.seed, seed]).integers(0, 256, (n, 2, 2), dtype=np.uint8)


@pytest.fixture
def learnt(monkeypatch):
    """Spy on what each network is trained on, and train none."""
    from covidcxr.models.dcgan import sheets, training

    calls = {}

    def spy(files, folder, *, seed, **settings):
        calls.setdefault(folder.name, []).append([os.path.realpath(path) for path in files])
        return Drawer(seed)

    monkeypatch.setattr(training, "train_gan", spy)
    monkeypatch.setattr(sheets, "write_grey", lambda path, grey: path.touch())
    return calls


@pytest.fixture
def real(tmp_path):
    return listed(tmp_path / "data", PRINTED)


@pytest.fixture
def few(tmp_path):
    return listed(tmp_path / "data", {"normal": 20, "pneumonia": 30})


def real_paths(records, *splits):
    """Files of the real images in these splits."""
    rows = (records.table["source"] != "generated") & records.table["split"].isin(splits)
    return {os.path.realpath(path) for path in records.where(rows).files()}


def patients(records, *splits):
    return set(records.where(records.table["split"].isin(splits)).table["patient_id"])


def all_learnt(calls):
    return {path for runs in calls.values() for files in runs for path in files}


def test_published_enlarges_624_to_6240_and_tests_on_generated_images(real, learnt, tmp_path):
    records = enlarged(real, plan_of("published"), tmp_path / "run")
    table = records.table
    assert len(table) == 6240
    made = table["source"] == "generated"
    assert Counter(table.loc[made, "label"]) == {"normal": 1521, "pneumonia": 4095}
    test = table["split"] == "test"
    assert set(table["split"]) == {"train", "test"}
    assert Counter(table.loc[test, "label"]) == {"normal": 338, "pneumonia": 910}
    assert test.sum() == 1248
    assert 0.87 < (test & made).sum() / 1248 < 0.93
    # What the protocol is published for: the networks saw the very images that are tested on.
    assert all_learnt(learnt) == {os.path.realpath(path) for path in real.files()}
    assert len(real_paths(records, "test")) > 90
    assert real_paths(records, "test") < all_learnt(learnt)
    note = (
        f"generated images: {(test & made).sum()} of 1248 test, {(~test & made).sum()} of 4992 train images"
    )
    assert note in records.notes
    assert all(path.is_file() for path in records.files())


def test_sound_keeps_what_is_generated_and_what_it_learnt_from_out_of_validation_and_test(
    real, learnt, tmp_path
):
    records = enlarged(real, plan_of("sound"), tmp_path / "run")
    table = records.table
    made = table["source"] == "generated"
    assert set(table.loc[made, "split"]) == {"train"}
    assert set(table["split"]) == {"train", "val", "test"}
    assert all_learnt(learnt) == real_paths(records, "train")
    for label, (files,) in learnt.items():
        trained = table[(table["label"] == label) & (table["split"] == "train") & ~made]
        assert len(files) == len(trained) < PRINTED[label]
        assert made[table["label"] == label].sum() == 9 * len(files)
    files = [os.path.realpath(path) for path in real.files()]
    seen = set(real.table["patient_id"][[path in all_learnt(learnt) for path in files]])
    held_out = patients(records, "val", "test")
    assert (table["split"] == "test").sum() == pytest.approx(125, abs=4)
    assert not held_out & (seen | patients(records, "train"))
    assert not set(table.loc[made, "group"]) & set(table.loc[~made, "group"])
    assert all(path.is_file() for path in records.files())


@pytest.mark.parametrize("trial", ["1", "2"])
def test_sound_tests_both_arms_on_the_same_images(few, learnt, tmp_path, trial):
    arms = [enlarged(few, plan_of("sound", arm, trial), tmp_path / "run") for arm in ("real", "gan")]
    for split in ("train", "val", "test"):
        assert real_paths(arms[0], split) == real_paths(arms[1], split)
    assert len(arms[0]) == 50


def test_without_generated_images_nothing_is_trained(real, learnt, tmp_path):
    for protocol, sizes in (("published", {"train": 500, "test": 124}), ("sound", None)):
        plan = plan_of(protocol, "real")
        records = enlarged(real, plan, tmp_path / "run")
        assert records.table.equals(plan.protocol.arrangement(real, plan).table)
        assert sizes is None or Counter(records.table["split"]) == sizes
    assert not learnt
    assert not (tmp_path / "run").exists()


def test_where_the_run_folder_lies_does_not_change_the_split(few, learnt, tmp_path):
    drawn = []
    for folder in ("aaa", "zzz/deeper"):
        table = enlarged(few, plan_of("published"), tmp_path / folder).table
        drawn.append(
            {(row.label, os.path.basename(row.path), row.source): row.split for row in table.itertuples()}
        )
    assert drawn[0] == drawn[1]


def test_generated_images_join_a_split_made_elsewhere(few, learnt, tmp_path):
    split = np.where(np.arange(50) % 5 == 0, "test", "train")
    given = few.with_columns(split=split, monitored=split == "test")
    records = with_generated(given, plan_of("sound"), tmp_path / "run")
    assert len(all_learnt(learnt)) == (split == "train").sum()
    made = records.table["source"] == "generated"
    assert set(records.table.loc[made, "split"]) == {"train"}
    assert records.table["monitored"].sum() == (split == "test").sum()


def test_a_run_folder_may_hold_generated_images_before_and_after_the_run(few, learnt, tmp_path):
    from covidcxr.papers.running import folder

    run = tmp_path / "work" / "run"
    records = enlarged(few, plan_of("sound"), run)
    folder.check_place(run / "models" / "one", records)
    with pytest.raises(OutputError, match="lies among the images"):
        folder.check_place(tmp_path / "data" / "run", records)
    folder.check(run, overwrite=False, resume=False)
    folder.prepare(run, overwrite=True)
    assert all(path.is_file() for path in records.files())


SMALL = {"normal": 6, "pneumonia": 9}


def tiny(**fields):
    return replace(RECIPE, enlargement=DCGANEnlargement(**{"times": 3, "epochs": 1, **fields}))


def made_of(real, folder, recipe, seed=0, trial="1"):
    plan = plan_of("published", seed=seed, trial=trial, recipe=recipe)
    return recipe.enlargement(real, plan, folder)


def test_images_made_before_are_reused_and_made_anew_from_others(learnt, tmp_path):
    real, run = listed(tmp_path / "data", SMALL), tmp_path / "run"
    first = made_of(real, run, tiny())
    assert Counter(first.table["label"]) == {"normal": 12, "pneumonia": 18}
    assert len(set(first.table["patient_id"])) == 30
    assert made_of(real, run, tiny()).table.equals(first.table)
    assert {label: len(runs) for label, runs in learnt.items()} == {"normal": 1, "pneumonia": 1}

    manifest = run / "generated" / "draw-trial1" / "manifest.json"
    before = json.loads(manifest.read_text())
    first.files()[0].unlink()
    made_of(real, run, tiny())
    assert first.files()[0].is_file()
    assert json.loads(manifest.read_text()) == before

    for count, (others, recipe, seed) in enumerate(
        [
            (real, tiny(epochs=2), 0),
            (real, tiny(), 1),
            (real.where(real.table["path"] != "normal/0000.png"), tiny(), 1),
        ],
        start=3,
    ):
        made_of(others, run, recipe, seed)
        assert len(learnt["normal"]) == count
    assert json.loads(manifest.read_text())["images"] == {"normal": 10, "pneumonia": 18}
    assert len(list(manifest.parent.glob("normal/*.png"))) == 10


def test_every_trial_and_class_has_a_network_of_its_own(learnt, tmp_path):
    real, run = listed(tmp_path / "data", SMALL), tmp_path / "run"
    digests = []
    for trial in ("1", "2", "3"):
        made_of(real, run, tiny(), trial=trial)
        manifest = json.loads((run / "generated" / f"draw-trial{trial}" / "manifest.json").read_text())
        digests += manifest["sha256"].values()
    assert len(set(digests)) == 6


def test_a_folder_of_other_files_is_left_alone(learnt, tmp_path):
    real = listed(tmp_path / "data", SMALL)
    place = tmp_path / "run" / "generated" / "draw-trial1"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="no generated images"):
        made_of(real, tmp_path / "run", tiny())
    assert (place / "notes.txt").read_text() == "mine"


def painted(path, number):
    rows, columns = np.mgrid[:64, :64] / 64 - 0.5
    field = np.where(rows**2 + columns**2 < 0.02 * (2 + number % 5), 200, 20)
    Image.fromarray(field.astype(np.uint8)).save(path)


REAL_GAN = {"times": 3, "epochs": 3, "batch_size": 4, "latent": 4, "width": 2, "checkpoint_every": 1}


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_images(tmp_path, monkeypatch):
    import keras

    from covidcxr.models.dcgan.model import DCGAN

    real = listed(tmp_path / "data", {"normal": 9}, write=painted)
    recipe = tiny(**REAL_GAN)
    whole = made_of(real, tmp_path / "whole", recipe)

    fit = DCGAN.fit

    def broken(self, *args, callbacks, **options):
        def stop(step):
            if self.optimizer.iterations.numpy() == 4:
                raise InterruptedError("in the middle of the second epoch")

        watcher = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: stop(step))
        return fit(self, *args, callbacks=[*callbacks, watcher], **options)

    monkeypatch.setattr(DCGAN, "fit", broken)
    # Another precision of the run's networks changes nothing here.
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(InterruptedError):
            made_of(real, tmp_path / "part", recipe)
    finally:
        assert keras.config.dtype_policy().name == "mixed_float16"
        keras.config.set_dtype_policy("float32")
    set_folder = tmp_path / "part" / "generated" / "draw-trial1"
    assert not (set_folder / "manifest.json").exists()
    assert [path.name for path in (set_folder / "gan" / "normal").glob("*.keras")] == ["epoch-0001.keras"]

    monkeypatch.setattr(DCGAN, "fit", fit)
    resumed = made_of(real, tmp_path / "part", recipe)
    assert len(resumed) == 18
    for one, other in zip(whole.files(), resumed.files(), strict=True):
        with Image.open(one) as a, Image.open(other) as b:
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    histories = [
        (tmp_path / name / "generated" / "draw-trial1" / "gan" / "normal" / "history.csv").read_text()
        for name in ("whole", "part")
    ]
    assert histories[0] == histories[1]
    assert len(histories[0].splitlines()) == 1 + 3


SCRIPT = """
import sys
from dataclasses import replace
from covidcxr.data.records import read_csv
from covidcxr.papers.running.enlargement import DCGANEnlargement
from covidcxr.papers.khalifa2020 import RECIPE
from covidcxr.papers.plan import RunOptions, settle
data, run = sys.argv[1:]
(plan,) = settle(RECIPE, RunOptions(arm="gan", trial="1", model="squeezenet"))
make = DCGANEnlargement(times=3, epochs=24, batch_size=4, latent=4, width=2, checkpoint_every=3)
make(read_csv(data), plan, run)
"""


@pytest.mark.slow
def test_a_process_killed_again_and_again_ends_with_the_same_images(tmp_path):
    real = listed(tmp_path / "data", {"normal": 9, "pneumonia": 11}, write=painted)
    real.write_csv(tmp_path / "data" / "records.csv")

    def start(run):
        arguments = [sys.executable, "-c", SCRIPT, tmp_path / "data" / "records.csv", tmp_path / run]
        return subprocess.Popen(list(map(str, arguments)))

    assert start("whole").wait() == 0
    place = tmp_path / "part" / "generated" / "draw-trial1"
    kills = 0
    for awaited in ("gan/normal/state.json", "pneumonia/00001.png"):
        process = start("part")
        while not (place / awaited).exists() and process.poll() is None:
            time.sleep(0.02)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills >= 1
    assert start("part").wait() == 0
    manifests = [
        (tmp_path / run / "generated" / "draw-trial1" / enlargement.MANIFEST).read_text()
        for run in ("whole", "part")
    ]
    assert manifests[0] == manifests[1]
