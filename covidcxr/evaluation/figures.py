"""The figures of a run: learning curves, confusion matrix, ROC and PR curves, reliability, images, strips.

Every function takes a path ending in .png (300 dpi) or .svg, or without an ending for both, and returns the
paths written. Colours are Okabe and Ito's, and none carries a meaning alone: line styles and marks repeat it.
Figures are as wide as a column (3.5 inches) or a page (7 inches) of a journal, so that no letter is printed
smaller than 7 points; a grid of images is scaled to the page.
"""

import functools
import textwrap
from pathlib import Path

import numpy as np

from covidcxr.atomic import whole_file
from covidcxr.errors import DataError, OptionError
from covidcxr.evaluation.curves import bands, precision_recall_points, roc_points
from covidcxr.evaluation.intervals import LEVEL, delong_interval, wilson
from covidcxr.evaluation.metrics import ECE_BINS, calibration_bins, positive_class

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#767676"
COLOURS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK)
LINES = ("-", "--", "-.", ":")
GRID_PICTURES = 32
DOTS = 300
_GRID_COLUMNS = 8
_TITLE_WIDTH = 11
_NAMED_STAGES = 10
COLUMN, PAGE = 3.5, 7.0
SMALLEST = 7
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": SMALLEST,
    "legend.title_fontsize": SMALLEST,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    # With a fixed salt and no date the same numbers give the same SVG, byte for byte.
    "svg.hashsalt": "covidcxr",
    # A class or data set may be called so that Matplotlib would read, and refuse, a formula.
    "text.parse_math": False,
}


