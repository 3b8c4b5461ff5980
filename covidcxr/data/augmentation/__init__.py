"""Random transforms with the meaning of Keras' ImageDataGenerator, and the statistics it would fit."""

from covidcxr.data.augmentation.drawing import draw_parameters
from covidcxr.data.augmentation.engines import ENGINES, Engine, KerasEngine, make_engine
from covidcxr.data.augmentation.parameters import FILL_MODES, Augmentation
from covidcxr.data.augmentation.statistics import fit_statistics

__all__ = [
    "ENGINES",
    "FILL_MODES",
    "Augmentation",
    "Engine",
    "KerasEngine",
    "draw_parameters",
    "fit_statistics",
    "make_engine",
]
