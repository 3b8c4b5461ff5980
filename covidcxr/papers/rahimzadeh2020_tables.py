"""rahimzadeh2020's results: Tables 3 and 4 and Fig. 4, as printed and made anew from the runs."""

from pathlib import Path

import pandas as pd

from covidcxr.papers import tables
from covidcxr.papers.recipe import Claim, Table

MODELS = {"xception": "Xception", "resnet50v2": "ResNet50V2", "concatenated": "Concatenated"}
FOLDS = (1, 2, 3, 4, 5)
MEAN = "mean"
# In the order of the paper's columns.
LABELS = {"covid19": "COVID-19", "pneumonia": "PNEUMONIA", "normal": "NORMAL"}
COUNTS = {
    "true_positives": "Correct detected",
    "false_negatives": "Not detected",
    "false_positives": "Wrong detected",
}
RATES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "precision": "Precision",
}

TABLE3 = {
    (1, "xception"): (26, 5, 101, 3983, 437, 569, 6245, 606, 378),
    (1, "resnet50v2"): (27, 4, 96, 3858, 562, 480, 6334, 517, 507),
    (1, "concatenated"): (26, 5, 68, 3745, 675, 309, 6526, 325, 628),
    (2, "xception"): (23, 8, 42, 3874, 546, 409, 6426, 425, 528),
    (2, "resnet50v2"): (22, 9, 67, 3659, 761, 501, 6340, 511, 713),
    (2, "concatenated"): (23, 8, 27, 3913, 507, 434, 6413, 438, 492),
    (3, "xception"): (21, 9, 28, 3942, 478, 436, 6411, 440, 463),
    (3, "resnet50v2"): (22, 8, 97, 3770, 650, 392, 6433, 418, 587),
    (3, "concatenated"): (25, 5, 35, 3847, 573, 342, 6502, 349, 550),
    (4, "xception"): (22, 9, 42, 3818, 602, 433, 6411, 440, 576),
    (4, "resnet50v2"): (22, 9, 78, 4015, 405, 758, 6065, 786, 364),
    (4, "concatenated"): (26, 5, 77, 3860, 560, 480, 6340, 511, 519),
    (5, "xception"): (21, 10, 41, 4041, 379, 502, 6335, 516, 362),
    (5, "resnet50v2"): (21, 10, 42, 3604, 816, 284, 6549, 302, 802),
    (5, "concatenated"): (24, 7, 43, 3941, 479, 390, 6442, 409, 462),
}

# Percent. Accuracy, then of COVID-19, pneumonia and normal: sensitivity, specificity, accuracy, precision.
# fmt: off
TABLE4 = {
    (1, "xception"): (90.72, 83.87, 90.11, 91.15, 99.1, 91.73, 91.51, 99.06, 91.10, 91.29, 20.47, 87.50, 94.29),
    (1, "resnet50v2"): (90.41, 87.09, 87.28, 92.45, 99.15, 93.03, 88.61, 99.12, 90.78, 90.94, 21.95, 88.93, 92.58),
    (1, "concatenated"): (91.10, 83.87, 84.72, 95.25, 99.4, 95.51, 85.89, 99.35, 91.29, 91.57, 27.65, 92.37, 91.22),
    (2, "xception"): (91.33, 74.19, 87.64, 93.79, 99.63, 94.06, 88.14, 99.56, 91.55, 91.57, 35.38, 90.45, 92.40),
    (2, "resnet50v2"): (88.66, 70.96, 82.78, 92.54, 99.41, 92.72, 83.98, 99.69, 88.83, 89.17, 24.71, 87.95, 89.89),
    (2, "concatenated"): (91.56, 74.19, 88.52, 93.60, 99.76, 93.69, 88.95, 99.63, 91.67, 91.77, 46, 90.01, 92.87),
    (3, "xception"): (91.79, 70, 89.18, 93.57, 99.75, 93.66, 89.6, 99.67, 91.91, 92.01, 42.85, 90.04, 93.26),
    (3, "resnet50v2"): (90.47, 73.33, 85.29, 93.89, 99.14, 94.30, 86.81, 99.07, 90.78, 91.11, 18.48, 90.58, 91.63),
    (3, "concatenated"): (91.79, 83.33, 87.03, 94.90, 99.69, 95.03, 87.64, 99.65, 91.90, 92.04, 41.66, 91.83, 92.20),
    (4, "xception"): (90.70, 70.96, 86.38, 93.57, 99.63, 93.71, 87.06, 99.55, 90.84, 92.01, 34.37, 89.81, 91.75),
    (4, "resnet50v2"): (89.38, 70.96, 80.83, 88.52, 99.31, 88.99, 91.82, 99.23, 89.71, 89.82, 22, 84.11, 94.33),
    (4, "concatenated"): (90.47, 83.87, 87.33, 92.54, 99.32, 93.03, 88.34, 99.27, 90.8, 90.89, 25.24, 88.94, 92.43),
    (5, "xception"): (91.99, 67.74, 91.42, 92.46, 99.64, 92.71, 91.87, 99.55, 92.20, 92.23, 33.87, 88.95, 94.59),
    (5, "resnet50v2"): (90.01, 67.74, 81.53, 95.59, 99.63, 95.87, 81.98, 99.54, 90.27, 90.23, 33.33, 92.69, 89.08),
    (5, "concatenated"): (92.08, 77.41, 89.16, 94.03, 99.62, 94.33, 89.62, 99.56, 92.31, 92.29, 35.82, 90.99, 93.30),
    (MEAN, "xception"): (91.31, 73.35, 88.95, 92.91, 99.55, 93.17, 89.63, 99.48, 91.52, 91.62, 33.39, 89.35, 93.26),
    (MEAN, "resnet50v2"): (89.79, 74.02, 85.54, 92.60, 99.33, 92.98, 86.64, 99.26, 90.07, 90.25, 24.09, 88.85, 91.50),
    (MEAN, "concatenated"): (91.40, 80.53, 87.35, 94.06, 99.56, 94.32, 88.09, 99.50, 91.60, 91.71, 35.27, 90.83, 92.40),
}
# fmt: on

