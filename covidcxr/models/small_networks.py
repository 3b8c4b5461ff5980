"""What is published about the networks written in this package, as data. Readable without importing Keras.

Sources: torchvision's tables of weights, and the papers' tables for the two that torchvision lacks. khalifa2020,
which uses them, prints no input size and names no variant.
"""

from covidcxr.models.backbone_table import Backbone

_TORCHVISION = "BSD-3-Clause"
_BVLC = "unrestricted"


def _row(key, function, *facts, **others):
    """Return the row of a network; `facts` are in the order of the table below."""
    size, minimum, values, trainable, parameters, with_top, depth, features, licence, head = facts
    return Backbone(
        key=key,
        builder=f"covidcxr.models.{function}",
        input_size=size,
        minimum_size=minimum,
        value_range=values,
        trainable=trainable,
        parameters=parameters,
        parameters_with_top=with_top,
        depth=depth,
        features=features,
        licence=licence,
        head=head,
        papers={"khalifa2020": None},
        other_names=(f"{key}[_-]imagenet*.h5", *others.pop("other_names", ())),
        **others,
    )


# fmt: off
SMALL_NETWORKS = (
    # input and smallest size, value range, trainable, parameters, with top, depth, features, licence, head
    _row("alexnet", "alexnet:build", 224, 63, "torch",
         61_100_840, 2_469_696, 61_100_840, 8, 256, _TORCHVISION, ("fc8",)),
    _row("alexnet_2012", "alexnet:build_2012", 227, 67, "caffe",
         60_965_224, 2_334_080, 60_965_224, 8, 256, "not published", ("fc8",)),
    _row("squeezenet1_0", "squeezenet:build_1_0", 227, 21, "torch",
         1_248_424, 735_424, 1_248_424, 26, 512, _TORCHVISION, ("conv10",)),
    # The authors' own weights, which keras-squeezenet copied, expect Caffe's values; torchvision's its own.
    _row("squeezenet1_1", "squeezenet:build", 227, 17, "torch",
         1_235_496, 722_496, 1_235_496, 26, 512, _TORCHVISION, ("conv10",),
         other_names=("squeezenet_v1.1[_-]*.h5", "squeezenet_weights_*notop.h5", "squeezenet_weights_*.h5"),
         other_ranges={"squeezenet_v1.1[_-]*": "caffe", "squeezenet_weights_*": "caffe"}),
    _row("googlenet", "googlenet:build", 224, 15, "tf",
         6_624_904, 5_614_464, 6_639_464, 115, 1024, _TORCHVISION, ("fc", "aux1_fc2", "aux2_fc2")),
    _row("googlenet_bvlc", "googlenet:build_bvlc", 224, 31, "caffe",
         6_998_552, 5_973_552, 6_998_552, 58, 1024, _BVLC,
         ("loss3_classifier", "loss1_classifier", "loss2_classifier")),
    _row("resnet18", "resnet18:build", 224, 1, "torch",
         11_689_512, 11_186_112, 11_699_112, 41, 512, _TORCHVISION, ("fc",)),
)
# fmt: on
