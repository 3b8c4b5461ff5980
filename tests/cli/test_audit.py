import json

import pandas as pd
import pytest

from covidcxr.cli import main
from covidcxr.data import splits
from covidcxr.data.sources import phantom
from covidcxr.evaluation.audits import report


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Twenty-four phantoms, two or three of each patient."""
    folder = tmp_path_factory.mktemp("audit") / "phantom"
    phantom.write(folder, {"covid19": 12, "normal": 12}, size=64, images_per_patient=(2, 3))
    return folder


@pytest.fixture
def run(images, tmp_path):
    """What a run leaves: enough of it for the audits of images."""
    folder = tmp_path / "run"
    folder.mkdir()
    records = splits.random_split(phantom.read(images), {"val": 0.3}, seed=0)
    splits.write(records, folder / "split.csv")
    config = {
        "paper": "x",
        "options": {"data": "phantom"},
        "data_root": str(images),
        "command": "",
        "environment": {},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def split_file(images, where, **options):
    records = splits.random_split(phantom.read(images), {"val": 0.3}, seed=0, **options)
    splits.write(records, where)
    return str(where)


def test_data_without_a_split_is_no_leak(images, capsys):
    assert main(["audit", str(images)]) == 0
    shown = capsys.readouterr().out
    assert "NOTE no_split" in shown
    assert "view by class: images (patients)" in shown


def test_a_leaking_split_ends_with_code_3_and_a_sound_one_with_0(images, tmp_path, capsys):
    out = tmp_path / "out"
    loose = split_file(images, tmp_path / "loose.csv")
    assert main(["audit", str(images), "--split", loose, "--out", str(out)]) == 3
    assert "LEAK patient: " in capsys.readouterr().out
    found = {audit.name: audit for audit in report.read(out)}
    assert set(found) == {"leaks", "confounding"}
    leaking = {leak.group for leak in splits.check(splits.read(loose))}
    assert set(found["leaks"].named("patient")[0].evidence["patients"]) == leaking
    sound = split_file(images, tmp_path / "sound.csv", grouped=True)
    assert main(["audit", str(images), "--split", sound, "--only", "leaks", "--out", str(out)]) == 0
    assert [audit.name for audit in report.read(out)] == ["leaks"]
    assert not list(out.glob("audit-confounding-*"))


def test_a_run_is_audited_with_its_own_split_and_what_its_source_knows(run, capsys):
    assert main(["audit", str(run), "--only", "leaks,confounding"]) == 3
    assert main(["audit", str(run), "--only", "leaks"]) == 3
    kept = json.loads((run / "audit" / "audit.json").read_text())["audits"]
    assert sorted(audit["name"] for audit in kept) == ["confounding", "leaks"], (
        "an audit alone undoes no other"
    )
    leaks, confounding = report.read(run / "audit")
    assert leaks.named("patient")
    # split.csv knows neither view nor sex nor age: these came from the phantom's own table.
    assert not confounding.named("unknown")
    assert set(confounding.tables["view"]["view"]) <= {"PA", "AP"}
    assert report.read(run) == ()
    assert str(run / "audit") in capsys.readouterr().out


def test_a_study_has_each_of_its_models_audited(run, tmp_path, capsys):
    study = tmp_path / "study"
    for name in ("one", "two"):
        place = study / "models" / name
        place.mkdir(parents=True)
        for file in run.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
    (study / "config.json").write_text((run / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["audit", str(study), "--only", "leaks"]) == 3
    assert all((study / "models" / name / "audit" / "audit.json").is_file() for name in ("one", "two"))
    (study / "models" / "one" / "split.csv").unlink()
    (study / "models" / "two" / "split.csv").unlink()
    assert main(["audit", str(study), "--only", "leaks"]) == 2
    assert "no model there has a split.csv" in capsys.readouterr().err


def test_images_that_were_moved_are_named_with_data(run, images, tmp_path, capsys):
    moved = tmp_path / "moved"
    moved.symlink_to(images)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (run / "config.json").write_text(
        json.dumps({**config, "data_root": str(tmp_path / "gone")}), encoding="utf-8"
    )
    assert main(["audit", str(run), "--only", "leaks"]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["audit", str(run), "--only", "leaks", "--data", str(moved)]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "leaks,typo"], "no audit 'typo'"),
        (["--data", "elsewhere"], "is no run"),
        (["--masks", "nowhere"], "no such folder"),
        (["--split", "nowhere.csv"], "nowhere.csv"),
        (["--seed", "-1"], "no whole number"),
    ],
)
def test_what_makes_no_sense_is_one_line_with_code_2(images, options, words, capsys):
    try:
        code = main(["audit", str(images), *options])
    except SystemExit as end:
        code = end.code
    shown = capsys.readouterr().err
    assert code == 2
    assert words in shown
    assert "Traceback" not in shown


def test_a_split_beside_a_run_is_refused(run, capsys):
    assert main(["audit", str(run), "--split", str(run / "split.csv")]) == 2
    assert "has its own split" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 5000 + "]" * 5000,
        '{"options": [], "data_root": "x"}',
        # A number would be taken for an open file.
        '{"options": {"data": 0}, "data_root": "x"}',
    ],
)
def test_a_damaged_run_is_one_line(text, run, capsys):
    (run / "config.json").write_text(text, encoding="utf-8")
    assert main(["audit", str(run), "--only", "leaks"]) == 2
    assert "not a readable run configuration" in capsys.readouterr().err


def test_a_damaged_audit_is_one_line(run):
    from covidcxr.errors import DataError

    assert main(["audit", str(run), "--only", "leaks"]) == 3
    (run / "audit" / "audit.json").write_text('{"audits": [{}]}', encoding="utf-8")
    with pytest.raises(DataError, match="not a readable audit"):
        report.read(run / "audit")


def test_no_image_is_needed_twice_and_an_audit_can_be_repeated(run, capsys):
    for _ in range(2):
        assert main(["audit", str(run), "--only", "leaks,confounding"]) == 3
    first, second = (text for text in capsys.readouterr().out.split("\nLeaks")[1:])
    assert first == second


@pytest.mark.slow
def test_the_real_sets_are_stopped_for_kermanys_own_split(shared, tmp_path, capsys):
    assert main(["audit", str(shared / "data"), "--out", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr().out
    for pair in ("ieee8023-178 = ieee8023-97", "ieee8023-137 = ieee8023-202", "ieee8023-192 = ieee8023-196"):
        assert pair in shown
    leaks, confounding = report.read(tmp_path / "out")
    assert [item.name for item in report.leaks([leaks, confounding])] == ["patient"]
    manifest = pd.read_csv(shared / "data" / "manifest.csv", dtype=str, keep_default_na=False)
    assert len(leaks.tables["pairs"]) >= (manifest["near_duplicate_of"] != "").sum()
    assert confounding.flags() == [
        "age",
        "aspect",
        "children",
        "format",
        "single_source",
        "size",
        "source",
        "view",
    ]


def test_help_names_the_exit_code(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    assert "Exit code 3" in capsys.readouterr().out
