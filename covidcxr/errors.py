"""The errors a user can mend. Each message is one line: what is wrong, where, what to do."""


class CovidcxrError(Exception):
    """Base of every error that the command line prints as one line, with exit code 2."""


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
