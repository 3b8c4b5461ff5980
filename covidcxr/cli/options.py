"""Options that several commands share."""

from covidcxr.errors import OptionError


def add_data(parser, default=None):
    """Add --data and --source."""
    parser.add_argument(
        "--data",
        default=default,
        required=default is None,
        metavar="DIR|CSV|phantom",
        help="folder with the public sets as downloaded, a table path,label,..., or built-in phantom radiographs",
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
        "--seed", type=int, default=0, metavar="N", help="everything random follows it (default 0)"
    )


def pairs(items, option):
    """Turn ``["a=b", ...]`` into ``{"a": "b"}``; a word without ``=`` is an error."""
    for item in items:
        if item.count("=") != 1 or item.startswith("=") or item.endswith("="):
            raise OptionError(f"{option} {item}: expected NAME=VALUE, such as {option} normal=kermany")
    return dict(item.split("=") for item in items)
