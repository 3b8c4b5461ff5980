"""Five COVID-19 chest X-ray papers reproduced in Keras, judged by their own protocol and by a sound one.

Not a medical device: nothing here says anything about a patient.

Importing the package loads neither TensorFlow nor Keras; the first use of :func:`load_model`,
:func:`predict` or :mod:`covidcxr.papers` does.
"""

import importlib

from covidcxr.version import __version__

_LAZY = {"load_model": "covidcxr.models.files", "predict": "covidcxr.inference"}
__all__ = ["__version__", "load_model", "papers", "predict"]


def __getattr__(name):
    if name == "papers":
        return importlib.import_module("covidcxr.papers")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'covidcxr' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
