"""Where a run keeps its decoded images."""

import contextlib

from covidcxr.atomic import check_folder
from covidcxr.errors import OptionError
from covidcxr.papers.reporting import show

AUTO, OFF, MEMORY = "auto", "off", "memory"
# Of the memory of the machine, or of what a container or job may use of it: a network needs the rest.
_SHARE = 4


def check(choice):
    """See that a cache can be made where the user wants it, before anything is read.

    Parameters
    ----------
    choice : str
        ``"auto"``, ``"off"``, ``"memory"`` or a folder.

    Raises
    ------
    OutputError
        If there can be no such folder, or it cannot be written to.
    """
    if choice not in (AUTO, OFF, MEMORY):
        check_folder(choice)


class ImageCache:
    """Decoded images of one run after another; what follows on the same images finds them decoded.

    Parameters
    ----------
    folder : path-like
        Where a file is kept while the run lasts, for images that memory has no room for.
    """

    def __init__(self, folder):
        self._folder = folder
        self._key = self._decoded = None

    def behind(self, plan, records, loader):
        """Decode a run's images, and return a preprocessing that takes them from here.

        Parameters
        ----------
        plan : Plan
        records : Records
            With the column `split`.
        loader : Preprocessing

        Returns
        -------
        Preprocessing
            With the values of `loader`.

        Raises
        ------
        ImageError
            For the first image that cannot be read.
        OutputError
            If the file of a cache cannot be written.
        OptionError
            If memory was asked for and there is not enough.
        """
        from covidcxr.data.decoded import Decoded, fingerprint

        if plan.options.cache == OFF:
            return loader
        files = _files(plan, records)
        key = fingerprint(files, loader)
        if key != self._key:
            # One set of images at a time: the one before makes room first.
            self._key = self._decoded = None
            where = _where(plan.options.cache, len(files) * loader.size[0] * loader.size[1])
            show.step(f"decoding {len(files)} images once, to {loader.size[0]} x {loader.size[1]} pixels")
            with _bar(len(files)) as progress:
                self._decoded = Decoded.open(files, loader, where, folder=self._folder, progress=progress)
            self._key = key
        return self._decoded.behind(loader)


def _files(plan, records):
    """List what training and its validation read; of folds everything, as together they read everything."""
    from covidcxr.papers.running.monitoring import monitored

    if plan.unit.fold:
        return records.files()
    read = set(monitored(records).files()) | set(records.where(records.table["split"] == "train").files())
    return [path for path in records.files() if path in read]


def _where(choice, size):
    from covidcxr.data.decoded import FILE
    from covidcxr.models import memory

    room = memory.available()
    if choice == MEMORY and room is not None and size > room:
        raise OptionError(
            f"--cache memory: the decoded images take {size / 2**30:.1f} GiB and this machine has "
            f"{room / 2**30:.1f} GiB; give --cache auto or a folder"
        )
    if choice != AUTO:
        return choice
    return MEMORY if room is None or size <= room // _SHARE else FILE


@contextlib.contextmanager
def _bar(total):
    """Show a bar on a terminal; elsewhere the line before it says enough."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, total: bar.update(task, completed=done)
