"""A whole benchmark: the machine, the parts one by one, a file that is complete after each."""

import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from covidcxr.bench import hardware, results, runner
from covidcxr.bench.measuring import Bench
from covidcxr.errors import OptionError


def run(bench_settings, names, out, *, say, show, base=None, package=runner.PACKAGE):
    """Measure parts and save what they find.

    Parameters
    ----------
    bench_settings : dict
        Of :class:`covidcxr.bench.measuring.Bench`, but `folder` and `say`.
    names : sequence of str
        Of the parts.
    out : path-like
        The JSON file; written anew after each part, so that what was measured outlives an interruption.
    say : callable
        ``say(text)`` at each step.
    show : callable
        ``show(part)`` with each :class:`covidcxr.bench.results.PartResult`.
    base : covidcxr.bench.results.Report, optional
        A report that the parts are put into, each in the place of what stands there of it.
    package : str
        Where the parts are.

    Returns
    -------
    covidcxr.bench.results.Report

    Raises
    ------
    OptionError
        If `base` is of another machine, of other versions or settings: its ratios would not be comparable.
    """
    about = _about(bench_settings, names)
    if base is not None:
        _check_comparable(base.about, about)
    report = base or results.Report(about)
    for warning in about["warnings"]:
        say(f"warning: {warning}")
    with tempfile.TemporaryDirectory(prefix="covidcxr-bench-") as folder:
        bench = Bench(Path(folder), **bench_settings, say=say)
        for name in names:
            load = hardware.load()
            part = runner.run_part(name, bench, package)
            if base is None:
                report.about["load"]["end"] = hardware.load()
            else:
                part = replace(part, again=f"{_now()[:10]}, load before {load}, after {hardware.load()}")
            report = replace(report, parts=_with(report.parts, part))
            results.save(report, out)
            show(part)
    return report


def check(settings):
    """See that data and weights are there before hours are spent.

    Parameters
    ----------
    settings : dict
        As for :func:`run`.

    Raises
    ------
    DataError
        If there are no images at `data`.
    OptionError
        If `weights` is neither ``"none"``, ``"imagenet"`` nor a folder.
    """
    if settings["data"] is not None:
        from covidcxr.data import sources

        sources.read(settings["data"])
    weights = settings["weights"]
    if weights not in ("none", "imagenet") and not Path(weights).is_dir():
        raise OptionError(f"--weights {weights}: no such folder; give one, imagenet or none")


def command(settings, only):
    """Return the command that measures the same, with DIR for folders: a page names no machine's paths."""
    words = ["covidcxr bench"]
    words += ["--quick"] if settings["quick"] else []
    words += [f"--only {only}"] if only else []
    words += ["--data DIR"] if settings["data"] else []
    if settings["weights"] != "none":
        words.append(f"--weights {'imagenet' if settings['weights'] == 'imagenet' else 'DIR'}")
    words += [f"--seed {settings['seed']}"] if settings["seed"] else []
    return " ".join(words)


def _about(settings, names):
    load = hardware.load()
    warnings = []
    if load is not None and load > hardware.BUSY:
        warnings.append(
            f"the machine was busy before the start (load {load}, more than {hardware.BUSY}): ratios may be off"
        )
    only = None if tuple(names) == runner.PARTS else ",".join(names)
    return {
        "date": _now(),
        "command": command(settings, only),
        "quick": settings["quick"],
        "images": "real" if settings["data"] else "phantoms",
        "weights": settings["weights"] if settings["weights"] in ("none", "imagenet") else "folder",
        "seed": settings["seed"],
        "hardware": hardware.describe(),
        "versions": hardware.versions(),
        "load": {"start": load, "end": load},
        "warnings": warnings,
    }


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _with(parts, part):
    """Return the parts in the benchmark's order, one of them anew."""
    kept = [each for each in parts if each.name != part.name]
    return tuple(sorted([*kept, part], key=lambda each: _place(each.name)))


def _place(name):
    return runner.PARTS.index(name) if name in runner.PARTS else len(runner.PARTS)


def _check_comparable(saved, now):
    for name in ("hardware", "versions", "quick", "images", "weights", "seed"):
        if saved[name] != now[name]:
            raise OptionError(
                f"--into: that benchmark has another value of {name}; measure everything anew with --out"
            )
