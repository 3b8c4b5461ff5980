"""In words, what a run did otherwise than its recipe: options, sources and fewer images."""

from covidcxr.papers.reporting import comparison_data
from covidcxr.papers.running.folder import GENERATED


def changes(recipe, case, model, setting, images):
    """Say what was changed, shortest for a table's head.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    case, model : str
    setting : str
        As of :func:`covidcxr.papers.reporting.reproduction.identity.setting_of`.
    images : pandas.DataFrame
        Rows of images.csv of one run, numbers as numbers.

    Returns
    -------
    list of str
        Such as ``"30 epochs instead of the recipe's 1,000"``; none where nothing was.
    """
    words = setting.split("; ")
    given = images[images["source"] != GENERATED].groupby("label")["images"].sum().astype(int).to_dict()
    known, network = recipe.cases[case], recipe.networks[model]
    found = [_option(known, network, word, words) for word in words if word.startswith("--")]
    if comparison_data.only_made(images["source"]):
        return [*found, "computed phantoms in place of radiographs"]
    pairs = [word.partition(": ") for word in words if not word.startswith("--")]
    wanted = recipe.data_sets[known.data_set].sources
    found += [
        f"{label} from {source} instead of {wanted[label]}"
        for label, _, source in pairs
        if wanted.get(label, source) != source
    ]
    short = comparison_data.short_classes(recipe, case, given)
    return [*found, *([f"{', '.join(short)} images"] if short else [])]


def fewer_runs(recipe, runs):
    """Say how many folds or trials of the paper's were run, where that is not all.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    runs : pandas.DataFrame
        Rows of runs.csv of one model, numbers as numbers; the protocol with fewer counts.

    Returns
    -------
    list of str
        Such as ``"2 of 5 folds"``.
    """
    counts = runs.groupby("protocol")[["fold", "trial"]].nunique().min()
    whole = {"fold": recipe.folds, "trial": recipe.trials}
    return [f"{counts[axis]} of {number} {axis}s" for axis, number in whole.items() if counts[axis] < number]


def _option(case, network, word, words):
    name, _, value = word.partition(" ")
    if name == "--epochs":
        return _epochs(case.stages[_schedule(case, words)], int(value))
    if name == "--batch-size":
        usual = network.batch_size or case.batch_sizes.get(_schedule(case, words), case.batch_size)
        return f"batches of {value} instead of the recipe's {usual}"
    if name == "--dropout":
        return f"dropout {value} instead of the recipe's {case.dropout:g}"
    return _SAYINGS.get(word) or f"with {word}"


_SAYINGS = {
    "--preset smoke": "smoke preset (few images, small inputs, two epochs)",
    "--weights none": "random weights at the start instead of ImageNet's",
    "--partial-weights": "weights at the start for a part of the network only",
    "--fine-tune all": "every layer trained from the second stage on",
    "--split given": "the split that the data's folders give instead of a drawn one",
    "--split SPLIT": "a split from a file instead of a drawn one",
}


def _epochs(stages, epochs):
    whole = [stage.epochs for stage in stages]
    text = f"{epochs:,} epochs instead of the recipe's {sum(whole):,}"
    begun = sum(sum(whole[:place]) < epochs for place in range(len(whole)))
    return text if len(whole) == 1 else f"{text}, {begun} of {len(whole)} stages"


def _schedule(case, words):
    named = (word.partition(" ")[2] for word in words if word.startswith("--schedule "))
    return next(named, next(iter(case.stages)))
