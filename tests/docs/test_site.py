"""The built site: strict, whole, without a broken link, and asking no other machine for anything."""

import importlib.util
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Without TensorFlow and Keras: the reference is made from the source alone.
_BUILD = (
    "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    "from mkdocs.__main__ import cli; cli(sys.argv[1:])"
)
_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """Anchors, links, and what a browser would load."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(filter(None, (values.get("id"), values.get("name"))))
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        if values.get(_LOADED.get(tag)):
            self.loaded.add(values[_LOADED[tag]])


def is_elsewhere(address):
    return bool(urlsplit(address).scheme or urlsplit(address).netloc)


def broken(site):
    """Yield (page, address) for each link or file of a site that leads nowhere."""
    site = Path(site).resolve()
    parsed = {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    for file, page in parsed.items():
        for address in page.links | page.loaded:
            if is_elsewhere(address):
                continue
            parts = urlsplit(address)
            above = site if parts.path.startswith("/") else file.parent
            target = (above / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            # "__..." are the theme's own switches.
            missing = (
                anchor and not anchor.startswith("__") and anchor not in parsed.get(target, page).anchors
            )
            if not target.is_file() or missing:
                yield file.relative_to(site).as_posix(), address


def test_a_broken_link_would_be_seen(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="x">x</h1><a href="#x">1</a><a href="b.html#y">2</a><a href="b.html#z">3</a>'
        '<a href="c.html">4</a><img src="d.png"><a href="https://example.org/e">5</a>'
    )
    (tmp_path / "b.html").write_text('<p id="y"></p>')
    assert sorted(broken(tmp_path)) == [("a.html", "b.html#z"), ("a.html", "c.html"), ("a.html", "d.png")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name, package in (("mkdocs", "mkdocs"), ("mkdocstrings_handlers.python", "mkdocstrings[python]")):
        pytest.importorskip(name, reason=f'{package} is not installed: pip install -e ".[docs]"')
    pytest.importorskip("material", reason='mkdocs-material is not installed: pip install -e ".[docs]"')
    place = tmp_path_factory.mktemp("site")
    # Without --quiet: it would keep the warnings from being counted.
    words = [
        "build",
        "--strict",
        "--config-file",
        str(ROOT / "mkdocs.yml"),
        "--site-dir",
        str(place),
    ]
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, *words], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return place


def hooks():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "hooks" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_no_link_or_anchor_is_broken(site):
    assert list(broken(site)) == []


@pytest.mark.slow
def test_every_page_and_every_public_module_is_there_and_in_the_navigation(site):
    menu = Page((site / "index.html").read_text(encoding="utf-8")).links
    documents = (
        file.relative_to(ROOT / "docs").with_suffix(".html")
        for file in (ROOT / "docs").rglob("*.md")
        if file.name != "README.md"
    )
    assert [str(page) for page in documents if not (site / page).is_file()] == []
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in (ROOT / "covidcxr").rglob("*.py")
    }
    public = {name for name in modules if not any(part.startswith("_") for part in name.split("."))}
    assert len(public) > 100
    assert sorted(name for name in public if not (site / "api" / f"{name}.html").is_file()) == []
    overview = Page((site / "api" / "index.html").read_text(encoding="utf-8")).links
    assert public <= {link.removesuffix(".html") for link in overview}
    assert "api/index.html" in menu


@pytest.mark.slow
def test_the_reference_has_what_the_docstrings_say(site):
    text = (site / "api" / "covidcxr.models.files.html").read_text(encoding="utf-8")
    assert 'id="covidcxr.models.files.save_model"' in text
    assert "The optimiser" in text
    page = Page(text)
    assert any(link.endswith("covidcxr.models.keras2.html#covidcxr.models.keras2") for link in page.links)
    assert ":func:" not in text
    assert ":mod:" not in text


def test_roles_of_docstrings_become_links(tmp_path):
    griffe = pytest.importorskip("griffe", reason='griffe is not installed: pip install -e ".[docs]"')
    (tmp_path / "sample.py").write_text(
        '"""See :func:`read`, :class:`~sample.Box`, :meth:`Box.open`, :func:`_own` and :func:`other.thing`."""\n'
        'def read(path):\n    """Read.\n\n    Parameters\n    ----------\n    path : path-like\n    """\n'
        'def _own(): pass\nclass Box:\n    def open(self):\n        """As :func:`read`."""\n'
    )
    extensions = griffe.load_extensions(str(ROOT / "docs" / "hooks" / "roles.py"))
    found = griffe.load("sample", search_paths=[tmp_path], extensions=extensions, allow_inspection=False)
    assert found.docstring.value == (
        "See [`read`][sample.read], [`Box`][sample.Box], [`Box.open`][sample.Box.open], `_own` and `other.thing`."
    )
    assert found["Box.open"].docstring.value == "As [`read`][sample.read]."
    (parameters,) = (
        part for part in found["read"].docstring.parse("numpy") if part.kind.value == "parameters"
    )
    assert parameters.value[0].annotation == "path\N{NON-BREAKING HYPHEN}like"


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    assert {address for page in pages.values() for address in page.loaded if is_elsewhere(address)} == set()
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert "@import" not in styles
    assert "url(http" not in styles


def test_pages_that_the_navigation_does_not_name_are_added_to_it(tmp_path):
    pytest.importorskip("mkdocs", reason='mkdocs is not installed: pip install -e ".[docs]"')
    from types import SimpleNamespace

    (tmp_path / "inner").mkdir()
    for name in ("index.md", "a.md", "inner/b.md"):
        (tmp_path / name).write_text("# Page\n")
    config = SimpleNamespace(docs_dir=str(tmp_path), nav=[{"Home": "index.md"}, {"Part": [{"A": "a.md"}]}])
    first, second, more, reference = hooks().on_config(config).nav
    assert (first, second) == ({"Home": "index.md"}, {"Part": [{"A": "a.md"}]})
    assert more == {"More": ["inner/b.md"]}
    assert list(reference) == ["API reference"]
