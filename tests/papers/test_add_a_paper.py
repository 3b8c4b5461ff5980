"""The page docs/add-a-paper.md, taken at its word: its module, saved beside the others, is a paper."""

import re
from pathlib import Path

import pytest

from covidcxr import papers
from covidcxr.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-paper.md"


@pytest.fixture
def sixth(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "example2026.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(tmp_path / "modules")])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("sixth")
def test_the_example_is_listed_and_shown(capsys):
    assert papers.get("example2026").recipe.key in papers.keys()  # noqa: SIM118 (a function of ours)
    assert main(["papers", "show", "example2026"]) == 0
    shown = capsys.readouterr().out
    assert "reduced on plateaus" in shown or "fine-tuning" in shown
    assert "--model all" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("sixth")
def test_the_example_trains_both_networks_and_makes_its_table(capsys):
    import pandas as pd

    assert main(["train", "example2026", "--preset", "smoke", "--model", "all", "--out", "run"]) == 0
    table = pd.read_csv("run/tables/table2.csv")
    assert list(table.columns) == ["model", "Accuracy", "COVID-19 recall"]
    assert list(table["model"]) == ["mobilenet", "mobilenet_v2"]
    assert "95.00 %" in capsys.readouterr().out
