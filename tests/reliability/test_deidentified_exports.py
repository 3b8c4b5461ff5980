"""What is given away with --deidentify: no planted name, folder or date in any byte of it, and the same numbers."""

import io
import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr.cli import main
from covidcxr.papers import ragab2022

TINY = Path(__file__).parents[1] / "cli" / "tiny.py"
SECRET, DATE = "PATIENT-SECRET-17", "2020-03-14"
# Whatever names someone in the folders, files and the table of the images; long enough to be in no picture by chance.
PLANTED = ("SECRET", "Secret", DATE, "20200314", "Rumpelstilz", "coughing")
pytestmark = pytest.mark.slow
TRAIN = ["--model", "tiny", "--weights", "none", "--batch-size", "8", "--epochs", "2"]


def picture(rng, shade):
    return Image.fromarray(rng.integers(30 * shade, 130 + 30 * shade, (32, 32), dtype=np.uint8))


def planted_set(root, label_count=24):
    """Images whose names, folders, patients, hospital, dates and notes name someone; leaks, and one broken file."""
    rng = np.random.default_rng(0)
    rows = []
    for shade, label in enumerate(("covid19", "normal")):
        place = root / f"{SECRET} Rumpelstilz" / label
        place.mkdir(parents=True)
        for number in range(label_count):
            name = f"{SECRET}-{number:02d}_{DATE}.png"
            # Two patients' same picture: leaks and their names are in audits.
            picture(np.random.default_rng(1) if number in (3, 4) else rng, shade).save(place / name)
            rows.append(
                {
                    "path": f"{SECRET} Rumpelstilz/{label}/{name}",
                    "label": label,
                    "patient_id": f"{SECRET}-{label}-{number // 2}",
                    "source": "Secret Hospital" if label == "covid19" else "Secret Clinic",
                    "view": "PA" if number % 2 else "as Dr. Rumpelstilz asked",
                    "sex": "MF"[number % 2],
                    "age": 91 + number % 3,
                    "date": DATE,
                    "offset": 5,
                    "notes": "coughing since 20200314",
                }
            )
    (root / rows[7]["path"]).write_bytes(b"no picture")
    pd.DataFrame(rows).to_csv(root / "images.csv", index=False)
    return root / "images.csv"


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragab2022, "RECIPE", runpy.run_path(TINY)["recipe"](24))
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, tiny):
    """Two audited runs on the planted images, and a score on others, below a folder that names someone too."""
    folder = tmp_path_factory.mktemp("shelf") / f"home of {SECRET}"
    data = planted_set(folder / f"{SECRET}-data")
    other = planted_set(folder / f"{SECRET}-other", 8)
    for protocol in ("published", "sound"):
        words = ["--data", str(data), "--protocol", protocol, "--out", str(folder / f"{SECRET}-{protocol}")]
        assert main(["train", "ragab2022", *TRAIN, *words]) == 0
    main(["audit", str(folder / f"{SECRET}-published"), "--only", "leaks,confounding"])
    model = str(folder / f"{SECRET}-sound" / "model.h5")
    words = ["--data", str(other), "--out", str(folder / f"{SECRET}-elsewhere")]
    assert main(["evaluate", model, *words]) == 0
    return folder


def report(shelf, out, *words):
    runs = [str(shelf / f"{SECRET}-{protocol}") for protocol in ("published", "sound")]
    more = ["--external", str(shelf / f"{SECRET}-elsewhere"), *words]
    return main(["report", *runs, *more, "--out", str(out)])


@pytest.fixture(scope="module")
def given(shelf, tmp_path_factory):
    out = tmp_path_factory.mktemp("given") / "report"
    assert report(shelf, out, "--deidentify") == 0
    return out


def told(folder):
    """Return name and content of every file, with what PNG packs away, as bytes."""
    for path in sorted(folder.rglob("*")):
        content = str(path.relative_to(folder)).encode()
        if path.is_file():
            content += path.read_bytes()
            if path.suffix == ".png":
                with Image.open(io.BytesIO(path.read_bytes())) as image:
                    image.load()
                    content += repr(image.info).encode()
        yield path, content


def findings(folder, words=PLANTED):
    return [(path.name, word) for path, content in told(folder) for word in words if word.encode() in content]


def test_nothing_planted_is_in_any_byte_of_the_report(given, shelf):
    assert (given / "report.html").is_file()
    places = (str(shelf), str(Path.home()), shelf.parent.name, given.parent.name)
    assert findings(given, (*PLANTED, *places)) == []
    assert not [path for path in given.rglob("*") if path.suffix in (".h5", ".keras")]


def test_the_same_report_without_the_option_holds_every_one_of_them(shelf, tmp_path):
    assert report(shelf, tmp_path / "out") == 0
    assert {word for _, word in findings(tmp_path / "out")} >= {"SECRET", "Secret", DATE, "Rumpelstilz"}


