"""`covidcxr papers [KEY | models | protocols]`: the papers, each one's recipe, every network, both protocols."""

from covidcxr.errors import OptionError

_USAGE = "give one paper's KEY, show KEY, models, protocols, or nothing"


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "papers",
        help="list the papers, or show one paper's recipe, deviations and claims; models: every network; "
        "protocols: published and sound",
        description="Without a word: the papers. With a paper's KEY (or show KEY): its recipe, deviations and "
        "claims. With the word models: every network, its size and input, and whether weights are here. "
        "With the word protocols: both protocols of every paper, as a table in Markdown.",
    )
    parser.add_argument("words", nargs="*", metavar="KEY | show KEY | models | protocols", help=_USAGE)
    models = parser.add_argument_group("models only")
    models.add_argument("--paper", metavar="KEY", help="only the networks of this paper")
    models.add_argument(
        "--weights", metavar="DIR", help="look for weights in this folder too, beside the usual caches"
    )
    parser.set_defaults(run=run)


def run(args):
    """Print the list, one paper, or the networks."""
    from covidcxr import papers

    if args.words == ["models"]:
        from covidcxr.papers.reporting.show import print_models

        print_models(args.paper, args.weights)
        return 0
    if args.paper or args.weights:
        raise OptionError("--paper and --weights belong to `covidcxr papers models`")
    if not args.words:
        papers.print_all()
    elif args.words == ["protocols"]:
        papers.print_protocols()
    else:
        papers.get(_key(args.words)).print()
    return 0


def _key(words):
    *before, key = words
    if before not in ([], ["show"]) or words == ["show"]:
        raise OptionError(f"papers {' '.join(words)}: {_USAGE}")
    return key
