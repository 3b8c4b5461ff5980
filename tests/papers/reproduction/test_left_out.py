"""What was not run, and what was run otherwise than printed, is said beside the paper's figures."""

import json
from dataclasses import fields

import pandas as pd
import pytest

from covidcxr import papers
from covidcxr.cli import main
from covidcxr.papers.plan import RunOptions
from covidcxr.papers.reporting.reproduction import changes, collect, identity, leaving, making, pages, store

NETWORKS = 27


def put(folder, runs):
    there = store.read(folder) if store.exist(folder) else store.Results()
    store.write(there.replaced(collect.collect(runs)), folder)
    making.write(folder)
    return pd.read_csv(folder / "left_out.csv", keep_default_na=False)


def lines(folder, mark):
    text = (folder / "tables" / "nemati2022.md").read_text()
    return [line for line in text.splitlines() if mark in line]


def test_what_a_study_left_out_stands_beside_the_papers_figure_until_it_is_run(
    tmp_path, write_study, patient
):
    folder = tmp_path / "docs" / "results"
    study, later = write_study(f"/home/{patient}: no weights of vgg19 there; put them into it")
    command = "covidcxr-train nemati2022 --data DATA --model mobilenet,vgg19 --fold 1"
    row = put(folder, [study]).iloc[0].to_dict()
    assert row == {
        "paper": "nemati2022",
        "case": "balanced",
        "model": "vgg19",
        "arm": "",
        "protocol": "published",
        "reason": leaving.WEIGHTS,
        "command": command,
    }
    glance, told = lines(folder, "| vgg19 |")
    assert glance == "| vgg19 | — | accuracy | 98.91 % (Table II) | weights not at hand | — | — | — |"
    assert "sensitivity of covid19 100.00 % (Table II)" in told
    assert told.endswith(f"| weights not at hand | {command} |")
    assert len(lines(folder, "| not run |")) == 2 * (NETWORKS - 2)
    assert len(put(folder, [later])) == 0
    assert lines(folder, "weights not at hand") == []
    assert lines(folder, "### balanced vgg19 ") != []
    # Collected again, the study does not take the run away.
    assert len(put(folder, [study])) == 0


def test_a_model_of_which_one_fold_was_trained_is_not_left_out(tmp_path, write_study):
    study, _ = write_study("done")
    pd.DataFrame(
        {"case": "balanced", "model": ["mobilenet"] * 2, "arm": "", "state": ["done", "weights"]}
    ).assign(folder=["models/first", ""]).to_csv(study / "models.csv", index=False)
    assert len(put(tmp_path / "docs" / "results", [study])) == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("vgg16_weights.h5: ImageNet weights of vgg16 are neither in /a nor to be had", leaving.WEIGHTS),
        ("https://example.org/x: cannot be fetched (no network)", leaving.WEIGHTS),
        ("B: training with batches of 64 images needs 9 GiB; lower --batch-size", leaving.MEMORY),
        ("anything else in /home/ann", leaving.FAILED),
    ],
)
def test_reasons_are_few_words_without_places(message, reason):
    assert leaving.reason_of(message) == reason


def images(**counts):
    return pd.DataFrame({"label": list(counts), "source": "rsna", "images": list(counts.values())})


@pytest.mark.parametrize(
    ("paper", "case", "model", "options", "said"),
    [
        ("yin2020", "C", "mobilenet", "--epochs 30", ["30 epochs instead of the recipe's 1,000"]),
        (
            "rahimzadeh2020",
            "rebuilt",
            "xception",
            "--epochs 150",
            ["150 epochs instead of the recipe's 800, 2 of 8 stages"],
        ),
        (
            "khalifa2020",
            "draw",
            "resnet18",
            "--schedule defaults; --weights none; --batch-size 64",
            [
                "with --schedule defaults",
                "random weights at the start instead of ImageNet's",
                "batches of 64 instead of the recipe's 128",
            ],
        ),
        ("ragab2022", "B10", "hub", "--dropout 0.1", ["dropout 0.1 instead of the recipe's 0.5"]),
        ("ragab2022", "B10", "hub", "", []),
    ],
)
def test_changed_options_are_told_with_what_the_recipe_has(paper, case, model, options, said):
    recipe = papers.get(paper).recipe
    counts = recipe.data_sets[recipe.cases[case].data_set].counts
    assert changes.changes(recipe, case, model, options, images(**counts)) == said


