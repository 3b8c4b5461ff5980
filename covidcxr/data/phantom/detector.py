"""From thickness to picture: attenuation, scatter, quantum noise, and the maker's display."""

import cv2
import numpy as np

# Linear attenuation near 60 keV, the effective energy of a 120 kVp beam (1/cm): NIST XCOM water 0.206,
# lung at a quarter of water's density, cortical bone (1.85 g/cm3) 0.58 less the soft tissue it displaces.
SOFT = 0.20
LUNG = 0.055
BONE = 0.38
_HARDENING = 0.022
# Blur of the detector: of its pixels (in pixels) and of focus and screen (cm), as standard deviations.
_APERTURE = 0.4
_UNSHARP = 0.05


def attenuation(soft, air, hollow, bone):
    """Return the line integrals of attenuation (float32, no unit), hardened beam included.

    Parameters
    ----------
    soft, air, hollow, bone : numpy.ndarray
        Chords in cm: body, lung and plain air inside it, cortical bone.
    """
    total = np.float32(SOFT) * soft
    total -= np.float32(SOFT - LUNG) * air
    total -= np.float32(SOFT) * hollow
    total += np.float32(BONE) * bone
    np.maximum(total, 0, out=total)
    total -= np.float32(_HARDENING) * total * total * (total < 9)
    return total


def expose(line, pose, rng):
    """Return the detector's log signal: Beer-Lambert, scatter, heel effect, quantum noise, blur.

    Parameters
    ----------
    line : numpy.ndarray
        Line integrals, float32 (size, size).
    pose : Pose
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    numpy.ndarray
        float32 (size, size): minus the logarithm of the relative exposure.
    """
    size = line.shape[0]
    signal = np.exp(-line)
    signal += np.float32(pose.scatter) * _spread(signal, pose)
    quanta = np.float32(pose.photons * (pose.field / size) ** 2)
    # Poisson counts in their Gaussian limit: behind the thickest part there are still tens of quanta.
    noise = rng.standard_normal(line.shape, dtype=np.float32)
    noise *= np.sqrt(signal / quanta)
    signal += noise
    signal = cv2.GaussianBlur(signal, (0, 0), float(np.hypot(_APERTURE, _UNSHARP * size / pose.field)))
    return -np.log(np.maximum(signal, np.float32(1e-4)))


def levels(line, field, pose):
    """Choose black and white from the healthy chest, as automatic exposure does from lungs and middle.

    Parameters
    ----------
    line : numpy.ndarray
        Line integrals without disease; a coarse grid will do.
    field : numpy.ndarray
        bool, the lung fields, on the same grid.
    pose : Pose

    Returns
    -------
    (float, float)
        Log signals to be shown black and white.
    """
    signal = np.exp(-line)
    signal += np.float32(pose.scatter) * _spread(signal, pose)
    shown = -np.log(signal)
    lungs = float(np.median(shown[field]))
    dense = float(np.quantile(shown, 0.95))
    return lungs - (0.46 + pose.low) * (dense - lungs), dense + (0.16 + pose.high) * (dense - lungs)


def display(log_signal, pose, window, hard=0.0):
    """Turn the log signal into grey levels, bone bright.

    Parameters
    ----------
    log_signal : numpy.ndarray
    pose : Pose
    window : (float, float)
        Log signals shown black and white (see :func:`levels`).
    hard : float
        0 for the usual curve; 1 for the steep one of another workstation (a confounder).

    Returns
    -------
    numpy.ndarray
        uint8 (size, size).
    """
    size = log_signal.shape[0]
    low, high = window
    wide = _blurred(log_signal, 1.1 * size / pose.field)
    shown = np.float32(1 + pose.crisp) * (log_signal - wide) + wide
    shown += np.linspace(-pose.heel, pose.heel, size, dtype=np.float32)[:, None]
    shown = (shown - np.float32(low)) * np.float32(1 / (high - low))
    shown = np.clip(shown * _vignette(size, pose.vignette), 0, 1)
    table = _curve(pose.curve, hard)
    return table[(shown * np.float32(table.size - 1)).astype(np.uint16)]


def _vignette(size, strength):
    squared = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    fall = 1 - np.float32(0.25 * strength) * squared * (1 + squared)
    return fall[:, None] * fall


def _curve(exponent, hard):
    """Return the display's film-like curve, soft at toe and shoulder, as a table of 4,096 grey levels."""
    values = np.linspace(0, 1, 4096) ** exponent
    soft = 0.55 * values + 0.45 * values * values * (3 - 2 * values)
    bent = soft**0.6
    steep = bent * bent * (3 - 2 * bent)
    return np.rint(255 * (soft + hard * (steep - soft))).astype(np.uint8)


def _spread(signal, pose):
    """Blur widely, on a coarse grid: scatter has no detail."""
    return _blurred(signal, 3.5 * signal.shape[0] / pose.field)


def _blurred(image, sigma):
    size = image.shape[0]
    coarse = 64 if size > 64 else size
    small = cv2.resize(image, (coarse, coarse), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * coarse / size, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
