"""What every command needs of the terminal."""

import contextlib
import os
import sys
import tempfile

from covidcxr.errors import OptionError


def quiet_tensorflow():
    """Import TensorFlow without its start-up chatter, which goes past every log setting; keep it on failure."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as chatter, _stderr_into(chatter) as original:
        try:
            import tensorflow  # noqa: F401
        except Exception:
            chatter.seek(0)
            os.write(original, chatter.read())
            raise


@contextlib.contextmanager
def _stderr_into(file):
    original = os.dup(2)
    try:
        os.dup2(file.fileno(), 2)
        yield original
    finally:
        os.dup2(original, 2)
        os.close(original)


def positive(value, option):
    """Return a number given by an option, or say in one line that it must be at least 1."""
    if value < 1:
        raise OptionError(f"{option} {value}: give a whole number of at least 1")
    return value
