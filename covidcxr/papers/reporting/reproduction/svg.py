"""Small pictures as text, each a whole <svg> of the gallery's page; every word in them is escaped."""

import textwrap
from dataclasses import dataclass
from html import escape

from covidcxr.papers.reporting import comparison

INK, QUIET, LINE = "#1a1a1a", "#5a5a5a", "#cfcfcf"
PUBLISHED, AS_PAPER, SOUND, EXTERNAL, BORDER = "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7"
COLOURS = {"published": PUBLISHED, "sound": SOUND}
_FONT = 'font-family="system-ui, DejaVu Sans, sans-serif"'
_WIDTH, _LEFT, _RIGHT = 760, 190, 180
_BAR, _GAP, _TOP = 13, 12, 22
_PANEL, _PANEL_HEIGHT, _MARGIN = 300, 170, 40
_MOST_POINTS = 240
_CELL = 74
# Of a sheet of pictures: a letter's width and a line's height of captions.
_LETTER, _LINE, _SPACE = 6.3, 15, 18


@dataclass(frozen=True)
class Bar:
    """One figure of a row of bars.

    Attributes
    ----------
    name, colour : str
    estimate : covidcxr.papers.reporting.comparison.Estimate
    protocol : str
        ``"published"``, ``"sound"``, or "" where it is of neither.
    """

    name: str
    colour: str
    estimate: comparison.Estimate
    protocol: str = ""


@dataclass(frozen=True)
class Picture:
    """A whole <svg>.

    Attributes
    ----------
    width, height : float
        In its own units.
    text : str
    """

    width: float
    height: float
    text: str


def bars(rows, title):
    """Draw bars from 0 to 1 with their intervals, beside the paper's figure as a black mark.

    Parameters
    ----------
    rows : sequence of (str, float or None, bool, sequence of Bar)
        Name, the paper's figure, whether in percent, bars.
    title : str
        For who cannot see it.

    Returns
    -------
    Picture
    """
    height = _TOP + sum(_row_height(bars) for *_, bars in rows) + 6
    parts = [_grid_lines(height)]
    top = _TOP
    for name, paper, percent, shown in rows:
        parts.append(_text(_LEFT - 8, top + _BAR, name, anchor="end"))
        parts += [_bar(bar, top + place * (_BAR + 2), percent) for place, bar in enumerate(shown)]
        if paper is not None:
            parts.append(_paper_mark(paper, top, _row_height(shown) - _GAP, percent))
        top += _row_height(shown)
    return _svg(_WIDTH, height, title, parts)


def curves(runs, title, colour):
    """Draw accuracy and loss by epoch: dashed in training, solid on the monitored images, a line a run.

    Parameters
    ----------
    runs : sequence of pandas.DataFrame
        Rows of history.csv of one run each, numbers as numbers.
    title, colour : str

    Returns
    -------
    Picture
    """
    parts = []
    for place, measure in enumerate(("accuracy", "loss")):
        left = _MARGIN + place * (_PANEL + _MARGIN)
        parts += _panel(runs, measure, left, colour)
    return _svg(2 * (_PANEL + _MARGIN) + 12, _PANEL_HEIGHT + 44, title, parts)


def confusion(labels, counts, title):
    """Draw a confusion matrix with counts and shares of the true class.

    Parameters
    ----------
    labels : sequence of str
    counts : sequence of sequence of int
        A row a true class.
    title : str

    Returns
    -------
    Picture
    """
    left, top = 150, 44
    parts = [_text(left, 14, "predicted", colour=QUIET)]
    for place, label in enumerate(labels):
        parts.append(_text(left + place * _CELL + _CELL / 2, top - 8, _short(label), anchor="middle"))
        parts.append(_text(left - 8, top + place * _CELL / 2 + 22, label, anchor="end"))
    for row, line in enumerate(counts):
        total = sum(line) or 1
        for column, count in enumerate(line):
            parts.append(_cell(left + column * _CELL, top + row * _CELL / 2, count, count / total))
    return _svg(left + len(labels) * _CELL + 10, top + len(labels) * _CELL / 2 + 10, title, parts)


def sheet(pictures, title):
    """Lay pictures out in rows, each under its caption, on white.

    Parameters
    ----------
    pictures : sequence of (Picture, str)
    title : str

    Returns
    -------
    Picture
    """
    parts, left, top, row = [], 0, 0, 0
    for picture, caption in pictures:
        if left and left + picture.width > _WIDTH:
            left, top, row = 0, top + row, 0
        lines = textwrap.wrap(caption, int(picture.width / _LETTER))
        head = _LINE * len(lines) + 4
        words = [
            _text(4, _LINE * (place + 1), line, colour=QUIET, size=11) for place, line in enumerate(lines)
        ]
        shown = f'<g transform="translate(0 {head})">{picture.text}</g>'
        parts.append(f'<g transform="translate({left:.0f} {top:.0f})">{"".join(words)}{shown}</g>')
        row = max(row, head + picture.height + _SPACE)
        left += picture.width + _SPACE
    height = top + row
    ground = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>'
    return _svg(_WIDTH, height, title, [ground, *parts])


