"""A phantom: synthetic frontal chest radiographs from a simple physical model, for tests, demos and audits.

Ellipsoids, rods and rings stand for the chest; closed-form chord lengths, Beer-Lambert attenuation, scatter
and quantum noise turn them into a picture. Anatomy, view and exposure do not depend on the label, so the
disease alone tells the classes apart unless a :class:`Confounders` plants a shortcut. Nothing learnt from
these images holds for a patient.
"""

from covidcxr.data.phantom.confounders import Confounders
from covidcxr.data.phantom.folder import detect, read, write
from covidcxr.data.phantom.scene import lung_mask, render
from covidcxr.data.phantom.sheet import contact_sheet

__all__ = ["Confounders", "contact_sheet", "detect", "lung_mask", "read", "render", "write"]
