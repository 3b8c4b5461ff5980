"""Fetch the public sets that may be fetched; tell how to get those that need an account.

What is fetched is pinned: a git commit, whose name is the digest of its content, or a digest of the files.
A set appears under its own name only when it is whole. What an interrupted call received, and the next one can use
(whole files; a whole pack of git's), stays beside it as ``.<name>.part``; otherwise nothing stays, not an empty folder
either. Addresses and all that they lead on to are https.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covidcxr.atomic import folder_for, make_folder, output_errors, write_json
from covidcxr.data.sources import covid_chestxray, rahimzadeh
from covidcxr.errors import DataError, OptionError

SCHEMES = ("https",)
_TIMEOUT_SECONDS = 60
# Give up below 1000 bytes/s for a minute. A pack tells how far it is; loose objects do not.
_GIT_SETTINGS = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "fetch.unpackLimit=1")
# Set where the command runs inside a git hook; they would lead git away from the folder it is given.
_ENCLOSING_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
)


@dataclass(frozen=True)
class Repository:
    """A set that is a git repository.

    Attributes
    ----------
    address : str
    commit : str
        The full name of the state to fetch.
    detect : callable
        ``detect(folder) -> bool``: whether the set is there.
    """

    address: str
    commit: str
    detect: Callable


@dataclass(frozen=True)
class Files:
    """A set of a few files.

    Attributes
    ----------
    page : str
        Where a person would get them.
    addresses : dict of str to str
        Address of each file, by its path in the set.
    digest : str
        :func:`text_digest` of the files.
    detect : callable
        As in :class:`Repository`.
    """

    page: str
    addresses: dict
    digest: str
    detect: Callable


@dataclass(frozen=True)
class ByHand:
    """A set that only a person with an account can get.

    Attributes
    ----------
    page : str
    steps : str
        What to get there and where to put it; ``{folder}`` is the folder asked for.
    """

    page: str
    steps: str


def _author_lists():
    # Commits at which the authors' repository has them.
    base, folds = (
        "https://raw.githubusercontent.com/mr7495/covid19",
        "5035064a7bbe9747ff351aaede96d00a5e1aaa66",
    )
    everything = f"{base}/75808b84943b0e01222096a837f5e4082c9d51de/prepared_csv_files/All.csv"
    names = [f"fold{fold}/train{phase}.csv" for fold in rahimzadeh.FOLDS for phase in rahimzadeh.PHASES]
    return {"All.csv": everything, **{name: f"{base}/{folds}/prepared_csv_files/{name}" for name in names}}


DOWNLOADS = {
    "covid-chestxray-dataset": Repository(
        "https://github.com/ieee8023/covid-chestxray-dataset",
        # A late state, with hierarchical finding names; those the papers used had fewer images.
        "6a4242344473ccb5ed0d2148d8c7bfb1691e4ed8",
        covid_chestxray.detect,
    ),
    "rahimzadeh2020-splits": Files(
        "https://github.com/mr7495/covid19",
        _author_lists(),
        "bfa4c7cb2838cd442ae673c0f8922e4a84c342de773c5d0a0a97fbd2cb35ce4d",
        rahimzadeh.detect,
    ),
    "kermany": ByHand(
        "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia",
        "sign in, press Download, and unpack archive.zip in {folder}: "
        "{folder}/chest_xray/train/NORMAL must be there",
    ),
    "rsna": ByHand(
        "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data",
        "sign in, accept the rules, press Download All, and unpack the archive in {folder}/rsna: "
        "stage_2_train_images/, stage_2_detailed_class_info.csv and stage_2_train_labels.csv must be there",
    ),
}


def fetch(key, folder, progress=None):
    """Fetch a public set into a folder of its own.

    Parameters
    ----------
    key : str
        One of :data:`DOWNLOADS`.
    folder : path-like
        The set becomes ``folder / key``. If it is there already, nothing is fetched.
    progress : callable, optional
        Called as ``progress(done, total)``: per cent of a repository, or files.

    Returns
    -------
    pathlib.Path
        The set's folder. ``covidcxr-source.json`` in it says where it came from.

    Raises
    ------
    DataError
        If the set needs an account (the line says where to get it and where to put it), its address does not
        answer, or its content is not what is expected.
    OptionError
        If there is no such set.
    OutputError
        If the folder cannot be written to.
    """
    if key not in DOWNLOADS:
        raise OptionError(f"{key!r}: nothing to download under this name; there are {', '.join(DOWNLOADS)}")
    wanted, target = DOWNLOADS[key], Path(folder) / key
    if isinstance(wanted, ByHand):
        raise DataError(f"{key} needs an account: at {wanted.page} {wanted.steps.format(folder=folder)}")
    if _there(wanted, target):
        return target
    part = target.with_name(f".{target.name}.part")
    report = progress or (lambda done, total: None)
    with folder_for(target.parent), _useless_removed(wanted, part), output_errors(target):
        origin = _FETCHERS[type(wanted)](wanted, part, target, report)
        write_json(part / "covidcxr-source.json", {"key": key, **origin})
        part.replace(target)
    return target


def text_digest(folder, names):
    """Return the SHA-256 of text files in the order given, whatever their line ends.

    Parameters
    ----------
    folder : path-like
    names : iterable of str

    Returns
    -------
    str
        In hexadecimal, over each name, a zero byte, and the lines with a line feed after each.
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0")
        digest.update(b"\n".join((Path(folder) / name).read_bytes().splitlines()) + b"\n")
    return digest.hexdigest()


