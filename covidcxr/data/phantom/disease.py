"""What the diseases do to the lungs: the share of air that fluid replaces, on a map in the patient's frame.

The patterns follow the radiological textbook, not any data set: COVID-19 patchy, peripheral, lower, mostly on
both sides; SARS alike but focal and one-sided at first; bacterial one lobe, dense, with a sharp border at the
fissure; viral diffuse, reticular, around the hila on both sides.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from covidcxr.data import labels
from covidcxr.data.phantom import anatomy, vessels
from covidcxr.data.phantom.patients import draw_patient, draw_pose, stream

POINTS = 192
SPAN = vessels.SPAN
_STEP = 2 * SPAN / POINTS
# Days after onset at which the findings are worst, and the width of the course, days.
_COURSE = {labels.COVID19: (10, 7), labels.SARS: (11, 7), labels.BACTERIAL: (4, 5), labels.VIRAL: (6, 6)}
# Lobes: side, share across and down of the centre, half-axes in cm, fissure (down, slope, +1 if below).
_LOBES = (
    (-1, 0.50, 0.30, (6.2, 4.8), (0.52, 0.05, 1)),
    (-1, 0.30, 0.76, (5.4, 4.2), (0.55, 0.05, -1)),
    (-1, 0.50, 0.88, (5.8, 4.4), None),
    (1, 0.45, 0.36, (5.8, 5.2), (0.62, -0.12, 1)),
    (1, 0.45, 0.88, (5.6, 4.6), None),
)
_LOBE_ODDS = (0.24, 0.2, 0.24, 0.14, 0.18)


@dataclass(frozen=True)
class Stage:
    """Where in its course a disease is on one picture.

    Attributes
    ----------
    pattern : str
        The label whose pattern is drawn; ``"pneumonia"`` becomes bacterial or viral, by patient.
    severity : float
        0 (healthy) to 1.
    offset : int
        Days since onset; for a healthy patient days since the first picture.
    """

    pattern: str
    severity: float
    offset: int


def stage(label, patient, image, seed):
    """Return the :class:`Stage` of one picture. Pictures of a patient are numbered from 1, in time."""
    rng = stream(seed, "progress", patient)
    pattern = labels.BACTERIAL if rng.random() < 0.5 else labels.VIRAL
    pattern = pattern if label == labels.PNEUMONIA else label
    worst = 0.12 + 0.88 * rng.beta(2.0, 1.6)
    first = int(rng.integers(1, 9))
    wander = rng.integers(1, 5, size=max(image, 1))
    day = first + int(wander[: image - 1].sum())
    if pattern == labels.NORMAL:
        return Stage(pattern, 0.0, day - first)
    peak, width = _COURSE[pattern]
    course = np.exp(-(((day - peak) / width) ** 2))
    return Stage(pattern, float(np.clip(worst * (0.45 + 0.55 * course), 0.05, 1)), day)


def filling(now, patient, image, seed):
    """Return the share of lung air that fluid replaces.

    Parameters
    ----------
    now : Stage
    patient, image, seed : int

    Returns
    -------
    numpy.ndarray or None
        float32 (POINTS, POINTS) in 0-0.95, over +-`SPAN` cm; None in health.
    """
    if now.pattern == labels.NORMAL:
        return None
    place = _Place(patient, image, seed)
    filled = _PATTERNS[now.pattern](place, now.severity)
    return np.clip(filled, 0, 0.95, out=filled)


def texture(patient, seed):
    """Return the fine unevenness of healthy lung: float32 (POINTS, POINTS), mean 0, spread 1."""
    return _noise(patient, seed)[0]


@lru_cache(maxsize=8)
def _noise(patient, seed):
    """Return fine, cloudy and two warping noises of a patient, each float32 with unit spread."""
    rng = stream(seed, "lesions", patient, 0)
    fine = _unit(cv2.GaussianBlur(rng.standard_normal((POINTS, POINTS), dtype=np.float32), (0, 0), 1.3))
    cloudy = _unit(_clouds(rng, (12, 24, 48)) + 0.35 * fine)
    return fine, cloudy, _clouds(rng, (9, 18)), _clouds(rng, (9, 18))


def _clouds(rng, scales):
    total = np.zeros((POINTS, POINTS), np.float32)
    for scale in scales:
        coarse = rng.standard_normal((scale, scale), dtype=np.float32) * np.float32(
            (scales[0] / scale) ** 0.7
        )
        total += cv2.resize(coarse, (POINTS, POINTS), interpolation=cv2.INTER_CUBIC)
    return _unit(total)


@lru_cache(maxsize=8)
def _web(patient, seed):
    """Return a network of thin lines in 0-1: the zero crossings of smooth noise."""
    rng = stream(seed, "lesions", patient, 2)
    total = np.zeros((POINTS, POINTS), np.float32)
    for sigma in (1.5, 2.4):
        smooth = _unit(
            cv2.GaussianBlur(rng.standard_normal((POINTS, POINTS), dtype=np.float32), (0, 0), sigma)
        )
        total = np.maximum(total, np.exp(-smooth * smooth * np.float32(1 / 0.11)))
    return total * np.clip(0.7 + 0.4 * _noise(patient, seed)[1], 0, 1.4)


def _unit(values):
    return (values - values.mean()) / np.float32(values.std())


class _Place:
    """The map's coordinates, warped by the patient's noise so that no lesion is a perfect ellipse."""

    def __init__(self, patient, image, seed):
        self.patient = draw_patient(patient, seed)
        self.pose = draw_pose(patient, image, seed)
        self.number, self.seed = patient, seed
        self.rng = stream(seed, "lesions", patient, 1)
        self.fine, self.cloudy, warp_x, warp_y = _noise(patient, seed)
        steps = ((np.arange(POINTS) + 0.5) * _STEP - SPAN).astype(np.float32)
        self.x, self.y = steps[None, :], steps[:, None]
        self.warped_x, self.warped_y = self.x + 0.6 * warp_x, self.y + 0.6 * warp_y

    def patch(self, side, across, down, radii, edge=1.0):
        """Return a soft-edged patch, 1 in the middle; `edge` above 1 steepens its border."""
        x, y = anatomy.lung_point(side, across, down, self.patient, self.pose)
        dx = (self.warped_x - np.float32(x)) * np.float32(1 / radii[0])
        dy = (self.warped_y - np.float32(y)) * np.float32(1 / radii[1])
        squared = dx * dx + dy * dy
        if edge > 1:
            return 1 / (1 + np.exp(np.minimum(np.float32(3 * edge) * (squared - 1), 30)))
        return np.exp(-squared)

    def mottled(self, depth):
        """Return cloudy noise around 1, never negative."""
        return np.maximum(1 + np.float32(depth) * self.cloudy, 0)


def _patches(place, spots, severity):
    """Add up patches that appear one after the other as severity grows."""
    total = np.zeros((POINTS, POINTS), np.float32)
    for order, (side, across, down, radii, depth) in enumerate(spots):
        begun = np.clip((severity - 0.75 * order / len(spots)) / 0.3, 0, 1)
        if begun > 0:
            total += np.float32(depth * begun) * place.patch(side, across, down, radii)
    return total


def _spots(rng, count, sides):
    spots = []
    for order in range(count):
        radius = rng.uniform(1.6, 3.3)
        spots.append(
            (
                int(sides[order % len(sides)]),
                rng.beta(4.5, 1.5),
                0.25 + 0.75 * rng.beta(3.2, 1.8),
                (radius * rng.uniform(0.6, 1.0), radius * rng.uniform(0.8, 1.4)),
                rng.uniform(0.25, 0.6),
            )
        )
    return spots


def _saturated(filled):
    return np.float32(0.75) * (1 - np.exp(-filled * np.float32(1.6)))


def _covid(place, severity):
    first = place.rng.choice((-1, 1))
    sides = (first, -first, first, -first) if place.rng.random() < 0.85 else (first, first, first, -first)
    spots = _spots(place.rng, int(place.rng.integers(8, 13)), sides)
    glass = _patches(place, spots, severity) * place.mottled(0.45)
    return _saturated(glass) + np.float32(0.2 * severity) * _web(place.number, place.seed) * np.minimum(
        2 * glass, 1
    )


def _sars(place, severity):
    first = place.rng.choice((-1, 1))
    spots = _spots(place.rng, int(place.rng.integers(6, 9)), (first, first, first, -first))
    spots[0] = (int(first), place.rng.uniform(0.4, 0.8), place.rng.uniform(0.5, 0.85), (2.6, 2.4), 0.75)
    return _saturated(_patches(place, spots, severity) * place.mottled(0.35))


def _bacterial(place, severity):
    rng = place.rng
    side, across, down, radii, fissure = _LOBES[rng.choice(len(_LOBES), p=_LOBE_ODDS)]
    across = float(np.clip(across + rng.normal(0, 0.1), 0.15, 0.8))
    grown = 0.65 + 0.5 * severity
    if fissure:
        # Consolidation rests on the fissure that stops it: half a half-axis off, in a lung 20 cm tall.
        down = fissure[0] - fissure[2] * 0.5 * radii[1] * grown / 20
    solid = place.patch(side, across, down, (radii[0] * grown, radii[1] * grown), edge=1.2)
    dense = rng.uniform(0.5, 0.85) * (0.5 + 0.5 * severity)
    if fissure:
        level = anatomy.lung_point(side, across, fissure[0], place.patient, place.pose)[1]
        away = place.y - np.float32(level) - np.float32(fissure[1]) * (place.x - np.float32(side * 7))
        solid = solid / (1 + np.exp(np.clip(np.float32(fissure[2] * 3.5) * away, -30, 30)))
    filled = np.float32(dense) * solid * place.mottled(0.18)
    if rng.random() < 0.6:
        filled *= 1 - _bronchi(place.number, place.seed)
    return filled


def _bronchi(patient, seed):
    """Return the share of a consolidation that open bronchi keep free of fluid."""
    tree = cv2.resize(vessels.draw(patient, seed, 512), (POINTS, POINTS), interpolation=cv2.INTER_AREA)
    return 0.45 * np.minimum(tree * np.float32(1 / 200), 1)


def _viral(place, severity):
    rng = place.rng
    reach = rng.uniform(4.5, 7.0) * (0.75 + 0.5 * severity)
    weight = np.zeros((POINTS, POINTS), np.float32)
    for side in (-1, 1):
        dx = place.warped_x - np.float32(side * 5.0)
        dy = (place.warped_y - np.float32(0.5 + rng.normal(0, 0.8))) * np.float32(0.75)
        weight = np.maximum(weight, np.exp(-(dx * dx + dy * dy) * np.float32(1 / reach**2)))
    lines = 0.24 * _web(place.number, place.seed) + 0.10 * np.maximum(place.fine, 0)
    haze = rng.uniform(0.08, 0.2) * place.mottled(0.5)
    return np.float32(0.25 + severity) * weight * (lines + haze)


_PATTERNS = {
    labels.COVID19: _covid,
    labels.SARS: _sars,
    labels.BACTERIAL: _bacterial,
    labels.VIRAL: _viral,
}
