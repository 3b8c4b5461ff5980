"""Conversion of torchvision's state dicts: against PyTorch itself where it is installed."""

import hashlib
import struct
import zipfile

import keras
import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import alexnet, googlenet, resnet18, squeezenet
from covidcxr.models.torch_files import read_state_dict
from covidcxr.models.torch_weights import PUBLISHED, check_download, load_file, load_state_dict


def torch_alexnet(classes):
    nn = pytest.importorskip("torch").nn
    widths = [
        (3, 64, 11, 4, 2),
        (64, 192, 5, 1, 2),
        (192, 384, 3, 1, 1),
        (384, 256, 3, 1, 1),
        (256, 256, 3, 1, 1),
    ]
    features = []
    for number, (before, after, size, stride, padding) in enumerate(widths):
        features += [nn.Conv2d(before, after, size, stride, padding), nn.ReLU()]
        if number in (0, 1, 4):
            features.append(nn.MaxPool2d(3, 2))
    dense = [nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    net = nn.Module()
    net.features = nn.Sequential(*features)
    net.classifier = nn.Sequential(*dense, nn.Linear(4096, classes))
    pool = nn.AdaptiveAvgPool2d((6, 6))
    return net, lambda x: net.classifier(pool(net.features(x)).flatten(1))


def torch_squeezenet(classes, version="1.1"):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Fire(nn.Module):
        def __init__(self, before, squeeze, expand):
            super().__init__()
            self.squeeze = nn.Conv2d(before, squeeze, 1)
            self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
            self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

        def forward(self, x):
            x = self.squeeze(x).relu()
            return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)

    fires = [Fire(*widths) for widths in FIRE_INPUTS[version]]
    for place in POOL_PLACES[version]:
        fires.insert(place, nn.MaxPool2d(3, 2, ceil_mode=True))
    first = nn.Conv2d(3, 96, 7, 2) if version == "1.0" else nn.Conv2d(3, 64, 3, 2)
    net = nn.Module()
    net.features = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), *fires)
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    return net, lambda x: net.classifier(net.features(x)).flatten(1)


FIRE_WIDTHS = [
    (128, 16, 64),
    (128, 32, 128),
    (256, 32, 128),
    (256, 48, 192),
    (384, 48, 192),
    (384, 64, 256),
    (512, 64, 256),
]
FIRE_INPUTS = {"1.0": [(96, 16, 64), *FIRE_WIDTHS], "1.1": [(64, 16, 64), *FIRE_WIDTHS]}
POOL_PLACES = {"1.0": (3, 8), "1.1": (2, 5)}


def torch_resnet18(classes):
    nn = pytest.importorskip("torch").nn

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.downsample = None
            if stride != 1:
                self.downsample = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + (x if self.downsample is None else self.downsample(x))).relu()

    net = nn.Module()
    net.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    net.bn1 = nn.BatchNorm2d(64)
    for stage, (before, after) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], start=1):
        stride = 1 if stage == 1 else 2
        setattr(net, f"layer{stage}", nn.Sequential(Block(before, after, stride), Block(after, after, 1)))
    net.fc = nn.Linear(512, classes)
    pool = nn.MaxPool2d(3, 2, 1)

    def forward(x):
        x = pool(net.bn1(net.conv1(x)).relu())
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return net.fc(x.mean((2, 3)))

    return net, forward


INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def googlenet_parts():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Conv(nn.Module):
        def __init__(self, before, after, size, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(before, after, size, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(after, eps=0.001)

        def forward(self, x):
            return self.bn(self.conv(x)).relu()

    class Inception(nn.Module):
        def __init__(self, before, one, reduce3, three, reduce5, five, projection):
            super().__init__()
            self.branch1 = Conv(before, one, 1)
            self.branch2 = nn.Sequential(Conv(before, reduce3, 1), Conv(reduce3, three, 3, padding=1))
            self.branch3 = nn.Sequential(Conv(before, reduce5, 1), Conv(reduce5, five, 3, padding=1))
            pool = nn.MaxPool2d(3, 1, 1, ceil_mode=True)
            self.branch4 = nn.Sequential(pool, Conv(before, projection, 1))

        def forward(self, x):
            return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)

    class Aux(nn.Module):
        def __init__(self, before, classes):
            super().__init__()
            self.conv = Conv(before, 128, 1)
            self.fc1 = nn.Linear(2048, 1024)
            self.fc2 = nn.Linear(1024, classes)

        def forward(self, x):
            x = nn.functional.adaptive_avg_pool2d(x, (4, 4))
            return self.fc2(self.fc1(self.conv(x).flatten(1)).relu())

    return nn, Conv, Inception, Aux


def torch_googlenet(classes):
    nn, Conv, Inception, Aux = googlenet_parts()
    net = nn.Module()
    net.conv1, net.conv2, net.conv3 = Conv(3, 64, 7, 2, 3), Conv(64, 64, 1), Conv(64, 192, 3, padding=1)
    for name, widths in INCEPTIONS.items():
        setattr(net, f"inception{name}", Inception(*widths))
    net.aux1, net.aux2, net.fc = Aux(512, classes), Aux(528, classes), nn.Linear(1024, classes)
    pool3, pool2 = nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 2, ceil_mode=True)

    def forward(x):
        x = pool3(net.conv3(net.conv2(pool3(net.conv1(x)))))
        x = net.inception4a(pool3(net.inception3b(net.inception3a(x))))
        after_4a = x
        x = after_4d = net.inception4d(net.inception4c(net.inception4b(x)))
        x = net.inception5b(net.inception5a(pool2(net.inception4e(x))))
        return net.fc(x.mean((2, 3))), net.aux1(after_4a), net.aux2(after_4d)

    return net, forward


def randomise(net):
    """Give every array values that matter: He-sized kernels, statistics away from 0 and 1."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, array in net.state_dict().items():
            if array.ndim > 1:
                array.normal_(0, (2 / array[0].numel()) ** 0.5, generator=generator)
            elif name.endswith("num_batches_tracked"):
                array.fill_(12345)
            elif name.endswith(("running_var", "bn1.weight", "bn.weight")):
                array.uniform_(0.5, 1.5, generator=generator)
            else:
                array.uniform_(-0.2, 0.2, generator=generator)
    return net.eval()


def difference(torch_net, forward, keras_net, side):
    """Largest difference of the outputs, relative to the largest output."""
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(3).normal(0, 1, (2, 3, side, side)).astype("float32")
    with torch.no_grad():
        theirs = forward(torch.from_numpy(images))
    ours = keras_net(images.transpose(0, 2, 3, 1), training=False)
    pairs = zip(theirs, ours, strict=True) if isinstance(theirs, tuple) else [(theirs, ours)]
    pairs = [(np.asarray(a.detach()), keras.ops.convert_to_numpy(b)) for a, b in pairs]
    assert all(np.ptp(theirs) > 1e-2 for theirs, _ in pairs)
    return max(np.abs(a - b).max() / np.abs(a).max() for a, b in pairs)


NETWORKS = {
    "alexnet": (torch_alexnet, alexnet.build, (64, 224)),
    "squeezenet1_0": (lambda n: torch_squeezenet(n, "1.0"), squeezenet.build_1_0, (64, 227)),
    "squeezenet1_1": (torch_squeezenet, squeezenet.build, (65, 227)),
    "googlenet": (torch_googlenet, lambda **kw: googlenet.build(aux=True, **kw), (70, 224)),
    "resnet18": (torch_resnet18, resnet18.build, (33, 64)),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("network", NETWORKS)
def test_outputs_agree_with_pytorch(network, legacy, tmp_path):
    torch = pytest.importorskip("torch")
    make, build, sides = NETWORKS[network]
    theirs, forward = make(7)
    randomise(theirs)
    path = tmp_path / "net.pth"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    side = sides[legacy]
    ours = build(classes=7, input_shape=(side, side, 3), classifier_activation=None)
    assert load_file(ours, path, network) == ()
    assert difference(theirs, forward, ours, side) < 1e-4
    for name, array in read_state_dict(path).items():
        np.testing.assert_array_equal(array, theirs.state_dict()[name].numpy())


def keras_state(model):
    """A state dict with the names and shapes of torchvision's, made from a Keras model by another rule."""
    state = {}
    for layer in model.layers:
        for variable in layer.weights:
            array = keras.ops.convert_to_numpy(variable)
            axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, (0,))
            part = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
            part = part.get(
                variable.name, {"moving_variance": "running_var"}.get(variable.name, variable.name)
            )
            state[f"{layer.name.replace('_', '.')}.{part}"] = array.transpose(axes)
    return state


