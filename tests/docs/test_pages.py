"""What the documents say of each other and of the program holds."""

import ast
import importlib.util
import pkgutil
import re

import pytest

from covidcxr import papers
from covidcxr.cli import main

_spec = importlib.util.spec_from_file_location("markdown_pages", f"{__file__.rpartition('/')[0]}/markdown.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def broken(page):
    for target in _LINK.findall(pages.prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in pages.anchors(place):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


def test_a_broken_link_would_be_seen(tmp_path):
    (tmp_path / "b.md").write_text("# One heading\n")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md#one-heading) [y](b.md#other) [z](c.md) [w](https://example.org)\n")
    assert list(broken(page)) == ["b.md#other: no such heading", "c.md: no such file"]


def test_the_table_of_protocols_is_what_the_recipes_make_now(capsys):
    assert main(["papers", "protocols"]) == 0
    text = (pages.DOCS / "protocols.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- protocols -->\n(.*?)<!-- end -->", text, re.S)
    assert table == capsys.readouterr().out


def test_the_table_of_protocols_has_both_of_every_paper(capsys):
    main(["papers", "protocols"])
    rows = [line.split(" | ")[:2] for line in capsys.readouterr().out.splitlines()[2:]]
    wanted = [
        [f"| [{key}](papers/{key}.md)", protocol]
        for key in papers.keys()  # noqa: SIM118 (a function of ours)
        for protocol in ("published", "sound")
    ]
    assert rows == wanted


def test_messages_that_the_questions_quote_are_the_codes():
    quoted = re.findall(r"^> (.*)$", (pages.DOCS / "faq.md").read_text(encoding="utf-8"), re.M)
    assert len(quoted) >= 8
    code = "".join(file.read_text(encoding="utf-8") for file in (pages.ROOT / "covidcxr").rglob("*.py"))
    parts = [part.strip() for message in quoted for part in message.split("...")]
    assert [part for part in parts if part not in code] == []


def test_the_page_of_the_run_folder_names_what_a_run_may_write():
    from covidcxr.papers.running import folder

    text = (pages.DOCS / "run-folder.md").read_text(encoding="utf-8")
    assert [name for name in folder._OURS if f"`{name}" not in text] == []


def imported(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("covidcxr"):
            yield from (f"{node.module}:{alias.name}" for alias in node.names)


def missing(name):
    """Tell whether a dotted name, a colon before its attribute or not, is none of the package."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        # A module that nothing has imported yet is no attribute of its package.
        return not _is_module(name.replace(":", "."))
    return False


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_names_of_the_package_are_its_own(page):
    spans = re.findall(r"`(covidcxr(?:\.\w+)+)[(`]", pages.prose(page))
    names = {*spans, *(name for code in pages.fences(page, "python") for name in imported(code))}
    assert sorted(name for name in names if missing(name)) == []


def test_a_name_that_is_gone_would_be_seen():
    assert missing("covidcxr.models.files.no_such_function")
    assert missing("covidcxr.models:no_such_module")
    assert not missing("covidcxr.models.files:save_model")
