"""Small made-up runs, and results collected from them."""

import json

import pandas as pd
import pytest

from covidcxr.evaluation.audits.report import Audit, Finding
from covidcxr.evaluation.audits.report import write as write_audit
from covidcxr.papers.reporting.reproduction import collect, making, pages, store

PATIENT = "patient-7351"


def block(hits, low, high, matrix):
    """One split's scores with an interval of its accuracy."""
    total = sum(map(sum, matrix))
    return {
        "images": total,
        "patients": total - 2,
        "classes": ["covid19", "normal"],
        "accuracy": hits / total,
        "macro": {},
        "per_class": {"covid19": {"sensitivity": matrix[0][0] / sum(matrix[0])}, "normal": {}},
        "confusion_matrix": matrix,
        "positive": {"class": "covid19"},
        "intervals": {
            "measures": {
                "accuracy": {"value": hits / total, "low": low, "high": high, "method": "patient bootstrap"}
            }
        },
    }


def split_rows(shared):
    """20 images a class: 10 of each trained on, 10 scored, some of the same patients."""
    rows = []
    for label, source in (("covid19", "covid-chestxray-dataset"), ("normal", "rsna")):
        for number in range(20):
            part, place = ("train", "published") if number < 10 else ("scored", "sound")
            patient = f"{label}-{number % 10 if number - 10 in range(shared) else number}-{place}"
            if label == "covid19" and number - 10 in range(shared):
                patient = f"covid19-{number % 10}-published"
            rows.append((f"{label}/{PATIENT}-{number}.png", label, patient, source, part))
    return rows


def run_folder(
    folder, protocol, metrics, *, shared=0, seed=0, paper="ragab2022", case="B10", model="hub", **options
):
    folder.mkdir(parents=True)
    headline = metrics["headline_split"]
    table = pd.DataFrame(split_rows(shared), columns=["path", "label", "patient_id", "source", "split"])
    table["split"] = table["split"].replace("scored", headline)
    table.loc[table["label"] == "normal", "patient_id"] = ""
    table.to_csv(folder / "split.csv", index=False)
    curves = {
        "epoch": [1, 2],
        "stage": "head",
        "accuracy": [0.5, 0.75],
        "loss": [0.7, 0.5],
        "val_accuracy": [0.6, 0.8],
        "val_loss": [0.6, 0.4],
        "learning_rate": 0.001,
        "seconds": [1.25, 0.5],
    }
    pd.DataFrame(curves).to_csv(folder / "history.csv", index=False)
    config = {
        "paper": paper,
        "command": f"/opt/bin/covidcxr train {paper} --data /home/{PATIENT} --weights=/nas/w --out {folder} "
        "--overwrite",
        "options": {
            "protocol": protocol,
            "case": case,
            "model": model,
            "schedule": "adam",
            "seed": seed,
            **options,
        },
        "weights": {"loaded": ["Conv1"], "source": "/nas/w/mobilenet.h5"},
        "environment": {
            "python": "3.11.7",
            "platform": "Linux-of-ann",
            "cores": 2,
            "devices": ["CPU"],
            "packages": {"keras": "3.15.1"},
        },
        "notes": [f"{PATIENT}: 1 in train"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def runs(tmp_path):
    published = {
        "headline_split": "val",
        "splits": {"val": block(17, 0.70, 0.95, [[8, 2], [1, 9]])},
        "as_published": {
            "validation_accuracy": 0.8,
            "validation_loss": 0.5,
            "augmented_validation": block(16, None, None, [[7, 3], [1, 9]]),
        },
    }
    sound = {"headline_split": "test", "splits": {"test": block(15, 0.60, 0.90, [[7, 3], [2, 8]])}}
    places = [
        run_folder(tmp_path / "runs" / "published", "published", published, shared=2),
        run_folder(tmp_path / "runs" / "sound", "sound", sound),
    ]
    probes = pd.DataFrame(
        {
            "probe": ["border"],
            "class": ["covid19"],
            "roc_auc": [0.9],
            "roc_auc_low": [0.8],
            "roc_auc_high": [0.95],
        }
    ).assign(images=20, patients=18, flag="warning")
    checks = pd.DataFrame({"check": ["patient", "same", "copy"], "across_parts": [5, 1, 0]})
    finding = Finding("confounding", "source", "warning", f"{PATIENT} and others", {"patients": [PATIENT]})
    write_audit(
        [
            Audit("shortcuts", "Shortcuts", {"probes": probes}),
            Audit("leaks", "Leaks", {"checks": checks}),
            Audit("confounding", "Confounding", {}, (finding,)),
        ],
        places[1] / "audit",
    )
    return places


@pytest.fixture
def elsewhere(tmp_path, runs):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    facts = {
        "paper": "ragab2022",
        "protocol": "sound",
        "unit": {"model": "hub", "case": "B10"},
        "model": "gone.h5",
    }
    (folder / "evaluation.json").write_text(json.dumps(facts))
    (folder / "metrics.json").write_text(json.dumps(block(12, 0.5, 0.7, [[6, 4], [4, 6]])))
    return folder


@pytest.fixture
def results(tmp_path, runs, elsewhere):
    """A repository with collected results and a README with markers."""
    folder = tmp_path / "repository" / "docs" / "results"
    folder.mkdir(parents=True)
    (folder.parents[1] / "README.md").write_text(f"# All\n\n{pages.BEGIN}\nbefore\n{pages.END}\n\nafter\n")
    store.write(collect.collect(runs, [elsewhere]), folder)
    making.write(folder)
    return folder


@pytest.fixture
def patient():
    """A patient's name, which no result may hold."""
    return PATIENT


@pytest.fixture
def write_run():
    """Write a run folder."""
    return run_folder


@pytest.fixture
def write_study(tmp_path):
    """Write a study of nemati2022: mobilenet was trained, vgg19 was not."""

    def write(state):
        folder = tmp_path / "study"
        metrics = {"headline_split": "test", "splits": {"test": block(17, 0.7, 0.95, [[8, 2], [1, 9]])}}
        where = {"paper": "nemati2022", "case": "balanced", "fold": "1"}
        run_folder(folder / "models" / "first", "published", metrics, model="mobilenet", **where)
        config = json.loads((folder / "models" / "first" / "config.json").read_text())
        command = f"covidcxr-train nemati2022 --data /home/{PATIENT} --model mobilenet,vgg19 --fold 1"
        config |= {"models": ["first", "second"], "command": command}
        (folder / "config.json").write_text(json.dumps(config))
        models = pd.DataFrame(
            {"case": "balanced", "model": ["mobilenet", "vgg19"], "fold": 1, "trial": 0, "arm": ""}
        )
        models.assign(state=["done", state], folder=["models/first", ""]).to_csv(
            folder / "models.csv", index=False
        )
        later = run_folder(tmp_path / "later", "published", metrics, model="vgg19", **where)
        return folder, later

    return write
