"""What a benchmark found, as it is saved: every timed second, so that nothing rests on a ratio alone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from covidcxr import atomic
from covidcxr.bench.measuring import Fact, Race
from covidcxr.errors import DataError

FILE = "benchmarks.json"
# To be raised when what is written can no longer be read by the version before.
FORMAT = 1
MEASURED, REFUSED, FAILED = "measured", "refused", "failed"

_TYPES = {"race": Race, "fact": Fact}


@dataclass(frozen=True)
class PartResult:
    """One part of the benchmark.

    Attributes
    ----------
    name : str
        Of the module in :mod:`covidcxr.bench.parts`.
    title : str
    state : str
        ``"measured"``; ``"refused"`` where something the user can mend was missing; ``"failed"`` where it broke.
    items : tuple of Race and Fact
        All of them where it was measured, else those that it gave before.
    problem : str
        One line; why it was not measured to its end.
    seconds : float
        Wall-clock time of the whole part.
    again : str
        Of a part that was put into the report of another time: when it was measured, and at which load.
    """

    name: str
    title: str
    state: str
    items: tuple = ()
    problem: str = ""
    seconds: float = 0.0
    again: str = ""

    @property
    def extent(self):
        """How much of it was measured, in words."""
        return "measured" if self.state == MEASURED else "measured in part" if self.items else "not measured"


@dataclass(frozen=True)
class Report:
    """One run of the benchmark.

    Attributes
    ----------
    about : dict
        `date` (UTC, ISO 8601), `command`, `quick`, `images` (``"real"`` or ``"phantoms"``), `weights`, `seed`,
        `hardware`, `versions`, `load` (`start`, `end`: processes that wanted a core, over the minute before) and
        `warnings`.
    parts : tuple of PartResult
    """

    about: dict
    parts: tuple = ()

    def missed(self):
        """Return (part, Race or Fact) of every goal that was not reached."""
        return [(part, item) for part in self.parts for item in part.items if item.met is False]


def item_to_dict(item):
    """Return a Race or Fact as JSON holds it."""
    kind = "race" if isinstance(item, Race) else "fact"
    return {"type": kind, **asdict(item)}


def item_from_dict(value):
    """Return the Race or Fact that :func:`item_to_dict` wrote."""
    fields = {key: tuple(each) if isinstance(each, list) else each for key, each in value.items()}
    return _TYPES[fields.pop("type")](**fields)


def to_dict(report):
    """Return a report as JSON holds it; medians and ratios stand beside the seconds for other readers."""
    parts = [
        {**asdict(part), "items": [{**item_to_dict(item), **_derived(item)} for item in part.items]}
        for part in report.parts
    ]
    return {"format": FORMAT, **report.about, "parts": parts}


def save(report, path):
    """Write a report, whole or not at all.

    Parameters
    ----------
    report : Report
    path : path-like

    Raises
    ------
    OutputError
    """
    atomic.write_json(path, to_dict(report))


def load(path):
    """Read a saved report.

    Parameters
    ----------
    path : path-like
        A `benchmarks.json`, or the folder that holds one.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        If it is not there or is no saved benchmark of a known format.
    """
    path = place(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise DataError(f"{path}: of format {value['format']}, known is {FORMAT}; measure again")
        return _from_dict(value)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no saved benchmark ({type(error).__name__}: {error}); measure again"
        ) from error


def place(path):
    """Return the file that `path` means: itself where it ends in .json, else `benchmarks.json` in that folder."""
    path = Path(path)
    return path if path.suffix == ".json" and not path.is_dir() else path / FILE


def _from_dict(value):
    parts = []
    for part in value["parts"]:
        items = tuple(item_from_dict(_without_derived(item)) for item in part["items"])
        parts.append(PartResult(**{**part, "items": items}))
    about = {key: each for key, each in value.items() if key not in ("format", "parts")}
    return Report(about, tuple(parts))


def _derived(item):
    if isinstance(item, Race):
        ours, peer = item.rates
        return {"ratio": item.ratio, "ratios": item.ratios, "rates": [ours, peer], "met": item.met}
    return {"value": item.value, "met": item.met}


def _without_derived(item):
    return {
        key: each for key, each in item.items() if key not in ("ratio", "ratios", "rates", "value", "met")
    }
