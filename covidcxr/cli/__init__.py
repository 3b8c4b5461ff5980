"""The command line: one module a command. Each parses, calls, prints; nothing else is done here.

Exit codes: 0 done, 2 something the user can mend (one line on stderr), 130 interrupted.
"""

import argparse
import importlib
import os
import sys

from covidcxr.errors import CovidcxrError
from covidcxr.version import __version__

COMMANDS = ("train", "predict", "evaluate", "data", "papers", "export")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and name the command to look things up with."""

    def error(self, message):
        """Print one line and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


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
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except CovidcxrError as error:
        print(f"covidcxr: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("covidcxr: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def train_main():
    """Run `covidcxr-train`, which is `covidcxr train`."""
    return main(["train", *sys.argv[1:]])
