"""What is published about the networks written in this package, as data. Readable without importing Keras."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SmallNetwork:
    """One of khalifa2020's networks, which keras.applications lacks.

    Attributes
    ----------
    key : str
        Name in options and files.
    builder : str
        ``"module:function"``; called with `input_shape`, `include_top`, `pooling`, `classes` and
        `classifier_activation`, as in keras.applications but without `weights`.
    input_size, minimum_size : int
        Published and smallest side of the square input, pixels.
    value_range : str
        What the published weights expect, in the words of
        `keras.applications.imagenet_utils.preprocess_input`: ``"torch"``, ``"tf"`` or ``"caffe"``.
    trainable : int
        The published count: trainable parameters with 1000 classes, no auxiliary heads.
    parameters, parameters_with_top : int
        As Keras counts, with the running statistics of batch normalisation; without and with the classifier.
    depth : int
        Layers that have parameters, classifier included.
    features : int
        Channels of the last feature map.
    head : tuple of str
        Layers whose size is the number of classes: new for a new task.
    """

    key: str
    builder: str
    input_size: int
    minimum_size: int
    value_range: str
    trainable: int
    parameters: int
    parameters_with_top: int
    depth: int
    features: int
    head: tuple


def _row(key, function, *facts):
    return SmallNetwork(key, f"covidcxr.models.{function}", *facts)


# fmt: off
SMALL_NETWORKS = (
    # input and smallest size, value range, trainable, parameters, with top, depth, features, head
    _row("alexnet", "alexnet:build", 224, 63, "torch",
         61_100_840, 2_469_696, 61_100_840, 8, 256, ("fc8",)),
    _row("alexnet_2012", "alexnet:build_2012", 227, 67, "caffe",
         60_965_224, 2_334_080, 60_965_224, 8, 256, ("fc8",)),
    _row("squeezenet1_0", "squeezenet:build_1_0", 227, 21, "torch",
         1_248_424, 735_424, 1_248_424, 26, 512, ("conv10",)),
    _row("squeezenet1_1", "squeezenet:build", 227, 17, "torch",
         1_235_496, 722_496, 1_235_496, 26, 512, ("conv10",)),
    _row("googlenet", "googlenet:build", 224, 15, "tf",
         6_624_904, 5_614_464, 6_639_464, 115, 1024, ("fc", "aux1_fc2", "aux2_fc2")),
    _row("googlenet_bvlc", "googlenet:build_bvlc", 224, 31, "caffe",
         6_998_552, 5_973_552, 6_998_552, 58, 1024,
         ("loss3_classifier", "loss1_classifier", "loss2_classifier")),
    _row("resnet18", "resnet18:build", 224, 1, "torch",
         11_689_512, 11_186_112, 11_699_112, 41, 512, ("fc",)),
)
# fmt: on
