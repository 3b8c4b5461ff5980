"""Pages that nobody types: one a public module of the package, made when the site is built."""

import ast
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "covidcxr"
TITLE = "API reference"
FOLDER = "api"
MORE = "More"


def public_modules(root=ROOT):
    """Return the dotted names of the package's public modules, in alphabetical order.

    Parameters
    ----------
    root : pathlib.Path
        Folder that holds the package.

    Returns
    -------
    list of str
    """
    files = (root / PACKAGE).rglob("*.py")
    names = [file.relative_to(root).with_suffix("").parts for file in files]
    names = [parts[:-1] if parts[-1] == "__init__" else parts for parts in names]
    return sorted(".".join(parts) for parts in names if not any(part.startswith("_") for part in parts))


def page_of(module):
    """Return the path of a module's page, relative to the folder of the documents."""
    return f"{FOLDER}/{module}.md"


def summary(module, root=ROOT):
    """Return the first line of a module's docstring; "" if it has none."""
    place = root.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.splitlines()[0]) if text else ""


def on_config(config):
    """Put pages that the navigation does not name under "More", and the reference at its end."""
    named = set(_names(config.nav))
    folder = Path(config.docs_dir)
    # A README speaks to who looks at the folder; on the site a page of that folder stands in its place.
    files = (file for file in folder.rglob("*.md") if file.name != "README.md")
    pages = sorted(file.relative_to(folder).as_posix() for file in files)
    left = [page for page in pages if page not in named]
    modules = public_modules()
    config.nav = [*config.nav, *([{MORE: left}] if left else []), {TITLE: _tree(PACKAGE, modules)}]
    return config


def on_files(files, config):
    """Add the pages of the reference."""
    modules = public_modules()
    files.append(File.generated(config, f"{FOLDER}/index.md", content=_overview(modules)))
    for module in modules:
        content = f"---\ntitle: {module}\n---\n\n::: {module}\n"
        files.append(File.generated(config, page_of(module), content=content))
    return files


def _names(nav):
    for item in nav:
        if isinstance(item, str):
            yield item
        else:
            for value in item.values():
                yield from [value] if isinstance(value, str) else _names(value)


def _tree(parent, modules):
    """Return the navigation of a package: its own page, then its parts, packages as sections."""
    own = f"{FOLDER}/index.md" if parent == PACKAGE else page_of(parent)
    first = [own, {PACKAGE: page_of(PACKAGE)}] if parent == PACKAGE else [own]
    parts = [name for name in modules if name.rpartition(".")[0] == parent]
    inner = {name: any(other.startswith(f"{name}.") for other in modules) for name in parts}
    return first + [
        {name.rpartition(".")[2]: _tree(name, modules) if inner[name] else page_of(name)} for name in parts
    ]


def _overview(modules):
    """List every module with the first line of its docstring, package by package."""
    lines = [
        f"# {TITLE}",
        "",
        "Every public module, made from its docstrings. Shapes, dtypes, units and errors stand there.",
    ]
    for module in modules:
        if module.count(".") == 1 and f"{module}." in " ".join(modules):
            lines += ["", f"## {module}", ""]
        lines.append(f"- [`{module}`]({module}.md): {summary(module)}")
    return "\n".join([*lines[:3], "", *lines[3:], ""])
