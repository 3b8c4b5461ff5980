"""Every network of the registry, explained by all methods at a small input; -m slow takes the large ones."""

import gc

import numpy as np
import pytest

from covidcxr.evaluation.explanations import gradcam, integrated_gradients, occlusion
from covidcxr.evaluation.explanations.graph import Network
from covidcxr.models import backbones, heads

QUICK = ("squeezenet1_1",)
# The last layers with a map, from the networks' own definitions.
MAPS = {
    "densenet121": "relu",
    "mobilenet": "conv_pw_13_relu",
    "mobilenet_v2": "out_relu",
    "vgg16": "block5_conv3",
    "vgg19": "block5_conv4",
    "xception": "block14_sepconv2_act",
    "inception_resnet_v2": "conv_7b_ac",
    "resnet50": "conv5_block3_out",
    "resnet50_v2": "post_relu",
    "efficientnet_b0": "top_activation",
    "alexnet": "conv5",
    "squeezenet1_1": "head_conv10",
    "googlenet": "inception5b",
    "googlenet_bvlc": "inception_5b_output",
    "resnet18": "layer4_1_relu2",
    "concatenated": "stacked_conv",
}


def cases():
    keys = backbones.keys()
    return [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow, id=key) for key in keys]


def build(key):
    import keras

    keras.utils.set_random_seed(0)
    known = backbones.get(key)
    if "khalifa2020" in known.papers:
        return heads.khalifa_head(key, input_size=known.input_size)
    size = known.minimum_size + 32
    pooling = "flatten" if known.parts else "avg"
    return heads.classifier(backbones.build(key, (size, size, 3)), heads.HeadSpec(2, pooling=pooling))


@pytest.mark.parametrize("key", cases())
def test_every_method_on_every_network(key):
    model = build(key)
    network = Network(model)
    point = network.feature_map()
    assert point.path == MAPS.get(key, point.path)
    image = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    scores = np.asarray(network.score(image)[0], dtype=np.float64)
    odds = np.exp(scores - scores.max())
    np.testing.assert_allclose(odds / odds.sum(), model(image, training=False), atol=1e-5)
    target = scores.argmax(axis=1)
    heat = gradcam(model, image, target)
    assert heat.shape == (1, *point.shape[1:3])
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    side = model.input_shape[1]
    fall = occlusion(model, image, target, patch=side // 2, stride=side // 2, batch_size=3)
    assert fall.shape == image.shape[:3]
    assert np.isfinite(fall).all()
    whole = integrated_gradients(model, image, target, steps=2, batch_size=2)
    assert whole.shape == image.shape[:3]
    assert np.isfinite(whole).all()
    del model, network
    import keras

    keras.backend.clear_session()
    gc.collect()


def test_the_registry_is_the_papers():
    assert len(backbones.keys()) == 34
    assert set(MAPS) <= set(backbones.keys())
