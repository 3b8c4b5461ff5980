"""A whole benchmark: the machine, the parts one by one, a file that is complete after each."""

import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from covidcxr.bench import hardware, results, runner
from covidcxr.bench.measuring import Bench
from covidcxr.errors import OptionError


def run(bench_settings, names, out, *, say, show, package=runner.PACKAGE):
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
    package : str
        Where the parts are.

    Returns
    -------
    covidcxr.bench.results.Report
    """
    report = results.Report(_about(bench_settings, names))
    for warning in report.about["warnings"]:
        say(f"warning: {warning}")
    with tempfile.TemporaryDirectory(prefix="covidcxr-bench-") as folder:
        bench = Bench(Path(folder), **bench_settings, say=say)
        for name in names:
            part = runner.run_part(name, bench, package)
            report.about["load"]["end"] = hardware.load()
            report = replace(report, parts=(*report.parts, part))
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
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
