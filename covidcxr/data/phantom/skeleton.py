"""Bone: how many centimetres of cortical bone, or its equal, a ray crosses."""

import cv2
import numpy as np

from covidcxr.data.phantom.grid import capsule, ellipsoid

_RIBS = 12
_FIRST_RIB = -11.6


def build(grid, patient, chest):
    """Return the bone chords, cm of cortical bone, float32 (size, size)."""
    bone = _spine(grid, patient)
    _ribs(grid, patient, chest, bone)
    _girdle(grid, patient, bone)
    return bone * np.float32(patient.bone)


def _spine(grid, patient):
    bone = np.zeros_like(grid.X)
    bow = (patient.scoliosis * np.cos(grid.y * 0.22)).astype(np.float32)
    columns = grid.window(0, 0, 4.5, 60)[1]
    across = grid.X[:, columns] - bow
    height = grid.Y[:, columns]
    level = (height + 30) / (2.15 + 0.018 * (height + 14))
    phase = level - np.floor(level)
    body = np.clip((0.5 - np.abs(phase - 0.5)) * 9, 0, 1)
    half = 1.55 + 0.022 * (height + 14)
    waist = half * (1.0 - 0.10 * np.sin(np.pi * phase))
    shape = np.sqrt(np.maximum(1 - _fourth(across / waist), 0))
    neck = np.clip((height + 19) / 7, 0.45, 1)
    bone[:, columns] = neck * shape * (0.24 + 0.34 * body)
    eye = ((np.abs(across) - 0.95) / 0.42) ** 2 + ((phase - 0.36) / 0.22) ** 2
    process = (across / 0.33) ** 2 + ((phase - 0.8) / 0.32) ** 2
    bone[:, columns] += 0.4 * np.sqrt(np.maximum(1 - eye, 0)) + 0.35 * np.sqrt(np.maximum(1 - process, 0))
    wings = np.maximum(1 - ((np.abs(across) - 2.3) / 1.3) ** 2 - ((phase - 0.4) / 0.2) ** 2, 0)
    bone[:, columns] += 0.3 * np.sqrt(wings)
    return bone


def _ribs(grid, patient, chest, bone):
    """Add the ribs: tilted rings round the cage, whose far and near halves cross in the picture.

    A ring of half-width l tilted by `rib_tilt` is seen as y = ring -+ tilt * depth * sqrt(1 - (x / l)^2): the
    posterior half above, the anterior half below. All rings of a half form one family, so the nearest ring
    of every pixel follows from one inverse.
    """
    rows = grid.window(0, 2.0, 60, 15.6)[0]
    distance = np.abs(grid.X[rows])
    lateral = chest.lateral[rows] + np.float32(0.35)
    share = np.minimum(distance / lateral, 1)
    inside = distance < lateral
    rise = np.sqrt(np.maximum(1 - share * share, 1e-4))
    deep = np.float32(8.8 * patient.depth * patient.rib_tilt)
    shorter = np.clip((grid.y[rows] - _FIRST_RIB + 7) / 9, 0.35, 1).astype(np.float32)
    slope = deep * shorter * share / (lateral * rise)
    # A rib seen along its length is thicker; the cap stands for its finite curvature.
    along = np.minimum(1 / np.sqrt(np.maximum(1 - _fourth(share), 0.07)), 1.9) * inside
    for half in (-1, 1):
        y = grid.Y[rows] - half * deep * shorter * rise
        if half < 0:
            # The neck of a rib climbs to its vertebra.
            y += 0.9 * np.exp(-((distance - 2.0) ** 2) * np.float32(0.18))
        bone[rows] += _ring(grid.X[rows], y, slope, share, half, patient) * along


def _ring(x, y, slope, share, half, patient):
    gap = 2.15 * patient.rib_gap
    grow = 0.035
    base = (y - np.float32(_FIRST_RIB + patient.rib_shift)) * np.float32(1 / gap)
    base += np.float32(0.5 * patient.scoliosis) * np.sign(x)
    level = (np.sqrt(np.maximum(1 + 4 * grow * base, 0.04)) - 1) * np.float32(0.5 / grow)
    rib = np.clip(np.rint(level), -1, _RIBS)
    away = (base - rib * (1 + np.float32(grow) * rib)) * np.float32(gap)
    away /= np.sqrt(1 + slope * slope)
    away /= 0.46 + 0.018 * rib if half < 0 else 0.58 + 0.02 * rib
    away *= away
    outer = np.sqrt(np.maximum(1 - away, 0))
    inner = np.sqrt(np.maximum(1 - away * np.float32(1.4), 0))
    if half > 0:
        end = np.clip((share - 0.5) * 6, 0, 1)
        return (0.56 * outer - 0.34 * inner) * end * (rib < 7) * (rib >= 0)
    head = np.clip((np.abs(x) - 1.6) * 1.5, 0, 1)
    return (1.15 * outer - 0.72 * inner) * head


