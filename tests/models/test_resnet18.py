"""ResNet-18: the paper's table and PyTorch's padding."""

import keras
import numpy as np
import pytest

from covidcxr.models import resnet18


def test_parameters_by_arithmetic():
    """He et al. 2015, table 1: two blocks of two 3x3 convolutions a stage, a 1x1 shortcut where it begins."""
    count, before = 7 * 7 * 3 * 64 + 2 * 64, 64
    for after in (64, 128, 256, 512):
        count += 9 * before * after + 3 * 9 * after * after + 4 * 2 * after
        count += 0 if before == after else before * after + 2 * after
        before = after
    count += 512 * 1000 + 1000
    model = resnet18.build()
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == count == 11_689_512


def test_eighteen_weighted_layers_and_five_halvings():
    model = resnet18.build()
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    main = [layer for layer in model.layers if isinstance(layer, kinds) and "downsample" not in layer.name]
    assert len(main) == 18
    sizes = [model.get_layer(f"layer{stage}_1_relu2").output.shape[1:] for stage in (1, 2, 3, 4)]
    assert sizes == [(56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)]


def test_normalisation_has_pytorchs_constants():
    norms = [layer for layer in resnet18.build().layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 20
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(1e-5, 0.9)}


@pytest.mark.parametrize("side", [32, 33])
def test_strides_start_at_the_padded_corner(side):
    """PyTorch's padding 3 centres the first 7x7 window on pixel (0, 0), for even and odd sizes alike."""
    model = resnet18.build(input_shape=(side, side, 3), include_top=False)
    conv = model.get_layer("conv1")
    kernel = np.zeros(conv.kernel.shape, "float32")
    kernel[3, 3, 0, 0] = 1
    conv.set_weights([kernel])
    image = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype("float32")
    mapped = np.asarray(keras.Model(model.input, conv.output)(image))
    np.testing.assert_array_equal(mapped[0, ..., 0], image[0, ::2, ::2, 0])


def test_any_size_is_taken_when_rows_and_columns_are_open():
    model = resnet18.build(input_shape=(None, None, 3), include_top=False)
    assert tuple(model(np.zeros((1, 64, 96, 3), "float32")).shape) == (1, 2, 3, 512)
