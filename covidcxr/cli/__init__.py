"""The command line: one module a command. Each parses, calls, prints; nothing else is done here.

Exit codes: 0 done, 2 something the user can mend (one line on stderr), 3 `covidcxr audit` found a leak or
`covidcxr report reproduce --check` a difference, 130 interrupted, 141 whoever read our output (head, less) has gone.
"""

import argparse
import errno
import importlib
import os
import sys

from covidcxr.cli.console import drop_broken_streams, exhausted, one_line, prepare_streams, reader_gone_raises
from covidcxr.errors import CovidcxrError, OptionError
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


def main(argv=None):
    """Run `covidcxr` with the given arguments (default: the process's own) and return its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prepare_streams()
    try:
        args = build_parser().parse_args(argv)
        _refuse_empty(args)
        with reader_gone_raises():
            code = args.run(args)
            sys.stdout.flush()
    except CovidcxrError as error:
        return _fail(str(error))
    except BrokenPipeError:
        drop_broken_streams()
        return 141
    except KeyboardInterrupt:
        print("covidcxr: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        drop_broken_streams()
        # Files are opened by name: what fills up without one is the standard output.
        where = error.filename or ("standard output" if error.errno == errno.ENOSPC else "file")
        return _fail(f"{where}: {error.strerror or error}; check the path, its permissions and the disk")
    except Exception as error:
        message = exhausted(error)
        if message is None:
            raise
        return _fail(message)
    return code


def train_main():
    """Run `covidcxr-train`, which is `covidcxr train`."""
    return main(["train", *sys.argv[1:]])


def _refuse_empty(args):
    """Refuse what a shell makes of an unset variable: an empty path would mean the current folder."""
    for name, value in vars(args).items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise OptionError(f"{name.replace('_', '-')} is empty; give a value or leave it out")


def _fail(message):
    print(f"covidcxr: error: {one_line(message)}", file=sys.stderr)
    return 2
