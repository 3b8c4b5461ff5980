import time
import urllib.request
from urllib.error import URLError

import pytest

from covidcxr.errors import ModelError
from covidcxr.models import fetching
from covidcxr.models.pretrained import Found, find_weights

V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("spec", ["none", None])
def test_none_is_a_random_start(spec):
    found = find_weights("vgg16", spec)
    assert (found.kind, found.path) == ("none", None)


def test_imagenet_is_first_looked_for_in_keras_cache(keras_home):
    (keras_home / V2).touch()
    found = find_weights("mobilenet_v2", "imagenet")
    assert (found.kind, found.path) == ("keras_h5", keras_home / V2)


def test_the_weights_of_the_input_size_come_first(keras_home):
    of_128 = "mobilenet_1_0_128_tf_no_top.h5"
    for name in ("mobilenet_1_0_224_tf_no_top.h5", of_128):
        (keras_home / name).touch()
    assert find_weights("mobilenet", "imagenet", input_size=128).path.name == of_128
    assert find_weights("mobilenet", "imagenet", input_size=100).path.name == "mobilenet_1_0_224_tf_no_top.h5"


def test_a_download_is_put_into_the_cache_whole(keras_home, monkeypatch):
    def download(address, path, digest):
        assert address.endswith("/keras-applications/vgg16/" + path.name)
        assert digest == "md5:6d6bbae143d832006294945121d1f1fc"
        path.write_bytes(b"weights")

    monkeypatch.setattr(fetching, "download", download)
    found = find_weights("vgg16", "imagenet")
    assert found.path.read_bytes() == b"weights"
    assert [path.name for path in keras_home.iterdir()] == [found.path.name]


def test_without_network_and_cache_the_message_says_what_to_do(keras_home, monkeypatch):
    def opened(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", opened)
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        find_weights("mobilenet_v2", "imagenet")
    assert time.monotonic() - start < 10
    message = one_line(caught)
    url = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/" + V2
    for part in (V2, url, str(keras_home), "--weights none", "Name or service not known"):
        assert part in message
    assert list(keras_home.iterdir()) == []


def test_a_failed_download_leaves_no_empty_cache(tmp_path, monkeypatch):
    def opened(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", opened)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(ModelError):
        find_weights("vgg16", "imagenet")
    assert list(tmp_path.iterdir()) == []


def test_weights_without_a_published_digest_are_not_fetched(keras_home, monkeypatch):
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", None)
    with pytest.raises(
        ModelError, match=r"no digest of it is published.*put the file at.*--weights none"
    ) as caught:
        find_weights("mobilenet_v2", "imagenet", input_size=128)
    one_line(caught)
    assert list(keras_home.iterdir()) == []


def test_a_width_without_published_weights(keras_home):
    with pytest.raises(ModelError, match=r"alpha=0.6 were published \(only 0.25, 0.5, 0.75, 1.0\)") as caught:
        find_weights("mobilenet", "imagenet", alpha=0.6)
    one_line(caught)


def test_a_folder_prefers_keras_own_name(tmp_path):
    for name in ("mobilenet_v2_1.0_224_other_no_top.h5", V2, "mobilenet_v2_0.5_224_no_top.h5"):
        (tmp_path / name).touch()
    found = find_weights("mobilenet_v2", tmp_path)
    assert found.path.name == V2
    assert "mobilenet_v2_1.0_224_other_no_top.h5" in found.note
    assert "0.5" not in found.note


def test_a_folder_with_another_width_only_is_refused(tmp_path):
    (tmp_path / V2).touch()
    with pytest.raises(ModelError, match=r"another width only .*1.0_224.*alpha=0.5 needs") as caught:
        find_weights("mobilenet_v2", tmp_path, alpha=0.5)
    one_line(caught)


@pytest.mark.parametrize(
    "name", ["resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "mobilenet_v2_x.h5"]
)
@pytest.mark.parametrize("key", ["resnet50", "mobilenet", "vgg16"])
def test_a_folder_with_other_networks_only(tmp_path, key, name):
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=f"no weights of {key} there; put {key}") as caught:
        find_weights(key, tmp_path)
    one_line(caught)


@pytest.mark.parametrize(
    ("key", "alpha", "start"),
    [
        ("mobilenet_v2", 1.0, "mobilenet_v2_1.0_224"),
        ("mobilenet_v2", 0.35, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35"),
        ("mobilenet", 1.0, "mobilenet_v1_1.0_224"),
        ("mobilenet", 0.75, "mobilenet_7_5_224"),
        ("mobilenet", 0.25, "mobilenet_2_5_224_tf_no_top"),
        ("xception", 1.0, "xception_imagenet_trunk"),
    ],
)
def test_the_development_folder(shared, key, alpha, start):
    assert find_weights(key, shared / "weights", alpha).path.name.startswith(start)


def test_saved_models_and_addresses(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert find_weights("mobilenet_v2", tmp_path) == Found(
        "saved_model", tmp_path, f"weights from the SavedModel {tmp_path}"
    )
    for address in ("https://tfhub.dev/x", "http://tfhub.dev/x", "ftp://a/b.h5"):
        with pytest.raises(ModelError, match=f"{address}: addresses are not fetched"):
            find_weights("mobilenet_v2", address)
    with pytest.raises(ModelError, match="can start mobilenet_v2 only, not vgg16"):
        find_weights("vgg16", tmp_path)


def test_a_single_file(tmp_path):
    (tmp_path / "mine.h5").touch()
    (tmp_path / "mine.pth").touch()
    assert find_weights("vgg16", tmp_path / "mine.h5").path == tmp_path / "mine.h5"
    with pytest.raises(ModelError, match=r"mine\.pth: weights must be a file ending in \.h5"):
        find_weights("vgg16", tmp_path / "mine.pth")
    with pytest.raises(ModelError, match="no such file or folder"):
        find_weights("vgg16", tmp_path / "absent.h5")
