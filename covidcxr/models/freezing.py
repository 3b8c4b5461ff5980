"""Which layers learn: freezing the first layers of a network, or all of them."""

import math

from covidcxr.errors import ModelError

BATCHNORM_MODES = ("inference", "training")


def freeze_layers(model, count, batchnorm="inference"):
    """Freeze the first layers of a model as one block; the others become trainable (yin2020, section 4).

    Parameters
    ----------
    model : keras.Model
        Usually a backbone: call this before a head or a scaling layer is put around it, so that `count` means
        what the paper's Table 5 means.
    count : int
        Layers as `model.layers` lists them, the input layer included.
    batchnorm : {"inference", "training"}
        What frozen batch normalisation does while the rest is trained. ``"inference"``: it uses and keeps its
        moving statistics, which is what ``trainable = False`` means in Keras since TensorFlow 2.
        ``"training"``: it normalises with each batch's own statistics and keeps averaging them, while gamma
        and beta stay as they are, as in Keras before 2.1.3. A saved file remembers frozen layers but not this
        choice: call again after loading.

    Raises
    ------
    ModelError
        If the model has fewer layers than `count`, or `batchnorm` is neither.
    """
    if batchnorm not in BATCHNORM_MODES:
        raise ModelError(f"batchnorm={batchnorm!r}: choose one of {', '.join(BATCHNORM_MODES)}")
    if not 0 <= count <= len(model.layers):
        raise ModelError(f"cannot freeze {count} layers of {model.name}: it has {len(model.layers)}")
    for layer in model.layers:
        # Off first: Keras passes the flag on to the variables only where it changes.
        layer.trainable = False
        layer.trainable = True
    for layer in model.layers[:count]:
        _freeze(layer, batchnorm)


def freeze_all(model, batchnorm="inference"):
    """Freeze every layer of a model (ragab2022, nemati2022); see :func:`freeze_layers` for `batchnorm`."""
    freeze_layers(model, len(model.layers), batchnorm)


def unfreeze_all(model):
    """Let every layer of a model learn, however it was frozen before.

    Layer by layer: setting ``model.trainable`` alone leaves the layers of some functional models as they
    were.
    """
    for layer in layers_within(model):
        layer.trainable = True


def trainable_counts(model):
    """Return how many parameters learn and how many do not, moving statistics among the latter.

    Returns
    -------
    trainable, frozen : int
    """
    return _size(model.trainable_weights), _size(model.non_trainable_weights)


def _freeze(layer, batchnorm):
    import keras

    layer.trainable = False
    if batchnorm == "inference":
        return
    for inner in layers_within(layer):
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.trainable = True
            for weight in inner.trainable_weights:
                weight.trainable = False


def layers_within(layer):
    """Yield a layer and, where it is itself a model, every layer inside it."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from layers_within(inner)


def _size(weights):
    return sum(math.prod(weight.shape) for weight in weights)
