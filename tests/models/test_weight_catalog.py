"""The catalogue of weights: against Keras' own source, real folders, and a server that may die."""

import contextlib
import hashlib
import http.server
import importlib
import re
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import (
    backbones,
    convert,
    fetching,
    pretrained,
    small_weights,
    squeezenet,
    weight_catalog,
    weight_check,
    weight_files,
)
from covidcxr.models.backbone_table import BACKBONES

FILES = {
    "densenet": ("densenet121", "densenet169", "densenet201"),
    "efficientnet": [f"efficientnet_b{number}" for number in range(8)],
    "inception_resnet_v2": ("inception_resnet_v2",),
    "inception_v3": ("inception_v3",),
    "nasnet": ("nasnet_large", "nasnet_mobile"),
    "resnet": ("resnet50", "resnet101", "resnet152", "resnet50_v2", "resnet101_v2", "resnet152_v2"),
    "vgg16": ("vgg16",),
    "vgg19": ("vgg19",),
    "xception": ("xception",),
}


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("module", FILES)
def test_digests_are_those_in_keras_source(module):
    text = Path(importlib.import_module(f"keras.src.applications.{module}").__file__).read_text()
    in_source = re.findall(r'"([0-9a-f]{32})"', text)
    for key in FILES[module]:
        (entry,) = weight_catalog.of(key)
        with_top, without = weight_catalog.MD5_WITH_TOP[key], entry.digest.removeprefix("md5:")
        # Keras' source has them in this order everywhere; DenseNet lists three with top, then three without.
        assert in_source.index(with_top) < in_source.index(without)
    assert {key for keys in FILES.values() for key in keys} == set(weight_catalog.MD5_WITH_TOP)


def test_every_network_and_width_has_one_entry():
    entries = weight_catalog.entries()
    keys = [entry.key for entry in entries]
    assert len(set(keys)) == len(keys)
    widths = sum(len(row.widths) or 1 for row in BACKBONES)
    assert len(keys) == widths + 8 == 42
    assert {entry.network for entry in entries} == set(backbones.keys()) - {"alexnet_2012", "concatenated"}
    assert [entry.key for entry in entries if not entry.fetchable] == ["googlenet_bvlc"]
    assert [entry.key for entry in entries if not entry.digest] == [
        entry.key for entry in entries if entry.network.startswith("mobilenet") and entry.alpha != 1
    ]


def test_sizes_agree_with_the_numbers_of_the_networks():
    """A published file holds its network's numbers, and little else."""
    for entry in weight_catalog.entries():
        if entry.mebibytes:
            row = backbones.get(entry.network)
            arrays = row.parameters_with_top * 4 / 2**20
            # GoogLeNet's files hold the two auxiliary heads too.
            assert arrays < entry.mebibytes < arrays * (1.97 if "googlenet" in entry.key else 1.02)


def test_keys_are_found_in_any_spelling():
    assert weight_catalog.get("MobileNetV2").key == "mobilenet_v2"
    assert weight_catalog.get("mobilenet-v2@0.35").alpha == 0.35
    assert weight_catalog.get("SqueezeNet1.1").publisher == "torchvision"
    assert weight_catalog.get("squeezenet1_1_caffe").value_range == "caffe"
    with pytest.raises(ModelError, match=r"did you mean .*vgg16") as caught:
        weight_catalog.get("vgg61")
    one_line(caught)
    with pytest.raises(ModelError, match="see data weights list"):
        weight_catalog.get("zzzz")


def test_the_development_folder(shared, keras_home):
    folder = shared / "weights"
    found = {entry.key: weight_catalog.where(entry, folder) for entry in weight_catalog.entries()}
    here = {key: (place.path.name, place.state) for key, place in found.items() if place.path}
    assert here["xception"] == ("xception_imagenet_trunk_to_block13_fp16.h5", "partial")
    assert here["googlenet_bvlc"] == ("googlenet_bvlc_imagenet.h5", "whole")
    assert here["squeezenet1_1_caffe"] == ("squeezenet_v1.1_imagenet.h5", "whole")
    assert here["mobilenet_v2"][1] == here["mobilenet"][1] == "whole"
    assert here["mobilenet_v2@0.35"][1] == "unknown"
    assert not {"vgg16", "squeezenet1_1", "alexnet"} & set(here)
    assert weight_catalog.where(weight_catalog.get("mobilenet_v2")).state == "absent"


