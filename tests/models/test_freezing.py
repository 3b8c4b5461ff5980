import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import backbones
from covidcxr.models.freezing import freeze_all, freeze_layers, trainable_counts

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
    # The table cuts or rounds: 6.0735 is printed as 6.073, 49.22 % as 49.4.
    assert trainable / 1e6 == pytest.approx(millions, abs=0.006)
    assert 100 * trainable / (trainable + rest) == pytest.approx(percent, abs=0.2)
    assert trainable + rest == model.count_params()


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
