"""What users' folders really hold: each fault is one line that names the culprit, exit code 2, nothing left behind."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.models.files import ModelInfo, save_model

TRAIN = ["--weights", "none", "--model", "prose-mobilenetv2", "--batch-size", "8", "--epochs", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import keras

    network = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")]
    )
    path = tmp_path_factory.mktemp("model") / "model.h5"
    preprocessing = Preprocessing((32, 32), rescale=1 / 255).to_dict()
    save_model(network, path, ModelInfo("x", "x", "x", ("covid19", "normal"), preprocessing, 0, {}))
    return path


def picture(mode="L", size=(40, 40)):
    stream = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).convert(mode).save(
        stream, "JPEG" if mode == "CMYK" else "PNG"
    )
    return stream.getvalue()


def png_header_of(width, height):
    """A PNG that claims a size and holds hardly any data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def dicom_without_pixels():
    import pydicom
    from pydicom.dataset import FileMetaDataset

    data = pydicom.Dataset()
    data.PatientID = "1"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


BROKEN = {
    "zero.png": b"",
    "truncated.png": picture()[:200],
    "text.jpg": b"this is not a picture",
    "nothing.png": png_header_of(0, 0),
    "bomb.png": png_header_of(30_000, 30_000),
    "empty.dcm": dicom_without_pixels(),
}


def only_line(capsys, culprit):
    error = capsys.readouterr().err
    last = error.strip().splitlines()[-1]
    assert last.startswith("covidcxr: error:"), error
    assert culprit in last
    assert "Traceback" not in error
    return last


def class_folders(root, counts, extra=()):
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            (root / label / f"{number:02d}.png").write_bytes(picture())
    for name, data in extra:
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("name", BROKEN)
def test_predict_names_a_broken_file(model, name, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    assert main(["predict", str(model), str(path), "--out", str(tmp_path / "out.csv")]) == 2
    only_line(capsys, name)
    assert not (tmp_path / "out.csv").exists()


def test_predict_reads_cmyk(model, tmp_path):
    (tmp_path / "cmyk.jpg").write_bytes(picture("CMYK"))
    assert main(["predict", str(model), str(tmp_path / "cmyk.jpg"), "--out", str(tmp_path / "out.csv")]) == 0


@pytest.mark.slow
def test_train_leaves_out_broken_files_names_them_and_goes_on(tmp_path, capsys):
    extra = [("covid19/zero.png", b""), ("normal/text.jpg", b"no picture")]
    data = class_folders(tmp_path / "data", {"covid19": 20, "normal": 20}, extra)
    assert main(["train", "ragab2022", "--data", str(data), *TRAIN, "--out", str(tmp_path / "run")]) == 0
    listed = (tmp_path / "run" / "exclusions.csv").read_text()
    assert "covid19/zero.png" in listed
    assert "normal/text.jpg" in listed
    assert "2 images could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("counts", "culprit"),
    [
        ({"covid19": 20}, "covid19"),
        ({"covid19": 20, "sars": 20}, "no image labelled normal"),
        ({"covid19": 2, "normal": 4}, "too few"),
        ({"covid19": 5, "normal": 4}, "too few"),
        ({}, "data"),
        ({"covid19": 10, "normal": 0}, "normal"),
    ],
)
def test_sets_that_cannot_serve_are_named_before_anything_is_written(counts, culprit, tmp_path, capsys):
    data = class_folders(tmp_path / "data", counts)
    data.mkdir(exist_ok=True)
    assert main(["train", "ragab2022", "--data", str(data), *TRAIN, "--out", str(tmp_path / "run")]) == 2
    only_line(capsys, culprit)
    assert not (tmp_path / "run").exists()


def test_fewer_images_than_a_batch_are_named(tmp_path, capsys):
    data = class_folders(tmp_path / "data", {"covid19": 6, "normal": 6})
    arguments = ["train", "ragab2022", "--data", str(data), *TRAIN, "--batch-size", "32"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "10 training images are fewer than one batch of 32" in only_line(capsys, "data")
    assert not (tmp_path / "run").exists()


def test_a_class_of_broken_files_only_is_an_error(tmp_path, capsys):
    data = class_folders(tmp_path / "data", {"covid19": 20})
    (data / "normal").mkdir()
    for number in range(20):
        (data / "normal" / f"{number}.png").write_bytes(b"broken")
    assert main(["train", "ragab2022", "--data", str(data), *TRAIN, "--out", str(tmp_path / "run")]) == 2
    only_line(capsys, ".png")


@pytest.mark.slow
def test_odd_spellings_of_classes_are_understood(tmp_path):
    data = class_folders(tmp_path / "data", {"COVID-19": 20, "Normal ": 20})
    assert main(["train", "ragab2022", "--data", str(data), *TRAIN, "--out", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("", "t.csv"),
        ("a,b\n1,2\n", "t.csv"),
        ("path,label\n", "t.csv"),
        ("path,label\nnowhere.png,covid19\n", "t.csv"),
        ("path,label\na.png,covid19\na.png,normal\n", "a.png"),
        ("path,label\n../../etc/passwd,covid19\n", "etc/passwd"),
    ],
)
def test_tables_that_cannot_serve_are_named(text, culprit, tmp_path, capsys):
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "a.png").write_bytes(picture())
    assert (
        main(["train", "ragab2022", "--data", str(tmp_path / "t.csv"), *TRAIN, "--out", str(tmp_path / "r")])
        == 2
    )
    only_line(capsys, culprit)
    assert not (tmp_path / "r").exists()


