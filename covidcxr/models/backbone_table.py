"""What is published about each backbone, as data. Readable without importing Keras.

Sources: https://keras.io/api/applications/ (parameters, depth), the weight addresses and MD5 sums in the
source of ``keras.applications``, the weights' licences as listed in the Keras 2 documentation, and the papers
for the input sizes that they print.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch

_STORE = "https://storage.googleapis.com"
_KERAS_STORE = f"{_STORE}/tensorflow/keras-applications"

VALUE_RANGES = {
    "tf": "RGB, -1 to 1 (x / 127.5 - 1)",
    "caffe": "BGR, 0 to 255 minus (103.939, 116.779, 123.68)",
    "torch": "RGB, (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)",
    "0-255": "RGB, 0 to 255; the network rescales inside",
}


@dataclass(frozen=True)
class Backbone:
    """A convolutional network, usually without its classifier.

    Attributes
    ----------
    key : str
        Name in options and files, such as ``"mobilenet_v2"``.
    builder : str
        ``"module:function"``, imported on first use and called with `input_shape`, `include_top` and
        `pooling` or `classes` (and `alpha` where `widths` is not empty; keras.applications' also with
        ``weights=None``).
    input_size : int
        Height and width, in pixels, that the ImageNet weights were published for.
    minimum_size : int
        Smallest height and width, in pixels, without the classifier.
    value_range : str
        What those weights expect; a key of :data:`VALUE_RANGES`.
    parameters, parameters_with_top : int
        Without and with the classifier of `classes`, at width 1.0, moving statistics included.
    depth : int
        Layers that have parameters, classifier included.
    features : int
        Channels of the last feature map, at width 1.0.
    licence : str
        Of the ImageNet weights.
    classes : int
        Of the published classifier.
    head : tuple of str
        Layers whose size is the number of classes: new for a new task.
    trainable : int or None
        The published count, where that leaves out moving statistics: trainable parameters with classifier,
        without auxiliary ones.
    papers : mapping of str to (int or None)
        Key of each paper that uses it, and the input size that the paper prints; None where it prints none.
    parts : tuple of str
        Keys of the networks that it is made of, whose weight files start it.
    cache_name : str
        File name of the weights without classifier in Keras' cache; ``{alpha}`` and ``{size}`` where they
        vary. Empty where Keras publishes none.
    folder_url : str
        Folder that Keras fetches that file from.
    remote_name : str
        Its name there, if not `cache_name`.
    md5 : str
        As Keras checks it; empty where Keras checks none.
    md5s : mapping of str to str
        By file name, where the weights of each width and size are a file of their own.
    widths : mapping of float to str
        Width multipliers (alpha) with published weights, and how `cache_name` spells them.
    sizes : tuple of int
        Input sizes with weights of their own; others take those of `input_size`.
    other_names : tuple of str
        Glob patterns of further file names that such weights are found under, best first.
    other_ranges : mapping of str to str
        Glob patterns of weight files that expect other values than `value_range`, and which.
    """

    key: str
    builder: str
    input_size: int
    minimum_size: int
    value_range: str
    parameters: int
    parameters_with_top: int
    depth: int
    features: int
    licence: str
    classes: int = 1000
    head: tuple = ("predictions",)
    trainable: int | None = None
    papers: Mapping[str, int | None] = field(default_factory=dict)
    parts: tuple = ()
    cache_name: str = ""
    folder_url: str = ""
    remote_name: str = ""
    md5: str = ""
    md5s: Mapping[str, str] = field(default_factory=dict)
    widths: Mapping[float, str] = field(default_factory=dict)
    sizes: tuple = ()
    other_names: tuple = ()
    other_ranges: Mapping[str, str] = field(default_factory=dict)

    def digest_of(self, file_name):
        """Return the digest of a published file, as :func:`covidcxr.models.fetching.matches` takes it, or ""."""
        md5 = self.md5 or self.md5s.get(file_name, "")
        return md5 and f"md5:{md5}"

    def range_of(self, file_name):
        """Return what the weights in a file expect; a key of :data:`VALUE_RANGES`."""
        ranges = (known for pattern, known in self.other_ranges.items() if fnmatch(file_name, pattern))
        return next(ranges, self.value_range)


# Inputs that the other papers print; yin2020 prints VGG19's only.
_ALSO = {
    "vgg19": {"yin2020": 224},
    "inception_v3": {"yin2020": None},
    "resnet50": {"yin2020": None},
    "densenet121": {"yin2020": None},
    "nasnet_mobile": {"yin2020": None},
    "resnet50_v2": {"yin2020": None, "rahimzadeh2020": 300},
    "xception": {"rahimzadeh2020": 300},
    "mobilenet": {"yin2020": None, "ragab2022": 128},
    # Fig. 12; the prose has 128.
    "mobilenet_v2": {"yin2020": None, "ragab2022": 224},
}
_MINIMUM = {"inception_v3": 75, "inception_resnet_v2": 75, "xception": 71}


def _keras(key, name, *facts, file=None, folder=None, **others):
    """Return the row of a network of ``keras.applications``; `facts` are in the order of the table below."""
    size, nemati, values, parameters, with_top, depth, features, licence, md5 = facts
    stem = file or key.replace("_", "")
    return Backbone(
        key=key,
        builder=f"keras.applications:{name}",
        input_size=size,
        minimum_size=_MINIMUM.get(key, 32),
        papers={"nemati2022": nemati, **_ALSO.get(key, {})},
        value_range=values,
        parameters=parameters,
        parameters_with_top=with_top,
        depth=depth,
        features=features,
        licence=licence,
        md5=md5,
        folder_url=others.pop("folder_url", f"{_KERAS_STORE}/{folder or stem}"),
        other_names=others.pop("other_names", (f"{stem}[_-]*no*top*.h5", f"{stem}[_-]*.h5")),
        cache_name=others.pop("cache_name", f"{stem}_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        **others,
    )


def _efficientnet(number, *facts):
    return _keras(
        f"efficientnet_b{number}",
        f"EfficientNetB{number}",
        *facts,
        folder_url=f"{_STORE}/keras-applications",
        cache_name=f"efficientnetb{number}_notop.h5",
    )


# Keras checks no digest of the MobileNets. These are of the files of width 1 and size 224 as
# https://github.com/MIAnalyzer/MIA (dl/models/modelweights.py) checks its copies of Keras' files; its digests of the
# other networks' files are those in Keras' source. They were not compared with Keras' server.
_NOT_KERAS = {
    "mobilenet_1_0_224_tf_no_top.h5": "725ccbd03d61d7ced5b5c4cd17e7d527",
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5": "f1a68526548f7541cda07e19ba6c85f4",
}
_CC_BY = "CC BY 4.0"
_APACHE = "Apache-2.0"
_BSD = "BSD-3-Clause"

# fmt: off
BACKBONES = (
    # input size, nemati2022's, value range, parameters, with top, depth, features, licence, MD5
    _keras("inception_v3", "InceptionV3", 299, 299, "tf", 21_802_784, 23_851_784, 189, 2048, _APACHE,
           "bcbd6486424b2319ff4ef7d526e38f63", file="inception_v3"),
    _keras("resnet50", "ResNet50", 224, 224, "caffe", 23_587_712, 25_636_712, 107, 2048, "MIT",
           "4d473c1dd8becc155b73f8504c6f6626", folder="resnet"),
    _keras("resnet101", "ResNet101", 224, 224, "caffe", 42_658_176, 44_707_176, 209, 2048, "MIT",
           "88cf7a10940856eca736dc7b7e228a21", folder="resnet"),
    _keras("resnet152", "ResNet152", 224, 224, "caffe", 58_370_944, 60_419_944, 311, 2048, "MIT",
           "ee4c566cf9a93f14d82f913c2dc6dd0c", folder="resnet"),
    _keras("resnet50_v2", "ResNet50V2", 224, 224, "tf", 23_564_800, 25_613_800, 103, 2048, _BSD,
           "fac2f116257151a9d068a22e544a4917", folder="resnet"),
    _keras("resnet101_v2", "ResNet101V2", 224, 299, "tf", 42_626_560, 44_675_560, 205, 2048, _BSD,
           "c0ed64b8031c3730f411d2eb4eea35b5", folder="resnet"),
    _keras("resnet152_v2", "ResNet152V2", 224, 299, "tf", 58_331_648, 60_380_648, 307, 2048, _BSD,
           "ed17cf2e0169df9d443503ef94b23b33", folder="resnet"),
    _keras("densenet121", "DenseNet121", 224, 224, "torch", 7_037_504, 8_062_504, 242, 1024, _BSD,
           "30ee3e1110167f948a6b9946edeeb738", folder="densenet"),
    _keras("densenet169", "DenseNet169", 224, 224, "torch", 12_642_880, 14_307_880, 338, 1664, _BSD,
           "b8c4d4c20dd625c148057b9ff1c1176b", folder="densenet"),
    _keras("densenet201", "DenseNet201", 224, 224, "torch", 18_321_984, 20_242_984, 402, 1920, _BSD,
           "c13680b51ded0fb44dff2d8f86ac8bb1", folder="densenet"),
    _efficientnet(0, 224, 224, "0-255", 4_049_571, 5_330_571, 132, 1280, _APACHE,
                  "50bc09e76180e00e4465e1a485ddc09d"),
    _efficientnet(1, 240, 224, "0-255", 6_575_239, 7_856_239, 186, 1280, _APACHE,
                  "74c4e6b3e1f6a1eea24c589628592432"),
    _efficientnet(2, 260, 224, "0-255", 7_768_569, 9_177_569, 186, 1408, _APACHE,
                  "111f8e2ac8aa800a7a99e3239f7bfb39"),
    _efficientnet(3, 300, 224, "0-255", 10_783_535, 12_320_535, 210, 1536, _APACHE,
                  "af6d107764bb5b1abb91932881670226"),
    _efficientnet(4, 380, 224, "0-255", 17_673_823, 19_466_823, 258, 1792, _APACHE,
                  "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    _efficientnet(5, 456, 224, "0-255", 28_513_527, 30_562_527, 312, 2048, _APACHE,
                  "38879255a25d3c92d5e44e04ae6cec6f"),
    _efficientnet(6, 528, 224, "0-255", 40_960_143, 43_265_143, 360, 2304, _APACHE,
                  "9ecce42647a20130c1f39a5d4cb75743"),
    _efficientnet(7, 600, 224, "0-255", 64_097_687, 66_658_687, 438, 2560, _APACHE,
                  "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    _keras("mobilenet", "MobileNet", 224, 224, "tf", 3_228_864, 4_253_864, 55, 1024, _APACHE, "",
           cache_name="mobilenet_{alpha}_{size}_tf_no_top.h5",
           widths={0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}, sizes=(128, 160, 192, 224),
           head=("conv_preds",), md5s=_NOT_KERAS,
           other_names=("mobilenet_{alpha}_*_tf_no_top.h5", "mobilenet_v1_{number}_*no*top*.h5",
                        "mobilenet_{alpha}_*_tf.h5", "mobilenet_v1_{number}_*.h5")),
    _keras("mobilenet_v2", "MobileNetV2", 224, 224, "tf", 2_257_984, 3_538_984, 105, 1280, _APACHE, "",
           file="mobilenet_v2", md5s=_NOT_KERAS,
           cache_name="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5",
           widths={a: str(a) for a in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}, sizes=(96, 128, 160, 192, 224),
           other_names=("mobilenet_v2_*_{alpha}_*no*top*.h5", "mobilenet_v2_{number}_*no*top*.h5",
                        "mobilenet_v2_*_{alpha}_*.h5", "mobilenet_v2_{number}_*.h5")),
    _keras("vgg16", "VGG16", 224, 224, "caffe", 14_714_688, 138_357_544, 16, 512, _CC_BY,
           "6d6bbae143d832006294945121d1f1fc"),
    _keras("vgg19", "VGG19", 224, 224, "caffe", 20_024_384, 143_667_240, 19, 512, _CC_BY,
           "253f8cb515780f3b799900260a226db6"),
    _keras("xception", "Xception", 299, 299, "tf", 20_861_480, 22_910_480, 81, 2048, "MIT",
           "b0042744bf5b25fce3cb969f33bebb97"),
    _keras("inception_resnet_v2", "InceptionResNetV2", 299, 299, "tf", 54_336_736, 55_873_736, 449, 1536,
           _APACHE, "d19885ff4a710c122648d3b5c3b684e4", file="inception_resnet_v2"),
    _keras("nasnet_large", "NASNetLarge", 331, 331, "tf", 84_916_818, 88_949_818, 533, 4032, _APACHE,
           "d81d89dc07e6e56530c4e77faddd61b5", file="nasnet_large", folder="nasnet",
           cache_name="nasnet_large_no_top.h5", remote_name="NASNet-large-no-top.h5"),
    _keras("nasnet_mobile", "NASNetMobile", 224, 224, "tf", 4_269_716, 5_326_716, 389, 1056, _APACHE,
           "1ed92395b5b598bdda52abe5c0dbfd63", file="nasnet_mobile", folder="nasnet",
           cache_name="nasnet_mobile_no_top.h5", remote_name="NASNet-mobile-no-top.h5"),
)
# fmt: on

CONCATENATED = Backbone(
    key="concatenated",
    builder="covidcxr.models.concatenated:build",
    input_size=300,
    minimum_size=71,
    value_range="tf",
    parameters=48_621_608,
    # rahimzadeh2020's own: three classes, flattened from 10 x 10.
    parameters_with_top=48_928_811,
    depth=184,
    features=1024,
    licence=f"MIT and {_BSD}, of its parts",
    classes=3,
    head=("head_probabilities",),
    papers={"rahimzadeh2020": 300},
    parts=("xception", "resnet50_v2"),
)
