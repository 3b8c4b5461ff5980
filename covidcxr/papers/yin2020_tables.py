"""yin2020's results: Tables 2 to 5 and Figs. 5 and 6, as printed and made anew from the runs."""

import pandas as pd

from covidcxr.models import backbones
from covidcxr.papers import tables
from covidcxr.papers.recipe import Claim, Table

MODELS = {
    "vgg19": ("VGG19", "vgg19"),
    "inceptionv3": ("InceptionV3", "inception_v3"),
    "resnet50": ("ResNet50", "resnet50"),
    "resnet50v2": ("ResNet50V2", "resnet50_v2"),
    "mobilenet": ("MobileNet", "mobilenet"),
    "mobilenetv2": ("MobileNetV2", "mobilenet_v2"),
    "densenet121": ("DenseNet121", "densenet121"),
    "nasnetmobile": ("NasNetMobile", "nasnet_mobile"),
}
CLASSES = {
    "bacterial_pneumonia": "Bacterial",
    "covid19": "Covid19",
    "normal": "Normal",
    "viral_pneumonia": "Viral",
}
PRINTED = "printed"

# Percent: CXR A validation and test, CXR B validation and test.
TABLE2 = {
    "vgg19": (100, 97.37, 100, 94.74),
    "inceptionv3": (100, 97.37, 100, 97.37),
    "resnet50": (100, 97.37, 100, 94.08),
    "resnet50v2": (100, 97.37, 100, 94.08),
    "mobilenet": (100, 97.37, 100, 95.4),
    "mobilenetv2": (100, 97.37, 100, 95.4),
    "densenet121": (100, 97.37, 100, 98.69),
    "nasnetmobile": (100, 97.37, 98.44, 97.37),
}
_COLUMNS2 = (("A", "val"), ("A", "test"), ("B", "val"), ("B", "test"))
# Per class precision, recall, F1, in CLASSES' order; then the macro F1.
TABLE3 = {
    "A": (((0.95, 0.95, 0.95), (1, 1, 1), (1, 1, 1), (0.95, 0.95, 0.95)), 0.975),
    "B": (((0.98, 0.98, 0.98), (1, 1, 1), (1, 1, 1), (0.98, 0.98, 0.98)), 0.99),
}
TABLE4 = (
    ("Covid-Net [17]", 93.3, "13972 (3)", "X-ray"),
    ("Transfer Learning [16]", 96.78, "1428 (2)", "X-ray"),
    ("De-Trac [31]", 95.12, "196 (3)", "X-ray"),
    ("DTL + DenseNet201 [32]", 96.0, "2492 (2)", "CT"),
    ("DeConvNet [33]", 90.1, "630 (2)", "CT"),
    ("GSA-DenseNet121 [34]", 98.0, "414 (2)", "X-ray"),
    ("DarkNet [35]", 98.08, "527 (2)", "X-ray"),
    ("Our method", 98.69, "744 (4)", "X-ray"),
)
# Layers frozen, trainable parameters in millions, percent of all.
TABLE5 = {
    "vgg19": (19, 4.72, 23.6),
    "inceptionv3": (279, 6.073, 27.9),
    "mobilenet": (75, 1.59, 49.4),
    "densenet121": (224, 4.4, 62.5),
}
_CLASSES_OF_C = 3
# Column, mark, colour (Okabe and Ito's) and line of Fig. 6.
_MARKS = (("Validation", "^", "#D55E00", "--"), ("Test", "o", "#0072B2", "-"))
_BACTERIAL_TWICE = "the table names Bacterial twice; the second is viral"
_NOTES = {
    ("nasnetmobile", "B", "val"): "63 of 64 or 126 of 128; no share of 120 images",
    ("densenet121", "B", "test"): "150 of 152 are 98.68 %",
}


