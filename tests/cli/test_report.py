"""`covidcxr report`: from two small runs to the page, the card, the checklists, all results; refusals; a browser."""

import hashlib
import json
import re
import runpy
import shutil
import socket
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.papers import ragab2022

TINY = Path(__file__).with_name("tiny.py")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IN_BROWSER = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


def class_folders(root, labels, count=24):
    rng = np.random.default_rng(0)
    for shade, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(30 * shade, 130 + 30 * shade, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A published and a sound run of a one-layer network, and the sound one's score on other images."""
    folder = tmp_path_factory.mktemp("report")
    data = class_folders(folder / "data", ("covid19", "normal"))
    other = class_folders(folder / "other", ("covid19", "bacterial_pneumonia", "sars", "normal"), 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](24))
        options = [
            "--model",
            "tiny",
            "--weights",
            "none",
            "--batch-size",
            "8",
            "--epochs",
            "2",
            "--data",
            str(data),
        ]
        for protocol in ("published", "sound"):
            out = folder / protocol
            assert main(["train", "ragab2022", *options, "--protocol", protocol, "--out", str(out)]) == 0
        words = ["--map", "bacterial_pneumonia=normal", "--drop", "sars", "--out", str(folder / "elsewhere")]
        assert main(["evaluate", str(folder / "sound" / "model.h5"), "--data", str(other), *words]) == 0
    return folder


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch):
    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](24))


@pytest.fixture(scope="module")
def made(shelf):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](24))
        words = [str(shelf / "published"), str(shelf / "sound"), "--external", str(shelf / "elsewhere")]
        assert main(["report", *words, "--out", str(shelf / "out")]) == 0
    return shelf / "out"


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.links, self.tags, self.texts = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def test_everything_is_written(made):
    assert {path.name for path in made.iterdir()} == {
        "MODEL_CARD.md",
        "checklist-claim.csv",
        "checklist-tripod-ai.csv",
        "comparison.csv",
        "figures",
        "manifest.csv",
        "report.html",
        "report.md",
    }
    drawn = {path.name for path in (made / "figures").iterdir()}
    for name in ("confusion", "roc", "precision_recall", "learning_curves", "reliability"):
        assert {f"{number}-{name}{ending}" for number in (1, 2) for ending in (".png", ".svg")} <= drawn
    # Of a grid of pictures there is no drawing to scale.
    assert {"1-predictions.png", "2-predictions.png"} <= drawn


def test_the_numbers_are_the_runs_own(made, shelf):
    table = pd.read_csv(made / "comparison.csv").set_index("measure")
    published, sound = (
        json.loads((shelf / name / "metrics.json").read_text()) for name in ("published", "sound")
    )
    row = table.loc["accuracy"]
    assert row["paper"] == 0.9902
    assert row["as_paper_value"] == pytest.approx(published["as_published"]["validation_accuracy"])
    entry = sound["splits"]["test"]["intervals"]["measures"]["accuracy"]
    assert [row[f"sound_{name}"] for name in ("value", "low", "high")] == pytest.approx(
        [entry[name] for name in ("value", "low", "high")], abs=1e-12
    )
    assert row["published_value"] == pytest.approx(published["splits"]["val"]["accuracy"])
    assert row["change_value"] == pytest.approx(row["sound_value"] - row["published_value"])
    scored = json.loads((shelf / "elsewhere" / "metrics.json").read_text())
    assert row["elsewhere_value"] == pytest.approx(scored["accuracy"])
    assert row["elsewhere_images"] == 24
    assert table.loc["balanced accuracy", "sound_value"] == pytest.approx(
        sound["splits"]["test"]["balanced_accuracy"]
    )


def test_the_page_says_what_a_reader_must_know(made):
    text = Page(made / "report.html").text
    for words in (
        "Not a medical device",
        "99.02 %",
        "Table 5",
        "printed figures lie inside the interval",
        "little can be concluded",
        "not audited; run `covidcxr audit",
        "bacterial_pneumonia counted as normal",
        "left out by choice: sars",
        "Differences from the paper",
        "to be filled in by the authors",
        "SHA-256 of split.csv",
    ):
        assert words in text, words


def test_the_papers_own_contradictions_are_listed(made):
    from covidcxr.evaluation.claims import report

    text = Page(made / "report.html").text
    found = report("ragab2022").contradictions
    assert f"{len(found)} printed figures contradict" in text
    assert all(" ".join(item.where.split()) in text for item in found)


def test_the_page_fetches_nothing(made):
    page = Page(made / "report.html")
    assert page.links
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    text = (made / "report.html").read_text()
    assert "default-src 'none'" in text
    assert "url(" not in text


