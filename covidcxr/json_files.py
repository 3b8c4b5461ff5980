"""JSON files that somebody else may have written: one kind of error for whatever is wrong with them."""

import json
from pathlib import Path

# A network inside a network takes ten levels; Python's own functions give up at about a thousand.
DEEPEST = 100


def read(path):
    """Read a JSON file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    object
        As `json.loads` gives it.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no JSON in UTF-8, or nested more than `DEEPEST` levels deep.
    """
    return parse(Path(path).read_text(encoding="utf-8"))


def parse(text):
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        As :func:`read`.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(value)
    return value


def _check_depth(value):
    level = [value]
    for _ in range(DEEPEST):
        level = [item for node in level for item in _inside(node)]
        if not level:
            return
    raise _too_deep()


def _inside(node):
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _too_deep():
    return ValueError(f"nested more than {DEEPEST} levels deep")
