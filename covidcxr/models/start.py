"""A backbone that starts from a weight file."""

from covidcxr.models import backbones, concatenated, pretrained, weight_files


def start(key, input_shape, weights, alpha=1.0, **options):
    """Build a network and fill it. Nothing is downloaded from a folder or a file.

    Parameters
    ----------
    key : str or Backbone
    input_shape : tuple of int
        (height, width, channels).
    weights : path-like
        ``"imagenet"``, ``"none"``, a folder or a file (see :func:`covidcxr.models.pretrained.find_weights`).
    alpha : float, optional
    **options
        `pooling` or `classes`, as for :func:`covidcxr.models.backbones.build`.

    Returns
    -------
    keras.Model
        As :func:`covidcxr.models.backbones.build` gives it.

    Raises
    ------
    ModelError
        If the network cannot be built, or the weights are missing or do not fit.
    """
    backbone = key if isinstance(key, backbones.Backbone) else backbones.get(key)
    model = backbones.build(backbone, input_shape, alpha=alpha, **options)
    if backbone.parts:
        concatenated.load_weights(model, weights)
    else:
        weight_files.load_into(model, pretrained.find_weights(backbone.key, weights, alpha))
    return model