def test_markdown_has_the_same_table_and_its_figures(made):
    text = (made / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| accuracy"))
    head = next(line for line in text.splitlines() if line.startswith("| measure"))
    bars = re.compile(r"(?<!\\)\|")
    assert len(bars.findall(row)) == len(bars.findall(head))
    assert "99.02 %" in row
    for path in re.findall(r"\]\((figures/.*?)\)", text):
        assert (made / path).is_file()


def test_the_manifest_holds_every_image_and_its_hash(made, shelf):
    table = pd.read_csv(made / "manifest.csv", keep_default_na=False)
    split = pd.read_csv(shelf / "sound" / "split.csv")
    name = hashlib.sha256((shelf / "sound" / "split.csv").read_bytes()).hexdigest()
    used = table[(table["split_sha256"] == name) & (table["state"] == "used")]
    assert list(used["path"]) == list(split["path"])
    assert list(used["split"]) == list(split["split"])
    for path, digest in zip(used["path"][:5], used["sha256"][:5], strict=True):
        assert hashlib.sha256((shelf / "data" / path).read_bytes()).hexdigest() == digest
    left_out = pd.read_csv(shelf / "sound" / "exclusions.csv")
    assert ((table["split_sha256"] == name) & (table["state"] == "left out")).sum() == len(left_out)


def test_card_and_checklists_are_prefilled_and_open_where_only_authors_know(made):
    card = (made / "MODEL_CARD.md").read_text()
    assert "Research only" in card
    assert "| data | to be filled in by the authors |" in card
    claim = pd.read_csv(made / "checklist-claim.csv").set_index("item")
    assert claim.loc[44, "state"] == "open"
    assert "sound: patient; 48 images of unknown patients" in claim.loc[20, "answer"]
    assert "sound: the best epoch" in claim.loc[26, "answer"]
    assert claim.loc[30, "state"] == "open"
    assert "elsewhere (24 images)" in claim.loc[33, "answer"]


def test_a_report_may_be_written_again_and_over_nothing_else(made, shelf, tmp_path, capsys):
    words = ["report", str(shelf / "sound"), "--out"]
    (tmp_path / "mine.txt").write_text("kept")
    assert main([*words, str(tmp_path)]) == 2
    assert "mine.txt" in capsys.readouterr().err
    assert main([*words, str(shelf / "sound")]) == 2
    assert (shelf / "sound" / "model.h5").is_file()
    again = shutil.copytree(made, tmp_path / "again")
    assert main([*words, str(again)]) == 0


def test_audits_of_the_run_are_shown(shelf, tmp_path):
    from covidcxr.evaluation.audits.report import Audit, Finding, write

    run = shutil.copytree(shelf / "sound", tmp_path / "run")
    finding = Finding("leaks", "patient", "leak", "A patient is on both sides.")
    write(
        [Audit("leaks", "Leaks", {"pairs": pd.DataFrame({"one": ["<b>a"], "two": [2]})}, (finding,))],
        run / "audit",
    )
    assert main(["report", str(run), "--out", str(tmp_path / "out")]) == 0
    page = Page(tmp_path / "out" / "report.html")
    assert "leak, patient: A patient is on both sides." in page.text
    assert "The audits found leaks (patient)." in page.text
    assert "<b>a" in page.text
    assert "not audited" not in page.text


def damage(run, name, text):
    (run / name).write_text(text)


def change(run, name, *keys):
    """Set the value that the keys lead to; the last is the value."""
    *path, last, value = keys
    whole = node = json.loads((run / name).read_text())
    for key in path:
        node = node[key]
    node[last] = value
    damage(run, name, json.dumps(whole))


@pytest.mark.parametrize(
    ("break_it", "culprit"),
    [
        (lambda run: (run / "config.json").unlink(), "not a run folder"),
        (lambda run: damage(run, "config.json", "{"), "config.json: not readable"),
        (lambda run: damage(run, "config.json", "[]"), "not a run configuration"),
        (lambda run: damage(run, "metrics.json", '{"splits": '), "metrics.json: not readable"),
        (lambda run: damage(run, "metrics.json", "{}"), "metrics.json: damaged"),
        (lambda run: damage(run, "metrics.json", "[" * 5000 + "]" * 5000), "metrics.json: not readable"),
        (
            lambda run: change(run, "metrics.json", "splits", "test", "macro", "f1", "high"),
            "metrics.json: damaged",
        ),
        (lambda run: change(run, "metrics.json", "splits", "test", "images", []), "metrics.json: damaged"),
        (lambda run: change(run, "config.json", "options", 3), "config.json: damaged"),
        (lambda run: change(run, "config.json", "paper", ["ragab2022"]), "config.json: damaged"),
        (lambda run: (run / "metrics.json").unlink(), "the run is not finished"),
        (lambda run: damage(run, "history.csv", ""), "history.csv: not a readable table"),
        (lambda run: (run / "split.csv").unlink(), "split.csv: not a readable table"),
        (lambda run: damage(run, "predictions.csv", "path\n"), "predictions.csv: lacks"),
        (lambda run: shutil.rmtree(run), "no such folder"),
    ],
    ids=[
        "no-config",
        "config-cut",
        "config-list",
        "metrics-cut",
        "metrics-empty",
        "metrics-deep",
        "metrics-word",
        "metrics-list",
        "options-number",
        "paper-list",
        "unfinished",
        "history",
        "split",
        "predictions",
        "gone",
    ],
)
def test_what_is_no_finished_run_is_one_line(break_it, culprit, shelf, tmp_path, capsys):
    run = shutil.copytree(shelf / "sound", tmp_path / "run")
    break_it(run)
    assert main(["report", str(run), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert culprit in error
    assert str(run) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_words_without_meaning(shelf, tmp_path, capsys):
    sound, out = str(shelf / "sound"), ["--out", str(tmp_path / "out")]
    other = shutil.copytree(shelf / "sound", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "paper": "yin2020"}))
    for words, culprit in (
        ([sound, sound, *out], "given twice"),
        ([sound, str(other), *out], "is a run of yin2020"),
        ([sound, "--external", sound, *out], "is a run, not an evaluation"),
        ([sound, "--external", str(tmp_path), *out], "metrics.json: not readable"),
        ([sound, "--markdown", *out], "--markdown"),
        (["claims", "ragab2022", *out], "not to claims"),
        (["claims", "ragab2022", "yin2020"], "one paper's KEY"),
        (["claims", "nobody2020"], "unknown paper"),
    ):
        assert main(["report", *words]) == 2, words
        error = capsys.readouterr().err
        assert culprit in error
        assert error.count("\n") == 1


def test_a_label_without_a_place_is_refused(shelf, tmp_path, capsys):
    words = ["evaluate", str(shelf / "sound" / "model.h5"), "--data", str(shelf / "other")]
    assert main([*words, "--map", "bacterial_pneumonia=normal"]) == 2
    assert "--drop sars" in capsys.readouterr().err
    assert main([*words, "--drop", "flu"]) == 2
    assert "--drop flu" in capsys.readouterr().err
    assert main([*words, "--map", "bacterial_pneumonia,sars=normal", "--out", str(tmp_path / "e")]) == 0
    facts = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert facts["mapping"] == {"bacterial_pneumonia": "normal", "sars": "normal"}
    assert facts["unit"] == {"model": "tiny", "case": "B10"}
    assert len(pd.read_csv(tmp_path / "e" / "predictions.csv")) == 32


def test_the_papers_own_arithmetic(capsys):
    assert main(["report", "claims", "ragab2022"]) == 0
    assert "ragab2022" in capsys.readouterr().out
    assert main(["report", "claims", "ragab2022", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith(("#", "|"))


def browse(page, home, *flags):
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    ]
    command = [BROWSER, *quiet, f"--user-data-dir={home}", *flags, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=100).stdout


@pytest.fixture
def reproduced(shelf, tmp_path, capsys):
    """Two collected runs and what was scored elsewhere, in a results folder."""
    folder = tmp_path / "docs" / "results"
    words = [str(shelf / "published"), str(shelf / "sound"), "--external", str(shelf / "elsewhere")]
    assert main(["report", "reproduce", "--results", str(folder), "--collect", *words]) == 0
    assert capsys.readouterr().out.count("collected ragab2022-B10-tiny-") == 2
    return folder


def test_real_runs_are_collected_made_and_checked(reproduced, shelf, capsys):
    table = pd.read_csv(reproduced / "measures.csv", keep_default_na=False)
    sound = json.loads((shelf / "sound" / "metrics.json").read_text())["splits"]["test"]
    rows = table[table["run"].str.contains("-sound-") & (table["measure"] == "accuracy")]
    values = rows[rows["label"] == ""].set_index(["scoring", "split"])["value"]
    assert float(values["plain", "test"]) == pytest.approx(sound["accuracy"], rel=1e-5)
    scored = json.loads((shelf / "elsewhere" / "metrics.json").read_text())
    assert float(values["external", "elsewhere"]) == pytest.approx(scored["accuracy"], rel=1e-5)
    assert "threshold: youden" in values.index.get_level_values("scoring")
    assert len(pd.read_csv(reproduced / "history.csv")) == 4
    page = (reproduced / "tables" / "ragab2022.md").read_text()
    assert f"| {100 * sound['accuracy']:.2f} % " in page
    words = ["report", "reproduce", "--results", str(reproduced)]
    assert main([*words, "--check"]) == 0
    (reproduced / "tables" / "ragab2022.md").write_text(page.replace("99.02", "98.02", 1))
    assert main([*words, "--check"]) == 3
    assert "98.02" in capsys.readouterr().out
    assert main(words) == 0
    assert (reproduced / "tables" / "ragab2022.md").read_text() == page


def test_words_without_meaning_to_reproduce(shelf, tmp_path, capsys):
    sound, results = str(shelf / "sound"), ["--results", str(tmp_path / "results")]
    for words, culprit in (
        (["reproduce", *results], "no such folder of results"),
        (["reproduce", "--check", *results], "no such folder of results"),
        (["reproduce", sound, *results], "name finished runs with --collect"),
        (["reproduce", "--check", "--collect", sound, *results], "--check only compares"),
        (["reproduce", "--external", sound, *results], "belongs to --collect"),
        (["reproduce", "--port", "80", *results], "belongs to --serve"),
        (["reproduce", "--out", "x", *results], "--out, --audit"),
        ([sound, "--check"], "--check belongs to"),
        (["claims", *results], "--results belongs to"),
    ):
        assert main(["report", *words]) == 2, words
        error = capsys.readouterr().err
        assert culprit in error
        assert error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_the_gallery_is_served_until_interrupted(reproduced, monkeypatch, capsys):
    import http.server

    class Interrupted(http.server.ThreadingHTTPServer):
        def serve_forever(self):
            raise KeyboardInterrupt

    words = ["report", "reproduce", "--results", str(reproduced), "--serve", "--port"]
    monkeypatch.setattr(http.server, "ThreadingHTTPServer", Interrupted)
    assert main([*words, "0"]) == 0
    assert re.search(r"^http://127\.0\.0\.1:\d+/ ", capsys.readouterr().out, re.M)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main([*words, port]) == 2
    assert capsys.readouterr().err.startswith(f"covidcxr: error: port {port}: ")


@IN_BROWSER
@pytest.mark.slow
def test_a_browser_shows_the_gallery(reproduced, tmp_path):
    picture = tmp_path / "gallery.png"
    size = "--window-size=1100,2400"
    browse(reproduced / "index.html", tmp_path / "home", size, f"--screenshot={picture}")
    with Image.open(picture) as shown:
        pixels = np.asarray(shown.convert("RGB")).astype(int)
    # Bars at three quarters of their colour over white: published, sound.
    for colour in ((0, 114, 178), (213, 94, 0)):
        over_white = 0.75 * np.array(colour) + 0.25 * 255
        assert (abs(pixels - over_white).max(axis=2) < 3).sum() > 500, colour
    dumped = browse(reproduced / "index.html", tmp_path / "home", "--dump-dom").decode()
    # The script ran: it alone shows the form.
    assert '<form id="choose">' in dumped


@IN_BROWSER
@pytest.mark.slow
def test_a_browser_shows_and_prints_the_page(made, tmp_path):
    picture, paper = tmp_path / "page.png", tmp_path / "page.pdf"
    browse(made / "report.html", tmp_path / "home", "--window-size=1100,3000", f"--screenshot={picture}")
    with Image.open(picture) as shown:
        pixels = np.asarray(shown.convert("RGB"))
    assert pixels.shape[:2] == (3000, 1100)
    # Ink from top to bottom, the warning's frame, and the curves' two colours.
    ink = (pixels < 128).all(axis=2).any(axis=1)
    assert all(part.any() for part in np.array_split(ink, 10))
    for colour in ((213, 94, 0), (0, 114, 178)):
        assert (pixels == colour).all(axis=2).sum() > 200, colour
    browse(made / "report.html", tmp_path / "home", f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 50_000


def smaller(classes, dropout, input_size):
    import keras

    layers = [keras.Input((input_size, input_size, 3)), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([*layers, keras.layers.Dense(classes, "softmax", name="head_probabilities")])


@pytest.mark.slow
def test_a_study_has_strips_and_accuracy_by_size(shelf, monkeypatch, tmp_path):
    from dataclasses import replace

    tiny = runpy.run_path(TINY)
    recipe = tiny["recipe"](24)
    network = recipe.networks["tiny"]
    networks = {"tiny": network, "second": replace(network, title="another", build=smaller)}
    monkeypatch.setattr(ragab2022, "RECIPE", replace(recipe, networks=networks))
    options = ["--weights", "none", "--batch-size", "8", "--epochs", "1", "--data", str(shelf / "data")]
    run = tmp_path / "study"
    assert main(["train", "ragab2022", "--model", "all", *options, "--out", str(run)]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "figures" / "accuracy_by_size.png").is_file()
    row = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("measure").loc["accuracy"]
    assert row["published_models"] == 2
    listed = pd.read_csv(run / "models.csv")
    listed.iloc[:1].to_csv(run / "models.csv", index=False)
    assert main(["report", str(run), "--out", str(tmp_path / "cut")]) == 2