def styled(draw):
    """Import Matplotlib at the first figure only, and leave the caller's settings as they were."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


@styled
def learning_curves(history, path):
    """Draw accuracy and loss over epochs, training beside validation.

    Parameters
    ----------
    history : pandas.DataFrame
        history.csv: one row an epoch, with `loss`, `accuracy`, `val_loss`, `val_accuracy` (those present are
        drawn), `epoch` (default: counted from 1) and `stage` (a vertical line where it changes).
    path : path-like

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    DataError
        If the table has neither loss nor accuracy, or no row.
    """
    measures = [name for name in ("accuracy", "loss") if name in history or f"val_{name}" in history]
    if not measures or not len(history):
        raise DataError(
            f"history with columns {list(history.columns)}: no epoch with accuracy or loss to draw"
        )
    figure = new_figure(COLUMN * len(measures), 2.7)
    for panel, name in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        _curve_panel(panel, history, name)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    return save(figure, path)


@styled
def confusion(matrix, class_names, path):
    """Draw a confusion matrix: counts, with each as a share of its row.

    Parameters
    ----------
    matrix : array of int, shape (k, k)
        Rows true classes, columns predicted ones.
    class_names : sequence of str
    path : path-like

    Returns
    -------
    list of pathlib.Path
    """
    matrix = np.asarray(matrix)
    totals = matrix.sum(axis=1, keepdims=True)
    rates = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    k = len(class_names)
    figure = new_figure(min(2.0 + 0.75 * k, PAGE), min(1.2 + 0.7 * k, PAGE))
    axes = figure.subplots()
    shade = axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        share = f"{100 * rates[row, column]:.1f} %" if totals[row, 0] else "no image"
        colour = "white" if rates[row, column] > 0.55 else BLACK
        axes.text(column, row, f"{count:,}\n{share}", ha="center", va="center", color=colour)
    names = [_words(name, 12) for name in class_names]
    axes.set_xticks(range(k), names)
    axes.set_yticks(range(k), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(shade, ax=axes, label="share of the true class", format=_percent(), shrink=0.85)
    return save(figure, path)


@styled
def roc(predictions, path, *, summary=None, paper=None, positive=None):
    """Draw ROC curves: of the positive class where there are two classes, else of each against the rest.

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled.
    path : path-like
    summary : dict, optional
        Result of :func:`covidcxr.evaluation.intervals.summarise`, whose intervals the legend then shows;
        default DeLong's, which takes images as independent.
    paper : float or mapping of str to float, optional
        Area printed in the paper, of the positive class or by class; shown in the legend.
    positive : str, optional
        See :func:`covidcxr.evaluation.metrics.positive_class`.

    Returns
    -------
    list of pathlib.Path

    Notes
    -----
    The band holds, at each 1 − specificity, the sensitivities of 95 % of 500 resamples of the patients.
    """
    names = predictions.class_names
    chosen = positive_class(names, positive)
    papers = paper if hasattr(paper, "items") else {} if paper is None else {chosen: paper}
    figure = new_figure(COLUMN, 3.5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (1, 3)))
    drawn = [i for i, label in enumerate(names) if len(names) > 2 or label == chosen]
    methods = {_roc_curve(axes, predictions, i, summary) for i in drawn} - {""}
    for label, area in papers.items():
        text = f"paper, {_words(label)}: {area:g}"
        axes.plot([], [], ls="", marker="*", ms=9, color=BLACK, label=text)
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity")
    level = summary["level"] if summary else LEVEL
    title = f"area [{100 * level:g} % interval: {' or '.join(sorted(methods)) or 'none'}]"
    axes.legend(loc="lower right", title=title, framealpha=0.9)
    return save(figure, path)


@styled
def precision_recall(predictions, path, *, summary=None, positive=None):
    """Draw precision over sensitivity: of the positive class where there are two, else of each against the rest.

    Parameters
    ----------
    predictions, path, summary, positive
        See :func:`roc`; without a summary the legend shows average precisions without intervals.

    Returns
    -------
    list of pathlib.Path

    Notes
    -----
    The dotted line is the share of the class among these images: what guessing reaches. The band is made as
    in :func:`roc`.
    """
    names = predictions.class_names
    chosen = positive_class(names, positive)
    figure = new_figure(COLUMN, 3.5)
    axes = figure.subplots()
    for index, label in enumerate(names):
        if len(names) > 2 or label == chosen:
            _precision_recall_curve(axes, predictions, index, summary)
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    axes.set(xlabel="sensitivity (recall)", ylabel="precision")
    axes.legend(loc="lower left", title="average precision", framealpha=0.9)
    return save(figure, path)


@styled
def strips(table, path, *, measure="accuracy", paper=None):
    """Draw one point a model, by group: how far folds, trials and seeds lie apart.

    Parameters
    ----------
    table : pandas.DataFrame
        `group` (text: one strip each, in the order they first stand), `value` and optional `low`, `high`.
    path : path-like
    measure : str
        Axis label; fractions are drawn in percent unless it is an area.
    paper : mapping of str to float, optional
        Group to the paper's figure, drawn as a star.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    DataError
        If there is no row.
    """
    if not len(table):
        raise DataError("strips: no model to draw; train one first")
    groups = list(dict.fromkeys(table["group"]))
    figure = new_figure(PAGE if len(groups) > 3 else COLUMN, 0.9 + 0.34 * len(groups))
    axes = figure.subplots()
    for place, group in enumerate(groups):
        _strip(axes, place, table[table["group"] == group], (paper or {}).get(group))
    axes.set_yticks(range(len(groups)), [_words(group, 28) for group in groups])
    axes.set(xlabel=measure.replace("_", " "), ylim=(len(groups) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(_percent())
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    figure.legend(*_unique(axes), loc="outside lower center", ncols=3, frameon=False)
    return save(figure, path)


@styled
def accuracy_by_size(table, path):
    """Draw accuracy against the number of trainable parameters (yin2020, Fig. 9, asks the same question).

    Parameters
    ----------
    table : pandas.DataFrame
        One row a model: `name`, `trainable` (at least 1), `value` and optional `low`, `high` (accuracy, 0 to 1).
    path : path-like

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    DataError
        If there is no row.
    """
    if not len(table):
        raise DataError("accuracy by size: no model to draw; train one first")
    import matplotlib

    # The ticks are powers of ten; the names are this package's own.
    matplotlib.rcParams["text.parse_math"] = True
    figure = new_figure(PAGE, 3.4)
    axes = figure.subplots()
    for index, row in enumerate(table.itertuples(index=False)):
        mark = "osD^vP*X<>"[index % 10]
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "marker": mark,
            "ms": 5,
            "ls": "",
            "capsize": 2,
            "lw": 1,
        }
        axes.errorbar(row.trainable, row.value, _whisker(row), **style, label=_words(row.name))
    axes.set_xscale("log")
    axes.set(xlabel="trainable parameters", ylabel="accuracy")
    axes.yaxis.set_major_formatter(_percent())
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, path)


@styled
def prediction_grid(images, titles, correct, path):
    """Draw up to 32 images, each under its predicted label (ragab2022, Figs. 7, 11 and 16).

    Parameters
    ----------
    images : sequence of array of uint8, shape (h, w), (h, w, 1) or (h, w, 3)
        Pixels 0 to 255, as the radiograph looks, not as the network is fed.
    titles : sequence of str
        Predicted labels.
    correct : sequence of bool or None
        Green, a solid frame and ✓ where true; red, a dashed frame and ✗ where false; black where None.
    path : path-like

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    DataError
        If there is no image or the lengths differ.
    """
    if not len(images) or not len(images) == len(titles) == len(correct):
        sizes = f"{len(images)} images, {len(titles)} titles, {len(correct)} flags"
        raise DataError(f"grid of predictions: {sizes}; give one title and one flag an image")
    shown = min(len(images), GRID_PICTURES)
    columns = min(shown, _GRID_COLUMNS)
    rows = -(-shown // columns)
    lines = max(_words(title, _TITLE_WIDTH).count("\n") + 1 for title in titles[:shown])
    figure = new_figure(max(0.875 * columns, COLUMN), (0.92 + 0.13 * lines) * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[shown:]:
        panel.set_axis_off()
    for panel, image, title, right in zip(panels, images, titles, correct, strict=False):
        _picture(panel, np.asarray(image), title, right)
    known = [right for right in correct[:shown] if right is not None]
    figure.supxlabel(_grid_caption(known), fontsize=SMALLEST)
    return save(figure, path)


@styled
def reliability(predictions, path):
    """Draw how often the most probable class is right, by its probability (15 equal-width bins).

    Parameters
    ----------
    predictions : covidcxr.evaluation.predictions.Predictions
        Labelled.
    path : path-like

    Returns
    -------
    list of pathlib.Path
    """
    bins, confidence, hit = calibration_bins(predictions.y_true, predictions.probabilities)
    counts = np.bincount(bins, minlength=ECE_BINS)
    used = np.flatnonzero(counts)
    right = np.bincount(bins, hit, ECE_BINS)[used]
    mean = np.bincount(bins, confidence, ECE_BINS)[used] / counts[used]
    error = np.abs(right - mean * counts[used]).sum() / len(hit)
    figure = new_figure(COLUMN, 4.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    rate = right / counts[used]
    limits = np.array([wilson(int(h), int(n)) for h, n in zip(right, counts[used], strict=True)])
    whiskers = np.abs(limits.T - rate)
    upper.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1, label="perfect calibration")
    style = {"marker": "o", "ms": 4, "ls": "-", "lw": 1.2, "capsize": 2, "color": BLUE}
    upper.errorbar(mean, rate, whiskers, **style, label="observed, Wilson 95 %")
    upper.set(ylim=(-0.02, 1.02), ylabel="share right", title=f"expected calibration error {error:.3f}")
    upper.legend(frameon=False, loc="upper left")
    edges = np.linspace(0, 1, ECE_BINS + 1)
    lower.bar(edges[:-1], counts, width=1 / ECE_BINS, align="edge", color=SKY, edgecolor="white", lw=0.6)
    lower.set(xlim=(0, 1), xlabel="probability of the predicted class", ylabel="images")
    return save(figure, path)


def _curve_panel(panel, history, name):
    epochs = history["epoch"] if "epoch" in history else np.arange(1, len(history) + 1)
    marker = "o" if len(history) <= 15 else None
    width = 1.4 if len(history) <= 100 else 0.8
    styles = ((name, "training", BLUE, "-"), (f"val_{name}", "validation", VERMILLION, "--"))
    for column, label, colour, line in styles:
        if column in history and history[column].notna().any():
            panel.plot(
                epochs, history[column], line, color=colour, label=label, marker=marker, ms=3, lw=width
            )
    panel.set(xlabel="epoch", ylabel=name, xlim=(min(epochs) - 0.5, max(epochs) + 0.5))
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.grid(axis="y", color="#dddddd", lw=0.6)
    if name == "accuracy":
        panel.yaxis.set_major_formatter(_percent())
    if "stage" in history:
        _stage_lines(panel, np.asarray(epochs), history["stage"].astype(str).to_numpy())


def _stage_lines(panel, epochs, stages):
    starts = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    for start in starts:
        panel.axvline(epochs[start] - 0.5, color=GREY, lw=0.8, ls=":")
    if not 0 < len(starts) < _NAMED_STAGES:
        return
    ends = np.r_[starts, len(stages)]
    for first, end in zip(np.r_[0, starts], ends, strict=True):
        middle = (epochs[first] + epochs[end - 1]) / 2
        place = {"transform": panel.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        turn = 0 if len(ends) <= 3 else 30
        panel.text(middle, 1.01, stages[first], fontsize=7, color=GREY, rotation=turn, **place)


def _roc_curve(axes, predictions, index, summary):
    from sklearn.metrics import roc_curve

    label = predictions.class_names[index]
    positive = predictions.y_true == index
    scores = predictions.probabilities[:, index]
    if positive.all() or not positive.any():
        axes.plot([], [], ls="", label=f"{_words(label)}: undefined, one class only")
        return ""
    fpr, tpr, _ = roc_curve(positive, scores, drop_intermediate=False)
    area, low, high, method = _area(label, positive, scores, summary)
    text = f"{_words(label)}: {area:.3f}" + (f" [{low:.3f}, {high:.3f}]" if method else "")
    axes.plot(fpr, tpr, **_line(index), label=text, clip_on=False)
    _band(axes, predictions, index, roc_points)
    return method


def _precision_recall_curve(axes, predictions, index, summary):
    from sklearn.metrics import average_precision_score, precision_recall_curve

    label = predictions.class_names[index]
    positive = predictions.y_true == index
    scores = predictions.probabilities[:, index]
    if positive.all() or not positive.any():
        axes.plot([], [], ls="", label=f"{_words(label)}: undefined, one class only")
        return
    precision, recall, _ = precision_recall_curve(positive, scores)
    entry = (summary or {"measures": {}})["measures"].get(f"per_class.{label}.average_precision") or {}
    text = f"{_words(label)}: {average_precision_score(positive, scores):.3f}"
    if entry.get("low") is not None:
        text += f" [{entry['low']:.3f}, {entry['high']:.3f}]"
    axes.plot(recall, precision, **_line(index), drawstyle="steps-post", label=text, clip_on=False)
    axes.axhline(positive.mean(), color=COLOURS[index % len(COLOURS)], lw=0.8, ls=(0, (1, 3)))
    _band(axes, predictions, index, precision_recall_points)


def _line(index):
    return {"color": COLOURS[index % len(COLOURS)], "ls": LINES[index % len(LINES)], "lw": 1.4}


def _band(axes, predictions, index, points):
    positive = predictions.y_true == index
    scores = predictions.probabilities[:, index]
    grid, low, high = bands(positive, scores, predictions.patients, points)
    style = {"color": COLOURS[index % len(COLOURS)], "alpha": 0.18, "lw": 0}
    axes.fill_between(grid, low, high, step="mid", **style)


def _area(label, positive, scores, summary):
    if summary:
        entry = summary["measures"][f"per_class.{label}.roc_auc"]
        return entry["value"], entry["low"], entry["high"], (entry["method"] or "").split(",")[0]
    area, low, high = delong_interval(positive, scores)
    method = "Newcombe" if area in (0.0, 1.0) else "DeLong"
    return area, low, high, "" if np.isnan(low) else method


def _strip(axes, place, rows, printed):
    jitter = np.linspace(-0.18, 0.18, len(rows)) if len(rows) > 1 else [0.0]
    for offset, row in zip(jitter, rows.itertuples(index=False), strict=True):
        style = {"color": BLUE, "marker": "o", "ms": 4, "ls": "", "lw": 0.8, "capsize": 1.5, "alpha": 0.8}
        axes.errorbar(
            row.value, place + offset, xerr=_whisker(row), **style, label="one model, 95 % interval"
        )
    if len(rows) > 1:
        axes.plot([rows["value"].mean()] * 2, [place - 0.3, place + 0.3], color=BLACK, lw=1.6, label="mean")
    if printed is not None:
        axes.plot(printed, place, marker="*", ms=9, ls="", color=VERMILLION, label="paper")


def _whisker(row):
    low, high = (getattr(row, name, None) for name in ("low", "high"))
    if low is None or high is None or low != low or high != high:
        return None
    # An interval may miss the value it belongs to by a rounding error; a whisker cannot be negative.
    return np.maximum([[row.value - low], [high - row.value]], 0)


def _unique(axes):
    """Each label once, in the order they first stand."""
    handles, labels = axes.get_legend_handles_labels()
    first = {label: handle for handle, label in zip(reversed(handles), reversed(labels), strict=True)}
    ordered = list(dict.fromkeys(labels))
    return [first[label] for label in ordered], ordered


def _picture(panel, image, title, right):
    panel.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
    panel.set_anchor("N")
    panel.set_xticks([])
    panel.set_yticks([])
    colour = {True: GREEN, False: VERMILLION}.get(_flag(right), BLACK)
    mark = {True: "✓ ", False: "✗ "}.get(_flag(right), "")
    panel.set_title(mark + _words(title, _TITLE_WIDTH), color=colour, fontsize=SMALLEST, pad=2)
    for spine in panel.spines.values():
        spine.set(visible=True, color=colour, linewidth=2, linestyle="--" if _flag(right) is False else "-")


def _flag(right):
    return None if right is None else bool(right)


def _grid_caption(known):
    if not known:
        return "predicted label; true labels unknown"
    return f"predicted label: ✓ right {sum(map(bool, known))}, ✗ wrong {sum(not r for r in known)}"


def _words(name, width=40):
    return textwrap.fill(str(name).replace("_", " "), width)


def _percent():
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, symbol=" %")


def new_figure(width, height):
    """Return an empty figure of so many inches, for functions that are decorated with :func:`styled`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05)
    return figure


def save(figure, path):
    """Write a figure as PNG, SVG or both, whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
        Ending in .png or .svg, or without an ending for both.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    OptionError
        If the path has another ending.
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    if path.suffix not in ("", ".png", ".svg"):
        raise OptionError(f"{path}: figures are written as .png or .svg; choose one of these endings")
    endings = [path.suffix] if path.suffix else [".png", ".svg"]
    written = [path.with_suffix(ending) for ending in endings]
    box = _lay_out(figure)
    for target in written:
        with whole_file(target) as temporary:
            metadata = {"Date": None} if target.suffix == ".svg" else None
            figure.savefig(temporary, dpi=DOTS, metadata=metadata, bbox_inches=box)
    return written


def _lay_out(figure):
    """Place everything once for all files, and return the part of the page that is to be kept, in inches.

    Equal aspect defeats the layout engine: what is kept is measured, so that every label is on the page.
    """
    figure.set_dpi(DOTS)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure.get_tightbbox().padded(0.08)
