"""A data set from a stranger, whose names are formulas, markup and paths: trained on, scored, audited and reported.

Nothing that is written runs in a spreadsheet or a browser, every name comes back as it was, and nothing outside the
data folder is read.
"""

import csv
import json
import re
import runpy
import shutil
import tarfile
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.data import containment, records, sources, splits
from covidcxr.errors import DataError
from covidcxr.evaluation import predictions
from covidcxr.papers import ragab2022

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
IMG = "<img src=x onerror=alert(1)>"
NAMES = (
    "=cmd",
    "@x",
    "-1",
    "+1",
    "'=x",
    IMG,
    "<script>",
    "a,b|c`d",
    "[x](javascript:alert(1))",
    "$x^$ {: a=b }",
)
TRAIN = ["--model", "tiny", "--weights", "none", "--batch-size", "8"]
FORMULA = re.compile(r"[=+\-@\t\r]")
POSIX_NAMES = pytest.mark.skipif(
    not hasattr(shutil.os, "symlink") or shutil.os.name == "nt", reason="POSIX names"
)
pytestmark = POSIX_NAMES


def picture(path, shade, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = generator.integers(30 * shade, 130 + 30 * shade, (32, 32), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_set(folder):
    """Write a table of hostile names, its images, and return the names."""
    generator = np.random.default_rng(0)
    rows = []
    for shade, label in enumerate(("covid19", "normal")):
        for number in range(24):
            name = f"{NAMES[number % len(NAMES)]}{label[0]}{number}.png"
            picture(folder / name, shade, generator)
            view = (IMG, "=V")[number % 2]
            rows.append([name, label, f"={label}-{number // 2}", f"@{IMG}", view, "F", 50 + number])
    # As a spreadsheet's user writes it, without marks, but for the names that begin with one.
    table = pd.DataFrame(rows, columns=["path", "label", "patient_id", "source", "view", "sex", "age"])
    table["path"] = ["'" + name if name.startswith("'") else name for name in table["path"]]
    table.to_csv(folder / "list.csv", index=False)
    return [row[0] for row in rows]


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch):
    monkeypatch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](24))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """The set, two runs of it with an audit, a score, an inventory and a report."""
    folder = tmp_path_factory.mktemp("strangers")
    data = folder / IMG
    data.mkdir()
    write_set(data)
    table = str(data / "list.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](24))
        for protocol in ("published", "sound"):
            words = [
                "--data",
                table,
                "--protocol",
                protocol,
                "--epochs",
                "1",
                "--out",
                str(folder / protocol),
            ]
            assert main(["train", "ragab2022", *TRAIN, *words]) == 0
        run, model = folder / "sound", str(folder / "sound" / "model.h5")
        assert main(["evaluate", model, "--data", table, "--out", str(folder / IMG[1:])]) == 0
        assert main(["audit", str(run), "--only", "leaks,confounding"]) in (0, 1)
        assert main(["data", "inspect", table, "--csv", str(folder / "inventory")]) == 0
        runs = [str(folder / "published"), str(run)]
        assert (
            main(["report", *runs, "--external", str(folder / IMG[1:]), "--out", str(folder / "report")]) == 0
        )
        assert main(["predict", model, str(data), "--out", str(folder / "predicted.csv")]) == 0
    return folder


def names_of(shelf):
    return {path.name for path in (shelf / IMG).glob("*.png")}


def test_no_csv_holds_a_formula(shelf):
    files = [path for path in shelf.rglob("*.csv") if path.name != "list.csv"]
    assert len(files) > 20
    for path in files:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    number = pd.to_numeric(cell, errors="coerce")
                    assert not FORMULA.match(cell) or number == number, (path, cell)


def test_every_name_comes_back(shelf):
    names = names_of(shelf)
    assert {"=cmdc0.png", "@xc1.png", "-1c2.png", "'=xc4.png"} <= names
    for run in ("published", "sound"):
        read = splits.read(shelf / run / "split.csv", shelf / IMG)
        assert set(read.table["path"]) == names
        assert set(read.table["patient_id"]) == {
            f"={label}-{n}" for label in ("covid19", "normal") for n in range(12)
        }
        found = predictions.read_csv(shelf / run / "predictions.csv")
        assert set(found.table["path"]) < names
    scored = predictions.read_csv(shelf / IMG[1:] / "predictions.csv")
    assert set(scored.table["path"]) == names
    assert set(scored.table["source"]) == {f"@{IMG}"}


def test_a_run_of_such_names_goes_on_and_is_scored_alike(shelf, tmp_path):
    run = shutil.copytree(shelf / "sound", tmp_path / "run")
    before = (run / "predictions.csv").read_bytes()
    for name in ("report.html", "predictions.csv", "metrics.json", "model.h5"):
        (run / name).unlink()
    assert main(["train", "ragab2022", "--resume", "--out", str(run)]) == 0
    assert (run / "predictions.csv").read_bytes() == before
    words = [
        "--data",
        str(shelf / IMG / "list.csv"),
        "--split-file",
        str(run / "split.csv"),
        "--split",
        "test",
    ]
    assert main(["evaluate", str(run / "model.h5"), *words, "--out", str(tmp_path / "scored")]) == 0
    scored = predictions.read_csv(tmp_path / "scored" / "predictions.csv").table.set_index("path")
    kept = predictions.read_csv(run / "predictions.csv").subset("test").table.set_index("path")
    assert set(scored.index) == set(kept.index)
    np.testing.assert_allclose(scored["prob_covid19"], kept.loc[scored.index, "prob_covid19"], atol=1e-6)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def harmless(text):
    page = Page(text)
    assert "script" not in page.tags
    assert not [item for item in page.attributes if item[0].startswith("on")]
    assert not [
        value for name, value in page.attributes if name == "src" and not value.startswith("data:image/")
    ]
    return page


def test_no_page_holds_foreign_markup(shelf):
    pages = sorted(shelf.rglob("*.html"))
    assert len(pages) == 3
    for path in pages:
        assert IMG in "".join(harmless(path.read_text(encoding="utf-8")).texts)


def test_no_drawing_holds_foreign_markup(shelf):
    for path in shelf.rglob("*.svg"):
        assert not {"img", "script", "foreignobject"} & set(Page(path.read_text(encoding="utf-8")).tags)


def test_markdown_holds_no_foreign_markup(shelf):
    markdown = pytest.importorskip(
        "markdown", reason="Python-Markdown, which makes the documentation, is not here"
    )
    for name in ("report.md", "MODEL_CARD.md"):
        text = (shelf / "report" / name).read_text(encoding="utf-8")
        assert "&lt;img" in text
        harmless_text = markdown.markdown(text, extensions=["tables", "attr_list", "fenced_code"])
        page = Page(harmless_text)
        assert "script" not in page.tags
        assert not [item for item in page.attributes if item[0].startswith("on")]
        assert "x" not in [value for name, value in page.attributes if name == "src"]
        assert not [value for name, value in page.attributes if str(value).startswith("javascript:")]


def test_the_pages_of_notebooks_hold_no_foreign_markup(shelf):
    from covidcxr.data.records import Exclusion
    from covidcxr.evaluation.report import write_run_report

    folder = shelf / "own"
    folder.mkdir()
    write_run_report(folder, {"title": IMG, "exclusions": [Exclusion(IMG, IMG, IMG)]})
    assert IMG in "".join(harmless((folder / "report.html").read_text(encoding="utf-8")).texts)


@pytest.fixture
def outside(tmp_path):
    """A picture that belongs to nobody's data set, beside the data folder."""
    path = tmp_path / "private" / "secret.png"
    picture(path, 0, np.random.default_rng(1))
    return path


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)
    for label in ("covid19", "normal"):
        for number in range(3):
            picture(tmp_path / "data" / label / f"{number}.png", 0, generator)
    return tmp_path / "data"


