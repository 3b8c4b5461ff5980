"""khalifa2020's tables and confusion matrices, in the paper's own rows and columns."""

import numpy as np
import pandas as pd

from covidcxr.papers.tables import headline

# As the paper spells them.
MODELS = {"alexnet": "AlexNet", "squeezenet": "Squeeznet", "googlenet": "GoogLeNet", "resnet18": "Resnet18"}
CLASSES = {"normal": "Normal", "pneumonia": "Pneumonia"}
ARMS = {"real": "without GAN", "gan": "with GAN"}
# Table 3: reference, year, description, printed accuracy.
RELATED = (
    ("[26]", 2018, "Convolutional neural network", 0.928),
    ("[27]", 2019, "4 convolutional layers, 2 dense layers, classical augmentation", 0.9373),
    ("[28]", 2019, "7 convolutional layers, 3 dense layers", 0.953),
    ("[29]", 2019, "49 convolutional layers, 2 dense layers", 0.967),
    ("[30]", 2020, "Convolutional neural network, random forest", 0.97),
)
_CASE = "Case"


def table_1(results, models):
    """Return the recall of each class and the accuracy of each network, with generated images, mean over trials."""
    rows = {name: ("sensitivity", label) for label, name in CLASSES.items()}
    return _each_case(
        results,
        lambda part: _by_network(part, {**rows, "Total Accuracy": ("accuracy", "")}, "Accuracy/Model"),
    )


def table_2(results, models):
    """Return each network's mean precision and recall over the classes, and the F1 of these two means."""
    return _each_case(results, _precision_recall_f1)


def table_3(results, models):
    """Return the accuracies of others as the paper prints them, and that of ResNet18 with generated images here."""
    columns = ["Related work", "Year", "Description", "Testing Accuracy"]

    def compared(part):
        own = _mean(part, "resnet18", "accuracy", "")
        return pd.DataFrame([*RELATED, ("Proposed Model", 2020, "GAN + Resnet18", own)], columns=columns)

    return _each_case(results, compared)


def confusion_matrices(results, models):
    """Return the eight matrices, one row a network, arm and true class, summed over trials.

    Columns ``Model``, ``GAN``, ``True class``, ``predicted Normal``, ``predicted Pneumonia``; empty where nothing
    was trained.
    """
    return _each_case(results, _counts)


def draw_confusion_matrices(table, path):
    """Draw :func:`confusion_matrices` as the paper's Figs. 7 to 10: a row a network, without and with GAN.

    Parameters
    ----------
    table : pandas.DataFrame
        With several cases, the first is drawn.
    path : path-like

    Returns
    -------
    list of pathlib.Path
        The PNG and the SVG.
    """
    from covidcxr.evaluation import figures

    if _CASE in table:
        table = table[table[_CASE] == table[_CASE].iloc[0]]

    @figures.styled
    def drawn():
        figure = figures.new_figure(6.4, 2.5 * len(MODELS))
        grid = figure.subplots(len(MODELS), len(ARMS), squeeze=False)
        for (model, arm), part in table.groupby(["Model", "GAN"], sort=False):
            axes = grid[list(MODELS.values()).index(model), list(ARMS.values()).index(arm)]
            matrix = part[[f"predicted {name}" for name in CLASSES.values()]].to_numpy(dtype=float)
            _matrix(axes, matrix, f"{model} {arm}")
        return figures.save(figure, path)

    return drawn()


def _each_case(results, make):
    """Make a table of the one case, or of several one below the other with a column that names them."""
    rows = headline(results) if len(results) else results
    cases = list(rows["case"].unique())
    if len(cases) < 2:
        return make(rows)
    parts = [make(rows[rows["case"] == case]) for case in cases]
    for case, part in zip(cases, parts, strict=True):
        part.insert(0, _CASE, case)
    return pd.concat(parts, ignore_index=True)


def _by_network(rows, measures, corner):
    """Lay out one row a measure and one column a network, all with generated images."""
    cells = {
        title: [_mean(rows, model, *what) for what in measures.values()] for model, title in MODELS.items()
    }
    return pd.DataFrame({corner: list(measures), **cells})


def _precision_recall_f1(rows):
    measures = {"Precision": ("precision", "macro"), "Recall": ("sensitivity", "macro")}
    table = _by_network(rows, measures, "Metric/Model")
    means = table[list(MODELS.values())]
    f1 = 2 * means.iloc[0] * means.iloc[1] / (means.iloc[0] + means.iloc[1])
    return pd.concat([table, pd.DataFrame([{"Metric/Model": "F1 Score", **f1}])], ignore_index=True)


def _mean(rows, model, measure, label, arm="gan"):
    values = rows[_mask(rows, model=model, arm=arm, measure=measure, label=label)]["value"]
    return float(values.astype(float).mean()) if len(values) else np.nan


def _counts(rows):
    names = list(CLASSES.values())
    found = [
        {
            "Model": title,
            "GAN": arm_title,
            "True class": name,
            **dict(zip(_predicted(names), _row(rows, model, arm, label), strict=True)),
        }
        for model, title in MODELS.items()
        for arm, arm_title in ARMS.items()
        for label, name in CLASSES.items()
    ]
    return pd.DataFrame(found)


def _row(rows, model, arm, label):
    """Return how many images of a class were taken for each class, in the order of the classes."""
    right, wrong = (
        rows[_mask(rows, model=model, arm=arm, label=label, measure=measure)]["value"]
        .astype(float)
        .sum(min_count=1)
        for measure in ("true_positives", "false_negatives")
    )
    return (right, wrong) if label == next(iter(CLASSES)) else (wrong, right)


def _predicted(names):
    return [f"predicted {name}" for name in names]


def _mask(rows, **wanted):
    mask = pd.Series(True, index=rows.index)
    for column, value in wanted.items():
        mask &= rows[column] == value
    return mask


def _matrix(axes, matrix, title):
    names = list(CLASSES.values())
    axes.set_title(title)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    if np.isnan(matrix).all():
        axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
        axes.text(0.5, 0.5, "not trained", ha="center", va="center")
        return
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{matrix[row, column]:,.0f}\n{100 * share:.1f} %"
        colour = "white" if share > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
