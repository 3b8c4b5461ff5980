"""Soft tissue and air: how many centimetres of each a ray crosses."""

from dataclasses import dataclass

import numpy as np

from covidcxr.data.phantom.grid import capsule, ellipsoid, profile

APEX = -13.4
WIDEST = 8.0
HALF_WIDTH = 13.6
_MEDIAL = 0.4
_APEX_X = 5.0

# Heights in cm and the profile there: half-width of neck and shoulders, half-depth of the body.
_SHOULDER_Y = (-30, -20.5, -18.7, -17.2, -15.8, -14.0, -11.0, -7.5, -4.0, 0.0, 30)
_SHOULDER_X = (6.6, 7.0, 8.8, 12.5, 16.8, 20.0, 20.8, 19.2, 16.6, 14.0, 10.0)
_DEPTH_Y = (-30, -19.0, -15.0, -11.0, -6.0, 0.0, 8.0, 16.0, 30)
_DEPTH = (5.8, 6.2, 7.6, 9.0, 10.2, 10.8, 11.2, 11.4, 11.6)


@dataclass(frozen=True)
class Chest:
    """The thickness maps of one patient in one pose, before any disease.

    Attributes
    ----------
    soft : numpy.ndarray
        Body outline chord, cm, float32 (size, size): everything that is not outside air.
    air : numpy.ndarray
        Lung along the ray, cm, float32 (size, size).
    hollow : numpy.ndarray
        Plain air inside the body (trachea, bronchi, stomach), cm.
    field : numpy.ndarray
        bool: the lung fields as a reader outlines them (beside heart and mediastinum, above the domes).
    lateral, medial : numpy.ndarray
        float32 (size, 1): distance of the chest wall's inside and of the mediastinal pleura from the
        midline, cm.
    """

    soft: np.ndarray
    air: np.ndarray
    hollow: np.ndarray
    field: np.ndarray
    lateral: np.ndarray
    medial: np.ndarray


def build(grid, patient):
    """Compute the soft-tissue and air chords of a patient on a grid, as a :class:`Chest`."""
    lateral, medial, depth = cage(grid.y, patient)
    cavity = _cavity(grid, lateral, medial, depth)
    middle = _mediastinum(grid, patient)
    domes = _domes(grid, patient, depth)
    field = (cavity > 0.6) & (middle < 3.0) & (domes < 0.4)
    air = np.maximum(cavity - middle - 1.2 * domes, 0)
    soft = _body(grid, patient, lateral)
    np.minimum(air, np.maximum(soft - 2.5, 0), out=air)
    hollow = _hollow(grid, patient)
    return Chest(soft, air, hollow, field, lateral, medial)


def cage(y, patient):
    """Return the inside of the rib cage at heights `y`: lateral and medial distance, half-depth (cm)."""
    rise = np.clip((WIDEST - y) / (WIDEST - APEX), 0, None)
    taper = np.maximum(1 - np.minimum(rise, 1) ** 2.5, 0) ** 0.44
    low = np.maximum(y - WIDEST, 0)
    apex_x = _APEX_X * patient.breadth
    lateral = apex_x + (HALF_WIDTH * patient.breadth - apex_x - 0.012 * low * low) * taper
    near_apex = np.clip((y - APEX) / 4.5, 0, 1)
    medial = apex_x - (apex_x - _MEDIAL) * np.sqrt(near_apex * (2 - near_apex))
    floor = np.clip((14.5 - y) / 5.0, 0, 1)
    depth = 9.2 * patient.depth * taper * np.sqrt(floor * (2 - floor))
    inside = y > APEX
    lateral = np.where(inside, lateral, 0.01)
    depth = np.where(inside, depth, 0)
    return lateral.astype(np.float32), medial.astype(np.float32), depth.astype(np.float32)


def lung_point(side, across, down, patient, pose):
    """Place a point by its share of the lung: 0-1 from mediastinum to chest wall, 0-1 from apex to dome.

    Parameters
    ----------
    side : int
        -1 for the patient's right lung (left in the picture), 1 for the left.
    across, down : float
    patient : Patient
    pose : Pose

    Returns
    -------
    (float, float)
        x and y in cm.
    """
    dome = (patient.dome_right if side < 0 else patient.dome_left) - pose.breath
    y = APEX + 1.0 + down * (dome - APEX - 1.0)
    lateral, medial, _ = cage(np.array([y]), patient)
    inner = max(float(medial[0]), 3.0)
    return side * (inner + across * (float(lateral[0]) - inner)), y


def _cavity(grid, lateral, medial, depth):
    distance = np.abs(grid.X)
    start = np.minimum(medial, _APEX_X) * 0.6
    share = np.clip((distance - start) / np.maximum(lateral - start, 0.05), 0, 1)
    chords = 2 * depth * np.sqrt(1 - share * share * share)
    wall = np.clip((distance - medial) * np.float32(1 / 3.6), 0, 1)
    chords *= wall * (2 - wall)
    chords *= distance < lateral
    return chords


