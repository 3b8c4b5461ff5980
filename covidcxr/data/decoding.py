"""What every decoder shares: the checks before decoding, one line a fault, and silence on stderr."""

import contextlib
import os
import stat
import textwrap
import threading
import warnings

from PIL import Image

from covidcxr.errors import CovidcxrError, ImageError

# A quarter of a gigabyte in Pillow's widest mode; the largest detectors give about 20 million pixels.
MAX_PIXELS = 100_000_000

_AGAIN = "copy or download it again, or leave it out"
_REMEDIES = (
    (FileNotFoundError, "no such file; check the path"),
    (NotADirectoryError, "no such file: a part of the path is a file, not a folder; check the path"),
    (PermissionError, "no permission to read it; change its permissions or copy it"),
    (MemoryError, "not enough memory to decode it; close other programs or leave it out"),
    (EOFError, f"the file is cut short; {_AGAIN}"),
)


@contextlib.contextmanager
def decoding(path):
    """Turn anything that goes wrong while reading `path` into one line, and keep the decoders silent.

    Decoders meet damaged bytes with almost any exception (`SyntaxError`, `struct.error`, `KeyError`...), so
    the block holds decoding only.

    Raises
    ------
    ImageError
        In place of any exception but our own.
    """
    with _QUIET:
        try:
            yield
        except CovidcxrError:
            raise
        except Exception as error:
            raise ImageError(f"{path}: {_fault(error)}") from error


def check_file(path):
    """Check, before a byte is read, that `path` is an ordinary file with something in it.

    Raises
    ------
    ImageError
        For a folder, a device or pipe (which could block for ever), or an empty file.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: is a folder, not an image; give the path of one file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: is a device or pipe, not a file; copy the image to a file first")
    if status.st_size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes); {_AGAIN}")


def check_size(path, height, width, frames=1):
    """Check the size that a header declares before anything of that size is allocated.

    Raises
    ------
    ImageError
        If there is no pixel, or more than `MAX_PIXELS`.
    """
    if height < 1 or width < 1:
        raise ImageError(f"{path}: has 0 pixels ({height} by {width}); {_AGAIN}")
    if height * width * frames > MAX_PIXELS:
        layers = f" by {frames} frames" if frames > 1 else ""
        raise ImageError(
            f"{path}: {height} by {width}{layers} are too many pixels (limit {MAX_PIXELS:,}); "
            "shrink it, or leave it out"
        )


def damaged(path, fault):
    """Return the error for a file whose bytes cannot be right."""
    return ImageError(f"{path}: {fault}; {_AGAIN}")


def _fault(error):
    for kind, remedy in _REMEDIES:
        if isinstance(error, kind):
            return remedy
    if isinstance(error, Image.DecompressionBombError):
        return "has too many pixels for Pillow's limit; shrink it, or leave it out"
    words = textwrap.shorten(str(error), 160, placeholder="...")
    if "truncated" in words or "less than expected" in words:
        return f"the file is cut short ({words}); {_AGAIN}"
    return f"cannot be decoded ({type(error).__name__}: {words}); {_AGAIN}"


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
