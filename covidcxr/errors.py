"""The errors a user can mend. Each message is one line: what is wrong, where, what to do."""

_LONGEST = 1000


class CovidcxrError(Exception):
    """Base of every error that the command line prints as one line, with exit code 2."""

    def __str__(self):
        """Return the message as one line: what it quotes of a file may hold line feeds."""
        return one_line(super().__str__())


class DataError(CovidcxrError):
    """A folder, table or set of records cannot be used as asked."""


class ImageError(DataError):
    """One image file cannot be read as a radiograph; the message begins with its path."""


class ModelError(CovidcxrError):
    """A model file, a network's name or its weights cannot be used as asked."""


class OptionError(CovidcxrError):
    """An option, or a combination of options, has no meaning."""


class OutputError(CovidcxrError):
    """A result cannot be written: no permission, no space, or something already stands there."""


class LimitError(CovidcxrError):
    """The system lets a process have no more of something, such as open files."""


def one_line(text):
    """Return a text as one line that a terminal shows and does not obey: control characters are spelled out.

    A file name may hold line feeds, escape sequences and bytes that are no text; a long one is cut in the middle.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(shown) > _LONGEST:
        shown = f"{shown[: _LONGEST // 2]} ... {shown[-_LONGEST // 2 :]}"
    return shown


def is_out_of_memory(error):
    """Tell whether memory ran out below us. TensorFlow's own class for it is not imported: it takes seconds."""
    if "No space left" in str(error):
        # TensorFlow has one class for a full memory and a full disk.
        return False
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
