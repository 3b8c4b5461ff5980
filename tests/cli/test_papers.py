import subprocess
import sys

import pytest

from covidcxr.cli import main
from covidcxr.models import backbones


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    for name in ("KERAS_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def rows(capsys):
    """Return the cells of the printed table by network, lines of one network joined."""
    table, key = {}, None
    for line in capsys.readouterr().out.splitlines():
        if not line.startswith("│"):
            continue
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        key = cells[0] or key
        before = table.get(key, [""] * len(cells))
        table[key] = [f"{old} {new}".strip() for old, new in zip(before, cells, strict=True)]
    return table


def test_models_lists_every_network_with_its_numbers(capsys):
    assert main(["papers", "models"]) == 0
    table = rows(capsys)
    assert set(table) == set(backbones.keys())
    assert table["vgg19"][1:] == [
        "224",
        "20,024,384",
        "143,667,240",
        "19",
        "caffe",
        "nemati2022 224, yin2020 224",
        "no",
    ]
    assert table["concatenated"][1:] == [
        "300",
        "48,621,608",
        "48,928,811",
        "184",
        "tf",
        "rahimzadeh2020 300",
        "no; no",
    ]


def test_models_of_one_paper(capsys):
    assert main(["papers", "models", "--paper", "khalifa2020"]) == 0
    table = rows(capsys)
    assert len(table) == 7
    assert {cells[6] for cells in table.values()} == {"khalifa2020"}
    assert main(["papers", "models", "--paper", "nemati2022"]) == 0
    table = rows(capsys)
    assert len(table) == 26
    assert table["resnet101_v2"][1:2] + table["resnet101_v2"][6:7] == ["224", "nemati2022 299"]


def test_models_tells_which_weights_are_here(shared, capsys):
    folder = shared / "weights"
    assert main(["papers", "models", "--weights", str(folder)]) == 0
    table = rows(capsys)
    here = {key: cells[7].replace(" ", "") for key, cells in table.items() if cells[7] != "no"}
    assert set(here) == {
        "mobilenet",
        "mobilenet_v2",
        "squeezenet1_1",
        "googlenet_bvlc",
        "xception",
        "concatenated",
    }
    for key in ("mobilenet", "mobilenet_v2", "squeezenet1_1", "googlenet_bvlc"):
        assert (folder / here[key]).is_file()
    # Two separable convolutions and their normalisations: Chollet 2016, Fig. 5, from 1024 to 1536 and 2048.
    block14 = 9 * 1024 + 1024 * 1536 + 4 * 1536 + 9 * 1536 + 1536 * 2048 + 4 * 2048
    share = f"{1 - block14 / 20_861_480:.0%}"
    assert here["xception"] == f"xception_imagenet_trunk_to_block13_fp16.h5(only{share}ofthenumbers)"
    assert here["concatenated"] == f"{here['xception']};no"


def test_models_looks_into_keras_cache(empty_caches, capsys):
    cache = empty_caches / "KERAS_HOME" / "models"
    cache.mkdir(parents=True)
    (cache / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(b"not weights")
    assert main(["papers", "models", "--paper", "nemati2022"]) == 0
    table = rows(capsys)
    assert table["vgg16"][7].replace(" ", "").startswith("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")
    assert [key for key, cells in table.items() if cells[7] != "no"] == ["vgg16"]


def test_a_paper_is_shown_by_its_key_alone_too(capsys):
    assert main(["papers", "ragab2022"]) == 0
    direct = capsys.readouterr().out
    assert "Deviations and readings" in direct
    assert main(["papers", "show", "ragab2022"]) == 0
    assert capsys.readouterr().out == direct


def test_without_a_word_the_papers_are_listed(capsys):
    assert main(["papers"]) == 0
    assert "ragab2022" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["models", "--paper", "yin"], "--paper yin: no such paper; did you mean yin2020?"),
        (["models", "--weights", "nowhere"], "--weights nowhere: no such folder"),
        (["ragab2022", "--weights", "."], "belong to `covidcxr papers models`"),
        (["--paper", "yin2020"], "belong to `covidcxr papers models`"),
        (["show"], "give one paper's KEY"),
        (["models", "ragab2022"], "papers models ragab2022: give one paper's KEY"),
        (["model"], "unknown paper 'model'"),
    ],
)
def test_what_has_no_meaning_is_one_line(words, message, capsys):
    assert main(["papers", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_options_may_stand_before_the_word(capsys):
    assert main(["papers", "--paper", "yin2020", "models"]) == 0
    assert len(rows(capsys)) == 8


def test_models_loads_no_framework():
    code = (
        "import sys; from covidcxr.cli import main; main(['papers', 'models']); "
        "found = {'tensorflow', 'keras', 'pandas'} & set(sys.modules); sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
