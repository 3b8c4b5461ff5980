"""One run at a time in a run folder: a lock that the system takes back with the process, however that ends."""

import contextlib
import datetime
import errno
import os
import socket
import time
from pathlib import Path

from covidcxr.atomic import make_folder, output_errors
from covidcxr.errors import OutputError

LOCK = "run.lock"
# Of the models of a run, each of which may be gone on with alone.
_MODELS = "models"
# What file systems answer that know no locks.
_UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# A run that is ending, or another's look whether one is at work, holds the lock for a moment.
_TRIES, _PAUSE_SECONDS = 5, 0.1
_LONGEST = 200


def refuse_busy(folder):
    """See that no run is at work in a folder, in the run that it is a model of, or in one of its models.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    OutputError
        If one is: who, and since when.
    """
    folder = Path(os.path.abspath(folder))
    places = [folder]
    if os.path.isdir(folder / _MODELS):
        places += [path.parent for path in folder.glob(f"{_MODELS}/*/{LOCK}")]
    if folder.parent.name == _MODELS:
        places.append(folder.parents[1])
    for place in places:
        if os.path.isfile(place / LOCK):
            _close(_locked(place, shared=True))


@contextlib.contextmanager
def held(folder, say=lambda text: None):
    """Let no other run work in a folder during the block. The folder is made, and goes again if it stays empty.

    Parameters
    ----------
    folder : path-like
    say : callable, optional
        ``say(text)`` where the file system knows no locks: the block is run without one.

    Raises
    ------
    OutputError
        If another run is at work there, or the folder cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    make_folder(folder)
    handle = None
    try:
        handle = _locked(folder)
        if handle is None:
            say(f"note: no locks on this file system; see that no second run works in {folder}")
        else:
            _sign(handle)
        yield
    finally:
        if handle is not None:
            # Before it is let go: who opened it meanwhile sees that it has gone.
            (folder / LOCK).unlink(missing_ok=True)
            _close(handle)
        for place in missing:
            # Not empty: the run has begun.
            with contextlib.suppress(OSError):
                place.rmdir()


def _locked(folder, shared=False):
    """Open and lock the folder's file; return None where there are no locks, or no file to look at."""
    for left in reversed(range(_TRIES)):
        handle = _opened(folder, shared)
        if handle is None:
            return None
        try:
            found = _lock(handle, shared)
        except BlockingIOError:
            holder = os.read(handle, _LONGEST).decode("utf-8", "replace")
            os.close(handle)
            if not left:
                raise OutputError(_refusal(folder, holder)) from None
            time.sleep(_PAUSE_SECONDS)
            continue
        if found and (shared or _is_there(handle, folder / LOCK)):
            return handle
        os.close(handle)
        if not found:
            if not shared:
                (folder / LOCK).unlink(missing_ok=True)
            return None
    raise OutputError(_refusal(folder, ""))


def _opened(folder, shared):
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    with output_errors(folder / LOCK):
        try:
            # A link would lead to a file that is none of ours.
            return os.open(folder / LOCK, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:
            return None


def _lock(handle, shared):
    """Lock an open file at once or not at all; return False where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return False
        raise
    return True


def _is_there(handle, path):
    """Tell whether an open file is still the one of its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(handle):
    """Say who is at work, for those who are refused."""
    since = datetime.datetime.now(datetime.timezone.utc).isoformat(" ", "seconds")
    with contextlib.suppress(OSError):
        # A full disk is told by the run's first file.
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())


def _refusal(folder, holder):
    who = f" ({holder.strip()})" if holder.strip() else ""
    return f"{folder}: a run is at work there{who}; wait, or choose another --out"


def _close(handle):
    if handle is not None:
        os.close(handle)
