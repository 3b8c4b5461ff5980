import argparse
import json
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import data
from covidcxr.data import sources
from covidcxr.data.sources import phantom
from covidcxr.errors import DataError, OptionError


def run(*words):
    parser = argparse.ArgumentParser()
    data.add_parser(parser.add_subparsers())
    args = parser.parse_args(["data", *map(str, words)])
    return args.run(args)


@pytest.fixture
def folder(tmp_path):
    """A user's own pictures: one folder a class."""
    root = tmp_path / "mine"
    for label, grey in (("covid19", 90), ("normal", 160)):
        (root / label).mkdir(parents=True)
        for number in range(3):
            picture = (
                Image.linear_gradient("L")
                .resize((40, 30))
                .point(lambda v, g=grey, n=number: v * g // 256 + n)
            )
            picture.save(root / label / f"{number}.png")
    return root


def test_list_names_every_source_with_licence_and_access(capsys):
    assert run("list") == 0
    out = capsys.readouterr().out
    for source in sources.SOURCES.values():
        for text in (source.key, source.title, source.licence, source.access, source.homepage):
            assert text in out


def test_inspect_prints_tables_and_writes_json_and_csv(folder, tmp_path, capsys):
    assert run("inspect", folder, "--json", tmp_path / "found.json", "--csv", tmp_path / "tables") == 0
    out, err = capsys.readouterr()
    assert "6 images, 0 known patients" in out
    assert "images of unknown patients: 6" in out
    assert err == "reading images: 6/6\n"
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(row["label"], row["images"]) for row in found["counts"]] == [("covid19", 3), ("normal", 3)]
    assert pd.read_csv(tmp_path / "tables" / "sizes.csv")["width_median"].tolist() == [40, 40]


def test_inspect_prints_json_alone_for_programs(folder, capsys):
    assert run("inspect", folder, "--no-images", "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["hashed"], found["sizes"]) == (6, False, [])


def test_inspect_names_each_image_left_out(shared, capsys):
    path = shared / "data" / "covid-chestxray-dataset"
    assert run("inspect", path, "--no-images") == 0
    printed = capsys.readouterr().out
    excluded = [item.path for item in sources.read(path).exclusions]
    assert len(excluded) == 25
    assert all(name in printed for name in excluded)


def test_inspect_tells_how_much_of_the_published_fold_lists_is_here(shared, capsys):
    assert run("inspect", shared / "data", "--no-images") == 0
    # One of the 180 listed images is lateral in the metadata of July 2020, and left out by default.
    shares = "179 of 180 covid19, 76 of 8851 normal, 169 of 6054 pneumonia"
    assert shares in capsys.readouterr().out


def test_prepare_writes_a_table_that_reads_back(folder, tmp_path, capsys):
    target = tmp_path / "records.csv"
    assert run("prepare", folder, "--out", target, "--contact-sheet") == 0
    assert "6 images, 2 classes" in capsys.readouterr().out
    back = sources.read(target)
    direct = sources.read(folder)
    assert sorted(path.resolve() for path in back.files()) == sorted(
        path.resolve() for path in direct.files()
    )
    assert back.counts().equals(direct.counts())
    with Image.open(tmp_path / "records.png") as sheet:
        # Two rows of at most eight 128 px pictures, 4 px apart, with a 14 px caption.
        assert sheet.size == (4 + 8 * 132, 4 + 2 * 146)
        assert len(set(sheet.crop((4, 18, 132, 114)).tobytes())) > 20


def test_a_table_may_stand_beside_a_link_to_the_images_but_not_elsewhere(folder, tmp_path, monkeypatch):
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "linked").symlink_to(folder, target_is_directory=True)
    assert run("prepare", beside / "linked", "--out", beside / "records.csv") == 0
    assert len(sources.read(beside / "records.csv")) == 6
    with pytest.raises(OptionError, match="the images are not below it"):
        run("prepare", folder, "--out", beside / "records.csv")
    monkeypatch.chdir(beside)
    with pytest.raises(OptionError, match="the images are not below it"):
        run("prepare", "../mine", "--out", "records.csv")
    assert run("prepare", "../mine", "--out", "../records.csv") == 0
    assert len(sources.read("../records.csv")) == 6


def test_inspect_cuts_long_tables_unless_all_is_asked(shared, capsys):
    path = shared / "data" / "chest_xray"
    assert run("inspect", path, "--no-images") == 0
    short = capsys.readouterr().out
    assert run("inspect", path, "--no-images", "--all") == 0
    full = capsys.readouterr().out
    # 69 children with both subtypes, of which 40 are shown.
    assert "... and 29 more (--all)" in short
    assert "more (--all)" not in full


def test_prepare_renders_phantoms(tmp_path, capsys):
    target = tmp_path / "made"
    words = [
        "--count",
        "covid19=2",
        "--count",
        "normal=1",
        "--size",
        "64",
        "--confounder",
        "marker=covid19",
        "--masks",
    ]
    assert run("prepare", "phantom", "--out", target, *words, "--contact-sheet") == 0
    assert "3 images, 2 classes" in capsys.readouterr().out
    table = phantom.read(target).table
    assert table["label"].value_counts().to_dict() == {"covid19": 2, "normal": 1}
    assert table.groupby("label")["marker"].max().to_dict() == {"covid19": 1, "normal": 0}
    assert (target / "contact-sheet.png").is_file()
    with Image.open(target / table["path"][0]) as picture:
        assert picture.size == (64, 64)


def test_prepare_refuses_another_ending(folder, tmp_path):
    with pytest.raises(OptionError, match=r"a name ending in \.csv"):
        run("prepare", folder, "--out", tmp_path / "records")


def test_errors_are_one_line_and_name_the_path(tmp_path):
    with pytest.raises(DataError, match="nowhere") as caught:
        run("inspect", tmp_path / "nowhere")
    assert "\n" not in str(caught.value)


def test_phantom_counts_must_be_numbers(tmp_path):
    with pytest.raises(OptionError, match="--count covid19=many"):
        run("prepare", "phantom", "--out", tmp_path, "--count", "covid19=many")


def test_parser_loads_no_heavy_module():
    code = (
        "import argparse, sys; from covidcxr.cli import data; "
        "data.add_parser(argparse.ArgumentParser().add_subparsers()); "
        "print({'numpy', 'pandas', 'cv2', 'PIL', 'rich', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