@pytest.mark.parametrize("path", ["../private/secret.png", "{outside}", "covid19/../../private/secret.png"])
def test_paths_out_of_the_folder_are_refused_in_every_table(path, outside, data):
    path = path.format(outside=outside)
    text = f"path,label,split\n{path},covid19,train\nnormal/0.png,normal,test\n"
    table = data / "list.csv"
    table.write_text(text)
    for read in (
        lambda: sources.read(table),
        lambda: records.read_csv(table),
        lambda: splits.read(table, data),
        lambda: splits.from_csv(sources.read(data), table),
    ):
        with pytest.raises(DataError, match=re.escape(path)) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_public_table_names_what_lies_elsewhere_and_leaves_it_out(outside, tmp_path):
    folder = tmp_path / "covid"
    picture(folder / "images" / "a.png", 0, np.random.default_rng(0))
    rows = ["1,COVID-19,PA,images,a.png", f"2,COVID-19,PA,images,../../{outside.relative_to(tmp_path)}"]
    rows += [f"3,COVID-19,PA,{outside.parent},secret.png", "4,COVID-19,PA,../private,secret.png"]
    (folder / "metadata.csv").write_text("\n".join(["patientid,finding,view,folder,filename", *rows]) + "\n")
    found = sources.read(folder)
    assert found.table["path"].tolist() == ["images/a.png"]
    assert [item.reason for item in found.exclusions] == ["file missing"] * 3


