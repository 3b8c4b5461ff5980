"""Wheel and sdist: built from the tracked files, complete, free of a machine's traces, and tested as installed."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A good part of the tests: those that look at nothing of a clone but the package, and at no clock.
TESTED = (
    "test_atomic.py",
    "cli/test_main.py",
    "cli/test_data.py",
    "data/test_batches.py",
    "data/test_images.py",
    "data/test_records.py",
    "data/test_splits.py",
    "data/sources",
    "evaluation/audits/test_leaks.py",
    "evaluation/test_figures.py",
    "evaluation/test_thresholds.py",
    "evaluation/test_metrics.py",
    "evaluation/test_predictions.py",
    "evaluation/test_report.py",
    "inference",
    "models/test_files.py",
    "models/test_heads.py",
    "models/test_layers.py",
    "papers/test_plan.py",
    "training/test_schedules.py",
)
HIDDEN = ("PYTHONPATH", "COVIDCXR_MODELS", "COVIDCXR_SHARED")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("git") is None or not (ROOT / ".git").exists(),
        reason="builds from a clone's tracked files",
    ),
]


def run(words, cwd):
    # What the environment names would stand in for the wheel, or be what pip finds installed.
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def tracked():
    """List the files that are, or would be, in the next commit."""
    return [
        name
        for name in run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split(
            "\0"
        )
        if name and (ROOT / name).is_file()
    ]


def build(kind, source, out):
    """Build as pip does without isolation; return the file."""
    out.mkdir(exist_ok=True)
    name = run([sys.executable, "-c", BUILD, f"build_{kind}", out.resolve()], source).splitlines()[-1]
    return out / name


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "clone"
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory):
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


def wheel_contents(path):
    """Return the digest of every file by its name; the record of digests says nothing more."""
    with zipfile.ZipFile(path) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not name.endswith(".dist-info/RECORD")
        }


def sdist_names(path):
    with tarfile.open(path) as archive:
        return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}


def test_the_wheel_holds_the_package_its_models_and_nothing_else(wheel):
    names = wheel_contents(wheel).keys()
    package = {name for name in tracked() if name.startswith("covidcxr/")}
    assert {name for name in names if name.startswith("covidcxr/")} == package
    models = {name for name in tracked() if name.startswith("saved_models/")}
    assert models
    shared = {name.split(".data/data/share/covidcxr/")[1] for name in names if ".data/" in name}
    assert shared == models
    others = {
        name
        for name in names
        if not name.startswith("covidcxr/") and not name.split("/")[0].endswith(".data")
    }
    assert {name.split("/")[0].rpartition(".")[2] for name in others} == {"dist-info"}
    assert any(name.endswith("/LICENSE") for name in others)


def test_the_sdist_holds_what_the_wheel_is_built_from(sdist):
    names = sdist_names(sdist)
    wanted = {name for name in tracked() if name.startswith(("covidcxr/", "saved_models/"))}
    assert wanted | {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= names
    strange = [
        name
        for name in names
        if name.endswith((".pyc", ".ipynb", ".log")) or name.split("/")[0] in ("shared", "notebooks", "runs")
    ]
    assert strange == []


def test_the_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert wheel_contents(build("wheel", folder, tmp_path / "dist")) == wheel_contents(wheel)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel, which sees the packages that are installed here but not this clone."""
    place = tmp_path_factory.mktemp("venv")
    run([sys.executable, "-m", "venv", "--without-pip", place], place)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
    ]
    run(pip, place)
    purelib = Path(
        run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip()
    )
    # What a .pth file of these packages' folder would bring, such as this clone, does not come along.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (purelib / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return python


def test_the_installed_command_predicts_with_the_shipped_model(installed, tmp_path):
    place = run([installed, "-c", "import covidcxr; print(covidcxr.__file__)"], tmp_path).strip()
    assert Path(place).is_relative_to(installed.parents[1])
    command = installed.with_name("covidcxr")
    assert "predict" in run([command, "--help"], tmp_path)
    assert "(default)" in run([command, "predict", "--list"], tmp_path)
    run([command, "data", "prepare", "phantom", "--out", "images", "--count", "covid19=1"], tmp_path)
    table = run([command, "predict", "images", "--format", "csv"], tmp_path)
    assert table.startswith("path,predicted,prob_")
    assert len(table.splitlines()) == 2


@pytest.mark.timeout(3600)
def test_the_tests_pass_against_the_installed_wheel(installed, tmp_path):
    shutil.copytree(
        ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__", "reliability")
    )
    shutil.copyfile(ROOT / "setup.cfg", tmp_path / "setup.cfg")
    check = "import covidcxr, sys; sys.exit(not covidcxr.__file__.startswith(sys.prefix))"
    run([installed, "-c", check], tmp_path)
    words = ["-q", "-n", "0", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-c", tmp_path / "setup.cfg"]
    said = run([installed, "-m", "pytest", *words, *(f"tests/{name}" for name in TESTED)], tmp_path)
    assert " passed" in said.splitlines()[-1]
