"""Both protocols of every paper side by side, as Markdown, from the recipes alone."""

_COLUMNS = (
    "paper",
    "protocol",
    "what it does",
    "patients in one split",
    "epoch kept",
    "scored while training",
    "figures from",
    "generated from",
)
_MONITORS = {"val_loss": "lowest loss", "val_accuracy": "highest accuracy"}
_ENLARGED = {"everything": "all images", "training": "training images"}


def markdown(recipes):
    """Return a table with a row for each protocol of each paper.

    Parameters
    ----------
    recipes : iterable of covidcxr.papers.recipe.Recipe

    Returns
    -------
    str
        Markdown, ending with a line feed.
    """
    rows = [_row(recipe, key) for recipe in recipes for key in recipe.protocols]
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _row(recipe, key):
    protocol = recipe.protocols[key]
    return (
        f"[{recipe.key}](papers/{recipe.key}.md)",
        key,
        protocol.title,
        "yes" if protocol.arrangement.grouped else "no",
        "last" if protocol.keep == "last" else _MONITORS[protocol.monitor],
        "augmented images" if protocol.augment_evaluation else "images as they are",
        protocol.headline,
        _ENLARGED[protocol.enlarge] if recipe.enlargement else "",
    )
