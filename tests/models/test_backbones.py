import sys
from subprocess import run

import pytest

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.backbone_table import BACKBONES

SMALL = ("mobilenet", "mobilenet_v2", "efficientnet_b0")
# nemati2022's Table I has 27 rows, ResNet152V2 twice; yin2020's eight are among them.
NEMATI_299 = {"inception_v3", "xception", "inception_resnet_v2", "resnet101_v2", "resnet152_v2"}


def cases():
    return [pytest.param(b, marks=() if b.key in SMALL else pytest.mark.slow, id=b.key) for b in BACKBONES]


def test_the_papers_26_networks_are_known():
    assert len(BACKBONES) == len(set(backbones.keys()) & {b.key for b in BACKBONES}) == 26
    sizes = {b.key: b.nemati2022_input for b in BACKBONES}
    assert {key for key, size in sizes.items() if size == 299} == NEMATI_299
    assert {key for key, size in sizes.items() if size == 331} == {"nasnet_large"}


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


def test_two_networks_cannot_share_a_key():
    known = backbones.get("vgg16")
    assert backbones.register(known) is known
    with pytest.raises(ModelError, match="already registered"):
        backbones.register(type(known)(**{**vars(known), "depth": 1}))


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
    if top == 1:
        assert backbone.parameters_with_top == backbone.parameters + 1000 * (backbone.features + 1)


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
    with pytest.raises(ModelError, match="xception: cannot be built") as caught:
        backbones.build("xception", (32, 32, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_building_says_nothing():
    backbones.build("mobilenet_v2", (64, 64, 3))
