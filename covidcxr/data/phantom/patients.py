"""Who lies before the detector: a patient's anatomy, and the pose and exposure of one picture.

Nothing here depends on the diagnosis, so that without confounders the disease alone tells the classes apart,
and the same patient can be rendered healthy and ill.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_STREAMS = {"patient": 1, "image": 2, "lesions": 3, "progress": 4, "noise": 5, "traits": 6, "folder": 7}


def stream(seed, purpose, *indices):
    """Return the random generator of one purpose for one patient or image, whatever was drawn before.

    Parameters
    ----------
    seed : int
        At least 0.
    purpose : str
        A key of the streams: two purposes never share numbers.
    *indices : int
        Patient and, where it matters, image.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng([seed, _STREAMS[purpose], *indices])


@dataclass(frozen=True)
class Patient:
    """What stays the same between two radiographs of one person. Lengths in cm, factors around 1.

    Attributes
    ----------
    sex : str
        ``"F"`` or ``"M"``.
    age : int
        Years.
    stature, breadth, depth : float
        Factors of the whole chest, of its width and of its thickness.
    fat : float
        Thickness of the chest wall beyond the muscles, cm.
    breast : float
        Thickness of breast tissue, cm.
    heart, knob : float
        Factors of the heart's and of the aortic knob's size.
    dome_right, dome_left : float
        Height of the diaphragm's domes at full breath in a standing patient, cm (downwards).
    dome_bulge : float
        Factor of the domes' curvature.
    rib_tilt, rib_gap, rib_shift : float
        Slope of the rib rings, factor of their spacing, their height offset in cm.
    bone : float
        Factor of bone density.
    clavicle : float
        Rise of the clavicles towards the shoulder, cm.
    scoliosis : float
        Sideways bow of the spine, cm.
    trachea : float
        Sideways shift of the trachea, cm.
    gas : float
        Size of the stomach bubble, cm (0: none).
    bowel : tuple
        Gas-filled loops of colon, each as the arguments of `grid.ellipsoid`: centre, half-axes, angle.
    vessels : float
        Factor of the vessels' calibre.
    frail : float
        Chance that a picture is taken in bed (AP).
    """

    sex: str
    age: int
    stature: float
    breadth: float
    depth: float
    fat: float
    breast: float
    heart: float
    knob: float
    dome_right: float
    dome_left: float
    dome_bulge: float
    rib_tilt: float
    rib_gap: float
    rib_shift: float
    bone: float
    clavicle: float
    scoliosis: float
    trachea: float
    gas: float
    bowel: tuple
    vessels: float
    frail: float


@dataclass(frozen=True)
class Pose:
    """How one picture was taken.

    Attributes
    ----------
    view : str
        ``"PA"`` (standing, heart near the detector) or ``"AP"`` (in bed, heart magnified).
    field : float
        Side of the field of view at the patient, cm.
    shift_x, shift_y : float
        Where the chest's middle lies from the picture's middle, cm.
    lean : float
        Tilt of the spine, radians (small).
    turn : float
        Shift of the mediastinum against the rib cage when the patient is turned, cm.
    breath : float
        How far the domes stand above full breath, cm.
    shrug : float
        How far shoulders and clavicles are drawn up, cm.
    arms : float
        How far the arms stand out, cm.
    photons : float
        Quanta per square cm of the open beam; they set the noise.
    scatter : float
        Scattered to primary radiation behind the chest.
    low, high : float
        Shifts of the display's black and white, as shares of the step from lungs to spine.
    curve : float
        Exponent of the display curve.
    crisp : float
        Strength of the maker's edge enhancement.
    heel : float
        Fall of the beam along the body (heel effect).
    vignette : float
        Darkening of the corners.
    """

    view: str
    field: float
    shift_x: float
    shift_y: float
    lean: float
    turn: float
    breath: float
    shrug: float
    arms: float
    photons: float
    scatter: float
    low: float
    high: float
    curve: float
    crisp: float
    heel: float
    vignette: float


