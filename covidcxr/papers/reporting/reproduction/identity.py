"""What makes a run the same run: its name, its setting in words, its command without a machine's paths."""

import hashlib
import json
import os
import shlex

from covidcxr.papers.plan import RunOptions
from covidcxr.papers.running.folder import GENERATED

_PLACES = {"--data": "DATA", "--weights": "WEIGHTS", "--out": "OUT", "--split": "SPLIT", "--cache": "CACHE"}
# Words that stand where a path could, and are none.
_WORDS = {"phantom", "imagenet", "none", "given", "auto", "memory", "off"}
_DROPPED = ("--overwrite", "--resume")
CHOICES = (
    "preset",
    "epochs",
    "batch_size",
    "dropout",
    "fine_tune",
    "partial_weights",
    "precision",
    "engine",
    "draws",
)
"""Options that change what is measured; where a run trains and where it lies do not."""
FROM_PYTHON = "(from Python)"
_DIGITS = 8
_DIGEST = 12


def run_id(paper, unit, protocol, seed, setting):
    """Name a run by what it is, so that the same run, trained anew, takes its own place.

    Parameters
    ----------
    paper : str
    unit : covidcxr.papers.units.Unit
    protocol : str
    seed : int
    setting : str
        As of :func:`setting_of`.

    Returns
    -------
    str
        Such as ``"ragab2022-B10-hub-sound-seed0-1f00dcab"``.
    """
    name = f"{paper}-{unit.name}-{protocol}-seed{seed}"
    return f"{name}-{digest([name, setting])}"


def setting_of(recipe, unit, options, split):
    """Say which images and options a run had, beyond the paper's model, protocol and seed.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    unit : covidcxr.papers.units.Unit
    options : dict
        Of config.json.
    split : pandas.DataFrame
        split.csv.

    Returns
    -------
    str
        Such as ``"covid19: covid-chestxray-dataset; normal: kermany; --epochs 3"``.
    """
    case = recipe.cases.get(unit.case)
    wanted = {**(recipe.data_sets[case.data_set].sources if case else {}), **(options.get("sources") or {})}
    parts = []
    for label, found in split[split["source"] != GENERATED].groupby("label", sort=True)["source"]:
        names = sorted(set(found))
        # A set that gave a draw no image by chance is not another setting.
        parts.append(f"{label}: {wanted[label] if wanted.get(label) in names else ', '.join(names)}")
    return "; ".join([*parts, *_changed(case, options)])


def command_of(text):
    """Return a command with DATA, WEIGHTS, OUT... in place of a machine's paths, and no path left.

    Parameters
    ----------
    text : str
        As of :func:`covidcxr.environment.command_line`.

    Returns
    -------
    str
        :data:`FROM_PYTHON` where it was none of this program's.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    if not words or "train" not in f"{os.path.basename(words[0])} {''.join(words[1:2])}":
        return FROM_PYTHON
    kept, place = [os.path.basename(word) for word in words[:1]], None
    for word in words[1:]:
        name, mark, value = word.partition("=")
        if place:
            kept.append(word if word in _WORDS else place)
            place = None
        elif name in _PLACES:
            place = None if mark else _PLACES[name]
            kept.append(word if not mark or value in _WORDS else f"{name}={_PLACES[name]}")
        elif word not in _DROPPED:
            kept.append(_without_path(word))
    return " ".join(kept)


def environment_of(environment):
    """Return what a run was made with.

    Parameters
    ----------
    environment : dict
        Of config.json.

    Returns
    -------
    digest, versions, devices : str
        Hexadecimal digits of all that is known but the operating system's build, which names a machine; versions
        by name; devices with the number of processor cores.
    """
    known = {name: value for name, value in environment.items() if name != "platform"}
    packages = {"python": environment.get("python", ""), **(environment.get("packages") or {})}
    versions = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()) if version)
    devices = sorted(map(str, environment.get("devices") or ()))
    counted = [f"{devices.count(name)} {name}" for name in dict.fromkeys(devices)]
    cores = environment.get("cores")
    return (
        digest(known, _DIGEST),
        versions,
        ", ".join([*counted, *([f"{cores} cores"] if cores else [])]),
    )


def _changed(case, options):
    default = RunOptions()
    schedule = options.get("schedule")
    words = [f"--schedule {schedule}"] if case and schedule not in (None, next(iter(case.stages))) else []
    words += ["--weights none"] if options.get("weights") == "none" and not options.get("preset") else []
    if options.get("split"):
        words.append(f"--split {'given' if options['split'] == 'given' else 'SPLIT'}")
    for name in CHOICES:
        value = options.get(name, getattr(default, name))
        if value != getattr(default, name):
            option = f"--{name.replace('_', '-')}"
            words.append(option if value is True else f"{option} {value}")
    return words


def _without_path(word):
    name, mark, value = word.partition("=")
    shown = value if mark else name
    if os.sep not in shown and "\\" not in shown:
        return word
    short = shown.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return f"{name}={short}" if mark else short


def digest(value, digits=_DIGITS):
    """Return hexadecimal digits that tell a value from others."""
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:digits]
