"""The page of benchmarks is what the command makes of the saved run beside it."""

import importlib.util

from covidcxr.bench import page, results

_spec = importlib.util.spec_from_file_location("markdown_pages", f"{__file__.rpartition('/')[0]}/markdown.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)

SAVED, PAGE = pages.DOCS / results.FILE, pages.DOCS / "benchmarks.md"


def test_the_page_is_made_from_the_saved_run():
    report = results.load(SAVED)
    assert PAGE.read_text(encoding="utf-8") == page.render(report, f"images/{page.FIGURE}")
    assert (pages.DOCS / "images" / page.FIGURE).is_file()


def test_the_saved_run_is_a_whole_one_on_real_images():
    about = results.load(SAVED).about
    assert (about["command"], about["images"]) == ("covidcxr bench --data DIR --weights DIR", "real")
