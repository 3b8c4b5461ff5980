"""DICOM files full of tags that name someone: none of their values is in any output, and no log names a patient."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from covidcxr.cli import main
from covidcxr.papers import ragab2022

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
TAGS = {
    "PatientName": "Doe^Jane",
    "PatientID": "PID-17-SECRET",
    "PatientBirthDate": "19560317",
    "OtherPatientNames": "Roe^Jane",
    "PatientAddress": "1 Secret Lane",
    "PatientTelephoneNumbers": "+4455501234",
    "InstitutionName": "Secret Hospital",
    "InstitutionAddress": "2 Secret Road",
    "ReferringPhysicianName": "Quack^Dr",
    "OperatorsName": "Operator^Secret",
    "StudyDate": "20200314",
    "AcquisitionDate": "20200315",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1717171717",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1818181818",
    "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.1919191919",
    "AccessionNumber": "ACC171717",
    "StudyID": "STUDY1717",
    "StationName": "STATION17",
    "DeviceSerialNumber": "SERIAL1717",
    "ImageComments": "cough since March",
    "StudyDescription": "chest of Jane Doe",
}
PRIVATE = "kept in a private tag"
VALUES = (*TAGS.values(), PRIVATE)
TRAIN = ["--model", "tiny", "--weights", "none", "--batch-size", "8", "--epochs", "1"]


pytestmark = pytest.mark.slow


def write_dicom(path, pixels, **more):
    data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = TAGS["SOPInstanceUID"]
    data.Modality, data.SamplesPerPixel, data.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.PixelData = 7, 0, pixels.tobytes()
    for name, value in {**TAGS, **more}.items():
        setattr(data, name, value)
    data.private_block(0x1001, "MAKER", create=True).add_new(0x01, "LO", PRIVATE)
    data.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("dicom") / "radiographs"
    rng = np.random.default_rng(0)
    for shade, label in enumerate(("covid19", "normal")):
        (root / label).mkdir(parents=True)
        for number in range(24):
            pixels = rng.integers(30 * shade, 130 + 30 * shade, (32, 32), dtype=np.uint8)
            write_dicom(root / label / f"{number:02d}.dcm", pixels)
    # Broken in what is read: its faults may quote no other tag.
    write_dicom(root / "normal" / "07.dcm", pixels, BitsStored=99)
    (root / "normal" / "08.dcm").write_bytes((root / "normal" / "08.dcm").read_bytes()[:-500])
    return root


def small_network(classes, dropout, input_size):
    """Build what Grad-CAM can look into."""
    import keras

    image = keras.Input((input_size, input_size, 3))
    features = keras.layers.Conv2D(4, 3, activation="relu")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(image, keras.layers.Dense(classes, "softmax", name="head_probabilities")(pooled))


def leaks(text):
    return [value for value in VALUES if value in text]


def test_the_tags_are_in_the_files(radiographs):
    content = (radiographs / "covid19" / "00.dcm").read_bytes().decode("latin-1")
    assert set(leaks(content)) == set(VALUES)
    assert pydicom.dcmread(radiographs / "covid19" / "00.dcm").PatientID == TAGS["PatientID"]


def test_no_value_of_a_tag_is_in_any_output(radiographs, tmp_path, monkeypatch, capfd, recwarn):
    recipe = runpy.run_path(TINY)["recipe"](22)
    network = replace(recipe.networks["tiny"], build=small_network)
    monkeypatch.setattr(ragab2022, "RECIPE", replace(recipe, networks={"tiny": network}))
    run, data = tmp_path / "run", str(radiographs)
    assert main(["data", "inspect", data, "--csv", str(tmp_path / "inspected")]) == 0
    assert main(["train", "ragab2022", *TRAIN, "--data", data, "--protocol", "sound", "--out", str(run)]) == 0
    main(["audit", str(run), "--only", "leaks,confounding"])
    model = str(run / "model.h5")
    assert main(["predict", model, data, "--out", str(tmp_path / "predicted.csv")]) == 0
    assert main(["evaluate", model, "--data", data, "--out", str(tmp_path / "scored")]) == 0
    assert main(["report", str(run), "--explain", "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "figures" / "1-gradcam.png").is_file()
    said = capfd.readouterr()
    assert leaks(said.out + said.err + " ".join(str(item.message) for item in recwarn)) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".h5", ".csv", ".json", ".html", ".md", ".png", ".svg"}
    for path in files:
        assert leaks(path.read_bytes().decode("latin-1")) == [], path


def test_logs_name_files_and_no_patient(tmp_path):
    """A table names patients; split.csv has them by design, what is said while it runs has not."""
    rng, rows = np.random.default_rng(0), []
    for shade, label in enumerate(("covid19", "normal")):
        for number in range(24):
            path = tmp_path / f"{label}{number}.png"
            pixels = rng.integers(30 * shade, 130 + 30 * shade, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            rows.append((path.name, label, f"SECRET-{number // 3}", "here"))
    (tmp_path / "normal5.png").write_bytes(b"no picture")
    table = tmp_path / "images.csv"
    pd.DataFrame(rows, columns=["path", "label", "patient_id", "source"]).to_csv(table, index=False)
    run = tmp_path.parent / f"{tmp_path.name}-run"
    words = ["--data", str(table), "--out", str(run)]
    done = subprocess.run(
        [sys.executable, str(TINY), "--images", "24", "train", "ragab2022", *TRAIN, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SECRET" not in done.stdout + done.stderr
    assert "SECRET" in (run / "split.csv").read_text()
    assert json.loads((run / "config.json").read_text())["notes"]
    for name in ("config.json", "metrics.json", "history.csv", "report.html", "model.h5"):
        assert b"SECRET" not in (run / name).read_bytes(), name
    logs = [path for path in (run / "logs").rglob("*") if path.is_file()]
    assert logs
    assert not [path for path in logs if b"SECRET" in path.read_bytes()]