# What the README of that folder says of its files.
README = {
    "googlenet_bvlc_imagenet.h5": ("googlenet_bvlc", 1.0, "whole", True),
    "mobilenet_2_5_224_tf_no_top.h5": ("mobilenet", 0.25, "whole", False),
    "mobilenet_7_5_224_tf_no_top.h5": ("mobilenet", 0.75, "whole", False),
    "mobilenet_v1_1.0_224_imagenet_no_top_8bit_bn_refit.h5": ("mobilenet", 1.0, "whole", False),
    "mobilenet_v2_1.0_224_imagenet_no_top_bn_refit.h5": ("mobilenet_v2", 1.0, "whole", False),
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5": (
        "mobilenet_v2",
        0.35,
        "whole",
        False,
    ),
    "squeezenet_v1.1_imagenet.h5": ("squeezenet1_1", 1.0, "whole", True),
    "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5": ("squeezenet1_1", 1.0, "whole", False),
    "xception_imagenet_trunk_to_block13_fp16.h5": ("xception", 1.0, "trunk", False),
    "resnet50v2_imagenet_trunk_to_conv4_fp16.h5": ("resnet50_v2", 1.0, "trunk", False),
}


QUICK = tuple(name for name in README if name.startswith(("mobilenet_2", "squeezenet_v", "xception")))


@pytest.mark.parametrize("names", [QUICK, pytest.param(tuple(README), marks=pytest.mark.slow)])
def test_verify_says_of_the_real_files_what_their_readme_says(shared, tmp_path, names):
    for name in names:
        if (shared / "weights" / name).exists():
            (tmp_path / name).symlink_to(shared / "weights" / name)
    steps = []
    verdicts = weight_check.verify(tmp_path, progress=lambda *step: steps.append(step))
    assert steps[-1] == (len(verdicts), len(verdicts))
    rows = re.findall(r"\| `(\w{64})` \| `(\S+)` \|", (shared / "weights" / "README.md").read_text())
    listed = {name: digest for digest, name in rows}
    assert len(verdicts) >= len(names) - 1
    for verdict in verdicts:
        name = verdict.path.name
        assert (verdict.network, verdict.alpha, verdict.state, verdict.classifier) == README[name]
        assert verdict.sha256 == listed[name]
        published = verdict.network in ("xception", "mobilenet", "mobilenet_v2") and verdict.alpha == 1
        assert verdict.digest == ("other" if published else "none published")
    (trunk,) = [verdict for verdict in verdicts if verdict.network == "xception"]
    assert (trunk.loaded, trunk.layers, trunk.first_missing) == (76, 80, "block14_sepconv1")


def test_verify_goes_by_content_not_by_name(shared, tmp_path):
    source = shared / "weights" / "squeezenet_v1.1_imagenet.h5"
    misnamed, nameless = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", tmp_path / "x.h5"
    for path in (misnamed, nameless):
        shutil.copy(source, path)
        (verdict,) = weight_check.verify(path)
        assert (verdict.network, verdict.state) == ("squeezenet1_1", "whole")
    (verdict,) = weight_check.verify(nameless, "mobilenet@0.25")
    assert (verdict.network, verdict.state) == ("", "other")
    assert "another network" in verdict.note
    nameless.write_bytes(source.read_bytes()[:50_000])
    (verdict,) = weight_check.verify(nameless)
    assert (verdict.state, verdict.digest) == ("other", "none published")
    with pytest.raises(ModelError, match="no weights there"):
        weight_check.verify(tmp_path / "absent.h5")
    with pytest.raises(ModelError, match="width after @"):
        weight_check.verify(nameless, "mobilenet@wide")


def test_a_network_with_more_layers_in_between_is_not_taken_for_it(tmp_path):
    """VGG19 has every layer of VGG16 under the same name, and one more in each of three blocks."""
    source = backbones.build("vgg16", (32, 32, 3))
    path = tmp_path / "mine.h5"
    source.save(path)
    (verdict,) = weight_check.verify(path)
    assert (verdict.network, verdict.state, verdict.layers) == ("vgg16", "whole", 13)
    (verdict,) = weight_check.verify(path, "vgg19")
    assert (verdict.state, verdict.network) == ("other", "")
    assert "lacks block3_conv4 and has later layers" in verdict.note


