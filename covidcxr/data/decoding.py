"""What every decoder shares: the checks before decoding, one line a fault, and silence on stderr."""

import contextlib
import os
import stat
import textwrap
import threading
import warnings

from PIL import Image

from covidcxr import handles
from covidcxr.errors import ImageError, LimitError

# Twice what the largest detectors give. Reading takes up to 13 bytes a pixel, and is to stay below a gibibyte.
MAX_PIXELS = 50_000_000

AGAIN = "copy or download it again, or leave it out"


class FaultError(Exception):
    """Why a file is refused; :func:`decoding` turns it into the user's line.

    Parameters
    ----------
    fault : str
        What is wrong; may quote the file, since control characters are replaced and long text is cut.
    remedy : str
        What to do; without a semicolon.
    """

    def __init__(self, fault, remedy=AGAIN):
        super().__init__(fault, remedy)
        shown = "".join(character if character.isprintable() else " " for character in fault)
        self.line = f"{textwrap.shorten(shown, 200, placeholder='...')}; {remedy}"


_SYSTEM_FAULTS = (
    (FileNotFoundError, FaultError("no such file", "check the path")),
    (
        NotADirectoryError,
        FaultError("no such file: a part of the path is a file, not a folder", "check the path"),
    ),
    (PermissionError, FaultError("no permission to read it", "change its permissions or copy it")),
    (MemoryError, FaultError("not enough memory to decode it", "close other programs, or leave it out")),
    (Image.DecompressionBombError, FaultError("too many pixels for Pillow", "shrink it, or leave it out")),
    (EOFError, FaultError("the file is cut short")),
)


@contextlib.contextmanager
def decoding(path):
    """Turn anything that goes wrong while reading `path` into one line, and keep the decoders silent.

    Decoders meet damaged bytes with almost any exception (`SyntaxError`, `struct.error`, `KeyError`...), so
    the block holds decoding only. What libtiff itself writes to stderr about a damaged TIFF is beyond reach.

    Raises
    ------
    ImageError
        In place of any exception: the path, the fault and the remedy.
    LimitError
        If the process may open no more files.
    """
    with _QUIET:
        try:
            yield
        except Exception as error:
            if handles.spent(error):
                # No fault of the image, which must not be left out for it.
                raise LimitError(f"{path}: {handles.remedy()}") from error
            raise ImageError(f"{path}: {_fault(error).line}") from error


def check_file(path):
    """Check, before a byte is read, that `path` is an ordinary file with something in it.

    Raises
    ------
    FaultError
        For a folder, a device or pipe (which could block for ever), or an empty file.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise FaultError("is a folder, not an image", "give the path of one file")
    if not stat.S_ISREG(status.st_mode):
        raise FaultError("is a device or pipe, not a file", "copy the image to a file first")
    if status.st_size == 0:
        raise FaultError("the file is empty (0 bytes)")


def check_size(height, width, frames=1):
    """Check the size that a header declares before anything of that size is allocated.

    Raises
    ------
    FaultError
        If there is no pixel, or more than `MAX_PIXELS`.
    """
    if height < 1 or width < 1:
        raise FaultError(f"has 0 pixels ({height} by {width})")
    if height * width * frames > MAX_PIXELS:
        layers = f" by {frames} frames" if frames > 1 else ""
        raise FaultError(
            f"{height} by {width}{layers} are too many pixels (limit {MAX_PIXELS:,})",
            "shrink it, or leave it out",
        )


def _fault(error):
    if isinstance(error, FaultError):
        return error
    for kind, fault in _SYSTEM_FAULTS:
        if isinstance(error, kind):
            return fault
    words = str(error)
    if "truncated" in words or "less than expected" in words:
        return FaultError(f"the file is cut short ({words})")
    return FaultError(f"cannot be decoded ({type(error).__name__}: {words})")


class _Quiet:
    """Hide the decoders' warnings while at least one thread decodes.

    `warnings.catch_warnings` saves and restores one list for the whole process, so threads that overlap
    must share one such block. Only the decoders' modules are silenced: other code keeps its warnings.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = None

    def __enter__(self):
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"(PIL|pydicom|pylibjpeg|libjpeg|openjpeg)\b")

    def __exit__(self, *exception):
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(*exception)


_QUIET = _Quiet()