def _mediastinum(grid, patient):
    pose = grid.pose
    turn = pose.turn
    near = 1.13 if pose.view == "AP" else 1.0
    h, k = patient.heart * near, patient.knob * (near + 1) / 2
    up = 0.5 * pose.breath
    chords = np.zeros_like(grid.X)
    solids = (
        ((2.5 + turn, 4.9 - up), (7.7 * h, 4.8 * h, 6.8), 0.68),
        ((3.3 + turn, 7.8 - up), (5.9 * h, 3.6 * h, 6.4), 0.1),
        ((-0.5 + turn, 3.4 - up), (3.8 * h, 5.2 * h, 6.4), 0.0),
        ((1.3 + turn, -1.4 - up), (2.9 * h, 5.2 * h, 5.4), -0.42),
        ((-0.5 + turn, -3.6), (2.3 * h, 6.4, 4.2), 0.06),
        ((-0.1 + 0.7 * turn, -10.5), (2.1, 9.5, 3.0), 0.0),
        ((1.1 + 0.6 * turn, -5.7), (1.95 * k, 2.3 * k, 4.4), 0.0),
        ((-3.6 + turn, -1.2 - 0.5 * up), (1.1, 2.3, 1.3), 0.15),
        ((3.7 + turn, -2.4 - 0.5 * up), (1.1, 1.9, 1.3), -0.3),
    )
    for centre, radii, angle in solids:
        window, chord = ellipsoid(grid, centre, radii, angle)
        np.maximum(chords[window], chord, out=chords[window])
    window, aorta = capsule(grid, (1.7 * k, -5.0), (0.7, 12.0), 1.0 * k)
    chords[window] += aorta
    return chords


def _domes(grid, patient, depth):
    chords = np.zeros_like(grid.X)
    pose = grid.pose
    width = patient.breadth
    for side, height in ((-1, patient.dome_right), (1, patient.dome_left)):
        tall = 6.2 * patient.dome_bulge
        centre = (side * 6.5 * width, height - pose.breath + tall)
        window, chord = ellipsoid(grid, centre, (7.5 * width, tall, 9.8 * patient.depth), 0.05 * side)
        np.maximum(chords[window], chord, out=chords[window])
        below = grid.window(side * 6.5 * width, 30 + centre[1], 7.5 * width, 30)
        chords[below] = np.maximum(chords[below], 2 * depth[below[0]])
    return chords


def _body(grid, patient, lateral):
    wall = 2.1 + patient.fat
    shoulders = profile(_SHOULDER_Y, _SHOULDER_X, grid.y + 0.7 * np.float32(grid.pose.shrug))
    trunk = lateral + wall + 0.02 * np.maximum(grid.y, 0) ** 2 * np.float32(0.4 * patient.fat)
    half_width = np.maximum(shoulders * np.float32(patient.breadth), trunk)
    half_depth = profile(_DEPTH_Y, _DEPTH, grid.y) * np.float32(patient.depth) + np.float32(0.6 * patient.fat)
    share = np.minimum(np.abs(grid.X) / half_width, 1)
    chords = 2 * half_depth * np.sqrt(1 - share * share * share)
    _arms(grid, patient, chords)
    _breasts(grid, patient, chords)
    return chords


def _arms(grid, patient, chords):
    pose = grid.pose
    for side in (-1, 1):
        shoulder = (side * 16.6 * patient.breadth, -10.8 - pose.shrug)
        elbow = (side * (21.0 + pose.arms) * patient.breadth, 12.0)
        window, chord = capsule(grid, shoulder, elbow, 3.9 + 0.5 * patient.fat)
        np.maximum(chords[window], chord, out=chords[window])


def _breasts(grid, patient, chords):
    sag = 1.0 if grid.pose.view == "PA" else 0.2
    for side in (-1, 1):
        centre = (side * 7.4, 2.6 + 1.3 * sag + 0.35 * patient.breast)
        radii = (5.6 + 0.3 * patient.breast, 6.2 + 0.4 * patient.breast, 0.6 * patient.breast)
        window, chord = ellipsoid(grid, centre, radii, 0.12 * side)
        rows = grid.y[window[0]]
        fade = np.clip((rows - np.float32(centre[1] - radii[1])) * np.float32(0.6 / radii[1]), 0, 1)
        chords[window] += chord * fade


def _hollow(grid, patient):
    chords = np.zeros_like(grid.X)
    x = patient.trachea + 0.5 * grid.pose.turn
    carina = (x + 0.2, -4.6)
    rods = (
        ((x, -24.0), carina, 0.72),
        (carina, (x - 3.2, -1.8), 0.62),
        (carina, (x + 4.2, -2.0), 0.52),
    )
    for start, stop, radius in rods:
        window, chord = capsule(grid, start, stop, radius)
        np.maximum(chords[window], chord, out=chords[window])
    if patient.gas > 0.3:
        top = patient.dome_left - grid.pose.breath + 1.6
        radii = (1.2 + 0.9 * patient.gas, 0.5 + 0.6 * patient.gas, 0.8 + patient.gas)
        window, chord = ellipsoid(grid, (6.2, top + radii[1]), radii, -0.1)
        if grid.pose.view == "PA":
            chord *= grid.Y[window] < top + 1.35 * radii[1]
        chords[window] += chord
    for loop in patient.bowel:
        window, chord = ellipsoid(grid, *loop)
        chords[window] += chord
    return chords
