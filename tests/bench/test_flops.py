"""Counted operations against the papers' own, which count a multiplication with its addition as one."""

import keras
import pytest

from covidcxr.bench import flops


# Howard et al. 2017, table 4; Sandler et al. 2018, table 4; He et al. 2016, table 1.
@pytest.mark.parametrize(
    ("build", "published"),
    [("MobileNet", 569e6), ("MobileNetV2", 300e6), ("ResNet50", 3.8e9)],
)
def test_networks_take_what_their_papers_say(build, published):
    model = getattr(keras.applications, build)(weights=None)
    assert flops.forward_flops(model) / 2 == pytest.approx(published, rel=0.02)
    keras.backend.clear_session()


def count(*layers, shape):
    return flops.forward_flops(keras.Sequential([keras.Input(shape), *layers]))


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (keras.layers.Conv2D(5, 3, padding="same", strides=2), 4 * 4 * 9 * 4 * 5),
        (keras.layers.Conv2D(6, 3, padding="same", groups=2), 8 * 8 * 9 * 2 * 6),
        (keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 8 * 8 * 9 * 4 * 2),
        (keras.layers.SeparableConv2D(5, 3, padding="same"), 8 * 8 * (9 * 4 + 4 * 5)),
        (keras.layers.Conv2DTranspose(5, 3, strides=2, padding="same"), 8 * 8 * 9 * 4 * 5),
        (keras.layers.Dense(5), 8 * 8 * 4 * 5),
        (keras.layers.BatchNormalization(), 0),
    ],
)
def test_a_layer_takes_its_kernel_once_for_every_place(layer, macs):
    assert count(layer, shape=(8, 8, 4)) == 2 * macs


def test_a_network_inside_another_and_a_layer_used_twice_count_each_time():
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
    images = keras.Input((8,))
    model = keras.Model(images, inner(inner(images)))
    assert flops.forward_flops(model) == 2 * 2 * 64


def test_a_training_step_takes_three_passes():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
    assert flops.training_flops(model) == 3 * 2 * 64
