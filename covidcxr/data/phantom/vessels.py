"""The branching vessels of the lungs, drawn as rods that thin towards the pleura."""

from functools import lru_cache

import cv2
import numpy as np

from covidcxr.data.phantom.patients import stream

SPAN = 18.0
_STEPS = 12
_FULL = 1.6


@lru_cache(maxsize=8)
def draw(patient, seed, points):
    """Grow and draw the vessel trees of both lungs.

    Parameters
    ----------
    patient, seed : int
    points : int
        Side of the map; it covers +-`SPAN` cm.

    Returns
    -------
    numpy.ndarray
        uint8 (points, points): vessel along the ray, 255 for `_FULL` cm.
    """
    rng = stream(seed, "patient", patient, 1)
    canvas = np.zeros((points, points), np.uint8)
    trees = [_grow(rng, side) for side in (-1, 1)]
    scale = points / (2 * SPAN)
    for step in reversed(range(_STEPS)):
        radius = _radius(step)
        segments = np.concatenate([tree[step] for tree in trees])
        thickness = max(1, round(2 * radius * scale))
        # A rod thinner than a pixel darkens it by its share of the width.
        level = 255 * _density(step) / _FULL * min(1.0, 2 * radius * scale / thickness)
        corners = np.rint(((segments + SPAN) * scale - 0.5) * 16).astype(np.int32)
        cv2.polylines(canvas, list(corners), False, min(255, level), thickness, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(canvas, (0, 0), 0.035 * scale)


def on(grid, patient, seed, calibre):
    """Return the vessels of a patient as seen on a grid: cm along the ray, float32 (size, size)."""
    points = 512 if grid.size <= 320 else 1024
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(
        draw(patient, seed, points), grid.matrix(points, SPAN), (grid.size, grid.size), flags=flags
    )
    return seen * np.float32(_FULL / 255 * calibre)


def _radius(step):
    return 0.33 * 0.86**step


def _density(step):
    """Thickness along the ray, cm: artery, vein and bronchial wall run in one bundle."""
    return 4.8 * _radius(step)


def _grow(rng, side):
    fan = np.deg2rad(np.array([-84, -66, -44, -22, 2, 24, 42, 58, 72, 84], dtype=np.float64))
    fan += rng.normal(0, 0.12, fan.size)
    root = np.array([3.5, -1.4]) if side < 0 else np.array([3.7, -2.2])
    points = root + rng.normal(0, 0.3, (fan.size, 2)) + np.stack([0.3 * np.cos(fan), 1.7 * np.sin(fan)], -1)
    angles, bends = fan, rng.normal(0, 0.05, fan.size)
    generations = []
    for step in range(_STEPS):
        ahead = (1.0 - 0.025 * step) * rng.uniform(0.75, 1.3, angles.size)
        stops = points + ahead[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
        generations.append(np.stack([points, stops], axis=1) * np.array([side, 1.0]))
        points, angles, bends = _split(rng, stops, angles, bends)
    return generations


def _split(rng, points, angles, bends):
    keep = (points[:, 0] < 13.5) & (points[:, 1] > -13) & (points[:, 1] < 12)
    fork = (rng.random(angles.size) < 0.36) & keep
    spread = rng.uniform(0.3, 0.8, angles.size) * rng.choice((-1, 1), angles.size)
    main = angles + bends + rng.normal(0, 0.17, angles.size) - 0.3 * spread * fork
    points = np.concatenate([points[keep], points[fork]])
    angles = np.concatenate([main[keep], (angles + spread)[fork]])
    bends = np.concatenate([bends[keep], rng.normal(0, 0.06, int(fork.sum()))])
    return points, angles, bends
