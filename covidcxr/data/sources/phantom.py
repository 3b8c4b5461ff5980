"""The phantom as a source: synthetic radiographs that :func:`covidcxr.data.phantom.write` made."""

from covidcxr.data.phantom import Confounders, contact_sheet, detect, lung_mask, read, render, write

KEY = "phantom"

__all__ = ["KEY", "Confounders", "contact_sheet", "detect", "lung_mask", "read", "render", "write"]
