"""Every made file of the results, from the CSV files: written, or held against what lies there."""

import itertools
from pathlib import Path

from covidcxr.atomic import make_folder, output_errors, write_text
from covidcxr.errors import DataError
from covidcxr.papers.reporting.reproduction import gallery, leaving, overview, pages, pictures, store
from covidcxr.papers.reporting.reproduction.sections import sections

TABLES = "tables"
README = "README.md"
_SHOWN = 100


def make(folder):
    """Make the text of every made file; write nothing.

    Parameters
    ----------
    folder : path-like
        Of the results, with the CSV files.

    Returns
    -------
    dict of pathlib.Path to str
        ``tables/KEY.md``, ``figures/MODEL.svg``, ``index.html``, and README.md two folders up where it has the
        markers of the table; without any run README.md alone.

    Raises
    ------
    DataError
        If the CSV files are missing or damaged.
    """
    folder = Path(folder)
    results = store.read(folder)
    parts = sections(results)
    missing = {
        key: leaving.missing(own[0].recipe, results.tables["runs"], results.tables[store.LEFT_OUT])
        for key, own in overview.by_paper(parts)
    }
    texts = {folder / TABLES / name: text for name, text in pages.pages(parts, missing).items()}
    texts |= _figures(folder / pages.FIGURES, parts, results)
    if parts:
        texts[folder / gallery.PAGE] = gallery.page(parts, results, missing)
    return texts | _in_readme(folder, parts, missing)


def write(folder):
    """Write every made file that differs, and remove tables of papers that have no run any more.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of pathlib.Path
        What was written or removed.
    """
    folder = Path(folder)
    texts = make(folder)
    for place in {path.parent for path in texts}:
        make_folder(place)
    changed = [path for path, text in texts.items() if not path.is_file() or _read(path) != text]
    for path in changed:
        write_text(path, texts[path])
    gone = [path for path in _strays(folder, texts) if path.is_file() and pages.MADE in _read(path)]
    with output_errors(folder):
        for path in gone:
            path.unlink()
    return [*changed, *gone]


def differences(folder):
    """List where the made files are not what the CSV files make; write nothing.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of str
        A line each: a file with its first line that differs, a missing file, a stray file among what is made, a
        CSV file that is not as the command writes it.
    """
    folder = Path(folder)
    texts = make(folder)
    found = [_difference(path, text) for path, text in texts.items()]
    found += [f"{path}: stray file; no run makes it" for path in _strays(folder, texts)]
    return [*filter(None, found), *_unsorted(folder)]


def _difference(path, text):
    if not path.is_file():
        return f"{path}: missing"
    there = _read(path)
    if there == text:
        return None
    pairs = itertools.zip_longest(there.split("\n"), text.split("\n"))
    number, (old, new) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    old, new = _around(old, new)
    return f"{path}:{number}: {old}, made from the CSV files: {new}"


def _around(old, new):
    """Cut two lines to what stands where they part."""
    if old is None or new is None:
        return tuple("no line" if line is None else f"'{line[:_SHOWN]}'" for line in (old, new))
    same = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    start = max(0, same - _SHOWN // 4)
    return tuple(f"'{line[start : start + _SHOWN]}'" for line in (old, new))


def _figures(place, parts, results):
    drawn = pictures.Pictures(results)
    return {
        place
        / f"{pictures.name(part, group)}.svg": f"<!-- {pages.MADE} -->\n{drawn.sheet(part, group).text}\n"
        for part in parts
        for group in part.groups
    }


def _in_readme(folder, parts, missing):
    # docs/results lies two folders below the README of the repository.
    root = folder.resolve().parent.parent
    readme = root / README
    if not readme.is_file():
        return {}
    tables = (folder.resolve() / TABLES).relative_to(root).as_posix()
    text = pages.replaced(_read(readme), pages.summary(parts, missing, tables))
    return {} if text is None else {readme: text}


def _strays(folder, texts):
    places = [path for name in (TABLES, pages.FIGURES) for path in (folder / name).rglob("*")]
    return sorted(path for path in [*places, folder / gallery.PAGE] if path not in texts and path.exists())


def _unsorted(folder):
    results = store.read(folder)
    rows = {name: table.to_dict("records") for name, table in results.tables.items()}
    ordered = store.of_rows(rows)
    for name, table in results.tables.items():
        if not table.equals(ordered.tables[name]):
            yield f"{folder / name}.csv: rows not in the command's order; collect a run again"


def _read(path):
    try:
        # No translation of line ends: a file with others differs.
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path}: not readable ({reason}); restore it, or take it away") from error