@pytest.mark.parametrize(
    ("paper", "folds", "trials", "said"),
    [
        ("nemati2022", {"published": [1, 2, 3, 4, 5], "sound": [1, 1]}, [0], ["1 of 5 folds"]),
        ("nemati2022", {"published": [1, 2, 3, 4, 5]}, [0], []),
        ("khalifa2020", {"published": [0]}, [1, 3], ["2 of 3 trials"]),
        ("yin2020", {"sound": [0]}, [0], []),
    ],
)
def test_fewer_folds_and_trials_are_told(paper, folds, trials, said):
    rows = [(name, fold, trial) for name, all_of in folds.items() for fold in all_of for trial in trials]
    runs = pd.DataFrame(rows, columns=["protocol", "fold", "trial"])
    assert changes.fewer_runs(papers.get(paper).recipe, runs) == said


def test_other_sources_and_fewer_images_are_told():
    recipe = papers.get("ragab2022").recipe
    setting = "covid19: covid-chestxray-dataset; normal: kermany"
    assert changes.changes(recipe, "B10", "hub", setting, images(covid19=100, normal=414)) == [
        "normal from kermany instead of rsna",
        "100 of 102 covid19 images",
    ]
    made = images(covid19=2, normal=2).assign(source="phantom")
    assert changes.changes(recipe, "B10", "hub", "--preset smoke", made) == [
        "smoke preset (few images, small inputs, two epochs)",
        "computed phantoms in place of radiographs",
    ]


def test_a_scaled_run_is_labelled_wherever_it_stands(results, runs, write_run, tmp_path):
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    put(results, [write_run(tmp_path / "scaled", "sound", metrics, epochs=3)])
    words = "3 epochs instead of the recipe's 10"
    page, readme = (
        (results / "tables" / "ragab2022.md").read_text(),
        (results.parents[1] / "README.md").read_text(),
    )
    row = next(line for line in page.splitlines() if line.startswith("| B10 hub |") and words in line)
    assert "| accuracy |" in row
    assert f"*Not the paper's setting: {words}; " in page
    assert [words in line for line in readme.splitlines() if line.startswith("| ragab2022 |")].count(
        True
    ) == 1
    assert words in (results / "index.html").read_text().replace("&#39;", "'")


def test_the_setting_nearest_to_the_papers_comes_first(results, runs, write_run, tmp_path):
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    other = write_run(tmp_path / "other", "sound", metrics)
    table = pd.read_csv(other / "split.csv", keep_default_na=False)
    # By the alphabet this source stands before the paper's.
    table.assign(source=table["source"].replace("rsna", "kermany")).to_csv(other / "split.csv", index=False)
    put(results, [other])
    text = (results / "tables" / "ragab2022.md").read_text()
    heads = [line for line in text.splitlines() if line.startswith("## covid19")]
    assert [head.rpartition(" ")[2] for head in heads] == ["rsna", "kermany"]


def test_every_option_of_a_run_is_known_to_be_part_of_its_setting_or_not():
    named = {"case", "model", "fold", "trial", "arm", "protocol", "seed"}
    told = {"schedule", "weights", "split", "sources", *identity.CHOICES}
    changes_nothing_measured = {"data", "strategy", "cache", "out", "overwrite", "resume"}
    assert {field.name for field in fields(RunOptions)} == named | told | changes_nothing_measured


def test_a_folder_without_results_is_in_order(tmp_path, capsys):
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# Results\n")
    words = ["report", "reproduce", "--results", str(folder)]
    assert main([*words, "--check"]) == 0
    readme = tmp_path / "README.md"
    readme.write_text(f"{pages.BEGIN}\n{pages.END}\n")
    assert main([*words, "--check"]) == 3
    assert main(words) == 0
    assert main([*words, "--check"]) == 0
    assert (
        readme.read_text()
        == f"{pages.BEGIN}\n\nNo accuracy that a paper prints has been run yet.\n\n{pages.END}\n"
    )
    (folder / "index.html").write_text("left over")
    assert main([*words, "--check"]) == 3
    assert "index.html: stray" in capsys.readouterr().out
    assert main(["report", "reproduce", "--results", str(tmp_path / "typo"), "--check"]) == 2
    assert "no such folder" in capsys.readouterr().err
