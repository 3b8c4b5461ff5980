"""The command line: one module a command. Each parses, calls, prints; nothing else is done here.

Exit codes: 0 done, 2 something the user can mend (one line on stderr), 3 `covidcxr audit` found a leak or
`covidcxr report reproduce --check` a difference, 130 interrupted, 141 whoever read our output (head, less) has gone,
143 terminated.
"""

import argparse
import contextlib
import errno
import importlib
import os
import sys

from covidcxr import interruption
from covidcxr.cli.console import (
    drop_broken_streams,
    exhausted,
    memory_named,
    prepare_streams,
    reader_gone_raises,
)
from covidcxr.errors import CovidcxrError, OptionError, one_line
from covidcxr.version import __version__

COMMANDS = ("train", "predict", "evaluate", "data", "audit", "report", "papers", "models", "export", "bench")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and name the command to look things up with."""

    def error(self, message):
        """Print one line and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


def build_parser():
    """Build the parser of `covidcxr` with all its commands, loading none of their machinery."""
    parser = Parser(
        prog="covidcxr",
        description="Five COVID-19 chest X-ray papers, reproduced and judged. Not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"covidcxr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"covidcxr.cli.{name}").add_parser(commands)
    return parser


def main(argv=None, own_process=None):
    """Run `covidcxr` with the given arguments (default: the process's own) and return its exit code.

    `own_process`: whether the process ends with it (default: where no arguments are given).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prepare_streams()
    with interruption.orderly(argv is None if own_process is None else own_process) as signals:
        try:
            try:
                return _answer(argv)
            except Exception as error:
                # What a signal broke off may end in any error.
                if signals.number is not None:
                    raise
                return _failed(error)
        except BaseException as error:
            if signals.number is None and not isinstance(error, KeyboardInterrupt):
                raise
            drop_broken_streams()
            with contextlib.suppress(OSError):
                print(one_line(signals.line), file=sys.stderr, flush=True)
            return signals.code


def train_main():
    """Run `covidcxr-train`, which is `covidcxr train`."""
    return main(["train", *sys.argv[1:]], own_process=True)


def _answer(argv):
    args = build_parser().parse_args(argv)
    _refuse_empty(args)
    with reader_gone_raises(), memory_named(hasattr(args, "batch_size")):
        code = args.run(args)
        sys.stdout.flush()
    return code


def _failed(error):
    """Say in a line what the user can mend and return the exit code; raise what is no user's fault."""
    if isinstance(error, BrokenPipeError):
        drop_broken_streams()
        return 141
    if isinstance(error, OSError):
        drop_broken_streams()
    message = exhausted(error) or _message(error)
    if message is None:
        raise error
    print(f"covidcxr: error: {one_line(message)}", file=sys.stderr)
    return 2


def _message(error):
    if isinstance(error, CovidcxrError):
        return str(error)
    if isinstance(error, OSError):
        # Files are opened by name: what fills up without one is the standard output.
        where = error.filename or ("standard output" if error.errno == errno.ENOSPC else "file")
        return f"{where}: {error.strerror or error}; check the path, its permissions and the disk"
    return None


def _refuse_empty(args):
    """Refuse what a shell makes of an unset variable: an empty path would mean the current folder."""
    for name, value in vars(args).items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise OptionError(f"{name.replace('_', '-')} is empty; give a value or leave it out")
