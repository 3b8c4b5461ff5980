"""Where shipped models are found, and what index.csv tells of them, without any heavy package."""

import configparser
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from covidcxr.errors import ModelError
from covidcxr.models import shipped

ROOT = Path(__file__).resolve().parents[2]


def write(folder, *rows):
    """Write an index; a row is a name, then what is not as usual."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = dict.fromkeys(shipped.COLUMNS, "0.5") | {"classes": "covid19 normal", "default": ""}
    lines = [",".join(shipped.COLUMNS)]
    for name, changes in rows:
        row = {**usual, "name": name, **changes}
        lines.append(",".join(row[column] for column in shipped.COLUMNS))
    (folder / shipped.INDEX).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv(shipped.FOLDER_VARIABLE, str(tmp_path))
    return write(tmp_path, ("b", {"default": "yes"}), ("a", {"accuracy_low": "", "roc_area": ""}))


def test_models_are_listed_by_name_and_the_default_is_the_marked_one(shelf):
    assert [one.name for one in shipped.listed()] == ["a", "b"]
    assert shipped.default().path == shelf / "b" / "model.h5"
    assert shipped.default().classes == ("covid19", "normal")
    assert shipped.find("a").folder == shelf / "a"
    assert shipped.find("c") is None
    assert shipped.model_file("a") == shelf / "a" / "model.h5"
    assert shipped.model_file("c.h5") == "c.h5"


def test_scores_are_texts_with_their_intervals(shelf):
    first, second = shipped.listed()
    assert second.score("accuracy") == "0.500 [0.500, 0.500]"
    assert first.score("accuracy") == "0.500"
    assert first.score("roc_area") == "not defined"


def test_without_a_default_the_names_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv(shipped.FOLDER_VARIABLE, str(write(tmp_path, ("a", {}))))
    with pytest.raises(ModelError, match="name one: a"):
        shipped.default()
    write(tmp_path)
    with pytest.raises(ModelError, match="none is shipped yet"):
        shipped.default()


def test_a_folder_that_the_environment_names_wrongly_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv(shipped.FOLDER_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ModelError, match=r"COVIDCXR_MODELS=.*gone: no index\.csv there"):
        shipped.listed()
    with pytest.raises(ModelError, match="COVIDCXR_MODELS"):
        shipped.find("a")


@pytest.mark.parametrize("text", ["", "name,default\na,yes\n", "\xff"])
def test_a_damaged_index_is_told(shelf, text):
    (shelf / shipped.INDEX).write_bytes(text.encode("latin-1"))
    if text:
        with pytest.raises(ModelError, match=r"index\.csv: not "):
            shipped.listed()
    else:
        assert shipped.listed() == []


@pytest.mark.parametrize("text", ["x", "nan", "1e999"])
def test_a_score_that_is_no_number_is_told(shelf, text):
    write(shelf, ("a", {"roc_area_low": text}))
    with pytest.raises(ModelError, match=r"index\.csv: not an index"):
        shipped.listed()


def test_an_installed_package_finds_what_the_wheel_put_beside_it(tmp_path, monkeypatch):
    monkeypatch.delenv(shipped.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(
        shipped, "__file__", str(tmp_path / "site-packages" / "covidcxr" / "models" / "shipped.py")
    )
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme: str(tmp_path / scheme / name))
    with pytest.raises(ModelError, match="no shipped models beside this installation"):
        shipped.folder()
    assert shipped.find("a") is None
    for place in (tmp_path / "site-packages", tmp_path / sysconfig.get_default_scheme() / "data"):
        found = write(place / "share" / "covidcxr" / "saved_models")
        assert shipped.folder() == found


def test_a_clone_has_its_own(monkeypatch):
    monkeypatch.delenv(shipped.FOLDER_VARIABLE, raising=False)
    assert shipped.folder() == ROOT / "saved_models"


def test_a_folder_beside_an_installed_package_is_nobodys(tmp_path, monkeypatch):
    monkeypatch.delenv(shipped.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "covidcxr" / "models" / "shipped.py"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme: str(tmp_path / scheme / name))
    write(tmp_path / "saved_models")
    with pytest.raises(ModelError, match="no shipped models"):
        shipped.folder()


def test_wheels_carry_every_shipped_model():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    files = setup["options.data_files"]
    share = f"share/covidcxr/{shipped.FOLDER}"
    assert files[share].split() == ["saved_models/README.md", "saved_models/index.csv"]
    for path in sorted((ROOT / shipped.FOLDER).glob(f"*/{shipped.MODEL}")):
        name = path.parent.name
        assert files.get(f"{share}/{name}".lower()) == f"saved_models/{name}/*", (
            f"setup.cfg: add the line {share}/{name} = saved_models/{name}/*"
        )


def test_listing_loads_no_heavy_package(shelf):
    heavy = ("tensorflow", "keras", "numpy", "pandas", "rich", "h5py")
    code = (
        "import sys\nfrom covidcxr.cli import main\nassert main(['models', 'list']) == 0\n"
        "assert main(['predict', '--list']) == 0\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("b (default)\n  classes: covid19, normal\n") == 2
    assert done.stdout.count(": 2 in all; brackets") == 2
