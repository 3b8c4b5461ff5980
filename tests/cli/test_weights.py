"""`covidcxr data weights` and `covidcxr export`, as a user types them."""

import json

import h5py
import pytest

from covidcxr.cli import main
from covidcxr.models import squeezenet


def run(*words):
    return main(["data", "weights", *map(str, words)])


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "keras" / "models"


def test_list_prints_a_row_a_file_and_where_it_is(keras_home, tmp_path, capsys):
    keras_home.mkdir(parents=True)
    (keras_home / "efficientnetb0_notop.h5").touch()
    assert run("list") == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "efficientnetb0_notop.h5" in rows["efficientnet_b0"]
    assert "here: " in rows["efficientnet_b0"]
    # torchvision's table of weights has 233.1 MB for AlexNet; VGG16's 14,714,688 numbers take 56.1 MiB.
    assert "233.1" in rows["alexnet"]
    assert "~56.1" in rows["vgg16"]
    assert rows["vgg16"].rstrip().endswith("-")
    assert run("list", "--weights", tmp_path / "absent") == 2
    assert "no such folder" in capsys.readouterr().err


def test_list_as_json_has_addresses_and_digests(keras_home, shared, capsys):
    assert run("list", "--json", "--weights", shared / "weights") == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["vgg16"]["digest"] == "md5:6d6bbae143d832006294945121d1f1fc"
    assert rows["vgg16"]["address"].startswith(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    )
    assert (rows["xception"]["state"], round(rows["xception"]["share"], 2)) == ("partial", 0.77)
    assert rows["vgg16"]["path"] is None


def test_fetch_says_in_one_line_what_is_wrong(keras_home, capsys):
    assert run("fetch", "vgg16", "nonsense") == 2
    assert "nonsense: no published weights of that name" in capsys.readouterr().err
    assert run("fetch", "googlenet_bvlc") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "only https addresses are fetched" in err
    assert str(keras_home / "covidcxr" / "bvlc_googlenet.caffemodel") in err


def test_verify_and_its_exit_codes(shared, tmp_path, capsys):
    real = shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
    assert run("verify", real) == 0
    sentence = "mobilenet@0.25, whole, 54 layers with weights; no digest is published"
    assert capsys.readouterr().out == f"{real}: {sentence}\n"
    assert run("verify", real, "mobilenet@0.5", "--json") == 2
    (verdict,) = json.loads(capsys.readouterr().out)
    assert (verdict["state"], verdict["path"]) == ("other", str(real))
    assert run("verify", tmp_path) == 2
    assert "no weights there" in capsys.readouterr().err


def test_convert_needs_a_network_the_file_can_be_for(tmp_path, capsys):
    (tmp_path / "a.pth").touch()
    assert run("convert", tmp_path / "a.pth", "vgg16", "--out", tmp_path / "a.h5") == 2
    assert "cannot become weights of vgg16" in capsys.readouterr().err
    assert run("convert", tmp_path / "a.pth", "resnet18", "--out", tmp_path / "a.h5") == 2
    assert "a.pth" in capsys.readouterr().err


def test_convert_prints_what_the_weights_expect(tmp_path, capsys, monkeypatch):
    from covidcxr.models import caffe_weights

    monkeypatch.setattr(caffe_weights, "load_file", lambda model, path, network: None)
    (tmp_path / "a.caffemodel").write_bytes(b"x")
    assert run("convert", tmp_path / "a.caffemodel", "SqueezeNet1_1", "--out", tmp_path / "a.h5") == 0
    assert "BGR, 0 to 255 minus" in capsys.readouterr().out
    squeezenet.build(include_top=False).load_weights(tmp_path / "a.h5", by_name=True)


def test_export_writes_both_files_and_refuses_other_models(tmp_path, capsys):
    import keras

    from covidcxr.models.files import ModelInfo, save_model

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    info = ModelInfo("ragab2022", "none", "sound", ("a", "b"), {"size": [2, 2]}, 0, {})
    path = save_model(model, tmp_path / "model.h5", info)
    words = ["--format", "h5-keras2", "--out"]
    assert main(["export", str(path), *words, str(tmp_path / "old.h5")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "old.h5"), str(tmp_path / "old.h5.json")]
    with h5py.File(tmp_path / "old.h5") as file:
        assert file.attrs["keras_version"].startswith("2.")
    model.save(tmp_path / "foreign.h5")
    assert main(["export", str(tmp_path / "foreign.h5"), *words, str(tmp_path / "x.h5")]) == 2
    assert "says nothing of classes" in capsys.readouterr().err
