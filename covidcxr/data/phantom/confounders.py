"""Shortcuts to plant in one class, so that audits can be tested against a known truth."""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcxr.data import labels
from covidcxr.data.phantom.patients import stream
from covidcxr.errors import OptionError

TRAITS = ("marker", "border", "contrast")
# The corner box of the marker: rows and columns as shares of the side.
MARKER_BOX = (0.03, 0.13, 0.85, 0.96)
BORDER_SHARE = 0.035


@dataclass(frozen=True)
class Confounders:
    """Which class carries which trait of the picture that has nothing to do with the lungs.

    Attributes
    ----------
    marker : str, optional
        Label whose images carry a burnt-in box with a letter (L, R or P) in the upper right corner.
    border : str, optional
        Label whose images have the black frame of a digitised film with a light rim.
    contrast : str, optional
        Label whose images went through another, steeper contrast curve.
    prob : float
        Share of the images of that class that carry the trait, 0 to 1; images of other classes never do.

    Raises
    ------
    OptionError
        If a label is unknown or `prob` lies outside 0 to 1.
    """

    marker: str | None = None
    border: str | None = None
    contrast: str | None = None
    prob: float = 1.0

    def __post_init__(self):
        for trait in TRAITS:
            label = getattr(self, trait)
            if label is not None and label not in labels.LABELS:
                raise OptionError(f"confounder {trait}={label!r}: use one of {', '.join(labels.LABELS)}")
        if not 0 <= self.prob <= 1:
            raise OptionError(f"confounder prob={self.prob}: a share from 0 to 1 is needed")

    @classmethod
    def of(cls, value):
        """Return confounders from themselves, None, or a mapping of fields such as a command line's.

        Raises
        ------
        OptionError
            If the mapping has an unknown name or a value that means nothing.
        """
        if isinstance(value, cls):
            return value
        given = dict(value or {})
        unknown = sorted(set(given) - {*TRAITS, "prob"})
        if unknown:
            raise OptionError(f"confounder {unknown[0]!r} is unknown; use {', '.join(TRAITS)} or prob")
        try:
            given["prob"] = float(given.get("prob", 1.0))
        except (TypeError, ValueError) as error:
            raise OptionError(f"confounder prob={given['prob']}: a share from 0 to 1 is needed") from error
        return cls(**given)

    def draw(self, label, patient, image, seed):
        """Return ``{"marker": 0 or 1, "border": ..., "contrast": ...}`` for one image."""
        chances = stream(seed, "traits", patient, image).random(len(TRAITS))
        return {
            trait: int(getattr(self, trait) == label and chance < self.prob)
            for trait, chance in zip(TRAITS, chances, strict=True)
        }

    def paint(self, pixels, traits, patient, image, seed):
        """Burn the drawn marker and border into uint8 (size, size) pixels; returns them."""
        if traits["border"]:
            _frame(pixels)
        if traits["marker"]:
            letters = stream(seed, "traits", patient, image, 1).choice(("L", "R", "P"))
            _letter(pixels, str(letters))
        return pixels


def _frame(pixels):
    size = pixels.shape[0]
    wide = max(2, round(BORDER_SHARE * size))
    for edge in (np.s_[:wide], np.s_[-wide:], np.s_[:, :wide], np.s_[:, -wide:]):
        pixels[edge] = 4
    rim = max(1, round(size / 256))
    cv2.rectangle(pixels, (wide, wide), (size - 1 - wide, size - 1 - wide), 205, rim)


def _letter(pixels, letter):
    size = pixels.shape[0]
    top, bottom, left, right = (round(share * size) for share in MARKER_BOX)
    pixels[top:bottom, left:right] = 235
    scale = (bottom - top) / 32
    thick = max(1, round(2.4 * scale))
    (wide, tall), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    place = ((left + right - wide) // 2, (top + bottom + tall) // 2)
    cv2.putText(pixels, letter, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 25, thick, cv2.LINE_AA)
