"""Where starting weights were found, and where Keras keeps those it downloads."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """Weights to start from.

    Attributes
    ----------
    kind : {"none", "keras_h5", "saved_model"}
        ``"keras_h5"`` is any file that Keras wrote; ``"saved_model"`` a TensorFlow SavedModel, as TensorFlow
        Hub's.
    path : pathlib.Path or None
        File or folder.
    note : str
        What a user should know of the choice.
    """

    kind: str
    path: Path | None
    note: str


def cache_folder():
    """Return the folder that Keras keeps downloaded weights in."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
