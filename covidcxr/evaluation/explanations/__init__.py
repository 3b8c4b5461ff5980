"""What a network's predictions rest on: Grad-CAM, occlusion, integrated gradients, and the lungs' share of them.

An attribution shows where a network looked, not whether it was right to, and none of the methods is proof of
a cause: read the share inside the lungs beside the audits.
"""

from covidcxr.evaluation.explanations.gradcam import gradcam
from covidcxr.evaluation.explanations.integrated_gradients import integrated_gradients
from covidcxr.evaluation.explanations.lungs import estimate_field
from covidcxr.evaluation.explanations.occlusion import occlusion
from covidcxr.evaluation.explanations.run import METHODS, Explanations, explain, lung_share

__all__ = [
    "METHODS",
    "Explanations",
    "estimate_field",
    "explain",
    "gradcam",
    "integrated_gradients",
    "lung_share",
    "occlusion",
]
