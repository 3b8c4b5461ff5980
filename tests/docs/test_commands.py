"""Every command and option that a document names is one that the program takes."""

import argparse
import importlib.util
import re
import shlex

import pytest

from covidcxr.cli import build_parser

_spec = importlib.util.spec_from_file_location("markdown_pages", f"{__file__.rpartition('/')[0]}/markdown.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)

PROGRAMS = {"covidcxr": [], "covidcxr-train": ["train"]}
# Options of other programs that the documents name.
OTHERS = {"--kill-on-bad-exit", "--raw", "--strict", "--check"}
_OPTION = re.compile(r"--[a-z][a-z-]*")
_COMMAND = re.compile(r"(?:^ *|&& |; |/bin/)(covidcxr(?:-train)?) ([^'\n]+)", re.M)


def commands(page):
    """Return the command lines in a page's blocks, fenced or indented, in the words of `covidcxr`."""
    indented = re.findall(r"^ {4}.*$", pages.prose(page), re.M)
    text = "\n".join([*pages.fences(page, "bash"), *pages.fences(page, ""), *indented])
    for program, rest in _COMMAND.findall(re.sub(r"(^| )#.*", "", text, flags=re.M)):
        words = [word.strip("[]") for word in shlex.split(rest) if word != "$GO_ON"]
        yield PROGRAMS[program] + words


def parser_of(words, parser=None):
    """Return the parser that a line's words lead to, and what is left of them."""
    parser = parser or build_parser()
    choices = next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})
    if words and words[0] in choices:
        return parser_of(words[1:], choices[words[0]])
    return parser, words


def all_options(parser):
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from all_options(inner)


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_command_lines_are_accepted(page):
    for words in commands(page):
        try:
            args = build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{pages.name(page)}: not accepted: {' '.join(words)}")
        assert callable(args.run)


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_options_of_command_lines_are_spelled_out(page):
    unknown = []
    for words in commands(page):
        parser, left = parser_of(words)
        known = set(all_options(parser))
        unknown += [
            (words, word) for word in left if word.startswith("--") and word.partition("=")[0] not in known
        ]
    assert unknown == []


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_options_named_in_the_text_exist(page):
    known = {*all_options(build_parser()), *OTHERS}
    for span in re.findall(r"`([^`\n]+)`", pages.prose(page)):
        words = span.split()
        program = words[0].rpartition("/")[2]
        if program in PROGRAMS:
            parser, left = parser_of([*PROGRAMS[program], *words[1:]])
            named = {word for word in left if _OPTION.fullmatch(word)} - set(all_options(parser))
        else:
            named = set(_OPTION.findall(span) if span.startswith("--") else []) - known
        assert not named, f"{pages.name(page)}: `{span}`"


def test_the_documents_hold_many_commands():
    assert sum(1 for page in pages.PAGES for _ in commands(page)) > 40


def test_what_no_command_takes_would_be_seen(tmp_path):
    page = tmp_path / "a.md"
    page.write_text(
        "```bash\ncovidcxr-train yin2020 --colour red   # no\n```\n\n    covidcxr papers show yin2020\n"
    )
    first, second = commands(page)
    assert first == ["train", "yin2020", "--colour", "red"]
    assert second == ["papers", "show", "yin2020"]
    with pytest.raises(SystemExit):
        build_parser().parse_args(first)