@pytest.fixture
def good(tmp_path):
    return class_folders(tmp_path / "data", {"covid19": 20, "normal": 20})


def test_an_output_folder_below_a_file_is_named(good, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert (
        main(["train", "ragab2022", "--data", str(good), *TRAIN, "--out", str(tmp_path / "file" / "run")])
        == 2
    )
    only_line(capsys, "file")


def test_foreign_files_in_the_output_folder_are_never_touched(good, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    for flag in ([], ["--overwrite"]):
        arguments = ["train", "ragab2022", "--data", str(good), *TRAIN, "--out", str(tmp_path / "run"), *flag]
        assert main(arguments) == 2
        only_line(capsys, "thesis.tex")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_a_disk_that_fills_up_is_named_and_no_half_model_stays(good, tmp_path, capsys, monkeypatch):
    """The model's own file cannot be written: everything before it is whole, and it is absent."""
    import errno

    from covidcxr import atomic

    real = atomic._sync

    def full(path):
        if path.suffix == ".h5" and "model" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path)

    monkeypatch.setattr(atomic, "_sync", full)
    assert main(["train", "ragab2022", "--data", str(good), *TRAIN, "--out", str(tmp_path / "run")]) == 2
    assert "the disk is full" in only_line(capsys, "model.h5")
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith((".", "model"))]


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_files_that_are_no_models_are_named(content, model, good, tmp_path, capsys):
    path = tmp_path / "other.h5"
    path.write_bytes(model.read_bytes()[:3000] if content is None else content)
    for command in (["predict", str(path), str(good)], ["evaluate", str(path), "--data", str(good)]):
        assert main(command) == 2
        only_line(capsys, "other.h5")


def test_weights_that_do_not_fit_are_named(model, good, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "text.h5").write_text("no weights")
    for weights in (str(tmp_path / "text.h5"), str(tmp_path / "nowhere"), str(good), str(model)):
        arguments = [
            "train",
            "ragab2022",
            "--data",
            str(good),
            "--weights",
            weights,
            "--out",
            str(tmp_path / "run"),
        ]
        assert main(arguments) == 2
        only_line(capsys, weights)
    assert not (tmp_path / "run").exists()


def changed_model(model, target, change):
    """Copy a model's .h5 with another description or other facts."""
    import json

    import h5py

    target.write_bytes(model.read_bytes())
    with h5py.File(target, "a") as file:
        config, facts = (json.loads(file.attrs[name]) for name in ("model_config", "covidcxr"))
        change(config, facts)
        file.attrs["model_config"], file.attrs["covidcxr"] = json.dumps(config), json.dumps(facts)
    return target


def carries_code(config, _):
    function = {"class_name": "__lambda__", "config": {"code": "4wAAAA==", "defaults": None, "closure": None}}
    config["config"]["layers"].append(
        {"class_name": "Lambda", "config": {"name": "trap", "function": function}}
    )


def asks_for_a_terabyte(config, _):
    config["config"]["layers"][-1]["config"]["units"] = 2**40


def is_called_like_a_path(config, _):
    config["config"]["layers"][-1]["config"]["name"] = "../../../tmp/x"


def numbers_its_classes(_, facts):
    facts["class_names"] = [0, 1]


def speaks_of_huge_images(_, facts):
    facts["preprocessing"]["size"] = [2**20, 2**20]


@pytest.mark.parametrize(
    "change",
    [carries_code, asks_for_a_terabyte, is_called_like_a_path, numbers_its_classes, speaks_of_huge_images],
)
def test_models_with_traps_are_refused_by_every_command(change, model, good, tmp_path, capsys):
    path = changed_model(model, tmp_path / "trap.h5", change)
    out = tmp_path / "out"
    for command in (
        ["predict", str(path), str(good), "--out", f"{out}.csv"],
        ["evaluate", str(path), "--data", str(good), "--out", str(out)],
    ):
        assert main(command) == 2
        only_line(capsys, "trap.h5")
    assert {entry.name for entry in tmp_path.iterdir()} == {"trap.h5", "data"}


def test_classes_called_by_numbers_are_classes_like_others(model, tmp_path):
    path = changed_model(model, tmp_path / "m.h5", lambda _, facts: facts.update(class_names=["0", "-1"]))
    data = class_folders(tmp_path / "data", {"0": 4, "-1": 4})
    assert main(["predict", str(path), str(data), "--out", str(tmp_path / "out.csv")]) == 0
    assert main(["evaluate", str(path), "--data", str(data), "--out", str(tmp_path / "scored")]) == 0
    header, *rows = (tmp_path / "scored" / "predictions.csv").read_text().splitlines()
    assert header.endswith("predicted,prob_0,prob_-1")
    assert {row.split(",")[1] for row in rows} == {"0", "-1"}
