"""nemati2022's results: Tables I and II, as printed and made anew from our networks and runs."""

import pandas as pd

from covidcxr.models import backbones
from covidcxr.papers import tables
from covidcxr.papers.recipe import Claim, Table

# The paper's rows: key of the network, its name there (spelling mended), key of the backbone; then Table I:
# depth, size in MB, millions of parameters, side of the input in pixels; then Table II, in MEASURES' order.
# fmt: off
ROWS = (
    ("inceptionv3", "InceptionV3", "inception_v3", (159, 92, 23.9, 299),
     (0.97826, 0.97826, 0.97826, 0.97826, 0.97826, 0.97826)),
    ("resnet152v2", "ResNet152V2", "resnet152_v2", (152, 232, 60.3, 299),
     (0.98913, 0.97826, 1, 0.97870, 0.9890, 0.98940)),
    ("densenet121", "DenseNet121", "densenet121", (121, 33, 8.06, 224),
     (0.98913, 0.97826, 1, 0.97870, 0.9890, 0.98940)),
    ("densenet169", "DenseNet169", "densenet169", (169, 57, 14.3, 224),
     (0.97826, 0.97826, 1, 0.97826, 0.97826, 0.97826)),
    ("densenet201", "DenseNet201", "densenet201", (201, 80, 20.2, 224),
     (0.97826, 0.97826, 1, 0.97826, 0.97826, 0.97826)),
    ("efficientnetb0", "EfficientNetB0", "efficientnet_b0", (None, 29, 5.3, 224), (1, 1, 1, 1, 1, 1)),
    ("efficientnetb1", "EfficientNetB1", "efficientnet_b1", (None, 31, 7.8, 224), (1, 1, 1, 1, 1, 1)),
    ("efficientnetb2", "EfficientNetB2", "efficientnet_b2", (None, 36, 9.1, 224), (1, 1, 1, 1, 1, 1)),
    ("efficientnetb3", "EfficientNetB3", "efficientnet_b3", (None, 48, 12.3, 224),
     (0.98913, 1, 0.97870, 1, 0.98920, 0.98940)),
    ("efficientnetb4", "EfficientNetB4", "efficientnet_b4", (None, 75, 19.4, 224),
     (0.98913, 1, 0.97870, 1, 0.98920, 0.98940)),
    ("efficientnetb5", "EfficientNetB5", "efficientnet_b5", (None, 118, 30.5, 224), (1, 1, 1, 1, 1, 1)),
    ("efficientnetb6", "EfficientNetB6", "efficientnet_b6", (None, 166, 43.2, 224), (1, 1, 1, 1, 1, 1)),
    ("efficientnetb7", "EfficientNetB7", "efficientnet_b7", (None, 256, 66.6, 224),
     (0.98913, 0.98826, 1, 0.97870, 0.98900, 0.98940)),
    ("mobilenet", "MobileNet", "mobilenet", (88, 16, 4.2, 224), (1, 1, 1, 1, 1, 1)),
    ("resnet50", "ResNet50", "resnet50", (50, 98, 25.6, 224), (0.96739, 1, 1, 1, 1, 1)),
    ("resnet101v2", "ResNet101V2", "resnet101_v2", (101, 171, 44.6, 299),
     (0.97826, 0.97826, 0.97826, 0.97826, 0.97826, 0.97826)),
    ("resnet152v2_again", "ResNet152V2", "resnet152_v2", (152, 232, 60.3, 299),
     (0.98913, 0.97826, 1, 0.97870, 0.98900, 0.98940)),
    ("vgg19", "VGG19", "vgg19", (19, 549, 143.6, 224), (0.98913, 0.97826, 1, 0.97870, 0.98900, 0.98940)),
    ("xception", "Xception", "xception", (126, 88, 22.9, 299),
     (0.97826, 0.97826, 0.97826, 0.97826, 0.97826, 0.97826)),
    ("mobilenetv2", "MobileNetV2", "mobilenet_v2", (88, 14, 3.5, 224),
     (0.98913, 1, 0.97870, 1, 0.98920, 0.98940)),
    ("resnet101", "ResNet101", "resnet101", (101, 171, 44.6, 224),
     (0.95652, 0.91300, 1, 0.92000, 0.95450, 0.96000)),
    ("resnet152", "ResNet152", "resnet152", (152, 232, 6.4, 224),
     (0.98913, 0.97826, 1, 0.97870, 0.98900, 0.98940)),
    ("inceptionresnetv2", "InceptionResNetV2", "inception_resnet_v2", (572, 215, 55.9, 299),
     (1, 1, 1, 1, 1, 1)),
    ("nasnetlarge", "NASNetLarge", "nasnet_large", (None, 343, 88.9, 331), (1, 1, 1, 1, 1, 1)),
    ("nasnetmobile", "NASNetMobile", "nasnet_mobile", (None, 23, 5.3, 224),
     (0.97826, 0.97826, 0.97826, 0.97826, 0.97826, 0.97826)),
    ("resnet50v2", "ResNet50V2", "resnet50_v2", (50, 98, 25.6, 224),
     (0.97826, 0.97826, 0.97826, 0.97826, 0.97826, 0.97826)),
    ("vgg16", "VGG16", "vgg16", (16, 528, 22.9, 224), (0.98913, 0.97826, 1, 0.97870, 0.98900, 0.98940)),
)
# fmt: on

