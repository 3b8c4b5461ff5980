"""The results that are recorded in this repository: their tables, and the cheapest row of each paper run again."""

import shlex
from pathlib import Path

import pandas as pd
import pytest

from covidcxr import papers
from covidcxr.cli import main
from covidcxr.papers.reporting.reproduction import collect, identity, store

RESULTS = Path(__file__).resolve().parents[3] / store.FOLDER
# A test may take this long; what took longer when it was recorded is not run again.
MOST_SECONDS = 180
AXES = ("case", "model", "fold", "trial", "arm")


def test_every_made_file_of_this_repository_is_what_the_csv_files_make(capsys):
    assert main(["report", "reproduce", "--results", str(RESULTS), "--check"]) == 0, capsys.readouterr().out


def cheapest(runs, paper):
    """Return the recorded row of a paper that trains fastest on a processor, or skip with the reason."""
    recipe = papers.get(paper).recipe
    mine = runs[(runs["paper"] == paper) & (runs["command"] != identity.FROM_PYTHON)]
    # The seconds are those of training; an arm with generated images trains a GAN besides.
    plain = [not (arm and recipe.arms[arm].generated) for arm in mine["arm"]]
    real = ~mine["sources"].str.contains("phantom") & ~mine["command"].str.contains("SPLIT")
    mine = mine[
        pd.Series(plain, index=mine.index, dtype=bool) & real & ~mine["devices"].str.contains("GPU|TPU")
    ]
    if not len(mine):
        pytest.skip(f"{paper}: no row recorded that can be run again here")
    row = mine.sort_values(["seconds", store.RUN]).iloc[0]
    if row["seconds"] > MOST_SECONDS:
        pytest.skip(f"{paper}: the cheapest row took {row['seconds']:.0f} s, more than {MOST_SECONDS}")
    return row


def words_of(row, places):
    """Return the recorded command for this one model, with real folders in place of DATA, WEIGHTS and OUT."""
    words = shlex.split(row["command"])
    words = words[1:] if words[0].endswith("-train") else words[2:]
    given = []
    for word in words:
        option, mark, value = word.partition("=")
        if mark and value in places:
            given += [option, places[value]]
        else:
            given.append(places.get(word, word))
    if "--weights" not in given and row["weights_of"]:
        # Keras' own cache, which is another on another machine.
        given += ["--weights", places["WEIGHTS"]]
    axes = [text for axis in AXES if row[axis] not in ("", 0) for text in (f"--{axis}", str(row[axis]))]
    # The last of an option given twice counts.
    return ["train", *given, *axes, "--out", places["OUT"]]


def test_a_recorded_command_becomes_one_that_trains_one_model():
    command = "covidcxr-train nemati2022 --data=DATA --weights WEIGHTS --model all --out OUT --cache CACHE"
    row = {
        "command": command,
        "weights_of": "mobilenet.h5",
        "case": "balanced",
        "model": "mobilenet",
        "fold": 2,
        "trial": 0,
        "arm": "",
    }
    places = {"DATA": "/d", "WEIGHTS": "/w", "OUT": "/o", "CACHE": "/c"}
    told = "train nemati2022 --data /d --weights /w --model all --out /o --cache /c"
    assert words_of(row, places) == shlex.split(f"{told} --case balanced --model mobilenet --fold 2 --out /o")


@pytest.mark.slow
@pytest.mark.parametrize("paper", papers.keys())
def test_the_cheapest_recorded_row_comes_out_again(paper, shared, tmp_path):
    recorded = store.read(RESULTS)
    row = cheapest(recorded.numbers("runs"), paper)
    places = {
        "DATA": shared / "data",
        "WEIGHTS": shared / "weights",
        "OUT": tmp_path / "run",
        "CACHE": tmp_path / "cache",
    }
    assert main(words_of(row, {name: str(place) for name, place in places.items()})) == 0
    again = collect.collect([tmp_path / "run"])
    new = again.numbers("runs").iloc[0]
    # The name holds paper, model, protocol, seed, sources and options.
    same = [
        store.RUN,
        "images_scored",
        "images_trained",
        "patients_scored",
        "epochs",
        "weights_of",
        "parameters",
    ]
    assert new[same].to_dict() == row[same].to_dict()
    old, new = (headline(results, row[store.RUN]) for results in (recorded, again))
    assert old["low"] <= new["value"] <= old["high"]


def headline(results, run):
    table = results.numbers("measures")
    wanted = (table[store.RUN] == run) & (table["scoring"] == "plain") & (table["headline"] == "yes")
    wanted &= (table["measure"] == "accuracy") & (table["label"] == "")
    (found,) = table[wanted].to_dict("records")
    return found
