"""Classifiers on a backbone: the heads of the papers, and the general one that most are made with.

A classifier is one flat functional model: the backbone's layers stand in it under their own names, not inside
a nested model. So any feature map can be reached for Grad-CAM, weight files of the bare backbone fit layer by
layer, and an .h5, which stores weights layer by layer, does not depend on the order in which a nested model
lists trainable and frozen ones.
"""

from dataclasses import dataclass

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.freezing import freeze_all
from covidcxr.models.layer_names import HEAD_PREFIX, SCALING_NAME

# ImageNet weights of these backbones expect -1..1; TensorFlow Hub's module takes 0..1 and rescales inside.
UNIT_TO_SIGNED = (2.0, -1.0)


@dataclass(frozen=True)
class HeadSpec:
    """What stands on the backbone.

    Attributes
    ----------
    classes : int
        Outputs of the softmax, at least 2.
    dropout : float
        Share of features dropped before the softmax while training, 0 to below 1; 0 leaves the layer out.
    hidden : tuple of int
        Units of the dense layers before the dropout.
    activation : str
        Of the hidden layers.
    pooling : {"avg", "max", "flatten"}
        How a feature map becomes a vector; unused where the backbone gives vectors.
    deviation : float or None
        The softmax's kernel starts from a normal distribution around 0 with this standard deviation; None is
        Keras' default, Glorot's uniform one.
    """

    classes: int
    dropout: float = 0.0
    hidden: tuple = ()
    activation: str = "relu"
    pooling: str = "avg"
    deviation: float | None = None


def classifier(backbone, head, input_scaling=None):
    """Put a softmax classifier on a backbone, as one flat model.

    Parameters
    ----------
    backbone : keras.Model
        Functional, one input, one output. Which of its layers learn is kept. Without `input_scaling` its
        layers become the classifier's own; with it they are copied, values included.
    head : HeadSpec
    input_scaling : (scale, offset), optional
        A first layer that feeds the backbone ``scale * x + offset``; each a number, or one a channel.

    Returns
    -------
    keras.Model
        float32 images (n, height, width, channels) to float32 class probabilities (n, classes) that sum to 1,
        also under a mixed-precision policy. Layers of the head are named ``head_...``, the scaling layer
        ``input_scaling``.

    Raises
    ------
    ModelError
        If a setting has no meaning.
    """
    import keras

    _check(head)
    base = backbone if input_scaling is None else _scaled(backbone, input_scaling)
    features = base.output
    if len(features.shape) > 2:
        features = _pooling(head.pooling)(features)
    for number, units in enumerate(head.hidden, start=1):
        name = f"{HEAD_PREFIX}dense_{number}"
        features = keras.layers.Dense(units, activation=head.activation, name=name)(features)
    if head.dropout:
        features = keras.layers.Dropout(head.dropout, name=f"{HEAD_PREFIX}dropout")(features)
    # Mixed precision loses small probabilities: Keras asks for a float32 output.
    output = keras.layers.Dense(
        head.classes,
        activation="softmax",
        kernel_initializer=_start(head.deviation),
        dtype="float32",
        name=f"{HEAD_PREFIX}probabilities",
    )
    return keras.Model(base.input, output(features), name=f"{backbone.name}_classifier")


def ragab_head(classes=2, dropout=0.4, input_size=224, alpha=1.0):
    """Build ragab2022's network as listed (reading 1): frozen MobileNetV2 features, dropout, softmax.

    The listing takes its features from TensorFlow Hub's MobileNetV2, which wants images in 0..1; Keras' copy
    of the same network wants -1..1, hence the scaling layer. For two classes: 2,260,546 parameters, 2,562 of
    them trainable (the paper's summary).

    Parameters
    ----------
    classes : int, optional
    dropout : float, optional
    input_size : int, optional
        Height and width, in pixels.
    alpha : float, optional
        Width multiplier of MobileNetV2.

    Returns
    -------
    keras.Model
        float32 RGB images (n, input_size, input_size, 3) in 0..1 to probabilities (n, classes).
    """
    head = HeadSpec(classes, dropout=dropout)
    return _frozen_classifier("mobilenet_v2", input_size, head, UNIT_TO_SIGNED, alpha)


def ragab_prose_head(classes=2, dropout=0.4, backbone="mobilenet_v2", input_size=128, alpha=1.0):
    """Build ragab2022's network as its prose has it (reading 2): 128x128, MobileNet or MobileNetV2.

    The prose feeds the generator's images, rescaled to 0..1 and centred, straight into keras.applications'
    network, whose ImageNet weights want -1..1: kept as printed, so there is no scaling layer here.

    Parameters
    ----------
    classes : int, optional
    dropout : float, optional
    backbone : {"mobilenet_v2", "mobilenet"}, optional
        The prose names both.
    input_size : int, optional
    alpha : float, optional

    Returns
    -------
    keras.Model
        float32 RGB images (n, input_size, input_size, 3), as the generator gives them, to probabilities
        (n, classes).
    """
    return _frozen_classifier(backbone, input_size, HeadSpec(classes, dropout=dropout), None, alpha)