KEYS = tuple(key for key, *_ in ROWS)
_POSITIVE = "covid19"
PROPERTIES = ("depth", "size_mb", "parameters_millions", "input_size")
# Printed heading to measure; a pair where it is that of one class.
MEASURES = {
    "Accuracy": "accuracy",
    "Precision": ("precision", _POSITIVE),
    "Sensitivity": ("sensitivity", _POSITIVE),
    "Specificity": ("specificity", _POSITIVE),
    "F1-Score": ("f1", _POSITIVE),
    "Balanced-Accuracy": "balanced_accuracy",
}
_BYTES_A_PARAMETER, _MEBIBYTE = 4, 2**20
_DIGITS = 5

_MISPRINTS = {
    ("resnet152", "parameters_millions"): "a misprint of 60.4",
    ("vgg16", "parameters_millions"): "Xception's number; VGG16 has 138.4",
}
_UNEQUAL = "F1 and balanced accuracy are not those of the printed precision, sensitivity and specificity"
_IMPOSSIBLE = {
    "densenet169": _UNEQUAL,
    "densenet201": _UNEQUAL,
    "efficientnetb7": "F1 is that of a precision of 0.97826",
    "resnet50": "an accuracy below 1 with sensitivity and specificity of 1",
}


def claims():
    """Return every number of Tables I and II, in the paper's order.

    Returns
    -------
    tuple of Claim
    """
    return (*_property_claims(), *_result_claims())


def table1(results, models):
    """Lay Table I out for the networks as they are built here, all 27, trained or not.

    Parameters
    ----------
    results, models : pandas.DataFrame
        Not needed; see :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        Depth: layers that have parameters, classifier included. Size: MiB of float32 parameters, which are
        counted, in millions, with ImageNet's classifier and moving statistics.
    """
    rows = []
    for number, (_, title, backbone, (*_, side), _) in enumerate(ROWS, start=1):
        facts = backbones.get(backbone)
        size = facts.parameters_with_top * _BYTES_A_PARAMETER / _MEBIBYTE
        millions = facts.parameters_with_top / 1e6
        rows.append((number, title, facts.depth, round(size), round(millions, 1), f"{side}x{side}"))
    headings = ("#", "Algorithm", "Depth", "Size (Mb)", "Parameters (millions)", "Input Image Size")
    return pd.DataFrame(rows, columns=list(headings))


def table2(results, models):
    """Lay Table II out: means over the folds that were trained, empty where none was.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        27 rows.
    """
    means = tables.layout(tables.headline(results), ["model"], MEASURES, mean_over=["fold"])
    table = tables.in_order(means, "model", KEYS).round(_DIGITS)
    titles = [title for _, title, *_ in ROWS]
    table.insert(0, "#", range(1, len(ROWS) + 1))
    table.insert(1, "Algorithms", titles)
    return table.drop(columns="model")


def table2_spread(results, models):
    """Set the paper's mean over five folds beside ours, with what the folds say about it.

    Parameters
    ----------
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.

    Returns
    -------
    pandas.DataFrame
        One row a measure of each trained network: the paper's value; number of folds, mean, standard deviation
        (n - 1), least and greatest of these runs.
    """
    from covidcxr.evaluation.intervals import spread

    rows = []
    measured = tables.headline(results)
    for number, (key, title, *_, printed) in enumerate(ROWS, start=1):
        for (heading, measure), value in zip(MEASURES.items(), printed, strict=True):
            found = _values(measured[measured["model"] == key], measure)
            if len(found):
                rows.append(
                    {"#": number, "Algorithm": title, "Measure": heading, "Paper": value} | spread(found)
                )
    columns = ["#", "Algorithm", "Measure", "Paper", "runs", "mean", "sd", "low", "high"]
    return pd.DataFrame(rows, columns=columns).rename(columns={"runs": "folds"}).round(_DIGITS)


TABLES = {
    "table1": Table("Table I. Properties of deep learning algorithms", table1),
    "table2": Table("Table II. Results of transfer learning algorithms", table2),
    "table2_spread": Table("Table II, over the folds", table2_spread),
}


def _values(rows, measure):
    name, label = (measure, "") if isinstance(measure, str) else measure
    found = rows[(rows["measure"] == name) & (rows["label"] == label)]
    return found["value"].dropna().astype(float)


def _property_claims():
    for key, _, _, properties, _ in ROWS:
        for measure, value in zip(PROPERTIES, properties, strict=True):
            if value is not None:
                yield Claim("", measure, value, "Table I", _MISPRINTS.get((key, measure), ""), model=key)


def _result_claims():
    for key, *_, values in ROWS:
        note = f"impossible as printed: {_IMPOSSIBLE[key]}" if key in _IMPOSSIBLE else ""
        for measure, value in zip(MEASURES.values(), values, strict=True):
            name = measure if isinstance(measure, str) else measure[0]
            yield Claim("", name, float(value), "Table II", note, model=key, fold="mean")
