"""GoogLeNet's two forms: the paper's table, and BVLC's weights against plain tensor operations."""

import json

import h5py
import numpy as np
import pytest

from covidcxr.models import googlenet

WEIGHTS = "googlenet_bvlc_imagenet.h5"
# Paper, table 1: channels in, then filters of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
TABLE = [
    (192, 64, 96, 128, 16, 32, 32),
    (256, 128, 128, 192, 32, 96, 64),
    (480, 192, 96, 208, 16, 48, 64),
    (512, 160, 112, 224, 24, 64, 64),
    (512, 128, 128, 256, 24, 64, 64),
    (512, 112, 144, 288, 32, 64, 64),
    (528, 256, 160, 320, 32, 128, 128),
    (832, 256, 160, 320, 32, 128, 128),
    (832, 384, 192, 384, 48, 128, 128),
]


def conv(size, before, after, extra):
    return size * size * before * after + extra * after


def by_arithmetic(five, extra, aux):
    """Count parameters; `extra` numbers a filter: 1 bias, or the 2 of batch normalisation."""
    count = conv(7, 3, 64, extra) + conv(1, 64, 64, extra) + conv(3, 64, 192, extra) + 1024 * 1000 + 1000
    for before, one, reduce3, three, reduce5, wide, projection in TABLE:
        count += (
            conv(1, before, one, extra) + conv(1, before, reduce3, extra) + conv(3, reduce3, three, extra)
        )
        count += conv(1, before, reduce5, extra) + conv(five, reduce5, wide, extra)
        count += conv(1, before, projection, extra)
    for before in (512, 528) if aux else ():
        count += conv(1, before, 128, extra) + 2048 * 1024 + 1024 + 1024 * 1000 + 1000
    return count


@pytest.mark.parametrize(
    ("variant", "five", "extra", "aux", "total"),
    [
        ("torchvision", 3, 2, False, 6_624_904),
        ("torchvision", 3, 2, True, 13_004_888),
        ("bvlc", 5, 1, False, 6_998_552),
        ("bvlc", 5, 1, True, 13_378_280),
    ],
)
def test_parameters_by_arithmetic(variant, five, extra, aux, total):
    model = googlenet.build(variant, aux=aux)
    assert by_arithmetic(five, extra, aux) == total
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == total


@pytest.mark.parametrize("variant", ["torchvision", "bvlc"])
def test_auxiliary_heads_are_outputs_beside_the_main_one(variant):
    model = googlenet.build(variant, classes=3, aux=True)
    assert [tuple(output.shape) for output in model.outputs] == [(None, 3)] * 3
    assert len(googlenet.AUX_LOSS_WEIGHTS) == 3
    model.compile("sgd", ["categorical_crossentropy"] * 3, loss_weights=list(googlenet.AUX_LOSS_WEIGHTS))


@pytest.mark.parametrize(("variant", "prefix"), [("torchvision", "inception"), ("bvlc", "inception_")])
def test_map_sizes_of_the_papers_table(variant, prefix):
    model = googlenet.build(variant, include_top=False)
    suffix = "_output" if variant == "bvlc" else ""
    found = [
        tuple(model.get_layer(f"{prefix}{m}{suffix}").output.shape[1:])
        for m in ("3a", "3b", "4a", "4e", "5b")
    ]
    assert found == [(28, 28, 256), (28, 28, 480), (14, 14, 512), (14, 14, 832), (7, 7, 1024)]


def plain_bvlc(tf, weights, images):
    """BVLC's network by TensorFlow's operations at 224, where "SAME" pools as Caffe does."""

    def layer(x, name, stride=1, padding="SAME"):
        kernel, bias = weights[name]
        return tf.nn.relu(tf.nn.conv2d(x, kernel, stride, padding) + bias)

    def pool(x, stride=2):
        return tf.nn.max_pool2d(x, 3, stride, "SAME")

    def norm(x):
        return tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75)

    def inception(x, module):
        name = f"inception_{module}_"
        three = layer(layer(x, f"{name}3x3_reduce"), f"{name}3x3")
        five = layer(layer(x, f"{name}5x5_reduce"), f"{name}5x5")
        projection = layer(pool(x, 1), f"{name}pool_proj")
        return tf.concat([layer(x, f"{name}1x1"), three, five, projection], 3)

    x = tf.pad(images, [[0, 0], [3, 3], [3, 3], [0, 0]])
    x = norm(pool(layer(x, "conv1_7x7_s2", 2, "VALID")))
    x = pool(norm(layer(layer(x, "conv2_3x3_reduce"), "conv2_3x3")))
    for stage in (("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b")):
        for module in stage:
            x = inception(x, module)
        x = pool(x) if stage[0] != "5a" else tf.reduce_mean(x, (1, 2))
    kernel, bias = weights["loss3_classifier"]
    return tf.nn.softmax(x @ kernel + bias)


def test_bvlcs_weights_give_what_plain_operations_give_and_name_a_palace(shared):
    tf = pytest.importorskip("tensorflow")
    from PIL import Image
    from sklearn.datasets import load_sample_image

    with h5py.File(shared / "weights" / WEIGHTS) as file:
        weights = {
            name: (group[name]["kernel"][()], group[name]["bias"][()])
            for name, group in file.items()
            if len(group)
        }
    model = googlenet.build("bvlc")
    model.load_weights(shared / "weights" / WEIGHTS)
    assert len(weights) == sum(1 for layer in model.layers if layer.weights) == 58

    picture = Image.fromarray(load_sample_image("china.jpg")).crop((106, 0, 533, 427)).resize((224, 224))
    image = np.asarray(picture, "float32")[None, ..., ::-1] - np.asarray((104, 117, 123), "float32")
    ours = np.asarray(model(image))
    np.testing.assert_allclose(ours, np.asarray(plain_bvlc(tf, weights, image)), atol=1e-5)
    names = json.loads((shared / "weights" / "imagenet_class_index.json").read_text())
    best = {names[str(index)][1] for index in np.argsort(ours[0])[-2:]}
    assert best <= {"palace", "monastery", "castle", "stupa"}