@lru_cache(maxsize=64)
def draw_patient(patient, seed):
    """Draw the anatomy of patient number `patient` (see :class:`Patient`)."""
    rng = stream(seed, "patient", patient)
    female = bool(rng.random() < 0.48)
    age = int(np.clip(rng.normal(55, 17), 18, 92))
    years = (age - 55) / 35
    stature = (0.965 if female else 1.02) + 0.03 * rng.standard_normal()
    right = 7.0 + 0.8 * rng.standard_normal()
    return Patient(
        sex="F" if female else "M",
        age=age,
        stature=float(np.clip(stature, 0.88, 1.1)),
        breadth=_near(rng, 1.0, 0.04),
        depth=_near(rng, 1.0, 0.06),
        fat=float(0.5 + 2.2 * rng.beta(1.6, 3.0)),
        breast=float((0.9 + 3.2 * rng.beta(2, 3)) if female else 0.35 * rng.random()),
        heart=_near(rng, 1.0 + 0.04 * years, 0.055),
        knob=_near(rng, 1.0 + 0.18 * years, 0.09),
        dome_right=float(np.clip(right, 5.0, 8.8)),
        dome_left=float(np.clip(right + rng.normal(0.9, 0.5), 5.2, 10.0)),
        dome_bulge=_near(rng, 1.0, 0.12),
        rib_tilt=_near(rng, 0.46 + 0.05 * years, 0.05),
        rib_gap=_near(rng, 1.0, 0.045),
        rib_shift=float(rng.uniform(-0.8, 0.8)),
        bone=_near(rng, 1.0 - 0.12 * years, 0.1),
        clavicle=_near(rng, 3.5, 0.8),
        scoliosis=_near(rng, 0.0, 0.35),
        trachea=_near(rng, -0.25, 0.25),
        gas=float(np.clip(rng.normal(0.7, 1.1), 0, 2.8)),
        bowel=tuple(_loop(rng, right) for _ in range(int(rng.integers(0, 6)))),
        vessels=_near(rng, 1.0, 0.1),
        frail=float(0.85 if rng.random() < 0.35 else 0.12),
    )


@lru_cache(maxsize=64)
def draw_pose(patient, image, seed):
    """Draw view, position and exposure of one picture (see :class:`Pose`)."""
    person = draw_patient(patient, seed)
    rng = stream(seed, "image", patient, image)
    bedside = bool(rng.random() < person.frail)
    return Pose(
        view="AP" if bedside else "PA",
        field=float(
            33.4 / person.stature + float(np.clip(rng.normal(0, 1.5), -3, 3)) + (0.5 if bedside else 0.0)
        ),
        shift_x=float(rng.normal(0, 0.5)),
        shift_y=float(rng.normal(0.9, 0.6)),
        lean=float(rng.normal(0, 0.022 if bedside else 0.012)),
        turn=float(rng.normal(0, 0.45 if bedside else 0.2)),
        breath=float(np.clip(rng.normal(1.8 if bedside else 0.2, 0.6), -0.6, 3.4)),
        shrug=float(rng.normal(1.0 if bedside else 0.0, 0.35)),
        arms=float(rng.normal(0.0, 1.2)),
        photons=float(np.exp(rng.normal(13.6 if bedside else 14.2, 0.35))),
        scatter=float(rng.uniform(0.5, 0.9) if bedside else rng.uniform(0.2, 0.45)),
        low=float(rng.normal(0, 0.05)),
        high=float(rng.normal(0, 0.05)),
        curve=float(np.exp(rng.normal(-0.12, 0.14))),
        crisp=float(rng.uniform(0.3, 1.3)),
        heel=float(rng.normal(0, 0.12)),
        vignette=float(rng.uniform(0, 0.35)),
    )


def _loop(rng, dome):
    centre = (float(rng.uniform(-2, 11)), float(dome + rng.uniform(4, 10)))
    return centre, tuple(float(half) for half in rng.uniform(0.5, 1.5, 3)), float(rng.uniform(-0.8, 0.8))


def _near(rng, centre, spread):
    return float(centre + spread * np.clip(rng.standard_normal(), -2.2, 2.2))
