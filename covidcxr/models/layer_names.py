"""How the layers that this package adds are named, so that they are known again in any file."""

HEAD_PREFIX = "head_"
SCALING_NAME = "input_scaling"


def is_head(layer):
    """Return whether a layer belongs to a classifier's head, not to its backbone."""
    return layer.name.startswith(HEAD_PREFIX)
