import sys
from subprocess import run

import pytest

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.backbone_table import BACKBONES, VALUE_RANGES
from covidcxr.models.small_networks import SMALL_NETWORKS

KEYS = backbones.keys()
SMALL = ("mobilenet", "mobilenet_v2", "efficientnet_b0")
# nemati2022's Table I has 27 rows, ResNet152V2 twice; yin2020's eight are among them.
YIN = {
    "vgg19",
    "inception_v3",
    "resnet50",
    "resnet50_v2",
    "mobilenet",
    "mobilenet_v2",
    "densenet121",
    "nasnet_mobile",
}
NEMATI_299 = {"inception_v3", "xception", "inception_resnet_v2", "resnet101_v2", "resnet152_v2"}


def cases():
    return [pytest.param(b, marks=() if b.key in SMALL else pytest.mark.slow, id=b.key) for b in BACKBONES]


def test_the_papers_26_networks_are_known():
    assert len(BACKBONES) == len(set(KEYS) & {b.key for b in BACKBONES}) == 26
    sizes = {b.key: b.papers["nemati2022"] for b in BACKBONES}
    assert {key for key, size in sizes.items() if size == 299} == NEMATI_299
    assert {key for key, size in sizes.items() if size == 331} == {"nasnet_large"}
    assert sum(size == 224 for size in sizes.values()) == 26 - len(NEMATI_299) - 1


def test_every_network_of_every_paper_is_known():
    of = {
        paper: {key for key in KEYS if paper in backbones.get(key).papers}
        for paper in ("khalifa2020", "rahimzadeh2020", "ragab2022", "nemati2022", "yin2020")
    }
    assert len(of["nemati2022"]) == 26
    assert of["yin2020"] == YIN
    assert of["ragab2022"] == {"mobilenet", "mobilenet_v2"}
    assert of["rahimzadeh2020"] == {"xception", "resnet50_v2", "concatenated"}
    assert of["khalifa2020"] == {network.key for network in SMALL_NETWORKS}
    assert set.union(*of.values()) == set(KEYS)


def test_a_weight_file_may_expect_other_values_than_the_published_one():
    squeezenet = backbones.get("squeezenet1_1")
    assert squeezenet.range_of("squeezenet1_1_imagenet.h5") == squeezenet.value_range == "torch"
    assert squeezenet.range_of("squeezenet_v1.1_imagenet.h5") == "caffe"
    assert squeezenet.range_of("squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5") == "caffe"


def test_the_registry_needs_no_keras():
    code = "import sys, covidcxr.models.backbones as b; b.get('vgg19'); assert 'keras' not in sys.modules"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spelling", ["MobileNetV2", "mobilenet-v2", "mobilenet_v2"])
def test_spelling_does_not_matter(spelling):
    assert backbones.get(spelling).key == "mobilenet_v2"


def test_an_unknown_name_brings_near_ones():
    with pytest.raises(ModelError, match=r"'densenet12'.*densenet121"):
        backbones.get("densenet12")
    with pytest.raises(ModelError, match="choose one of inception_v3"):
        backbones.get("qqqq")


def test_keys_tell_the_networks_apart():
    bare = [key.replace("_", "") for key in KEYS]
    assert len(set(bare)) == len(bare) == 26 + 7 + 1
    assert {backbones.get(key).value_range for key in KEYS} == set(VALUE_RANGES)


@pytest.mark.parametrize("backbone", cases())
def test_networks_have_the_published_sizes(backbone):
    import keras

    keras.backend.clear_session()
    size = backbone.input_size
    model = backbones.build(backbone.key, (size, size, 3))
    assert model.count_params() == backbone.parameters
    assert model.output_shape[-1] == backbone.features
    # Keras' table counts layers with parameters; the classifier is one layer, VGG's three.
    top = 3 if backbone.key.startswith("vgg") else 1
    assert sum(bool(layer.weights) for layer in model.layers) + top == backbone.depth


@pytest.mark.parametrize("backbone", cases())
def test_networks_with_their_classifier_have_the_published_sizes(backbone):
    import keras

    keras.backend.clear_session()
    size = backbone.input_size
    model = backbones.build(backbone.key, (size, size, 3), classes=backbone.classes)
    assert model.count_params() == backbone.parameters_with_top
    assert model.output_shape == (None, 1000)
    (last,) = backbone.head
    assert 1000 in model.get_layer(last).kernel.shape


@pytest.mark.parametrize("backbone", [*cases(), backbones.get("concatenated")], ids=lambda b: b.key)
def test_the_smallest_input_leaves_a_map(backbone):
    import keras

    keras.backend.clear_session()
    side = backbone.minimum_size
    assert min(backbones.build(backbone, (side, side, 3)).output_shape[1:3]) >= 1


@pytest.mark.parametrize("key", KEYS)
def test_an_input_below_the_smallest_is_refused(key):
    known = backbones.get(key)
    side = known.minimum_size
    for shape in ((side - 1, side, 3), (side, side - 1, 3)):
        with pytest.raises(ModelError, match=f"{key}: cannot be built") as caught:
            backbones.build(key, shape)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backbone", cases())
def test_weight_files_are_those_keras_asks_for(backbone, monkeypatch):
    import keras
    from keras.src.utils import file_utils

    from covidcxr.models.pretrained import cache_names

    asked = {}

    class Stop(Exception):  # noqa: N818
        pass

    def get_file(fname, origin, file_hash=None, **_):
        asked.update(name=fname, url=origin, md5=file_hash or "")
        raise Stop

    monkeypatch.setattr(file_utils, "get_file", get_file)
    builder = getattr(keras.applications, backbone.builder.partition(":")[2])
    size = backbone.input_size
    with pytest.raises(Stop):
        builder(weights="imagenet", include_top=False, input_shape=(size, size, 3))
    (name,) = cache_names(backbone)
    assert asked == {
        "name": name,
        "url": f"{backbone.folder_url}/{backbone.remote_name or name}",
        "md5": backbone.md5,
    }


def test_pooling_width_and_shape():
    model = backbones.build("mobilenet_v2", (96, 64, 3), pooling="avg", alpha=0.35)
    assert model.input_shape == (None, 96, 64, 3)
    assert model.output_shape == (None, 1280)


def test_what_cannot_be_built_is_one_line():
    with pytest.raises(ModelError, match="no width multiplier") as caught:
        backbones.build("vgg16", (64, 64, 3), alpha=0.5)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"squeezenet1_1: cannot be built.*'avg', 'max' or None"):
        backbones.build("squeezenet1_1", (64, 64, 3), pooling="mean")


@pytest.mark.filterwarnings("error")
def test_building_says_nothing():
    backbones.build("mobilenet_v2", (64, 64, 3))
