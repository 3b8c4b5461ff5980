"""Which layers learn: freezing the first layers or blocks of a network, or all of them."""

import math
import re
from typing import NamedTuple

from covidcxr.errors import ModelError

BATCHNORM_MODES = ("inference", "training")

# A block begins with the first layer of such a name, or ends with the last: what a layer without such a name
# belongs to follows from its place. Template of the block's name, for each.
_BEGINS = (
    # ResNet, ResNetV2, DenseNet and its transitions
    (r"(conv\d_block\d+)_.*", r"\1"),
    (r"(pool\d)_bn", r"\1"),
    # MobileNet, MobileNetV2
    (r"conv_(?:pad|dw)_(\d+)", r"block_\1"),
    (r"(expanded_conv|block_\d+)_.*", r"\1"),
    # VGG, Xception, EfficientNet
    (r"(block\d+[a-z]?)_[a-z].*", r"\1"),
    # ResNet18, GoogLeNet, SqueezeNet, AlexNet
    (r"(layer\d_\d)_.*", r"\1"),
    (r"inception_?(\d[a-e])_.*", r"inception_\1"),
    (r"(fire\d+)_squeeze.*", r"\1"),
    (r"(conv\d+|fc\d*)", r"\1"),
    # the last layers of several
    (r"Conv_1|conv_7b|post_bn|bn|top_conv", "top"),
    (r"head_.*", "head"),
)
_ENDS = (
    # InceptionV3, InceptionResNetV2
    (r"(mixed\d+|mixed_\d[ab])", r"\1"),
    (r"(block\d+_\d+)_ac", r"\1"),
    (r"(block8_10)_conv", r"\1"),
    # NASNet, whose cells overlap where they begin
    (r"(?:normal|reduction)_concat_(.+)", r"cell_\1"),
)
_STEM = "stem"
# The poolings of InceptionV3's and InceptionResNetV2's stem have automatic names.
_STEM_END = re.compile(r"max_pooling2d(_\d+)?")


class Block(NamedTuple):
    """Consecutive layers of a model, by their places in `model.layers`, both inclusive."""

    name: str
    first: int
    last: int


class BlockSummary(NamedTuple):
    """A block, and how many of its parameters learn and do not."""

    name: str
    first: int
    last: int
    trainable: int
    frozen: int


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
        # Off first: Keras passes the flag on to the variables only where it changes.
        layer.trainable = False
        layer.trainable = True


def blocks(model):
    """Return a network's own blocks: its residual, dense or inception blocks, its fire modules or cells.

    Parameters
    ----------
    model : keras.Model
        A network of :mod:`covidcxr.models.backbones`, with or without a head.

    Returns
    -------
    list of Block
        In order, without a gap, from the first layer to the last. What stands before the first block is the
        ``"stem"``.

    Raises
    ------
    ModelError
        If the network is of another kind, or its blocks stand side by side.
    """
    found = []
    for place, name in enumerate(_labels(model.layers)):
        if found and found[-1].name == name:
            found[-1] = found[-1]._replace(last=place)
        else:
            found.append(Block(name, place, place))
    if len(found) > 1 and not any(layer.weights for layer in model.layers[: found[0].last + 1]):
        found[:2] = [found[1]._replace(first=0)]
    names = {block.name for block in found}
    if len(names) < len(found):
        raise ModelError(
            f"{model.name}: its blocks stand side by side; take its parts (covidcxr.models.concatenated.parts)"
        )
    if len(names) < 2:
        raise ModelError(f"{model.name}: no blocks are known of such a network; count its layers instead")
    return found


def freeze_blocks(model, count, batchnorm="inference"):
    """Freeze the first blocks of a model; the others become trainable (yin2020's "block freeze").

    Parameters
    ----------
    model : keras.Model
    count : int
        Blocks as :func:`blocks` lists them.
    batchnorm : {"inference", "training"}
        See :func:`freeze_layers`.

    Raises
    ------
    ModelError
        If the model has fewer blocks, or none that are known.
    """
    known = blocks(model)
    if not 0 <= count <= len(known):
        raise ModelError(f"cannot freeze {count} blocks of {model.name}: it has {len(known)}")
    freeze_layers(model, known[count - 1].last + 1 if count else 0, batchnorm)


def summary(model):
    """Return how many parameters of each block learn and do not.

    Returns
    -------
    list of BlockSummary
        Together they have every parameter of the model.

    Raises
    ------
    ModelError
        As :func:`blocks`.
    """
    return [
        BlockSummary(*block, *_counts(model.layers[block.first : block.last + 1])) for block in blocks(model)
    ]


def trainable_counts(model):
    """Return how many parameters learn and how many do not, moving statistics among the latter.

    Returns
    -------
    trainable, frozen : int
    """
    return _size(model.trainable_weights), _size(model.non_trainable_weights)


def _labels(layers):
    """Return the block's name for each layer."""
    labels = []
    for layer in layers:
        begins, ends = _named(_BEGINS, layer.name), _named(_ENDS, layer.name)
        if not ends and set(labels) <= {None, _STEM} and _STEM_END.fullmatch(layer.name):
            ends = _STEM
        if ends:
            # All that is not in a block yet, back to the last one.
            open_from = next((n for n in range(len(labels), 0, -1) if labels[n - 1] is not None), 0)
            labels[open_from:] = [ends] * (len(labels) - open_from)
        labels.append(begins or ends)
    return _carried_on(labels)


def _named(table, name):
    matches = ((re.fullmatch(pattern, name), template) for pattern, template in table)
    return next((match.expand(template) for match, template in matches if match), None)


def _carried_on(labels):
    current = _STEM
    for label in labels:
        current = label or current
        yield current


def _counts(layers):
    learn = sum(_size(layer.trainable_weights) for layer in layers)
    return learn, sum(_size(layer.weights) for layer in layers) - learn


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
