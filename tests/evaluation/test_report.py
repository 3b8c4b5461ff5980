"""The page: well-formed, self-contained, escaped, complete."""

import base64
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from covidcxr.data.records import Exclusion
from covidcxr.errors import DataError, OutputError
from covidcxr.evaluation import report

VOID = {"meta", "img", "br", "hr", "link", "input"}
SCRIPT = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Collects text and attributes, and insists that every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture
def context(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "roc.png").write_bytes(b"\x89PNG picture")
    (tmp_path / "figures" / "curve.svg").write_text("<svg/>")
    return {
        "title": f"run {SCRIPT}",
        "paper": "Ragab et al. 2022, https://example.org/paper",
        "protocol": "sound",
        "command": "covidcxr train ragab2022 --out 'a & b'",
        "seed": 0,
        "results": [
            {"measure": SCRIPT, "paper": "95.08 %", "value": 0.9, "low": 0.8, "high": 0.95, "note": "n <b>"}
        ],
        "results_note": "patient bootstrap",
        "notes": [f"note {SCRIPT}"],
        "counts": pd.DataFrame(
            {"split": ["train", "test"], "label": [SCRIPT, "normal"], "images": [7, 1300]}
        ),
        "exclusions": [
            Exclusion("a", SCRIPT, "CT"),
            Exclusion("b", "rsna", "CT"),
            Exclusion("c", "rsna", "CT"),
        ],
        "figures": [("figures/roc.png", f'caption "{SCRIPT}"'), ("figures/curve.svg", "curves")],
        "tables": [{"title": "audit", "columns": ["source", SCRIPT], "rows": [["x", SCRIPT]]}],
        "configuration": {"optimizer": {"name": "adam", SCRIPT: [1, 2]}, "epochs": 10},
        "environment": {"Python": SCRIPT},
        "deviations": ["first", SCRIPT],
    }


def test_page_holds_everything_and_is_well_formed(tmp_path, context):
    path = report.write_run_report(tmp_path, context)
    assert path == tmp_path / "report.html"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    page = Page(text)
    assert page.tags[:2] == ["html", "head"]
    expected = [
        "Not a medical device",
        "covidcxr train ragab2022 --out 'a & b'",
        "90.00 % [80.00, 95.00]",
        "95.08 %",
        "1,300",
        "1,307",
        "optimizer.name",
        "[1, 2]",
        "Figure 2. curves",
        "patient bootstrap",
    ]
    for words in expected:
        assert words in page.text, words
    assert ("th", "scope", "col") in page.attributes
    assert page.tags.count("ol") == 1
    assert re.search(r"rsna\s+CT\s+2\b", page.text)


def test_values_never_become_markup(tmp_path, context):
    text = report.write_run_report(tmp_path, context).read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<script" not in text
    # Title twice, table header and cell, measure, note, class, source, caption, key, Python, deviation.
    assert page.text.count(SCRIPT) == 12
    captions = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert captions[0] == f'caption "{SCRIPT}"'


def test_nothing_is_fetched(tmp_path, context):
    text = report.write_run_report(tmp_path, context).read_text(encoding="utf-8")
    page = Page(text)
    sources = [
        value for _, name, value in page.attributes if name in ("src", "href", "action", "data", "srcset")
    ]
    assert len(sources) == 2
    assert base64.b64decode(sources[0].removeprefix("data:image/png;base64,")) == b"\x89PNG picture"
    assert base64.b64decode(sources[1].removeprefix("data:image/svg+xml;base64,")) == b"<svg/>"
    assert not {"link", "script", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text


def test_a_title_is_enough(tmp_path):
    page = Page(report.write_run_report(tmp_path, {"title": "empty"}).read_text(encoding="utf-8"))
    assert "Not a medical device" in page.text
    assert "Results" not in page.text
    assert "Seed" not in page.text


def test_what_cannot_be_shown(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: figure not readable"):
        report.write_run_report(tmp_path, {"title": "t", "figures": [("gone.png", "")]})
    with pytest.raises(DataError, match=r"\.png and \.svg"):
        report.write_run_report(tmp_path, {"title": "t", "figures": [("gone.pdf", "")]})
    with pytest.raises(TypeError, match="sede"):
        report.write_run_report(tmp_path, {"title": "t", "sede": 1})
    with pytest.raises(OutputError):
        report.write_run_report(tmp_path / "nowhere", {"title": "t"})
    assert list(tmp_path.iterdir()) == []