def _girdle(grid, patient, bone):
    pose = grid.pose
    for side in (-1, 1):
        _clavicle(grid, patient, side, bone)
        joint = (side * 17.0 * patient.breadth, -11.0 - 0.8 * pose.shrug)
        window, head = ellipsoid(grid, joint, (2.2, 2.5, 0.55))
        bone[window] += head
        elbow = (side * (21.0 + pose.arms) * patient.breadth, 12.0)
        window, outer = capsule(grid, joint, elbow, 1.15)
        bone[window] += 0.3 * outer
        window, marrow = capsule(grid, joint, elbow, 0.7)
        bone[window] -= 0.3 * marrow
        _scapula(grid, patient, side, bone)


def _clavicle(grid, patient, side, bone):
    pose = grid.pose
    rise = patient.clavicle + 0.9 * pose.shrug
    reach = 14.3 * patient.breadth
    window = grid.window(side * (reach / 2 + 0.6), -9.9 - rise / 2, reach / 2 + 0.6, rise / 2 + 2.6)
    distance = side * (grid.X[window] - np.float32(0.3 * pose.turn))
    share = np.clip((distance - 1.9) / np.float32(reach - 1.9), 0, 1)
    # The S of the collar bone: forward bow near the sternum, backward bow near the shoulder.
    line = -8.6 - rise * share * (1.55 - 0.55 * share) - 0.55 * np.sin(2 * np.pi * share)
    slope = (rise * (1.55 - 1.1 * share) + 0.55 * 2 * np.pi * np.cos(2 * np.pi * share)) / np.float32(reach)
    radius = 0.58 + 0.5 * (share - 0.45) ** 2 + 0.25 * np.exp(-((share / 0.1) ** 2))
    away = ((grid.Y[window] - line) / (np.sqrt(1 + slope * slope) * radius)) ** 2
    ends = np.clip(distance - 1.9, 0, 0.5) * np.clip(reach - distance, 0, 0.5) * 4
    outer = np.sqrt(np.maximum(1 - away, 0))
    inner = np.sqrt(np.maximum(1 - 1.7 * away, 0))
    bone[window] += (1.7 * outer - 0.8 * inner) * ends


def _scapula(grid, patient, side, bone):
    """Add a shoulder blade: a thin plate with stout edges, over the lungs when the arms hang (AP)."""
    pose = grid.pose
    inward = 2.6 if pose.view == "AP" else 0.0
    corners = np.array(
        [[14.4, -12.4], [11.9, -11.6], [11.3, -8.5], [12.2, -3.6], [13.2, -2.2], [14.1, -4.2], [15.2, -8.6]]
    )
    corners[:, 0] = side * (corners[:, 0] + 0.7 - inward * np.linspace(0.2, 1, 7)) * patient.breadth
    corners[:, 1] -= 0.8 * pose.shrug
    points = np.rint(grid.pixels(corners) * 16).astype(np.int32)
    plate = np.zeros(bone.shape, np.uint8)
    cv2.fillPoly(plate, [points], 70, cv2.LINE_AA, 4)
    thick = max(1, round(0.32 / grid.pixel))
    cv2.polylines(plate, [points], True, 165, thick, cv2.LINE_AA, 4)
    spine = np.array([[11.6, -9.6], [14.0, -11.6], [16.6, -13.4]])
    spine[:, 0] = side * (spine[:, 0] + 0.5 - 0.5 * inward) * patient.breadth
    spine[:, 1] -= 0.8 * pose.shrug
    ridge = np.rint(grid.pixels(spine) * 16).astype(np.int32)
    cv2.polylines(plate, [ridge], False, 190, max(1, round(0.55 / grid.pixel)), cv2.LINE_AA, 4)
    window = grid.window(side * 13.5 * patient.breadth, -8, 5.5, 8)
    soft = cv2.GaussianBlur(plate[window], (0, 0), max(0.3, 0.22 / grid.pixel))
    bone[window] += soft * np.float32(1.0 / 165)


def _fourth(values):
    squared = values * values
    return squared * squared
