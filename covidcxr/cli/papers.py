"""`covidcxr papers [KEY]`: what can be reproduced, and each paper's recipe, deviations and claims."""


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "papers", help="list the papers, or show one paper's recipe, deviations and claims"
    )
    parser.add_argument("key", nargs="?", metavar="KEY", help="a paper's key; without it all are listed")
    parser.set_defaults(run=run)


def run(args):
    """Print the list, or one paper."""
    from covidcxr import papers

    if args.key:
        papers.get(args.key).print()
    else:
        papers.print_all()
    return 0
