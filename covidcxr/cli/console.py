"""What every command needs of the terminal."""

import contextlib
import os
import sys
import tempfile

from covidcxr import handles
from covidcxr.errors import LimitError, OptionError, OutputError, is_out_of_memory

# Keras imports them for galleries and wrappers that no command uses.
_LATER = ("matplotlib", "sklearn")


def prepare_streams():
    """Make printing safe: a stream that was closed leads nowhere, a character that it lacks is spelled out."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def reader_gone_raises():
    """Raise `BrokenPipeError` where rich would end the process: its exit code 1 says nothing."""
    try:
        yield
    except SystemExit as end:
        if end.code == 1 and isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise


def drop_broken_streams():
    """Let what a broken standard stream still holds go nowhere, so that the interpreter ends in silence."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def exhausted(error):
    """Return what to tell where memory, the disk or open files ran out below us, or None for any other error."""
    if handles.spent(error):
        return handles.remedy()
    if type(error).__name__ == "ResourceExhaustedError" and "No space left" in str(error):
        return "the disk is full; free some space or choose another output folder"
    return None


@contextlib.contextmanager
def memory_named(batches):
    """Say that memory did not suffice, and what helps: smaller batches, where the command lets them be chosen.

    Raises
    ------
    LimitError
    """
    try:
        yield
    except Exception as error:
        if handles.spent(error) or not is_out_of_memory(error):
            raise
        helps = "give a smaller --batch-size" if batches else "use a machine with more memory"
        raise LimitError(f"not enough memory; close other programs, or {helps}") from error


def require_apart(out, inputs):
    """Refuse to write a result over one of the files that it is made from."""
    if os.path.exists(out) and any(os.path.samefile(out, path) for path in inputs if os.path.exists(path)):
        raise OutputError(f"--out {out}: is one of the files that are read; choose another name")


def require_stdout():
    """Refuse to write results to a standard output that was closed before the program began."""
    if sys.__stdout__ is None:
        raise OutputError("standard output is closed; name a file with --out")


def quiet_tensorflow():
    """Import TensorFlow and Keras without the start-up chatter, which goes past every log setting; keep it on failure.

    What draws figures and scores is not imported along with them: who needs it does so, after training.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as chatter, _stderr_into(chatter) as original, _absent(_LATER):
        try:
            import keras  # noqa: F401
            import tensorflow

            # A study of many models traces many functions, and each would be warned about.
            tensorflow.get_logger().setLevel("ERROR")
        except Exception:
            chatter.seek(0)
            os.write(original, chatter.read())
            raise


@contextlib.contextmanager
def _absent(names):
    """Let packages seem not to be installed meanwhile, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


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