def claims():
    """Return every number of Tables 2, 3 and 5 and of the text, in the paper's order.

    Returns
    -------
    tuple of Claim
        Their arm is the paper's own freeze points.
    """
    return (*_accuracies(), *_per_class(), *_frozen(), *_of_case_c())


def chosen(results, models):
    """Choose the freeze point of each network in each case, as a search over them must: without the test images.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        The rows of `models` with the highest validation accuracy, of equals that with the fewest trainable
        parameters, and their columns `validation` and `test`, accuracies as fractions.
    """
    return _ranked(_scored(results, models)).drop_duplicates(["case", "model"])


def best_networks(results, models):
    """Choose one model of each case by the same rule as :func:`chosen`.

    Parameters
    ----------
    results, models : pandas.DataFrame

    Returns
    -------
    pandas.DataFrame
        As :func:`chosen`, at most one row a case.
    """
    return _ranked(_scored(results, models)).drop_duplicates("case")


def table2(results, models):
    """Lay Table 2 out: accuracies in percent of each network at its chosen freeze point.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        Eight rows.
    """
    cells = chosen(results, models).set_index(["case", "model"])[["validation", "test"]]
    rows = [
        (title, *(_percent(cells, (case, key), split) for case in "AB" for split in ("validation", "test")))
        for key, (title, _) in MODELS.items()
    ]
    headings = [f"CXR {case} {split}" for case in "AB" for split in ("Validation", "Test")]
    return pd.DataFrame(rows, columns=["Models", *headings])


def table3(results, models):
    """Lay Table 3 out for the model of each case that :func:`best_networks` chooses.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        Four rows a data set; the last column, which the paper leaves to the text, names the model.
    """
    best = best_networks(results, models)
    rows = []
    for case in "AB":
        tested, title = _tested(results, best, case)
        for place, (label, name) in enumerate(CLASSES.items()):
            values = [tested.get((measure, label)) for measure in ("precision", "sensitivity", "f1")]
            macro = tested.get(("f1", "macro")) if place == 0 else None
            rows.append((f"CXR {case}", name, *values, macro, title))
    headings = ["Dataset", "Class", "Precision", "Recall", "F1-score", "Macro F1-score", "Model"]
    numbers = dict.fromkeys(headings[2:6], float)
    return pd.DataFrame(rows, columns=headings).astype(numbers).round(4)


def figure5(results, models):
    """Return the confusion matrices of the test images of A and B, for the models of :func:`best_networks`.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        Four rows a data set, one a true class; columns ``Dataset``, ``True class``, a ``predicted ...`` for each
        class, ``Model``. Empty cells where nothing was trained.
    """
    best = best_networks(results, models)
    rows = []
    for case in "AB":
        tested, title = _tested(results, best, case)
        for label, name in CLASSES.items():
            counts = [tested.get((f"predicted_{predicted}", label)) for predicted in CLASSES]
            rows.append((f"CXR {case}", name, *counts, title))
    predicted = [f"predicted {name}" for name in CLASSES.values()]
    headings = ["Dataset", "True class", *predicted, "Model"]
    return pd.DataFrame(rows, columns=headings).astype(dict.fromkeys(predicted, float))


def draw_figure5(table, path):
    """Draw :func:`figure5` as the paper does: CXR A above CXR B.

    Parameters
    ----------
    table : pandas.DataFrame
    path : path-like
        Without an ending: PNG and SVG are written.

    Returns
    -------
    list of pathlib.Path
    """
    from covidcxr.evaluation import figures

    @figures.styled
    def drawn():
        figure = figures.new_figure(5.2, 7.6)
        for axes, (case, part) in zip(figure.subplots(2), table.groupby("Dataset", sort=False), strict=True):
            _matrix(axes, part.iloc[:, 2:-1], f"{case}: {part['Model'].iloc[0] or 'not trained'}")
        return figures.save(figure, path)

    return drawn()