@contextlib.contextmanager
def server(answers):
    """Serve bytes by path on this machine; a str is a redirection, a pair claims another length."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path)
            if answer is None:
                self.send_error(404)
                return
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                self.end_headers()
                return
            content, length = answer if isinstance(answer, tuple) else (answer, len(answer))
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}"
        finally:
            served.shutdown()
            thread.join()


CONTENT = bytes(range(256)) * 4000


def test_downloads_are_whole_checked_or_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "SCHEMES", ("https", "http"))
    good = "md5:" + hashlib.md5(CONTENT).hexdigest()  # noqa: S324
    steps = []
    with server({"/a": CONTENT, "/short": (CONTENT, 2 * len(CONTENT)), "/moved": "/a"}) as address:
        fetching.download(f"{address}/a", tmp_path / "new" / "a", good, lambda *step: steps.append(step))
        fetching.download(f"{address}/moved", tmp_path / "b", good)
        for path, digest, match in (
            ("short", good, "broke off after 1,024,000 of 2,048,000 bytes|cannot be fetched"),
            ("a", "md5:00", "gave another file than the published one"),
            ("absent", good, "cannot be fetched .*Not Found"),
            ("a", "", "no digest of it is published, and nothing unchecked is fetched"),
        ):
            with pytest.raises(ModelError, match=match) as caught:
                fetching.download(f"{address}/{path}", tmp_path / "c", digest)
            one_line(caught)
    assert (tmp_path / "new" / "a").read_bytes() == (tmp_path / "b").read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "new"]


def test_a_dead_server_and_insecure_addresses_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="only https addresses are fetched") as caught:
        fetching.download("http://127.0.0.1/a", tmp_path / "a", "md5:00")
    one_line(caught)
    with pytest.raises(ModelError, match=r"cannot be fetched \(.*\); check the network") as caught:
        fetching.download("https://127.0.0.1:1/a", tmp_path / "deep" / "a", "md5:00")
    assert str(tmp_path / "deep" / "a") in one_line(caught)
    monkeypatch.setattr(fetching, "SCHEMES", ("http",))
    with (
        server({"/a": "ftp://127.0.0.1/a"}) as address,
        pytest.raises(ModelError, match="only http addresses"),
    ):
        fetching.download(f"{address}/a", tmp_path / "a", "md5:00")
    assert list(tmp_path.iterdir()) == []


def test_fetch_puts_keras_files_where_keras_looks(keras_home, monkeypatch):
    asked = []

    def download(address, path, digest, progress):
        asked.append((address, digest))
        path.write_bytes(b"weights")

    monkeypatch.setattr(fetching, "download", download)
    entry = weight_catalog.get("nasnet_mobile")
    path = weight_catalog.fetch(entry)
    assert (
        path
        == keras_home / "nasnet_mobile_no_top.h5"
        == pretrained.find_weights("nasnet_mobile", "imagenet").path
    )
    base = "https://storage.googleapis.com/tensorflow/keras-applications/nasnet"
    assert asked == [(f"{base}/NASNet-mobile-no-top.h5", "md5:1ed92395b5b598bdda52abe5c0dbfd63")]
    with pytest.raises(ModelError, match="not the published file"):
        weight_catalog.fetch(entry)
    assert weight_catalog.fetch(weight_catalog.get("mobilenet"), keras_home.parent).name.startswith(
        "mobilenet_1_0"
    )
    assert len(asked) == 2


def stream_of(arrays):
    """PyTorch's file format before 1.6, written opcode by opcode."""

    def text(value):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    def number(value):
        return b"J" + struct.pack("<i", value)

    def pickle(body):
        return b"\x80\x02" + body + b"."

    magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
    system = b"}(" + text("little_endian") + b"\x88" + b"u"
    entries, keys, data = b"}(", b"](", b""
    for place, (name, array) in enumerate(arrays.items()):
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(place)) + text("cpu")
        storage += number(array.size) + b"N" + b"tQ"
        sizes = b"(" + b"".join(map(number, array.shape)) + b"t"
        steps = b"(" + b"".join(map(number, strides)) + b"t"
        hooks = b"\x89" + b"ccollections\nOrderedDict\n)R"
        rebuilt = (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + sizes + steps + hooks + b"tR"
        )
        entries += text(name) + rebuilt
        keys += text(str(place))
        data += struct.pack("<q", array.size) + np.ascontiguousarray(array, "<f4").tobytes()
    head = pickle(magic) + pickle(b"M\xe9\x03") + pickle(system)
    return head + pickle(entries + b"u") + pickle(keys + b"e") + data


def torchvision_squeezenet(model):
    """Name and order the arrays as torchvision's squeezenet1_1 has them: its `features` and `classifier`."""
    places = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
    arrays = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        fire = re.fullmatch(r"fire(\d)_(squeeze|expand1x1|expand3x3)(1x1)?", layer.name)
        name = {"conv1": "features.0", "conv10": "classifier.1"}.get(layer.name)
        name = name or f"features.{places[int(fire[1])]}.{fire[2]}"
        kernel, bias = layer.get_weights()
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = np.moveaxis(kernel, (3, 2), (0, 1)), bias
    return arrays


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    keras.utils.set_random_seed(3)
    model = squeezenet.build()
    path = tmp_path_factory.mktemp("torch") / "mine.pth"
    path.write_bytes(stream_of(torchvision_squeezenet(model)))
    return path, model