def nemati_head(backbone, classes=2, dropout=0.5):
    """Put nemati2022's head on a backbone: 64 ReLU units, dropout, softmax (section II).

    Parameters
    ----------
    backbone : keras.Model
        Frozen here, as the paper does.
    classes : int, optional
    dropout : float, optional

    Returns
    -------
    keras.Model
        Images as the backbone takes them to probabilities (n, classes).
    """
    freeze_all(backbone)
    return classifier(backbone, HeadSpec(classes, dropout=dropout, hidden=(64,)))


def khalifa_head(network="alexnet", classes=2, input_size=None):
    """Build one of khalifa2020's networks with its last layer replaced (Fig. 3), everything trainable.

    Parameters
    ----------
    network : str, optional
        Key of a network with a classifier of its own, such as ``"alexnet"``, ``"squeezenet1_1"``,
        ``"googlenet"``, ``"resnet18"``.
    classes : int, optional
    input_size : int, optional
        Height and width, in pixels. The paper prints none: the default is that of its toolbox, 227 for
        AlexNet and SqueezeNet and 224 for the others.

    Returns
    -------
    keras.Model
        Images as the network takes them to probabilities (n, classes). The replaced layer, and what follows
        it, are named ``head_...``; the other layers keep their names, so that
        :func:`covidcxr.models.weight_files.load_into` fills them, and only them.

    Raises
    ------
    ModelError
        If the network is unknown or cannot take that size.
    """
    known = backbones.get(network)
    size = input_size or (227 if known.key.startswith(("alexnet", "squeezenet")) else 224)
    return replace_last(backbones.build(known, (size, size, 3), classes=classes), known.head[0])


def replace_last(model, last):
    """Replace a network's last layer with weights, and what follows it, by new ones of the same settings.

    Parameters
    ----------
    model : keras.Model
        Functional, one output. Its other layers become the new model's own.
    last : str
        Name of that layer.

    Returns
    -------
    keras.Model
        The new layers are named as the old ones with ``head_`` before it, and compute in float32.
    """
    import keras

    start = model.layers.index(model.get_layer(last))
    outputs = model.layers[start].input
    for layer in model.layers[start:]:
        outputs = _copy(layer, HEAD_PREFIX + layer.name)(outputs)
    return keras.Model(model.input, outputs, name=f"{model.name}_classifier")


def _frozen_classifier(key, input_size, head, input_scaling, alpha):
    backbone = backbones.build(key, (input_size, input_size, 3), alpha=alpha)
    freeze_all(backbone)
    return classifier(backbone, head, input_scaling)


def _scaled(backbone, input_scaling):
    """Copy a backbone behind a scaling layer.

    Its layers are copied, not called again: a layer that is called twice has no single output to look at.
    """
    import keras

    scale, offset = input_scaling
    inputs = keras.Input(backbone.input_shape[1:], name="image")
    scaled = keras.layers.Rescaling(scale, offset, name=SCALING_NAME)(inputs)

    def call(layer, *args, **kwargs):
        return layer(*(scaled if arg is inputs else arg for arg in args), **kwargs)

    copy = keras.models.clone_model(backbone, input_tensors=inputs, call_function=call)
    for source, target in zip(_weighted(backbone), _weighted(copy), strict=True):
        _copy_state(source, target)
    return copy


def _weighted(model):
    return [layer for layer in model.layers if layer.weights]


def _copy(layer, name):
    # float32, as in `classifier`.
    return type(layer).from_config({**layer.get_config(), "name": name, "dtype": "float32"})


def _copy_state(source, target):
    store = {}
    source.save_own_variables(store)
    target.load_own_variables(store)
    for old, new in zip(source.weights, target.weights, strict=True):
        new.trainable = old.trainable


def _start(deviation):
    import keras

    return "glorot_uniform" if deviation is None else keras.initializers.RandomNormal(stddev=deviation)


def _pooling(kind):
    import keras

    layers = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    return layers[kind](name=f"{HEAD_PREFIX}pooling")


def _check(head):
    if head.classes < 2:
        raise ModelError(f"classes={head.classes}: a softmax needs at least 2; name the classes in the data")
    if not 0 <= head.dropout < 1:
        raise ModelError(f"dropout={head.dropout}: a share of the features, 0 to below 1")
    if head.pooling not in ("avg", "max", "flatten"):
        raise ModelError(f"pooling={head.pooling!r}: choose one of avg, max, flatten")
