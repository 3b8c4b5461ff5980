"""Attributions laid over the radiographs that they explain."""

from dataclasses import dataclass

import numpy as np

from covidcxr.errors import DataError
from covidcxr.evaluation import figures

# Three pairs fill a journal's two columns.
COLUMNS = 3
# Light where attribution is high, in colour and in grey print alike.
_MAP = "inferno"
_OPACITY = 0.55
_OUTLINE = 0.5


@dataclass(frozen=True)
class Picture:
    """One image with its attribution.

    Attributes
    ----------
    grey : numpy.ndarray of uint8, shape (rows, columns)
    attribution : numpy.ndarray of float16, shape (rows, columns)
        0 to 1, the largest value being 1; all 0 where nothing speaks for the class.
    field : numpy.ndarray of bool, shape (rows, columns), or None
        Lung field.
    predicted, explained : str
        Names of the predicted class and of the one that the attribution explains.
    probability : float
        Of the explained class.
    lung_share : float
        Share of the attribution inside the lung field; NaN where unknown.
    """

    grey: np.ndarray
    attribution: np.ndarray
    field: np.ndarray | None
    predicted: str
    explained: str
    probability: float
    lung_share: float


@figures.styled
def overlay_grid(pictures, path, caption=""):
    """Draw each radiograph beside itself under its attribution, with class and probability.

    The attribution is light where it is high; a solid line runs around what is above half of its maximum, and
    a dashed one around the lung field, so that nothing rests on colour alone.

    Parameters
    ----------
    pictures : sequence of Picture
    path : path-like
        Ending in .png or .svg, or without an ending for both.
    caption : str, optional

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    DataError
        If there is no picture.
    """
    if not len(pictures):
        raise DataError("no explained image to draw; explain at least one")
    columns = min(len(pictures), COLUMNS)
    rows = -(-len(pictures) // columns)
    figure = figures.new_figure(2.4 * columns, 1.5 * rows + 0.45)
    panels = figure.subplots(rows, 2 * columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for number, picture in enumerate(pictures):
        plain, covered = panels[2 * number : 2 * number + 2]
        for panel in (plain, covered):
            panel.imshow(picture.grey, cmap="gray", vmin=0, vmax=255)
        plain.set_title(_words(picture), fontsize=figures.SMALLEST, loc="left", pad=3)
        _cover(covered, picture)
    figure.supxlabel(_caption(caption, pictures), fontsize=8)
    return figures.save(figure, path)


def _cover(panel, picture):
    heat = picture.attribution.astype(np.float32)
    shown = panel.imshow(heat, cmap=_MAP, vmin=0, vmax=1, alpha=_OPACITY * np.sqrt(heat))
    shown.set_interpolation("nearest")
    if heat.max() > _OUTLINE > heat.min():
        panel.contour(heat, [_OUTLINE], colors=[figures.ORANGE], linewidths=1.1)
    if picture.field is not None and 0 < picture.field.mean() < 1:
        style = {"colors": [figures.SKY], "linewidths": 0.9, "linestyles": "dashed"}
        panel.contour(picture.field.astype(float), [0.5], **style)


def _words(picture):
    lines = [f"{_spaced(picture.explained)}: {100 * picture.probability:.1f} %"]
    if picture.predicted != picture.explained:
        lines.append(f"predicted: {_spaced(picture.predicted)}")
    if not np.isnan(picture.lung_share):
        lines.append(f"in lung: {100 * picture.lung_share:.0f} % of attribution")
    return "\n".join(lines)


def _spaced(name):
    return name.replace("_", " ")


def _caption(caption, pictures):
    lines = "solid: above half of the largest attribution"
    if any(picture.field is not None for picture in pictures):
        lines += "; dashed: lung field"
    return f"{caption}\n{lines}" if caption else lines