# Cells of Table 4 that Table 3's counts contradict; the averages agree with what the counts give.
MISPRINTS = {
    (2, "resnet50v2", "accuracy", "covid19"): "Table 3's counts give 99.33",
    (2, "concatenated", "accuracy", "covid19"): "Table 3's counts give 99.69",
    (4, "xception", "accuracy", "normal"): "Table 3's counts give 91.01",
    (4, "resnet50v2", "sensitivity", "pneumonia"): "Table 3's counts give 90.84",
}

_COUNT_COLUMNS = [(measure, label) for label in LABELS for measure in COUNTS]
_RATE_COLUMNS = [("accuracy", ""), *((measure, label) for measure in RATES for label in LABELS)]


def claims():
    """Return every number of Tables 3 and 4: counts as counts, the rest as fractions.

    Rates stand first: counts compare only where as many images are tested as in the paper.
    """
    return (*_claims(TABLE4, _RATE_COLUMNS, "Table 4", 100), *_claims(TABLE3, _COUNT_COLUMNS, "Table 3", 1))


def table3(results, models):
    """Lay out right, missed and wrong detections of each class, as Table 3 does."""
    del models
    headings = {(m, label): f"{LABELS[label]} {COUNTS[m]}" for m, label in _COUNT_COLUMNS}
    return _by_case(results, lambda cells: _rows(cells, headings, FOLDS))


def table4(results, models):
    """Lay out the measures in percent, with averages over the folds that were trained, as Table 4 does."""
    del models
    headings = {(m, label): f"{LABELS[label]} {RATES[m]}" for m, label in _RATE_COLUMNS[1:]}
    headings = {_RATE_COLUMNS[0]: "Accuracy", **headings}

    def make(cells):
        shown = _rows({**cells, **_means(cells)}, headings, (*FOLDS, MEAN))
        shown[list(headings.values())] = (100 * shown[list(headings.values())]).round(2)
        return shown.replace({"Fold": {MEAN: "Average"}})

    return _by_case(results, make)


def figure4(results, models):
    """List the confusion matrices: a row a true class, a column a predicted one."""
    del models
    headings = {f"predicted_{label}": f"predicted {title}" for label, title in LABELS.items()}

    def make(cells):
        rows = [
            {
                "Fold": fold,
                "Network": MODELS[model],
                "True class": title,
                **{head: cells.get((fold, model, what, label)) for what, head in headings.items()},
            }
            for fold in FOLDS
            for model in MODELS
            for label, title in LABELS.items()
            if (fold, model, "true_positives", label) in cells
        ]
        return pd.DataFrame(rows, columns=["Fold", "Network", "True class", *headings.values()])

    return _by_case(results, make)


def draw_figure4(table, path):
    """Draw each confusion matrix; the last, of the proposed network where it was trained, under `path` itself."""
    from covidcxr.evaluation import figures

    names = list(LABELS.values())
    columns = [f"predicted {name}" for name in names]
    keys = [name for name in ("Folds", "Fold", "Network") if name in table]
    for key, rows in table.groupby(keys, sort=False):
        matrix = rows.set_index("True class").loc[names, columns].to_numpy(dtype=int)
        words = "-".join(str(word).lower() for word in key)
        figures.confusion(matrix, names, Path(f"{path}-{words}"))
    if len(table):
        figures.confusion(matrix, names, path)


TABLES = {
    "table3": Table("Table 3. True and false positives and false negatives of each class", table3),
    "table4": Table("Table 4. Evaluation metrics, in percent", table4),
    "figure4": Table("Fig. 4. Confusion matrices of each network", figure4, draw_figure4),
}


def _claims(printed, columns, where, whole):
    for (fold, model), values in printed.items():
        for (measure, label), value in zip(columns, values, strict=True):
            note = MISPRINTS.get((fold, model, measure, label), "") if where == "Table 4" else ""
            fraction = value if whole == 1 else round(value / whole, 4)
            yield Claim("", measure, fraction, where, note, model=model, fold=str(fold), label=label)


def _by_case(results, make):
    """Make a table of each case's results; its name stands in front where there are several."""
    rows = tables.headline(results)
    cases = list(dict.fromkeys(rows["case"]))
    made = [make(_cells(rows[rows["case"] == case])) for case in cases or [""]]
    for case, table in zip(cases, made, strict=len(cases) > 1):
        if len(cases) > 1:
            table.insert(0, "Folds", case)
    return pd.concat(made, ignore_index=True)


def _cells(rows):
    keys = zip(rows["fold"].astype(int), rows["model"], rows["measure"], rows["label"], strict=True)
    return dict(zip(keys, rows["value"].astype(float), strict=True))


def _means(cells):
    table = pd.Series(cells, dtype=float)
    if not len(table):
        return {}
    means = table.groupby(level=[1, 2, 3]).mean()
    return {(MEAN, *key): value for key, value in means.items()}


def _rows(cells, headings, folds):
    rows = [
        {
            "Fold": fold,
            "Network": title,
            **{head: cells.get((fold, model, *what), float("nan")) for what, head in headings.items()},
        }
        for fold in folds
        for model, title in MODELS.items()
    ]
    return pd.DataFrame(rows, columns=["Fold", "Network", *headings.values()])
