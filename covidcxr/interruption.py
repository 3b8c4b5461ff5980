"""SIGINT and SIGTERM, which schedulers send: a command ends in order, and says what it has kept."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# Schedulers tell a process and its group, so that the same wish comes twice; one that comes later is impatience.
_PATIENCE_SECONDS = 3.0
_AGAIN_SECONDS = 0.05
_current = None


class Interrupted(KeyboardInterrupt):
    """A signal that is to end the command, raised in the main thread wherever that is."""


class Signals:
    """The signals that have reached one command.

    Attributes
    ----------
    number : int or None
        The first that came.
    kept : str
        What the command keeps for another to go on with, see :func:`tells`.
    """

    def __init__(self):
        self.number = None
        self.kept = ""
        self._came = 0.0
        self._hook = None

    @property
    def code(self):
        """The exit code, as shells count: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def line(self):
        """What to tell, in a line."""
        word = _WORDS[self.number or signal.SIGINT]
        return "; ".join(filter(None, (f"covidcxr: {word}", self.kept)))

    def install(self):
        """Take the signals over, but for those that whoever started us wants ignored."""
        before = {number: signal.getsignal(number) for number in _WORDS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._come)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._uncaught
        return before

    def uninstall(self, before):
        """Give the signals back."""
        for number, handler in before.items():
            # None: set by other than Python, which cannot set it again.
            if handler is not None:
                signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def rest(self):
        """Ignore whatever comes after the first: the interpreter, as it ends, would let it end the process."""
        if self.number is not None:
            for number in _WORDS:
                signal.signal(number, signal.SIG_IGN)

    def _come(self, number, _frame):
        if self.number is None:
            self.number, self._came = number, time.monotonic()
            raise Interrupted
        if time.monotonic() - self._came > _PATIENCE_SECONDS:
            # Whatever takes so long: files are whole at any moment.
            os._exit(self.code)

    def _uncaught(self, unraisable):
        if unraisable.exc_type is not Interrupted:
            self._hook(unraisable)
            return
        # It came in the middle of a destructor, where nothing can be raised: again, a moment later.
        number, self.number = self.number, None
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()


@contextlib.contextmanager
def orderly(own_process):
    """Let SIGINT and SIGTERM raise :class:`Interrupted` inside the block, once.

    Parameters
    ----------
    own_process : bool
        Whether the process ends with the block: signals that follow the first are then ignored to the end.

    Yields
    ------
    Signals
    """
    global _current
    signals = Signals()
    outer, _current = _current, signals
    # Python lets no other thread set a handler.
    mine = threading.current_thread() is threading.main_thread()
    before = signals.install() if mine else {}
    if mine and own_process:
        # Registered first, called last.
        atexit.register(signals.rest)
    try:
        yield signals
    finally:
        _current = outer
        if mine and not (own_process and signals.number is not None):
            signals.uninstall(before)


@contextlib.contextmanager
def tells(kept):
    """Ask what is kept, should a signal end the block.

    Parameters
    ----------
    kept : callable
        ``kept()`` returns a line, or an empty text where there is nothing to go on with.
    """
    try:
        yield
    except BaseException as error:
        # A signal that comes while a library works may be raised as the library's own error.
        if _current is not None and (_current.number is not None or isinstance(error, KeyboardInterrupt)):
            with contextlib.suppress(Exception):
                _current.kept = kept()
        raise


def rearm():
    """Take the signals again that a library has taken: TensorFlow's workers take SIGTERM, and then go on."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        for number in _WORDS:
            handler = signal.getsignal(number)
            if handler == _current._come:
                signal.signal(number, handler)
