"""A paper's printed numbers as data, and what each may stand for once rounding is allowed for."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources

from covidcxr.errors import OptionError

KEYS = ("khalifa2020", "rahimzadeh2020", "ragab2022", "nemati2022", "yin2020")
COLUMNS = (
    "id",
    "table",
    "section",
    "row",
    "column",
    "subset",
    "model",
    "label",
    "measure",
    "printed",
    "value",
    "decimals",
    "unit",
    "n",
)
# Float noise of sums and quotients; no printed number has more than five decimals.
EPSILON = 1e-12


@dataclass(frozen=True)
class Printed:
    """A number as a paper prints it.

    Attributes
    ----------
    id : str
        Dotted: table or section, then row and column.
    printed : str
        The characters of the paper.
    value : float
        In `unit`.
    decimals : int
        The decimal place it is held to: the printed one, or its column's where a whole number such as 1 or 100 %
        stands among decimals.
    unit : str
        ``percent``, ``fraction``, ``count``, ``millions``, ``nats``...
    n : int or None
        Number of images (or images of the class) that the figure is a share of, where the paper states it.
    table, section, row, column, subset, model, label, measure : str
        Where it stands and what it is of; "" where that does not apply.
    """

    id: str
    printed: str
    value: float
    decimals: int
    unit: str = ""
    n: int | None = None
    table: str = "text"
    section: str = ""
    row: str = ""
    column: str = ""
    subset: str = ""
    model: str = ""
    label: str = ""
    measure: str = ""

    @property
    def scale(self):
        """Return how many of its unit make one: 100 for percent."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def half(self):
        """Return half a unit of the last printed place, in the printed unit."""
        return 0.5 * 10.0**-self.decimals

    @property
    def place(self):
        """Return where the number stands, for a reader."""
        if self.table == "text":
            return (
                f"{self.section if self.section[:1].isalpha() else f'section {self.section}'}, {self.measure}"
            )
        return ", ".join(part for part in (self.table, self.row, self.column) if part)

    def readings(self):
        """Return the intervals that the number may stand for, by the habit that would print it so.

        Returns
        -------
        dict of str to (float, float)
            ``rounded``, ``truncated`` and, where it ends in zeros, ``padded``; divided by :attr:`scale`. A count
            stands for itself.
        """
        if self.unit == "count":
            return dict.fromkeys(("rounded", "truncated"), (self.value, self.value))
        half, scale = self.half, self.scale
        found = {
            "rounded": ((self.value - half) / scale, (self.value + half) / scale),
            "truncated": (self.value / scale, (self.value + 2 * half) / scale - 2 * EPSILON),
        }
        padding = _padding(self.printed)
        if padding:
            wide = half * 10**padding
            found["padded"] = ((self.value - wide) / scale, (self.value + wide) / scale)
        return found

    def bounds(self, loose=False):
        """Return the interval of the rounded reading, or the hull of all :meth:`readings`."""
        readings = self.readings()
        if not loose:
            return readings["rounded"]
        return min(low for low, _ in readings.values()), max(high for _, high in readings.values())


class Numbers(Mapping):
    """A paper's numbers by id, in the paper's order."""

    def __init__(self, numbers):
        self._numbers = {number.id: number for number in numbers}

    def __getitem__(self, key):
        return self._numbers[key]

    def __iter__(self):
        return iter(self._numbers)

    def __len__(self):
        return len(self._numbers)

    def like(self, pattern):
        """Return the numbers whose id matches a pattern with ``*``, in the paper's order."""
        return [number for key, number in self._numbers.items() if fnmatchcase(key, pattern)]


def load(key):
    """Read a paper's numbers.

    Parameters
    ----------
    key : str
        One of :data:`KEYS`.

    Returns
    -------
    Numbers

    Raises
    ------
    OptionError
        If there is no such paper.
    """
    if key not in KEYS:
        raise OptionError(f"no claims of a paper {key!r}; there are {', '.join(KEYS)}")
    text = resources.files(__package__).joinpath(f"{key}.csv").read_text(encoding="utf-8")
    return Numbers(_number(row) for row in csv.DictReader(text.splitlines()))


def _number(row):
    n = row.pop("n")
    numbers = {"value": float(row.pop("value")), "decimals": int(row.pop("decimals"))}
    return Printed(**numbers, n=int(n) if n else None, **row)


def _padding(text):
    """Return how many zeros end the decimals of a printed number, one decimal at least left standing."""
    decimals = text.strip(" %").partition(".")[2]
    return min(len(decimals) - len(decimals.rstrip("0")), max(len(decimals) - 1, 0))
