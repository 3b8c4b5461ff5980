"""Readers with one fault each, so that a test can see that the harness finds them."""

import os
import signal
import time

from fuzz_mutations import any_bytes
from fuzz_targets import Target

_HELD = []


def _seeds(_folder):
    return [("valid.txt", b"valid")]


def _planted(fault):
    def read(folder, place):
        if (folder / place).read_bytes() != b"valid":
            fault()

    return Target("planted", 1, _seeds, any_bytes, read)


def _two_lines():
    from covidcxr.errors import DataError

    class OddError(DataError):
        def __str__(self):
            return "one\ntwo"

    raise OddError


def _refuse():
    from covidcxr.errors import DataError

    raise DataError("x.txt: not valid; get it again")


def _fill():
    _HELD.append(bytearray(os.urandom(2**20)) * 1100)


def _ask():
    from covidcxr.errors import DataError

    try:
        bytearray(2**36)
    except MemoryError as error:
        raise DataError("x.txt: damaged; get it again") from error


TARGETS = {
    "value": _planted(lambda: None),
    "refusal": _planted(_refuse),
    "exception": _planted(lambda: {}["x"]),
    "two lines": _planted(_two_lines),
    "crash": _planted(lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "exit": _planted(lambda: os._exit(0)),
    "hang": _planted(lambda: time.sleep(60)),
    "memory": _planted(_fill),
    "much at once": _planted(_ask),
}