def table4(results, models):
    """Set the paper's comparison with other work above the best of these models on CXR B.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        The paper's eight rows as printed; the last row is of these runs, its images those tested.
    """
    best = best_networks(results, models)
    tested, title = _tested(results, best, "B")
    images = sum(tested.get((count, "covid19"), 0) for count in tables.COUNTS)
    ours = f"These runs ({title})" if title else "These runs"
    row = (
        ours,
        _hundredfold(tested.get(("accuracy", ""))),
        f"{images:.0f} tested (4)" if images else "",
        "X-ray",
    )
    return pd.DataFrame(
        [*TABLE4, row], columns=["Models", "Accuracy (%)", "# images (# classes)", "Imaging type"]
    )


def table5(results, models):
    """Lay Table 5 out: how much of each network is frozen at its chosen freeze point on CXR C.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        The four networks that the paper lists. Parameters are those of the backbone: the paper's 6.073 million
        leave no room for a head.
    """
    found = chosen(results, models)
    found = found[found["case"] == "C"].set_index("model")
    rows = []
    for key in TABLE5:
        cells = (None, None, None)
        if key in found.index:
            millions, percent = _of_backbone(key, float(found.loc[key, "trainable"]))
            cells = (int(found.loc[key, "frozen_layers"]), round(millions, 3), round(percent, 1))
        rows.append((MODELS[key][0], *cells))
    headings = ["Models", "Number of layers frozen", "Trainable parameters (M)", "% of total parameters"]
    return pd.DataFrame(rows, columns=headings).astype(dict.fromkeys(headings[1:], float))


def figure6(results, models):
    """List the points of Fig. 6: accuracies on CXR C of every network at every freeze point that was trained.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        Columns Models, Freeze point, Trainable parameters (M) (of the backbone), Validation and Test (percent).
    """
    scored = _scored(results, models)
    scored = scored[scored["case"] == "C"]
    rows = []
    for key, (title, _) in MODELS.items():
        for _, row in scored[scored["model"] == key].sort_values("trainable", kind="stable").iterrows():
            millions, _ = _of_backbone(key, float(row["trainable"]))
            accuracies = (_hundredfold(row[split]) for split in ("validation", "test"))
            rows.append((title, row["arm"], round(millions, 3), *accuracies))
    return pd.DataFrame(
        rows, columns=["Models", "Freeze point", "Trainable parameters (M)", "Validation", "Test"]
    )


def draw_figure6(table, path):
    """Draw Fig. 6: validation (triangles) and test accuracy (circles) against trainable parameters.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`figure6` makes it. Each network has a panel of its own, where the paper has a colour.
    path : path-like
        Without an ending: PNG and SVG are written.

    Returns
    -------
    list of pathlib.Path
    """
    from covidcxr.evaluation import figures

    @figures.styled
    def drawn():
        figure = figures.new_figure(9.0, 4.8)
        grid = figure.subplots(2, 4, sharex=True, sharey=True).ravel()
        for axes, (title, _) in zip(grid, MODELS.values(), strict=True):
            points = table[table["Models"] == title]
            axes.set_title(title if len(points) else f"{title}: not trained")
            for column, mark, colour, line in _MARKS:
                axes.plot(
                    points["Trainable parameters (M)"],
                    points[column],
                    marker=mark,
                    color=colour,
                    ls=line,
                    lw=0.8,
                    label=column.lower(),
                )
        figure.supxlabel("trainable parameters of the backbone (millions)", fontsize=9)
        figure.supylabel("accuracy (%)", fontsize=9)
        figure.legend(
            *grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
        )
        return figures.save(figure, path)

    return drawn()


TABLES = {
    "table2": Table("Table 2. Validation and test accuracies (%) of fine-tuned models", table2),
    "table3": Table("Table 3. Classification performance measures", table3),
    "figure5": Table("Fig. 5. Confusion matrices of the test images", figure5, draw_figure5),
    "table4": Table("Table 4. Comparison with existing models", table4),
    "table5": Table("Table 5. Number of frozen layers and trainable parameters for CXR C", table5),
    "figure6": Table(
        "Fig. 6. Validation and test accuracies (%) by trainable parameters, CXR C", figure6, draw_figure6
    ),
}