@pytest.fixture(scope="module")
def resnet_state():
    keras.utils.set_random_seed(4)
    return keras_state(resnet18.build(classes=5, input_shape=(32, 32, 3)))


def test_a_new_head_is_left_alone_and_the_rest_loaded(resnet_state):
    model = resnet18.build(classes=2, input_shape=(32, 32, 3))
    before = model.get_layer("fc").get_weights()
    assert load_state_dict(model, resnet_state, "resnet18", new_head=True) == ("fc",)
    for old, new in zip(before, model.get_layer("fc").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    first = keras.ops.convert_to_numpy(model.get_layer("conv1").kernel)
    np.testing.assert_array_equal(first, resnet_state["conv1.weight"].transpose(2, 3, 1, 0))


def written(path, state):
    """Write a state dict as PyTorch's archive holds it, by hand: float32 alone, pickle protocol 2."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    body = b"\x80\x02}("
    with zipfile.ZipFile(path, "w") as archive:
        for key, (name, array) in enumerate(state.items()):
            strides = [step // 4 for step in np.empty(array.shape, "f4").strides]
            held = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu")
            held += numbers([array.size])[1:-1] + b"tQ"
            arguments = held + b"K\x00" + numbers(array.shape) + numbers(strides) + b"\x89}"
            body += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"
            archive.writestr(f"net/data/{key}", np.ascontiguousarray(array, "<f4").tobytes())
        archive.writestr("net/data.pkl", body + b"u.")


def test_a_file_written_by_hand_fills_the_network(resnet_state, tmp_path):
    written(tmp_path / "net.pth", resnet_state)
    model = resnet18.build(classes=5, input_shape=(32, 32, 3))
    assert load_file(model, tmp_path / "net.pth", "resnet18") == ()
    for name, array in keras_state(model).items():
        np.testing.assert_array_equal(array, resnet_state[name])
    with pytest.raises(ModelError, match=r"net\.pth: tensor fc\.bias|net\.pth: tensor fc\.weight"):
        load_file(resnet18.build(classes=2, input_shape=(32, 32, 3)), tmp_path / "net.pth", "resnet18")


def test_auxiliary_heads_in_the_file_are_left_out_of_a_network_without_them():
    state = keras_state(googlenet.build(classes=4, input_shape=(64, 64, 3), aux=True))
    state["inception3a.branch1.bn.num_batches_tracked"] = np.array(3)
    plain = googlenet.build(classes=4, input_shape=(64, 64, 3))
    assert load_state_dict(plain, state, "googlenet") == ()
    np.testing.assert_array_equal(plain.get_layer("fc").get_weights()[0], state["fc.weight"].T)
    new = googlenet.build(classes=2, input_shape=(64, 64, 3), aux=True)
    assert set(load_state_dict(new, state, "googlenet", new_head=True)) == {"fc", "aux1_fc2", "aux2_fc2"}
    del state["aux1.fc1.bias"]
    with pytest.raises(ModelError, match=r"lacks the tensor aux1\.fc1\.bias"):
        load_state_dict(new, state, "googlenet", new_head=True)


def test_a_network_without_top_leaves_the_top_out(resnet_state):
    model = resnet18.build(include_top=False, pooling="avg", input_shape=(32, 32, 3))
    assert load_state_dict(model, resnet_state, "resnet18") == ()


def test_another_number_of_classes_is_named_and_nothing_is_loaded(resnet_state):
    model = resnet18.build(classes=2, input_shape=(32, 32, 3))
    before = [array.copy() for array in model.get_weights()]
    with pytest.raises(ModelError, match=r"fc\.weight.*\(512, 5\).*\(512, 2\); ask for a new head"):
        load_state_dict(model, resnet_state, "resnet18")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.1.bn2.running_var"), r"lacks the tensor layer3\.1\.bn2\.running_var \(1"),
        (
            lambda s: s.update({"layer5.0.conv1.weight": s["conv1.weight"]}),
            r"has the tensor 'layer5\.0\.conv1\.weight'",
        ),
        (
            lambda s: s.update({"conv1.weight": s["conv1.weight"][:, :2]}),
            r"conv1\.weight has shape \(7, 7, 2, 64\)",
        ),
        (lambda s: s.update({"bn1.bias": s["bn1.bias"].astype(int)}), r"bn1\.bias holds int64"),
    ],
    ids=["missing", "left over", "shape", "integers"],
)
def test_state_dicts_that_do_not_fit_are_refused(resnet_state, change, message):
    state = dict(resnet_state)
    change(state)
    with pytest.raises(ModelError, match=message):
        load_state_dict(resnet18.build(classes=5, input_shape=(32, 32, 3)), state, "resnet18")


def test_another_network_is_refused(resnet_state):
    with pytest.raises(ModelError, match="lacks the tensor"):
        load_state_dict(squeezenet.build(classes=5, input_shape=(32, 32, 3)), resnet_state, "squeezenet1_1")
    with pytest.raises(ModelError, match="torchvision publishes no such network"):
        load_state_dict(resnet18.build(), resnet_state, "alexnet_2012")


def test_flattened_inputs_are_reordered():
    """fc6 of AlexNet reads 256x6x6 maps: weight (o, c*36 + r*6 + k) must meet input (r*6 + k)*256 + c."""
    from covidcxr.models.torch_weights import _channels_last

    weight = np.arange(2 * 256 * 36, dtype="float32").reshape(2, -1)
    kernel = _channels_last(weight, (256, 6, 6))
    for output, channel, row, column in [(0, 0, 0, 0), (1, 255, 5, 5), (0, 17, 2, 3), (1, 1, 0, 5)]:
        expected = weight[output, channel * 36 + row * 6 + column]
        assert kernel[(row * 6 + column) * 256 + channel, output] == expected


def test_published_files_carry_the_digits_they_are_checked_by(tmp_path):
    assert PUBLISHED["alexnet"].url == "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    assert {file.sha256_prefix for file in PUBLISHED.values()} == {
        "7be5be79",
        "b66bff10",
        "b8a52dc0",
        "1378be20",
        "f37072fd",
    }
    assert all(file.sha256.startswith(file.sha256_prefix) for file in PUBLISHED.values() if file.sha256)
    assert {len(file.sha256) for file in PUBLISHED.values()} == {0, 64}
    path = tmp_path / "resnet18-f37072fd.pth"
    path.write_bytes(b"not the weights")
    digits = hashlib.sha256(b"not the weights").hexdigest()[:8]
    with pytest.raises(ModelError, match=f"{path}.*begins {digits}, not f37072fd"):
        check_download(path, PUBLISHED["resnet18"])
    with pytest.raises(ModelError, match="cannot be read"):
        check_download(tmp_path / "absent.pth", PUBLISHED["resnet18"])
