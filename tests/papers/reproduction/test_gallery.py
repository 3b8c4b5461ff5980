"""The gallery: what is in its page, and the same in a browser where one is at hand."""

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from covidcxr.papers.reporting.reproduction import collect, making, store

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
# Those that HTML closes by themselves.
VOID = {"meta", "br", "input", "link", "img"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.attributes, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_gallery_loads_nothing_and_shows_everything(results):
    page = Page((results / "index.html").read_text())
    assert page.open == []
    # Bars, two learning curves, the matrices of as_paper, plain twice and external.
    assert page.tags.count("svg") == 7
    assert not {"img", "link", "iframe", "object"} & set(page.tags)
    assert not [item for item in page.attributes if item[1] in ("src", "action")]
    assert ("article", "data-paper", "ragab2022") in page.attributes
    assert {("option", "value", value) for value in ("ragab2022", "hub", "published", "sound")} <= set(
        page.attributes
    )
    assert "80.00 % [58.40, 91.93]; as they are: 85.00 % [70.00, 95.00]" in page.texts


def test_every_link_leads_to_a_model_on_the_page(results):
    page = Page((results / "index.html").read_text())
    links = {value for _, name, value in page.attributes if name == "href"}
    places = {value for tag, name, value in page.attributes if (tag, name) == ("article", "id")}
    assert links == {f"#{place}" for place in places} != set()


def test_a_picture_beside_the_tables_is_that_of_the_page(results):
    text = (results / "tables" / "ragab2022.md").read_text()
    (name,) = re.findall(r"!\[Learning curves.*\]\(\.\./(figures/.*\.svg)\)", text)
    sheet = (results / name).read_text()
    page = (results / "index.html").read_text()
    drawn = re.findall(r"<svg.*?</svg>", page, re.S)[1:]
    assert len(drawn) == 6
    assert all(picture in sheet for picture in drawn)
    assert "Confusion matrix, published, scored" in sheet


@pytest.fixture
def browser(tmp_path):
    """Open a page of a folder in headless Chromium; return what it printed and what it complained of."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def opened(page, *words):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        options += [f"--user-data-dir={tmp_path / 'profile'}", *words, page]
        done = subprocess.run([program, *options], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return opened


def shown(dom, tag):
    """Return the texts of a page's elements of a kind that are not hidden."""
    found = re.findall(rf"<{tag}\b([^>]*)>(.*?)</{tag}>", dom, re.S)
    return [
        text
        for attributes, text in found
        if "display: none" not in attributes and " hidden" not in attributes
    ]


@pytest.mark.slow
def test_a_browser_chooses_papers_protocols_and_networks(results, write_study, browser):
    study, _ = write_study("weights: not there")
    store.write(store.read(results).replaced(collect.collect([study])), results)
    making.write(results)
    address = (results / "index.html").as_uri()
    dom, complaints = browser(address, "--dump-dom")
    assert complaints == []
    assert (len(shown(dom, "article")), len(shown(dom, "section")), len(shown(dom, "form"))) == (2, 2, 1)
    dom, complaints = browser(
        f"{address}?paper=nemati2022&network=mobilenet&protocol=published", "--dump-dom"
    )
    assert complaints == []
    (article,) = shown(dom, "article")
    assert "nemati2022" in article
    (section,) = shown(dom, "section")
    # Two heads, of the models that were run and of those that were not, and the one network.
    assert len(shown(section, "tr")) == 3
    dom, _ = browser(f"{address}?paper=nemati2022&network=hub", "--dump-dom")
    assert shown(dom, "article") == []
    assert len(re.findall(r'<p id="nothing">', dom)) == 1


@pytest.mark.slow
def test_a_browser_draws_the_page_within_its_width(results, browser, tmp_path):
    from PIL import Image

    picture = tmp_path / "page.png"
    browser((results / "index.html").as_uri(), f"--screenshot={picture}", "--window-size=1300,2400")
    drawn = np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("RGB")).astype(int)
    # Bars of both protocols, learning curves and the frame of the warning: their colours are on the page.
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(drawn - colour).sum(axis=2) < 12).sum() > 100
    margin = drawn[:, 2:8]
    assert (margin == 255).all()
