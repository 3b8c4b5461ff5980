"""Options that several commands share."""

from argparse import ArgumentTypeError

from covidcxr.errors import OptionError

_LARGEST_SEED = 2**32 - 1


def add_data(parser, default=None):
    """Add --data and --source; with a default, the word phantom stands for radiographs made on the way."""
    kinds = "folder with the public sets as downloaded, or a table path,label,..."
    parser.add_argument(
        "--data",
        default=default,
        required=default is None,
        metavar="DIR|CSV|phantom" if default else "DIR|CSV",
        help=f"{kinds}; phantom: built-in phantom radiographs" if default else kinds,
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="LABEL=SOURCE",
        help="take a class from another source than the paper, such as normal=kermany (repeatable)",
    )


def add_seed(parser):
    """Add --seed."""
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="everything random follows it (default 0)"
    )


def _seed(text):
    # NumPy's legacy generator, which Keras seeds too, takes 32 bits.
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= _LARGEST_SEED):
        raise ArgumentTypeError(f"{text} is no whole number from 0 to {_LARGEST_SEED}")
    return int(text)


def pairs(items, option):
    """Turn ``["a=b", ...]`` into ``{"a": "b"}``; a word without ``=`` is an error."""
    for item in items:
        if item.count("=") != 1 or item.startswith("=") or item.endswith("="):
            raise OptionError(f"{option} {item}: expected NAME=VALUE, such as {option} normal=kermany")
    return dict(item.split("=") for item in items)
