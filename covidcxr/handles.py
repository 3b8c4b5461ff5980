"""Open files: what to tell where a process may have no more of them."""

import errno

_ERRORS = (errno.EMFILE, errno.ENFILE)
# TensorFlow, HDF5 and the system's loader have the system's words, and errors of their own.
_WORDS = "Too many open files"


def spent(error):
    """Return whether an error, or one that it was made of, says that no more files can be opened."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) in _ERRORS or _WORDS in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def remedy():
    """Return what to tell, with the limit."""
    return f"too many files are open at once (`ulimit -n` is {_limit()}); raise it, such as `ulimit -n 4096`"


def _limit():
    try:
        import resource
    except ImportError:
        return "not known here"
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
