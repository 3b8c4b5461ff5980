"""Every notebook is light, calls only what exists, and runs top to bottom on phantom data, without network."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from covidcxr import papers

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
PAPERS = papers.keys()
MOST_BYTES = 1_000_000
# Folders of a machine, and "C:\"; a picture in base64 has neither quote nor space before its slashes.
ABSOLUTE = re.compile(r"""(?:^|[\s"'=(>])(?:/(?:tmp|home|root|work|usr|var|mnt|opt|Users)/|[A-Z]:\\)""")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_each_paper_has_its_notebook():
    assert {path.stem for path in NOTEBOOKS} >= {*PAPERS, "quickstart", "audit_your_dataset"}


@every_notebook
def test_a_notebook_is_valid_light_and_says_what_it_is_not(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    assert "Not a medical device" in notebook.cells[0].source
    # Names of cells that change at each run would hide what changed.
    assert [cell.id for cell in notebook.cells] == [f"cell-{number}" for number in range(len(notebook.cells))]


@every_notebook
def test_a_notebooks_outputs_are_of_one_run_and_name_no_machine(path):
    cells = [cell for cell in _cells(path) if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in cells]
    # Outputs are those of one run from top to bottom, or there are none.
    assert counts in (list(range(1, len(cells) + 1)), [None] * len(cells))
    assert not [text for cell in cells for text in _texts(cell) if ABSOLUTE.search(text)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]


@pytest.mark.parametrize("text", ["'/tmp/run'", "report: /home/me/runs", 'File "C:\\runs"'])
def test_a_machines_folder_would_be_seen(text):
    assert ABSOLUTE.search(text)


@every_notebook
def test_a_notebook_calls_only_names_of_the_package_that_exist(path):
    code = "\n".join("".join(cell["source"]) for cell in _cells(path) if cell["cell_type"] == "code")
    missing = list(_missing(ast.parse(code)))
    assert not missing


def test_a_name_that_does_not_exist_would_be_seen():
    code = "import covidcxr\nfrom covidcxr.data import splits, nothing\nsplits.check(1)\nsplits.chek(1)\ncovidcxr.run()"
    assert list(_missing(ast.parse(code))) == [
        "covidcxr.data.nothing",
        "covidcxr.data.splits.chek",
        "covidcxr.run",
    ]


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_top_to_bottom(path, monkeypatch, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for name in ("COVIDCXR_DATA", "COVIDCXR_WEIGHTS", "COVIDCXR_MODEL"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    if path.stem in PAPERS:
        # The paper's figures stand beside the run's.
        claims = [claim for claim in papers.get(path.stem).recipe.claims if claim.measure == "accuracy"]
        outputs = "".join(str(cell.get("outputs")) for cell in notebook.cells)
        assert any(f"{100 * claim.value:.2f} %" in outputs for claim in claims)


def _cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _texts(cell):
    """List the source of a cell and what its outputs say, pictures left out."""
    yield "".join(cell["source"])
    for output in cell["outputs"]:
        yield "".join(output.get("text", ""))
        yield from (
            "".join(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")
        )


def _missing(tree):
    """Yield names that a notebook imports from the package, or takes from what it imports, and that are not there."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {item.name: item.name for item in node.names if item.name.startswith("covidcxr")}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("covidcxr"):
            modules |= {item.name: f"{node.module}.{item.name}" for item in node.names}
    found = {name: _resolved(dotted) for name, dotted in modules.items()}
    yield from sorted(modules[name] for name, value in found.items() if value is None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = found.get(node.value.id)
            if owner is not None and not hasattr(owner, node.attr):
                yield f"{modules[node.value.id]}.{node.attr}"


def _resolved(dotted):
    """Return a module, or what a module holds, by its dotted name; None if it is not there."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name, None) if module else None
