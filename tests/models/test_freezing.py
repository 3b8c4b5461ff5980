import math

import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.freezing import (
    blocks,
    freeze_all,
    freeze_blocks,
    freeze_layers,
    summary,
    trainable_counts,
)
from covidcxr.models.heads import ragab_head

# yin2020, Table 5: layers frozen, trainable parameters in millions as printed, percentage of the total.
TABLE_5 = [
    pytest.param("mobilenet", 75, 1.59, 49.4, id="mobilenet"),
    pytest.param("vgg19", 19, 4.72, 23.6, id="vgg19", marks=pytest.mark.slow),
    pytest.param("inception_v3", 279, 6.073, 27.9, id="inception_v3", marks=pytest.mark.slow),
    pytest.param("densenet121", 224, 4.4, 62.5, id="densenet121", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("key", "frozen", "millions", "percent"), TABLE_5)
@pytest.mark.parametrize("batchnorm", ["inference", "training"])
def test_yin2020_table_5(key, frozen, millions, percent, batchnorm):
    model = backbones.build(key, (224, 224, 3))
    freeze_layers(model, frozen, batchnorm)
    trainable, rest = trainable_counts(model)
    assert trainable + rest == model.count_params()
    assert millions in printed(trainable / 1e6, digits(millions))
    # MobileNet's 49.4 % is 1.59 of 3.22, both as printed or cut: the counts themselves give 49.2 %.
    of_printed = 100 * float(millions) / min(printed(model.count_params() / 1e6, 2))
    assert percent in printed(100 * trainable / model.count_params(), 1) | printed(of_printed, 1)


def digits(number):
    return len(str(number).partition(".")[2])


def printed(value, places):
    """Return a number as a table may print it: rounded, or cut."""
    return {round(value, places), math.floor(value * 10**places) / 10**places}


# The blocks that Table 5 froze, as far as its counts of layers end with one.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "last", "millions"), [("inception_v3", "mixed9", 6.073), ("densenet121", "conv4_block12", 4.4)]
)
def test_yin2020_froze_whole_blocks(key, last, millions):
    model = backbones.build(key, (224, 224, 3))
    names = [block.name for block in blocks(model)]
    freeze_blocks(model, names.index(last) + 1)
    assert millions in printed(trainable_counts(model)[0] / 1e6, digits(millions))


# Published: VGG's five stages; He et al. 2015 and 2016, table 1; Huang et al. 2016, table 1; Szegedy et al. 2015
# and 2016; Chollet 2016, Fig. 5; Howard et al. 2017, table 1; Sandler et al. 2018, table 2; Tan and Le 2019,
# table 1; Zoph et al. 2017 (4 cells thrice, two reductions, and two in the stem); Iandola et al. 2016.
NUMBERS = {
    "vgg19": 5,
    "resnet50": 1 + 3 + 4 + 6 + 3,
    "resnet50_v2": 1 + 3 + 4 + 6 + 3 + 1,
    "densenet121": 1 + 6 + 12 + 24 + 16 + 3 + 1,
    "inception_v3": 1 + 11,
    "inception_resnet_v2": 1 + 1 + 10 + 1 + 20 + 1 + 10 + 1,
    "xception": 14,
    "mobilenet": 1 + 13,
    "mobilenet_v2": 1 + 17 + 1,
    "efficientnet_b0": 1 + 16 + 1,
    "nasnet_mobile": 2 + 3 * 4 + 2,
    "alexnet": 5,
    "alexnet_2012": 5,
    "squeezenet1_0": 1 + 8,
    "squeezenet1_1": 1 + 8,
    "googlenet": 1 + 9,
    "googlenet_bvlc": 1 + 9,
    "resnet18": 1 + 8,
}
SLOW = ("inception_resnet_v2", "densenet121", "nasnet_mobile", "inception_v3", "resnet50", "resnet50_v2")


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=pytest.mark.slow if key in SLOW else ()) for key in NUMBERS]
)
def test_blocks_are_those_of_the_architecture(key):
    side = backbones.get(key).minimum_size
    model = backbones.build(key, (side, side, 3))
    found = blocks(model)
    assert len(found) == NUMBERS[key]
    assert [block.first for block in found] == [0, *(block.last + 1 for block in found[:-1])]
    assert found[-1].last == len(model.layers) - 1


def test_blocks_end_where_the_maps_are_added():
    model = backbones.build("mobilenet_v2", (32, 32, 3), alpha=0.35)
    last = {block.name: model.layers[block.last].name for block in blocks(model)}
    assert last["stem"] == "Conv1_relu"
    assert last["block_2"] == "block_2_add"
    assert last["block_16"] == "block_16_project_BN"
    assert last["top"] == "out_relu"


def test_freezing_blocks_is_freezing_their_layers():
    model = ragab_head(input_size=32, alpha=0.35)
    found = blocks(model)
    assert found[-1].name == "head"
    for count in (0, 3, len(found)):
        freeze_blocks(model, count)
        frozen = [layer.name for layer in model.layers if not layer.trainable]
        assert frozen == [layer.name for layer in model.layers[: found[count - 1].last + 1 if count else 0]]


def test_the_summary_tells_what_learns_in_each_block():
    model = ragab_head(input_size=32, alpha=0.35)
    freeze_blocks(model, 3)
    rows = summary(model)
    assert [row.trainable for row in rows[:3]] == [0, 0, 0]
    assert all(row.trainable for row in rows[3:])
    # 1280 features to two classes; the last convolution and its normalisation.
    assert rows[-1][3:] == (2562, 0)
    assert rows[-2][3:] == (112 * 1280 + 2 * 1280, 2 * 1280)
    assert (sum(row.trainable for row in rows), sum(row.frozen for row in rows)) == trainable_counts(model)


def test_what_has_no_blocks_says_so():
    import keras

    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ModelError, match="no blocks are known"):
        blocks(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)))
    with pytest.raises(ModelError, match=r"cannot freeze 7 blocks of .*: it has 5"):
        freeze_blocks(backbones.build("vgg16", (32, 32, 3)), 7)


@pytest.fixture
def small():
    import keras

    inputs = keras.Input((2,))
    outputs = keras.layers.BatchNormalization(name="bn")(keras.layers.Dense(3, name="first")(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, name="last")(outputs))


def batch_norm_after_training(model, batchnorm):
    import keras

    keras.utils.set_random_seed(0)
    freeze_layers(model, 3, batchnorm)
    model.compile("sgd", "mse")
    before = [weight.numpy() for weight in model.get_layer("bn").weights]
    images = np.random.default_rng(0).normal(5, 2, (64, 2)).astype("float32")
    model.fit(images, images[:, :1], verbose=0)
    after = [weight.numpy() for weight in model.get_layer("bn").weights]
    return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


def test_frozen_batch_norm_keeps_its_statistics(small):
    assert batch_norm_after_training(small, "inference") == [False, False, False, False]


def test_frozen_batch_norm_may_go_on_averaging(small):
    assert batch_norm_after_training(small, "training") == [False, False, True, True]


def test_freezing_again_starts_anew(small):
    freeze_all(small, "training")
    assert trainable_counts(small)[0] == 0
    freeze_layers(small, 0)
    assert trainable_counts(small) == (9 + 6 + 4, 6)
    freeze_layers(small, 2)
    assert trainable_counts(small) == (6 + 4, 9 + 6)


def test_what_cannot_be_frozen(small):
    with pytest.raises(ModelError, match=r"cannot freeze 5 layers of .*: it has 4"):
        freeze_layers(small, 5)
    with pytest.raises(ModelError, match="choose one of inference, training"):
        freeze_layers(small, 1, "both")
