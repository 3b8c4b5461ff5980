"""Pseudonyms for what is given away: in their place no name of a patient, file, folder or source, and no date.

Images become ``image-000001``, patients ``patient-0001``, in an order that nobody can draw again, and no key is kept.
Who is whom among themselves stays: an image or patient has one pseudonym throughout an export, so that whatever is
counted, split or resampled by patient gives the same numbers.
"""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from covidcxr.data import labels
from covidcxr.data.splits import UNKNOWN

OLDEST = 90
"""Ages above 89 are one group, as 45 CFR 164.514(b)(2)(i)(C) wants it."""
OTHER = "other"
HIDDEN, PLACE, FILE, DATE, NUMBER = "[left out]", "[folder]", "[file]", "[date]", "[number]"

_OTHER_LABEL = "another label"
_VIEWS = {"pa", "ap", "ap supine", "ap erect", "ap semi erect", "l", "lateral", "ll", "rl", "frontal"}
_SEXES = {"m", "f", "male", "female"}
# Sources that this package makes, and names of folders that name nobody.
_PLAIN = {
    "phantom",
    "generated",
    "rahimzadeh2020-splits",
    "data",
    "dataset",
    "images",
    "radiographs",
    "train",
    "test",
}
_IMAGE_COLUMNS = ("path", "a", "b")
_PATIENT_COLUMNS = ("patient", "patient_id", "patient_id_a", "patient_id_b", "group")
_SOURCE_COLUMNS = ("source", "source_a", "source_b", "sources")
_LABEL_COLUMNS = ("label", "labels", "label_a", "label_b", "class_a", "class_b")
_DROPPED = ("offset", "date", "finding", "license", "notes", "sha256", "pixels")
_FACTS = ("paper", "protocol", "unit", "split", "absent_classes")
_DAY, _MONTH, _YEAR = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])", r"(?:19|20)\d\d"
_PATTERNS = (
    (re.compile(rf"(?<!\d)(?:{_YEAR}([-./]?){_MONTH}\1{_DAY}|\d?\d[-./]\d?\d[-./]{_YEAR})(?!\d)"), DATE),
    # A DICOM UID; version numbers have fewer parts.
    (re.compile(r"(?<![\w.])\d+(?:\.\d+){5,}"), NUMBER),
    # TensorFlow's names of devices look like paths.
    (re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?[\\/](?!job:|device:|physical_device:)[^\s'\",;()]+"), PLACE),
)


class Pseudonyms:
    """The pseudonyms of one export.

    Parameters
    ----------
    images : iterable of (str, str)
        Where the image belongs (two data sets may have files of the same name) and its path there.
    patients, sources : iterable of str
        Public data sets keep their names.
    hidden : iterable of str
        Folders, and words of others, that no text may name.
    shown : iterable of str
        Class names: they stay, whatever else is called so.
    seed : int, optional
        Of the order; without one it is drawn from the system's entropy, so that a list of the names does not
        give the numbers away.
    """

    def __init__(self, images=(), patients=(), sources=(), hidden=(), shown=(), seed=None):
        generator = np.random.default_rng(seed)
        known = _known_sources()
        self._images = _numbered("image", 6, images, generator)
        self._patients = _numbered("patient", 4, {name for name in patients if name}, generator)
        own = {name for name in sources if name not in known}
        self._sources = {name: name for name in known} | _numbered("source", 1, own, generator)
        self._hidden = {text: HIDDEN for text in hidden if text not in known}
        self._shown = {*labels.LABELS, *shown, "", "."}
        self._names = {}

    def image(self, path, place=""):
        """Return an image's pseudonym."""
        return self._images.get((place, str(path)), FILE) if path else ""

    def patient(self, name, place=""):
        """Return a patient's pseudonym; ``""``, which is unknown, stays; so do groups of one image."""
        if str(name).startswith(UNKNOWN):
            return UNKNOWN + self.image(str(name).removeprefix(UNKNOWN), place)
        return self._patients.get(name, OTHER) if name else ""

    def source(self, name):
        """Return a public source's name, a number for any other."""
        return self._sources.get(name, OTHER)

    def label(self, name):
        """Return a class's name; what else a source said is left out."""
        if name in self._shown:
            return name
        return OTHER if name.startswith(f"{OTHER}:") else _OTHER_LABEL

    def text(self, text, place=""):
        """Return a sentence with pseudonyms in place of names, and without dates and folders.

        Parameters
        ----------
        text : str
            Written by this package about the images: free text of others may name who is not known here.
        place : str
            Which images it speaks of.
        """
        names = self._names_at(place)
        if text in names:
            return names[text]
        found = [name for name in names if name in text]
        if found:
            pattern = "|".join(map(re.escape, found))
            text = re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", lambda match: names[match[0]], text)
        return without_places(text)

    def table(self, table, place=""):
        """Return a table of images, or about them, with pseudonyms.

        Columns are known by their names: paths, patients, sources, labels, `view`, `sex`, `age` (whole years,
        `OLDEST` for all above) and `reason`; offsets, dates, hashes and sources' own words are left out. Any other
        text goes through :meth:`text`; numbers stay.

        Parameters
        ----------
        table : pandas.DataFrame
            As text or typed.
        place : str

        Returns
        -------
        pandas.DataFrame
            The rows in their order: see :func:`shuffled`.
        """
        kept = [name for name in table.columns if name not in _DROPPED]
        return pd.DataFrame({name: self._column(table[name], str(name), place) for name in kept})

    def subgroups(self, table):
        """Return a table of :func:`covidcxr.evaluation.subgroups.subgroups` with pseudonyms of sources."""
        readings = {"source": self.source, "view": view, "sex": sex}
        groups = [
            readings.get(by, str)(str(group)) for by, group in zip(table["by"], table["group"], strict=True)
        ]
        return table.assign(group=pd.Series(groups, index=table.index, dtype=object))

    def predictions(self, predictions, place=""):
        """Return :class:`covidcxr.evaluation.predictions.Predictions` with pseudonyms, rows in their order."""
        return replace(predictions, table=self.table(predictions.table, place))

    def facts(self, facts):
        """Return what evaluation.json may tell: what was scored, not where it lay."""
        kept = {name: _walked(facts[name], without_places) for name in _FACTS if name in facts}
        mapping = facts.get("mapping") or {}
        return {
            **kept,
            "mapping": {self.label(name): self.label(counted) for name, counted in mapping.items()},
            "dropped": sorted({self.label(name) for name in facts.get("dropped") or ()}),
        }

    def _column(self, values, name, place):
        if name == "age" and pd.api.types.is_numeric_dtype(values):
            return np.floor(values).clip(upper=OLDEST)
        readings = {
            **dict.fromkeys(_IMAGE_COLUMNS, lambda text: self.image(text, place)),
            **dict.fromkeys(_PATIENT_COLUMNS, lambda text: self.patient(text, place)),
            **dict.fromkeys(_SOURCE_COLUMNS, _each(self.source)),
            **dict.fromkeys(_LABEL_COLUMNS, _each(self.label)),
            "view": view,
            "sex": sex,
            "reason": lambda text: self.text(_reason(text), place),
        }
        reading = readings.get(name, lambda text: self.text(text, place))
        if name in readings:
            values = values.map(_as_text)
        known = {item: reading(item) for item in set(values) if isinstance(item, str)}
        return values.map(lambda item: known.get(item, item)).astype(object) if known else values

    def _names_at(self, place):
        """Return what texts about these images may name, the longest first, with its pseudonym."""
        if place not in self._names:
            images = {path: name for (where, path), name in self._images.items() if where == place}
            files = Counter(path.rpartition("/")[2] for path in images)
            names = {
                **{
                    path.rpartition("/")[2]: name if files[path.rpartition("/")[2]] == 1 else FILE
                    for path, name in images.items()
                },
                **images,
                **{name: number for name, number in self._sources.items() if name != number},
                **self._patients,
                **self._hidden,
            }
            order = sorted(set(names) - self._shown, key=lambda name: (-len(name), name))
            self._names[place] = {name: names[name] for name in order}
        return self._names[place]


def shuffled(table):
    """Return the rows in the order of the images' pseudonyms: the files' own order would tell which is which."""
    return table.sort_values("path", kind="stable").reset_index(drop=True)


def without_places(text):
    """Return a text with dates, absolute paths and DICOM's unique identifiers taken out."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def settings(value):
    """Return settings that this package wrote, as JSON holds them, without dates and absolute paths."""
    return _walked(value, without_places)


def _known_sources():
    from covidcxr.data.sources import SOURCES

    return {*(name for name, source in SOURCES.items() if source.homepage), *_PLAIN, ""}


def _numbered(word, digits, things, generator):
    ordered = sorted(set(things))
    numbers = generator.permutation(len(ordered)) + 1
    return {
        thing: f"{word}-{number:0{digits}d}" for thing, number in zip(ordered, numbers.tolist(), strict=True)
    }


def _walked(value, change):
    if isinstance(value, dict):
        return {_walked(key, change): _walked(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def view(text):
    """Return a view in DICOM's or the public sets' words, or that it is another."""
    return text if text.lower() in {*_VIEWS, "", "unknown"} else OTHER


def sex(text):
    """Return a sex, or that what stands there is something else."""
    return text if text.lower() in {*_SEXES, "", "unknown"} else OTHER


def _reason(text):
    """Return why an image was left out, without what follows of the source's own words or of its file."""
    head = text.split(":", 1)[0]
    named = head.startswith("not in ") and not head.startswith("not in the split ")
    return "not in the split file" if named else head


def _as_text(item):
    """Return a cell as the text that it was before a reader took it for a number, if it did."""
    if isinstance(item, str):
        return item
    if pd.isna(item):
        return ""
    return str(int(item)) if float(item).is_integer() else str(item)


def _each(reading):
    """Read each part of a cell that names several."""
    return lambda text: " | ".join(reading(part) for part in text.split(" | "))
