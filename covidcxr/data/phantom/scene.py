"""One radiograph: anatomy, disease and detector put together, with the truth about it."""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcxr.data import labels
from covidcxr.data.phantom import anatomy, detector, disease, skeleton, vessels
from covidcxr.data.phantom.confounders import Confounders
from covidcxr.data.phantom.grid import Grid
from covidcxr.data.phantom.patients import draw_patient, draw_pose, stream
from covidcxr.errors import OptionError

SIZES = (64, 1024)
_PLAIN = Confounders()


@dataclass(frozen=True)
class _Body:
    grid: Grid
    chest: anatomy.Chest
    bone: np.ndarray
    air: np.ndarray


def render(label, patient, image, *, size=256, seed=0, confounders=_PLAIN):
    """Render one synthetic frontal radiograph.

    Anatomy, pose and exposure depend on `seed`, `patient` and `image` only, not on the label: the same
    numbers with ``"normal"`` and with a disease give a pair that differs by the disease alone.

    Parameters
    ----------
    label : str
        One of :data:`covidcxr.data.labels.LABELS`.
    patient, image : int
        Numbers from 1; the images of a patient follow each other in time.
    size : int
        Pixels a side, 64 to 1024.
    seed : int
        At least 0. Equal arguments give equal bits, whatever was rendered before.
    confounders : Confounders
        Shortcuts to plant; none by default.

    Returns
    -------
    pixels : numpy.ndarray
        uint8 (size, size), bone bright; the patient's left is on the right.
    truth : dict
        `label`, `view`, `sex`, `age` (years), `offset` (days), `pattern`, `severity` (0-1), `opacity`
        (share of the lung's air replaced, 0-1), `lesion_side` (the patient's ``"right"`` or ``"left"``,
        ``"both"`` or ``"none"``), `lesion_centres` (``"x y; x y"``, shares of the picture, one for each
        side with disease), `marker`, `border`, `contrast` (0 or 1).

    Raises
    ------
    OptionError
        If the label is unknown, or a number is out of range.
    """
    _check(label, patient, image, size, seed)
    pose = draw_pose(patient, image, seed)
    body = _body(patient, image, size, seed)
    now = disease.stage(label, patient, image, seed)
    traits = confounders.draw(label, patient, image, seed)
    window = _levels(body, pose)
    filled = _filled(body, now, patient, image, seed)
    air = body.air if filled is None else body.air * (1 - filled)
    line = detector.attenuation(body.chest.soft, air, body.chest.hollow, body.bone)
    signal = detector.expose(line, pose, stream(seed, "noise", patient, image))
    pixels = detector.display(signal, pose, window, hard=traits["contrast"])
    pixels = confounders.paint(pixels, traits, patient, image, seed)
    return pixels, _truth(label, now, patient, pose, seed) | _lesions(body, filled) | traits


def lung_mask(patient, image, *, size=256, seed=0):
    """Return the true lung fields of the image that :func:`render` makes of the same numbers.

    Returns
    -------
    numpy.ndarray
        uint8 (size, size): 255 where lung lies beside heart and mediastinum and above the domes, else 0.

    Raises
    ------
    OptionError
        If a number is out of range.
    """
    _check(labels.NORMAL, patient, image, size, seed)
    grid = Grid(size, draw_pose(patient, image, seed))
    return anatomy.build(grid, draw_patient(patient, seed)).field.astype(np.uint8) * np.uint8(255)


def _body(patient, image, size, seed):
    person, pose = draw_patient(patient, seed), draw_pose(patient, image, seed)
    grid = Grid(size, pose)
    chest = anatomy.build(grid, person)
    bone = skeleton.build(grid, person, chest)
    uneven = _warped(grid, disease.texture(patient, seed))
    # Shallow breath crowds the bases; it does so in health, too.
    crowded = np.clip((grid.Y + 4) * np.float32(0.012 * (1 + pose.breath)), 0, 0.3)
    air = chest.air * (1 - crowded) * (1 + np.float32(0.024) * uneven)
    air -= vessels.on(grid, patient, seed, person.vessels) * np.minimum(air, 1)
    return _Body(grid, chest, bone, np.maximum(air, 0))


def _levels(body, pose):
    """Set black and white on the healthy chest, so that disease does not change the display."""
    step = max(1, body.grid.size // 64)
    coarse = np.s_[::step, ::step]
    chest = body.chest
    line = detector.attenuation(chest.soft[coarse], body.air[coarse], chest.hollow[coarse], body.bone[coarse])
    return detector.levels(line, chest.field[coarse], pose)


def _filled(body, now, patient, image, seed):
    filled = disease.filling(now, patient, image, seed)
    return None if filled is None else _warped(body.grid, filled)


def _warped(grid, values):
    matrix = grid.matrix(disease.POINTS, disease.SPAN)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, matrix, (grid.size, grid.size), flags=flags)


def _truth(label, now, patient, pose, seed):
    person = draw_patient(patient, seed)
    return {
        "label": label,
        "view": pose.view,
        "sex": person.sex,
        "age": person.age,
        "offset": now.offset,
        "pattern": now.pattern,
        "severity": round(now.severity, 4),
    }


def _lesions(body, filled):
    if filled is None:
        return {"opacity": 0.0, "lesion_side": "none", "lesion_centres": ""}
    inside = body.chest.field
    mass = filled * inside
    middle = body.grid.X < 0
    halves = {"right": mass * middle, "left": mass * ~middle}
    totals = {side: float(half.sum()) for side, half in halves.items()}
    heavy = [side for side, total in totals.items() if total > 0.12 * max(totals.values())]
    return {
        "opacity": round(float(mass.sum()) / max(1, int(inside.sum())), 4),
        "lesion_side": heavy[0] if len(heavy) == 1 else "both",
        "lesion_centres": "; ".join(_centre(halves[side]) for side in heavy),
    }


def _centre(mass):
    size = mass.shape[0]
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    total = max(float(mass.sum()), 1e-6)
    return f"{float(mass.sum(0) @ steps) / total:.3f} {float(mass.sum(1) @ steps) / total:.3f}"


def _check(label, patient, image, size, seed):
    if label not in labels.LABELS:
        raise OptionError(f"label {label!r} is unknown; use one of {', '.join(labels.LABELS)}")
    if patient < 1 or image < 1 or seed < 0:
        raise OptionError(
            f"patient {patient}, image {image}, seed {seed}: patient and image count from 1, seed from 0"
        )
    if not SIZES[0] <= size <= SIZES[1]:
        raise OptionError(
            f"size {size}: a phantom is {SIZES[0]} to {SIZES[1]} pixels a side; choose one in between"
        )
