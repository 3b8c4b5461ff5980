"""Text in a CSV that a spreadsheet would run as a formula: marked where we write it, and plain again where we read it.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, whether it is quoted or not, and
some pass over a tab or line end before it (https://owasp.org/www-community/attacks/CSV_Injection). A file or patient
may be called so. Such text is written with an apostrophe before it, which spreadsheets take as "text follows"; so is
text that has apostrophes there already. Reading takes one apostrophe off, so every text comes back as it was. What is a
number to a spreadsheet too, such as ``-1``, stays.
"""

import csv
import re

# The last four: what some East Asian spreadsheets read as the first four.
_STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(f"'*[{_STARTS}]")
_MARKED = re.compile(f"'+[{_STARTS}]")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def escaped(text):
    """Return a cell's text as it is written.

    Examples
    --------
    >>> escaped("=cmd.png"), escaped("-1.png"), escaped("-1"), escaped("'=x"), escaped("it's")
    ("'=cmd.png", "'-1.png", '-1', "''=x", "it's")
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain(text):
    """Return the text of a cell that was written by :func:`escaped`.

    Examples
    --------
    >>> plain("'=cmd.png"), plain("-1"), plain("''=x"), plain("'quoted'")
    ('=cmd.png', '-1', "'=x", "'quoted'")
    """
    return text[1:] if _MARKED.match(text) else text


def to_csv(table, target=None, **options):
    """Write a `pandas.DataFrame` without its index, its text and column names :func:`escaped`; numbers stay numbers.

    Parameters
    ----------
    table : pandas.DataFrame
    target : path-like, optional
    **options
        Of `pandas.DataFrame.to_csv`.

    Returns
    -------
    str or None
        The CSV, where no target is given.
    """
    marked = _changed(table, escaped)
    # Unquoted, it ends a line for whoever reads the file.
    quoting = csv.QUOTE_ALL if _any_text(marked, "\r") else csv.QUOTE_MINIMAL
    return marked.to_csv(target, index=False, lineterminator="\n", quoting=quoting, **options)


def plain_table(table):
    """Return a `pandas.DataFrame` that was read from what :func:`to_csv` wrote as it stood before."""
    return _changed(table, plain)


def _changed(table, change):
    result = table.copy(deep=False)
    for place in _text_columns(table):
        column = table.iloc[:, place].map(lambda value: change(value) if isinstance(value, str) else value)
        result.isetitem(place, column)
    return result.set_axis([_change_name(name, change) for name in table.columns], axis="columns")


def _change_name(name, change):
    return change(name) if isinstance(name, str) else name


def _any_text(table, part):
    columns = [table.iloc[:, place] for place in _text_columns(table)]
    return any(
        isinstance(value, str) and part in value for values in (table.columns, *columns) for value in values
    )


def _text_columns(table):
    """List the places of the columns that may hold text."""
    from pandas.api import types

    kinds = enumerate(table.dtypes)
    return [
        place
        for place, kind in kinds
        if not (types.is_numeric_dtype(kind) or types.is_datetime64_any_dtype(kind))
    ]