def _accuracies():
    for model, values in TABLE2.items():
        for (case, split), value in zip(_COLUMNS2, values, strict=True):
            note = _NOTES.get((model, case, split), "")
            share = round(value / 100, 6)
            yield Claim(case, "accuracy", share, "Table 2", note, model=model, arm=PRINTED, split=split)


def _per_class():
    for case, (classes, macro) in TABLE3.items():
        # All eight networks have the same test accuracy on A; Table 3 does not say whose measures it prints.
        model = "densenet121" if case == "B" else ""
        for label, values in zip(CLASSES, classes, strict=True):
            note = _BACTERIAL_TWICE if label == "viral_pneumonia" else ""
            for measure, value in zip(("precision", "sensitivity", "f1"), values, strict=True):
                yield Claim(
                    case, measure, float(value), "Table 3", note, model=model, arm=PRINTED, label=label
                )
        yield Claim(case, "f1", macro, "Table 3", "macro", model=model, arm=PRINTED, label="macro")


def _frozen():
    for model, values in TABLE5.items():
        measures = ("frozen_layers", "trainable_millions", "trainable_percent")
        for measure, value in zip(measures, values, strict=True):
            yield Claim("C", measure, value, "Table 5", model=model, arm=PRINTED)


def _of_case_c():
    for model in TABLE5:
        for split in ("val", "test"):
            note = "the text names no network; these are Table 5's"
            yield Claim("C", "accuracy", 1.0, "section 7", note, model=model, arm=PRINTED, split=split)


def _scored(results, models):
    """Return the finished models with their accuracies on validation and test images."""
    scored = models[models["state"] == "done"]
    plain = results[
        (results["scoring"] == "plain") & (results["measure"] == "accuracy") & (results["label"] == "")
    ]
    axes = list(tables.AXES)
    for split, name in (("val", "validation"), ("test", "test")):
        part = plain.loc[plain["split"] == split, [*axes, "value"]].rename(columns={"value": name})
        scored = scored.merge(part, on=axes, how="left")
    return scored


def _ranked(scored):
    places = {key: place for place, key in enumerate(MODELS)}
    order = scored.assign(place=scored["model"].map(places)).astype({"validation": float, "trainable": float})
    return order.sort_values(
        ["validation", "trainable", "place"], ascending=[False, True, True], kind="stable"
    ).drop(columns="place")


def _tested(results, best, case):
    """Return the test measures of a case's best model, by measure and label, and its name."""
    row = best[best["case"] == case]
    if not len(row):
        return {}, ""
    unit = row.iloc[0]
    mine = (results["split"] == "test") & (results["scoring"] == "plain")
    for axis in tables.AXES:
        mine &= results[axis] == unit[axis]
    found = results[mine].set_index(["measure", "label"])["value"]
    return found.to_dict(), f"{MODELS[unit['model']][0]}, {unit['arm']}"


def _of_backbone(key, trainable):
    """Return trainable parameters in millions, and percent of all, without the head of CXR C's classes."""
    facts = backbones.get(MODELS[key][1])
    body = trainable - (facts.features + 1) * _CLASSES_OF_C
    return body / 1e6, 100 * body / facts.parameters


def _percent(cells, row, column):
    return _hundredfold(cells.loc[row, column]) if row in cells.index else None


def _hundredfold(fraction):
    return None if fraction is None else round(100 * float(fraction), 2)


def _matrix(axes, counts, title):
    import numpy as np

    names = list(CLASSES.values())
    axes.set_title(title)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    # Drawn where nothing was trained too: it gives both panels the same shape.
    matrix = counts.to_numpy(dtype=float)
    shares = np.nan_to_num(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        text = "" if np.isnan(count) else f"{count:,.0f}"
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