def _bar(bar, top, percent):
    found = bar.estimate
    end = _place(found.value)
    box = f'x="{_LEFT}" y="{top}" width="{end - _LEFT:.1f}" height="{_BAR}"'
    parts = [f'<rect {box} fill="{bar.colour}" fill-opacity="0.75"/>']
    if found.has_interval:
        low, high = _place(found.low), _place(found.high)
        middle = top + _BAR / 2
        parts.append(
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {top + 3}v{_BAR - 6}M{high:.1f} {top + 3}v{_BAR - 6}" '
            f'stroke="{INK}" stroke-width="1.3"/>'
        )
    value = comparison.points(found.value, percent)
    parts.append(_text(_WIDTH - _RIGHT + 8, top + _BAR - 2, f"{value}  {bar.name}", size=11))
    kind = f' data-protocol="{escape(bar.protocol)}"' if bar.protocol else ""
    return f"<g{kind}>{''.join(parts)}</g>"


def _paper_mark(value, top, height, percent):
    place = _place(value)
    text = f"paper {comparison.points(value, percent)}"
    return (
        f'<path d="M{place:.1f} {top - 3}v{height + 4}" stroke="{INK}" stroke-width="2.4">'
        f"<title>{escape(text)}</title></path>"
    )


def _grid_lines(height):
    parts = []
    for tenth in range(0, 11, 2):
        place = _place(tenth / 10)
        parts.append(f'<path d="M{place:.1f} {_TOP - 6}V{height}" stroke="{LINE}"/>')
        parts.append(_text(place, 11, f"{tenth / 10:g}", anchor="middle", colour=QUIET, size=11))
    return "".join(parts)


def _panel(runs, measure, left, colour):
    lines = [(run, name) for run in runs for name in (measure, f"val_{measure}")]
    known = [run[["epoch", name]].dropna().to_numpy() for run, name in lines]
    values = [value for points in known for value in points[:, 1]]
    last = max((points[-1, 0] for points in known if len(points)), default=1)
    top_value = 1.0 if measure == "accuracy" else max(values, default=1.0) or 1.0
    bottom = 24 + _PANEL_HEIGHT
    parts = [
        _text(left, 14, measure),
        f'<path d="M{left} 24V{bottom}H{left + _PANEL}" fill="none" stroke="{QUIET}"/>',
        _text(left - 4, 30, f"{top_value:.2g}", anchor="end", colour=QUIET, size=10),
        _text(left - 4, bottom, "0", anchor="end", colour=QUIET, size=10),
        _text(left, bottom + 14, "epoch 1", colour=QUIET, size=10),
        _text(left + _PANEL, bottom + 14, f"{last:.0f}", anchor="end", colour=QUIET, size=10),
    ]
    for (_, name), points in zip(lines, known, strict=True):
        scored = name.startswith("val_")
        parts.append(_line(points, left, bottom, last, top_value, colour if scored else QUIET, scored))
    return parts


def _line(points, left, bottom, last, highest, colour, scored):
    step = max(1, -(-len(points) // _MOST_POINTS))
    # The last epoch stays, whatever is left out between.
    kept = [*points[:-1:step], *points[-1:]]
    spots = " ".join(
        f"{left + _PANEL * (epoch - 1) / max(last - 1, 1):.1f},{bottom - _PANEL_HEIGHT * min(value / highest, 1):.1f}"
        for epoch, value in kept
    )
    dash = "" if scored else ' stroke-dasharray="4 3"'
    return f'<polyline points="{spots}" fill="none" stroke="{colour}" stroke-width="1.4"{dash}/>'


def _cell(left, top, count, share):
    dark = share > 0.6
    middle = left + _CELL / 2
    fill = f'<rect x="{left}" y="{top}" width="{_CELL - 2}" height="{_CELL / 2 - 2}" fill="{PUBLISHED}" '
    return (
        f'{fill}fill-opacity="{0.06 + 0.9 * share:.2f}"/>'
        + _text(middle, top + 16, f"{count:,}", anchor="middle", colour="#fff" if dark else INK)
        + _text(
            middle,
            top + 29,
            f"{100 * share:.1f} %",
            anchor="middle",
            colour="#fff" if dark else INK,
            size=10,
        )
    )


def _row_height(shown):
    return max(len(shown), 1) * (_BAR + 2) + _GAP


def _place(value):
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(value, 0.0), 1.0)


def _short(label):
    return label if len(label) <= 11 else f"{label[:10]}…"


def _text(x, y, text, *, anchor="start", colour=INK, size=12):
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {place} fill="{colour}">{escape(text)}</text>'


def _svg(width, height, title, parts):
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" {_FONT}><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )
    return Picture(width, height, text)
