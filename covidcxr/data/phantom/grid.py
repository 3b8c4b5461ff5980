"""The image plane in centimetres, and closed-form chord lengths of the solids on it.

The frame is the patient's: x grows towards the patient's left (the right of the picture), y downwards, both
zero near the middle of the chest. Chords are the lengths, in cm, that parallel rays spend inside a solid.
"""

import math
from functools import lru_cache

import numpy as np


class Grid:
    """Pixel centres of a square picture, in cm, seen through a pose.

    Parameters
    ----------
    size : int
        Pixels a side.
    pose : Pose
        Field of view, shift and lean of the patient (see `patients.Pose`).

    Attributes
    ----------
    x, y : numpy.ndarray
        float32, (1, size) and (size, 1): the plane without lean, for what is a profile of height alone.
    X, Y : numpy.ndarray
        float32, (size, size): the plane with lean.
    pixel : float
        Side of a pixel in cm.
    """

    def __init__(self, size, pose):
        steps = _steps(size)
        self.size = size
        self.pose = pose
        self.pixel = pose.field / size
        self.y = (steps * np.float32(pose.field) - np.float32(pose.shift_y))[:, None]
        self.x = (steps * np.float32(pose.field) - np.float32(pose.shift_x))[None, :]
        self.X = self.x + np.float32(pose.lean) * self.y
        self.Y = self.y - np.float32(pose.lean) * self.x

    def window(self, x, y, half_x, half_y):
        """Return the slices (rows, columns) that hold a box around (x, y), generous to the lean."""
        slack = 0.5 + abs(self.pose.lean) * 20
        return (
            _slice(self.y[:, 0], y, half_y + slack),
            _slice(self.x[0], x, half_x + slack),
        )

    def matrix(self, points, span):
        """Return the 2 x 3 matrix from these pixels to those of a map over +-`span` cm, `points` wide."""
        scale = points / (2 * span)
        lean, step = self.pose.lean, self.pixel
        x0, y0 = float(self.x[0, 0]), float(self.y[0, 0])
        return np.array(
            [
                [step * scale, lean * step * scale, (x0 + lean * y0 + span) * scale - 0.5],
                [-lean * step * scale, step * scale, (y0 - lean * x0 + span) * scale - 0.5],
            ],
            dtype=np.float64,
        )

    def pixels(self, points):
        """Return where points (..., 2) of the leaning plane, in cm, fall, in pixels (float64)."""
        lean = self.pose.lean
        u, v = points[..., 0], points[..., 1]
        x = (u - lean * v) / (1 + lean * lean)
        y = (v + lean * u) / (1 + lean * lean)
        origin = np.array([self.x[0, 0], self.y[0, 0]], dtype=np.float64)
        return (np.stack([x, y], axis=-1) - origin) / self.pixel


@lru_cache(maxsize=8)
def _steps(size):
    return ((np.arange(size, dtype=np.float64) + 0.5) / size - 0.5).astype(np.float32)


def _slice(values, centre, half):
    start, stop = np.searchsorted(values, (centre - half, centre + half))
    return slice(int(start), int(stop))


def ellipsoid(grid, centre, radii, angle=0.0):
    """Chords through an ellipsoid.

    Parameters
    ----------
    grid : Grid
    centre : (float, float)
        x, y in cm.
    radii : (float, float, float)
        Half-axes in cm: along x, along y, along the ray.
    angle : float
        Turn in the image plane, radians, from x towards y (clockwise in the picture).

    Returns
    -------
    window : tuple of slice
        Where in the picture the chords lie.
    chords : numpy.ndarray
        float32, cm, zero outside the solid.
    """
    reach_x = math.hypot(radii[0] * math.cos(angle), radii[1] * math.sin(angle))
    reach_y = math.hypot(radii[0] * math.sin(angle), radii[1] * math.cos(angle))
    window = grid.window(*centre, reach_x, reach_y)
    dx, dy = grid.X[window] - np.float32(centre[0]), grid.Y[window] - np.float32(centre[1])
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    across = (dx * cosine + dy * sine) * np.float32(1 / radii[0])
    along = (dy * cosine - dx * sine) * np.float32(1 / radii[1])
    rest = 1 - across * across - along * along
    return window, np.float32(2 * radii[2]) * np.sqrt(np.maximum(rest, 0))


def capsule(grid, start, stop, radius):
    """Chords through a rod with round ends, lying in the image plane; returns as :func:`ellipsoid` does."""
    middle = ((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2)
    reach = (abs(start[0] - stop[0]) / 2 + radius, abs(start[1] - stop[1]) / 2 + radius)
    window = grid.window(*middle, *reach)
    dx, dy = grid.X[window] - np.float32(start[0]), grid.Y[window] - np.float32(start[1])
    ax, ay = stop[0] - start[0], stop[1] - start[1]
    length = ax * ax + ay * ay
    share = np.clip(dx * np.float32(ax / length) + dy * np.float32(ay / length), 0, 1)
    dx -= share * np.float32(ax)
    dy -= share * np.float32(ay)
    rest = np.float32(radius * radius) - dx * dx - dy * dy
    return window, 2 * np.sqrt(np.maximum(rest, 0))


def profile(knots, values, y):
    """Interpolate a monotone-cubic profile of height at `y` (float32, same shape)."""
    heights, table = _dense(tuple(knots), tuple(values))
    return np.interp(y, heights, table).astype(np.float32)


@lru_cache(maxsize=64)
def _dense(knots, values):
    from scipy.interpolate import PchipInterpolator

    heights = np.linspace(knots[0], knots[-1], 1024)
    return heights, PchipInterpolator(knots, values)(heights)
