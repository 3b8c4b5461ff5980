#!/usr/bin/env python3
"""What the package brings along: pins, licences, known vulnerabilities, a bill of materials.

``python .ci/supply_chain.py [licences|audit|sbom|all] [--sbom FILE]``, in an environment with
``pip install -r requirements.txt -e ".[audit]"``. Looked at is what setup.cfg requires by default and what that
requires in turn, as installed. Exit code 1: a package is not as pinned, has a licence that users of this package
would be bound by, or a known vulnerability. A service that cannot be reached is said, and is no failure.
"""

import argparse
import configparser
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = {}
"""Vulnerabilities that do not concern this package: identifier to the reason."""

_KNOWN = re.compile(
    r"MIT|BSD|Apache|ISC\b|PSF|Python Software Foundation|MPL|Mozilla|Zlib|CC0|Unlicense|HPND|LGPL|"
    r"Lesser General Public|Public Domain|OFL|BSL-1\.0",
    re.IGNORECASE,
)
# The exception frees what is linked with GCC's own libraries.
_FREED = re.compile(r"(?:GPL[\w.+-]*|GNU[\w ]*) WITH GCC-exception-[\d.]+", re.IGNORECASE)
_BINDING = re.compile(r"(?<!L)GPL|GNU (?:Affero )?General Public", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"ConnectionError|ServiceError|Max retries|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|"
    r"Name or service not known|Temporary failure in name resolution|Connection refused|Network is unreachable",
    re.IGNORECASE,
)
# How a licence's own text begins.
_HEADINGS = re.compile(
    r"(Apache License|MIT License|BSD [23]-Clause License|GNU [\w ]*General Public License)"
)
_LONGEST = 120


def defaults(setup=ROOT / "setup.cfg"):
    """Return the distributions that a plain installation brings, by canonical name."""
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    lines = parser["options"]["install_requires"].splitlines()
    waiting = [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found, seen = {}, set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = importlib.metadata.distribution(wanted.name)
        waiting += _needed(found[name], extras)
    return dict(sorted(found.items()))


def _needed(distribution, extras):
    for line in distribution.requires or ():
        needed = Requirement(line)
        asked = extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in asked):
            yield needed


def off_pin(requirements=ROOT / "requirements.txt"):
    """List the pins that the environment does not have."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    found = []
    for line in filter(None, lines):
        pin = Requirement(line)
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(pin.name)
        except importlib.metadata.PackageNotFoundError:
            version = "absent"
        if version == "absent" or not pin.specifier.contains(version, prereleases=True):
            found.append(f"{pin.name}: {version} is installed, {pin.specifier} is pinned")
    return found


def licence(distribution):
    """Return a distribution's licence in its own words, "" where it tells none."""
    fields = distribution.metadata
    classifiers = [
        line.split("::")[-1].strip()
        for line in fields.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    classifiers = [text for text in classifiers if text != "OSI Approved"]
    text = (fields.get("License") or "").strip()
    # Some packages put the licence's whole text there.
    short = text if len(text) <= _LONGEST and "\n" not in text else ""
    told = fields.get("License-Expression") or "; ".join(classifiers) or short
    return told.strip() or _from_files(distribution)


def _from_files(distribution):
    """Read the heading of the licence's file, where the metadata only names one."""
    for name in distribution.metadata.get_all("License-File", []):
        for place in (f"licenses/{name}", name):
            heading = _HEADINGS.search((distribution.read_text(place) or "")[:_LONGEST])
            if heading:
                return f"{heading[1]} ({name})"
    return ""


def objection(text):
    """Say what is wrong with a licence for something that everybody installs, "" where nothing is."""
    if not text or text.upper() == "UNKNOWN":
        return "licence unknown"
    choices = re.split(r"\bOR\b", text)
    if all(_BINDING.search(_FREED.sub("", choice)) for choice in choices):
        return f"{text}: binds whoever passes this package on"
    return "" if _KNOWN.search(text) else f"{text}: not a licence that was looked at before"


def licences(found):
    """Print the table of licences; return what is wrong."""
    wrong = []
    print("| package | version | licence |\n| --- | --- | --- |")
    for name, distribution in found.items():
        text = licence(distribution)
        print(f"| {name} | {distribution.version} | {text.replace('|', '/')} |")
        problem = objection(text)
        if problem:
            wrong.append(f"{name}: {problem}")
    print(f"{len(found)} packages, {len(wrong)} objections")
    return wrong


def audit(found, run=subprocess.run):
    """Ask for known vulnerabilities; return those that are not accepted."""
    pins = "".join(f"{name}=={distribution.version}\n" for name, distribution in found.items())
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "installed.txt"
        listed.write_text(pins, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
        ]
        done = run(
            [*command, "--format", "json", "-r", str(listed)], capture_output=True, text=True, check=False
        )
    try:
        answer = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return _no_answer(done.stderr.strip())
    return _judged(answer)


def _no_answer(error):
    last = error.splitlines()[-1] if error else "no answer"
    if _UNREACHABLE.search(error):
        print(f"not audited: the service with known vulnerabilities cannot be reached ({last[:_LONGEST]})")
        return []
    return [f"pip-audit failed: {last}"]


def _judged(answer):
    wrong = []
    for entry in answer:
        for item in entry.get("vulns", ()):
            reason = next((ACCEPTED[name] for name in _names(item) if name in ACCEPTED), None)
            if reason:
                print(f"accepted: {entry['name']} {item['id']}: {reason}")
            else:
                mended = ", ".join(item.get("fix_versions", ())) or "no version yet"
                wrong.append(f"{entry['name']} {entry['version']}: {item['id']}, mended in {mended}")
    skipped = [entry["name"] for entry in answer if "skip_reason" in entry]
    if skipped and len(skipped) == len(answer):
        print("not audited: the service answers, and knows none of these packages")
    elif skipped:
        print(f"not audited, since the service does not know them: {', '.join(skipped)}")
    print(f"{len(answer) - len(skipped)} of {len(answer)} packages audited, {len(wrong)} vulnerabilities")
    return wrong


def _names(item):
    return [item["id"], *item.get("aliases", ())]


def sbom(found, path):
    """Write a CycloneDX bill of materials of the environment; return what it lacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--of",
        "JSON",
        "-o",
        str(path),
        sys.executable,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        return [f"cyclonedx-py failed: {(done.stderr.strip() or 'no answer').splitlines()[-1]}"]
    parts = json.loads(path.read_text(encoding="utf-8"))["components"]
    listed = {(canonicalize_name(part["name"]), part.get("version")) for part in parts}
    print(f"{path}: {len(parts)} components")
    return [
        f"{name} {item.version}: not in the bill of materials"
        for name, item in found.items()
        if (name, item.version) not in listed
    ]


def main(argv=None):
    """Carry out what is asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="all", choices=("licences", "audit", "sbom", "all"))
    parser.add_argument("--sbom", type=Path, default=ROOT / "build" / "sbom.json", metavar="FILE")
    args = parser.parse_args(argv)
    try:
        found = defaults()
    except importlib.metadata.PackageNotFoundError as error:
        parser.exit(1, f"{error.name} is not installed; pip install -r requirements.txt -e .[audit]\n")
    steps = {
        "licences": lambda: licences(found),
        "audit": lambda: audit(found),
        "sbom": lambda: sbom(found, args.sbom),
    }
    wrong = off_pin()
    for name in steps if args.what == "all" else [args.what]:
        wrong += steps[name]()
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