def test_the_tables_go_along_and_say_as_much(given, shelf):
    for number, protocol in enumerate(("published", "sound"), 1):
        run, copy = shelf / f"{SECRET}-{protocol}", given / "deidentified" / f"run-{number}"
        assert json.loads((copy / "config.json").read_text())["options"]["protocol"] == protocol
        for name in ("split.csv", "predictions.csv"):
            before, after = (pd.read_csv(place / name, keep_default_na=False) for place in (run, copy))
            assert len(before) == len(after)
            assert after["path"].str.fullmatch(r"image-\d{6}").all()
            assert after["patient_id"].str.fullmatch(r"patient-\d{4}").all()
            assert after["path"].is_monotonic_increasing
            assert before["patient_id"].nunique() == after["patient_id"].nunique()
            shape = ["label", "split"]
            pd.testing.assert_frame_equal(
                before.groupby(shape)["patient_id"].agg(["size", "nunique"]),
                after.groupby(shape)["patient_id"].agg(["size", "nunique"]),
            )
        left_out = pd.read_csv(copy / "exclusions.csv")
        assert "unreadable" in set(left_out["reason"])
        before, after = (json.loads((place / "metrics.json").read_text()) for place in (run, copy))
        assert before["splits"] == after["splits"]
    assert set(pd.read_csv(given / "deidentified" / "run-1" / "predictions.csv")["age"]) == {90}


def test_runs_evaluations_and_audits_agree_on_who_is_who(given, shelf):
    copies = given / "deidentified"
    splits = [pd.read_csv(copies / f"run-{number}" / "split.csv") for number in (1, 2)]
    whose = [dict(zip(table["path"], table["patient_id"], strict=True)) for table in splits]
    shared = whose[0].keys() & whose[1].keys()
    assert shared
    assert all(whose[0][path] == whose[1][path] for path in shared)
    # Files of the same name elsewhere are other images.
    elsewhere = pd.read_csv(copies / "external-1" / "predictions.csv")
    assert not set(elsewhere["path"]) & (whose[0].keys() | whose[1].keys())
    audits = json.loads((copies / "run-1" / "audit" / "audit.json").read_text())["audits"]
    texts = [item["text"] for audit in audits for item in audit["findings"] if item["name"] == "patient"]
    assert texts
    spread = splits[0].groupby("patient_id")["split"].nunique()
    assert all(
        name in set(spread.index[spread > 1]) for text in texts for name in words_like("patient-", text)
    )
    pairs = pd.read_csv(copies / "run-1" / "audit" / "audit-leaks-pairs.csv")
    assert set(pairs["a"]) | set(pairs["b"]) <= whose[0].keys()


def words_like(start, text):
    return [word.strip(",.;") for word in text.split() if word.startswith(start)]


def test_the_report_says_what_it_is_and_asks_for_nothing_that_is_not_there(given):
    text = (given / "report.md").read_text()
    assert "De-identified" in text
    assert "deidentified/run-2: was not audited." in text
    assert "covidcxr train ragab2022 --" in text.replace("\\", "")
    manifest = pd.read_csv(given / "manifest.csv", keep_default_na=False)
    assert set(manifest["sha256"]) == {""}
    assert not list((given / "figures").glob("*predictions*"))


def test_an_export_goes_into_an_empty_folder_and_shows_no_radiograph(shelf, tmp_path, capsys):
    (tmp_path / "old.png").write_bytes(b"")
    assert report(shelf, tmp_path, "--deidentify") == 2
    assert "old.png" in capsys.readouterr().err
    assert report(shelf, tmp_path / "new", "--deidentify", "--explain") == 2
    assert "--explain" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["report", "claims", "--deidentify"]) == 2
    assert main(["report", "reproduce", "--deidentify"]) == 2


def test_evaluate_gives_the_same_scores_and_no_name(shelf, tmp_path, capsys):
    model, data = str(shelf / f"{SECRET}-sound" / "model.h5"), str(shelf / f"{SECRET}-other" / "images.csv")
    out = tmp_path / "scored"
    assert main(["evaluate", model, "--data", data, "--out", str(out), "--deidentify"]) == 0
    captured = capsys.readouterr()
    assert not [word for word in PLANTED if word in captured.out + captured.err]
    assert findings(out, (*PLANTED, str(shelf))) == []
    plain = shelf / f"{SECRET}-elsewhere"
    assert (out / "metrics.json").read_text() == (plain / "metrics.json").read_text()
    before, after = (pd.read_csv(place / "predictions.csv") for place in (plain, out))
    columns = [name for name in before if name.startswith("prob_")]
    order = [frame.sort_values(columns)[columns].to_numpy() for frame in (before, after)]
    np.testing.assert_array_equal(*order)
    assert pd.read_csv(out / "subgroups.csv")["value"].tolist() == pytest.approx(
        pd.read_csv(plain / "subgroups.csv")["value"].tolist(), nan_ok=True
    )


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_predict_names_no_file(kind, shelf, tmp_path):
    model, folder = str(shelf / f"{SECRET}-sound" / "model.h5"), str(shelf / f"{SECRET}-other")
    out = tmp_path / f"out.{kind}"
    assert main(["predict", model, folder, "--out", str(out), "--deidentify"]) == 0
    assert not [word for word in (*PLANTED, str(shelf)) if word in out.read_text()]
    table = pd.read_csv(out) if kind == "csv" else pd.read_json(out)
    assert table["path"].tolist() == [f"image-{number:06d}" for number in range(1, 17)]
    assert (table["error"] == "could not be read").sum() == 1