def test_a_torch_file_given_as_weights_is_converted_once(torch_file, keras_home, monkeypatch):
    path, source = torch_file
    found = pretrained.find_weights("SqueezeNet1_1", path)
    assert found.path.parent == keras_home / "covidcxr"
    assert "RGB, (x / 255 - (0.485" in found.note
    origin = convert.read_origin(found.path)
    assert origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (origin.network, origin.source, origin.value_range) == ("squeezenet1_1", "mine.pth", "torch")
    for target in (squeezenet.build(), squeezenet.build(include_top=False)):
        report = weight_files.load_into(target, found)
        assert report.missing == ()
        for layer in target.layers:
            if layer.weights:
                np.testing.assert_array_equal(layer.kernel, source.get_layer(layer.name).kernel)
    monkeypatch.setattr(convert, "convert", None)
    assert pretrained.find_weights("squeezenet1_1", path) == found
    (verdict,) = weight_check.verify(found.path)
    assert (verdict.network, verdict.state, verdict.digest) == ("squeezenet1_1", "whole", "other")
    assert verdict.note == "converted from mine.pth"
    monkeypatch.undo()
    (verdict,) = weight_check.verify(path, "squeezenet1_1")
    assert (verdict.state, verdict.digest, verdict.classifier) == ("whole", "other", True)
    (verdict,) = weight_check.verify(path, "resnet18")
    assert (verdict.state, verdict.note.split(" (")[0]) == ("other", "lacks the tensor bn1.bias")


def test_imagenet_looks_in_the_caches_before_the_network(torch_file, keras_home, tmp_path, monkeypatch):
    path, _ = torch_file
    source, other = small_weights.sources("squeezenet1_1")
    assert (source.url, other.name) == (
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        "squeezenet_v1.1.caffemodel",
    )

    def download(address, path, digest, progress):
        raise ModelError(f"asked for {address}")

    monkeypatch.setattr(fetching, "download", download)
    with pytest.raises(ModelError, match=f"asked for {source.url}"):
        pretrained.find_weights("squeezenet1_1", "imagenet")
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    shutil.copy(path, hub / source.name)
    with pytest.raises(ModelError, match=r"not the published squeezenet1_1-b8a52dc0\.pth") as caught:
        pretrained.find_weights("squeezenet1_1", "imagenet")
    one_line(caught)
    assert weight_catalog.where(weight_catalog.get("squeezenet1_1")).state == "source"
    monkeypatch.setattr(fetching, "matches", lambda path, digest: True)
    found = pretrained.find_weights("squeezenet1_1", "imagenet")
    assert found.path == keras_home / "covidcxr" / "squeezenet1_1_imagenet_torch.h5"
    assert weight_catalog.where(weight_catalog.get("squeezenet1_1")).state == "whole"
    monkeypatch.setattr(convert, "convert", None)
    assert pretrained.find_weights("squeezenet1_1", "imagenet").path == found.path


def test_small_networks_in_a_folder(shared, tmp_path, keras_home):
    folder = shared / "weights"
    assert pretrained.find_weights("squeezenet1_1", folder).path.name == "squeezenet_v1.1_imagenet.h5"
    assert pretrained.find_weights("googlenet_bvlc", folder).path.name == "googlenet_bvlc_imagenet.h5"
    with pytest.raises(ModelError, match=r"put resnet18-f37072fd\.pth into it") as caught:
        pretrained.find_weights("resnet18", folder)
    one_line(caught)
    assert pretrained.find_weights("resnet18", "none").kind == "none"
    with pytest.raises(ModelError, match="nobody publishes ImageNet weights"):
        pretrained.find_weights("alexnet_2012", "imagenet")
    (tmp_path / "resnet18.txt").touch()
    with pytest.raises(ModelError, match=r"must be a file ending in \.h5, .*\.caffemodel"):
        pretrained.find_weights("resnet18", tmp_path / "resnet18.txt")
    with pytest.raises(ModelError, match="no such file or folder"):
        pretrained.find_weights("resnet18", tmp_path / "absent.pth")


def test_conversion_refuses_what_cannot_be(torch_file, tmp_path):
    path, _ = torch_file
    for source, network, out, match in (
        (path, "squeezenet1_1", "a.weights.h5", r"not in \.weights\.h5"),
        (path, "googlenet_bvlc", "a.h5", "cannot become weights of googlenet_bvlc"),
        (path, "vgg16", "a.h5", "nothing to convert"),
        (path, "resnet18", "a.h5", r"mine\.pth: lacks the tensor"),
        (tmp_path / "absent.pth", "resnet18", "a.h5", "cannot be read"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            convert.convert(source, network, tmp_path / out)
        one_line(caught)
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_needs_neither_tensorflow_nor_keras():
    code = (
        "import sys; from covidcxr.models import weight_catalog as w; "
        "[w.where(entry) for entry in w.entries()]; print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