def _there(wanted, target):
    if wanted.detect(target):
        return True
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: something else is there; move it away or choose another folder")
    return False


@contextlib.contextmanager
def _useless_removed(wanted, part):
    """Take away what a failed call leaves, unless the next one can go on from it."""
    try:
        yield
    except BaseException:
        received = "**/*" if isinstance(wanted, Files) else ".git/objects/pack/pack-*.pack"
        if not any(path.is_file() for path in part.glob(received)):
            shutil.rmtree(part, ignore_errors=True)
        raise


def _fetch_repository(wanted, part, target, report):
    archive = f"{wanted.address}/archive/{wanted.commit}.zip"
    by_hand = f"or download {archive} and unpack it as {target}"
    git = shutil.which("git")
    if git is None:
        raise DataError(f"{wanted.address}: git is needed to fetch it; install git, {by_hand}")
    _require_secure(wanted.address)
    settings = [word for setting in _GIT_SETTINGS for word in ("-c", setting)]
    state = f"{wanted.commit}^{{commit}}"
    _run_git(git, ("init", "--quiet", "--template=", str(part)), report, wanted, by_hand)
    for lock in (part / ".git").glob("*.lock"):
        # Left by an attempt that was killed.
        lock.unlink()
    if _git(git, ("-C", str(part), "cat-file", "-e", state), report):
        fetching = ("-C", str(part), *settings, "fetch", "--depth", "1", "--progress")
        _run_git(git, (*fetching, wanted.address, wanted.commit), report, wanted, by_hand)
    checkout = ("-C", str(part), "checkout", "--quiet", "--force", "--detach", wanted.commit)
    _run_git(git, checkout, report, wanted, by_hand)
    # The pictures do not compress: the history would double the space they take.
    shutil.rmtree(part / ".git")
    return {"address": wanted.address, "commit": wanted.commit}


def _run_git(git, arguments, report, wanted, by_hand):
    fault = _git(git, arguments, report)
    if fault:
        raise DataError(
            f"{wanted.address}: cannot be fetched ({fault}); check the network and try again, {by_hand}"
        )


def _git(git, arguments, report):
    """Run git, reporting per cent received; return the line that tells what failed, or None."""
    inherited = {name: value for name, value in os.environ.items() if name not in _ENCLOSING_REPOSITORY}
    # No prompt may wait for a password.
    settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES), "LC_ALL": "C"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    options = {"env": {**inherited, **settings}, "text": True, "errors": "replace"}
    last = ""
    with subprocess.Popen([git, *arguments], **pipes, **options) as process:  # noqa: S603
        try:
            for line in process.stderr:
                received = re.match(r"Receiving objects:\s+(\d+)%", line)
                if received:
                    report(int(received[1]), 100)
                last = line.strip() or last
        except BaseException:
            # Not kill: git then takes its locks away.
            process.terminate()
            raise
    return (last or f"git ended with {process.returncode}") if process.returncode else None


def _fetch_files(wanted, part, target, report):
    by_hand = f"or put the lists of {wanted.page} at {target} yourself"
    for done, (name, address) in enumerate(wanted.addresses.items(), start=1):
        _require_secure(address)
        _fetch_file(address, part / name, by_hand)
        report(done, len(wanted.addresses))
    if text_digest(part, wanted.addresses) != wanted.digest:
        shutil.rmtree(part)
        raise DataError(f"{wanted.page}: the files fetched are not those expected; try again, {by_hand}")
    return {"address": wanted.page, "sha256": wanted.digest}


def _fetch_file(address, path, by_hand):
    import pooch

    # pooch prints a digest to pin for each file; ours is over all of them.
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS, hooks={"response": _check_redirection})
    make_folder(path.parent)
    try:
        pooch.retrieve(address, known_hash=None, fname=path.name, path=path.parent, downloader=downloader)
    except (OSError, ValueError) as error:
        # requests wraps the plain reason in what it tried.
        reason = " ".join(str(error).rpartition("Caused by ")[2].split())[:200]
        raise DataError(
            f"{address}: cannot be fetched ({reason}); check the network and try again, {by_hand}"
        ) from error


def _check_redirection(response, **_):
    if response.is_redirect:
        _require_secure(urllib.parse.urljoin(response.url, response.headers["location"]))


def _require_secure(address):
    if address.partition("://")[0] not in SCHEMES:
        raise DataError(f"{address}: only {', '.join(SCHEMES)} addresses are fetched")


_FETCHERS = {Repository: _fetch_repository, Files: _fetch_files}