def test_links_out_of_the_folder_are_left_out_and_named(outside, data):
    (data / "covid19" / "linked.png").symlink_to(outside)
    (data / "covid19" / "inside.png").symlink_to(data / "normal" / "0.png")
    (data / "covid19" / "deep").mkdir()
    (data / "covid19" / "deep" / "folder").symlink_to(outside.parent)
    found = sources.read(data)
    assert "covid19/inside.png" in set(found.table["path"])
    left = {item.path for item in found.exclusions if item.reason == containment.OUTSIDE}
    assert left == {"covid19/linked.png", "covid19/deep/folder/secret.png"}
    table = data / "split.csv"
    table.write_text("path,label,split\ncovid19/linked.png,covid19,train\nnormal/0.png,normal,test\n")
    assert splits.read(table, data).table["path"].tolist() == ["normal/0.png"]
    (data / "list.csv").write_text("path,label\ncovid19/linked.png,covid19\n")
    with pytest.raises(DataError, match=r"linked\.png: is a link out of the data folder"):
        sources.read(data / "list.csv")


def test_sets_and_classes_may_lie_elsewhere(data, tmp_path):
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "set").symlink_to(data)
    (tmp_path / "mine").mkdir()
    for label in ("covid19", "normal"):
        (tmp_path / "mine" / label).symlink_to(data / label)
    for folder in ("both", "mine"):
        found = sources.read(tmp_path / folder)
        assert len(found) == 6
        assert not found.exclusions


def test_a_run_that_points_elsewhere_is_refused(shelf, tmp_path, capsys):
    run = shutil.copytree(shelf / "sound", tmp_path / "run")
    split = (run / "split.csv").read_text(encoding="utf-8").splitlines()
    (run / "split.csv").write_text(
        "\n".join([*split, "../../etc/passwd,normal,,x,train"]) + "\n", encoding="utf-8"
    )
    for command in (["report", str(run), "--out", str(tmp_path / "out")], ["audit", str(run)]):
        assert main(command) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "../../etc/passwd leaves the folder of the images" in error
    assert not (tmp_path / "out").exists()


def test_an_audit_that_names_tables_elsewhere_is_refused(tmp_path):
    from covidcxr.evaluation.audits import report

    entry = {"name": "leaks", "title": "Leaks", "findings": [], "tables": {"pairs": "../../etc/passwd"}}
    (tmp_path / "audit.json").write_text(json.dumps({"format": 1, "audits": [entry]}))
    with pytest.raises(DataError, match=r"'\.\./\.\./etc/passwd' is no table beside it"):
        report.read(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_never_unpacked(kind, tmp_path, capsys):
    path = tmp_path / f"set.{kind}"
    (tmp_path / "x").write_text("x")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../evil.txt", "x")
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "x", "../evil.txt")
    before = {entry.name for entry in tmp_path.parent.iterdir()}
    assert main(["data", "inspect", str(path)]) == 2
    assert "not a CSV table" in capsys.readouterr().err
    assert {entry.name for entry in tmp_path.parent.iterdir()} == before
