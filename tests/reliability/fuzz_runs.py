"""A small finished run with its audit and evaluation, made without training, and how the commands read it."""

import json

from fuzz_tables import _PREDICTIONS, _SPLIT

_CONFIG = {
    "paper": "ragab2022",
    "command": "covidcxr train ragab2022",
    "options": {"data": "data", "protocol": "published", "model": "mobilenet_v2", "seed": 0, "out": "run"},
    "network": "MobileNetV2",
    "parameters": 100,
    "trainable": 10,
    "classes": ["covid19", "normal"],
    "stages": [{"name": "head", "epochs": 2}],
    "preprocessing": {"size": [32, 32], "rescale": 0.00392},
    "protocol": {"title": "as published", "headline": "val", "keep": "last", "monitor": "val_loss"},
    "placement": {"strategy": "single", "precision": "float32"},
    "data_root": "data",
    "notes": ["a note"],
    "weights": {"source": "none"},
    "environment": {"packages": {"keras": "3"}, "python": "3.11"},
}
_HISTORY = """epoch,stage,loss,accuracy,val_loss,val_accuracy,seconds
1,head,0.7,0.5,0.8,0.4,1.0
2,head,0.6,0.6,0.7,0.5,1.0
"""
_AUDIT = {
    "format": 1,
    "audits": [
        {
            "name": "leaks",
            "title": "Leaks",
            "findings": [
                {
                    "audit": "leaks",
                    "name": "patient",
                    "severity": "leak",
                    "text": "one",
                    "evidence": {"patients": 1},
                }
            ],
            "tables": {"pairs": "audit-leaks-pairs.csv"},
        }
    ],
}
_AUDITED = """path,label,patient_id,source,split
a.png,covid19,1,x,train
b.png,normal,2,x,train
c.png,normal,3,x,val
d.png,covid19,,x,val
"""
_PAIRS = "a,b,kind,distance\na.png,b.png,copy,0\n"
_EVALUATION = {
    "paper": "ragab2022",
    "protocol": "published",
    "unit": {"case": "binary", "model": "mobilenet_v2"},
    "model": "model.h5",
    "data": "elsewhere",
    "mapping": {},
    "dropped": [],
}


def _metrics(folder):
    """Return metrics.json of the predictions, as a run and as an evaluation writes it."""
    from covidcxr.evaluation import intervals, metrics
    from covidcxr.evaluation import predictions as module

    found = module.read_csv(folder / "run" / "predictions.csv")
    labelled = module.Predictions(
        found.table[found.table["label"] != ""].reset_index(drop=True), found.class_names
    )
    block = metrics.compute(labelled, "covid19")
    block["intervals"] = intervals.summarise(labelled, seed=0, resamples=20, positive="covid19")
    published = {
        "validation_accuracy": 0.5,
        "validation_loss": 0.7,
        "augmented_validation": metrics.compute(labelled, "covid19"),
        "one_batch": metrics.compute(labelled, "covid19"),
    }
    run = {
        "title": "ragab2022",
        "headline_split": "val",
        "splits": {"val": block},
        "thresholds": [],
        "as_published": published,
        "rows": [],
        "figures": ["figures/roc.png"],
    }
    return run, block


def _laid(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return files


def run(folder):
    """Return the files of a finished run, of a study of it, and of an evaluation of its model."""
    from covidcxr.papers.units import chosen

    (folder / "data").mkdir()
    config = {
        **_CONFIG,
        "data_root": str(folder / "data"),
        "options": {**_CONFIG["options"], **_default_unit(chosen)},
    }
    files = {
        "run/config.json": config,
        "run/split.csv": _SPLIT,
        "run/predictions.csv": _PREDICTIONS.replace(",test,", ",val,"),
        "run/history.csv": _HISTORY,
        "run/exclusions.csv": "path,source,reason\nx.png,x,CT\n",
        "run/audit/audit.json": _AUDIT,
        "run/audit/audit-leaks-pairs.csv": _PAIRS,
    }
    _laid(folder, files)
    metrics, block = _metrics(folder)
    more = {
        "run/metrics.json": metrics,
        "elsewhere/metrics.json": block,
        "elsewhere/evaluation.json": _evaluation(config),
    }
    _laid(folder, more)
    drawn = ("run/config.json", "run/history.csv", "run/audit/audit.json", *more)
    return [(name, (folder / name).read_bytes()) for name in drawn]


def _default_unit(chosen):
    from covidcxr import papers
    from covidcxr.papers.plan import RunOptions

    (unit,) = chosen(papers.get(_CONFIG["paper"]).recipe, RunOptions())
    return {"case": unit.case, "model": unit.model}


def _evaluation(config):
    unit = {name: config["options"][name] for name in ("case", "model")}
    return {**_EVALUATION, "unit": unit}


def read_run(folder, _place):
    """Read what `covidcxr report` reads, and set it beside the paper."""
    from covidcxr.papers.reporting import comparison
    from covidcxr.papers.reporting.comparison_runs import read_external, read_runs

    recipe, runs = read_runs([folder / "run"])
    externals = [read_external(folder / "elsewhere", recipe)]
    for model in (model for run in runs for model in run.models):
        _ = model.read(), model.headline, model.title
    _ = [run.audits for run in runs]
    return comparison.compare(recipe, runs, externals)


def audited(folder):
    """Return the configuration and split of a run that is to be audited."""
    run(folder)
    for name in "abcd":
        (folder / "data" / f"{name}.png").touch()
    # Two classes in each part.
    (folder / "run" / "split.csv").write_text(_AUDITED)
    return [(name, (folder / name).read_bytes()) for name in ("run/config.json", "run/split.csv")]


def read_audited(folder, _place):
    """Open a run as `covidcxr audit` does, for its images and for its model."""
    from covidcxr.errors import CovidcxrError
    from covidcxr.evaluation.audits import inputs, subject

    try:
        inputs.run_records(folder / "run")
    except CovidcxrError:
        # The audits of the model read the same files their own way.
        subject.of(folder / "run")
        raise
    return subject.of(folder / "run")


def begun(folder):
    """Return the configuration of a run that is to be resumed."""
    run(folder)
    return [("run/config.json", (folder / "run" / "config.json").read_bytes())]


def read_begun(folder, _place):
    """Settle a run as `covidcxr train --resume` does."""
    from covidcxr import papers
    from covidcxr.papers.plan import RunOptions, settle
    from covidcxr.papers.running import folder as run_folder
    from covidcxr.papers.running import runner, single

    options = RunOptions(out=str(folder / "run"), resume=True)
    run_folder.check(options.out, overwrite=False, resume=True)
    recipe = papers.get("ragab2022").recipe
    for plan in settle(recipe, runner._stored_options(recipe, options)):
        single._precision_begun_with(plan)


def results(folder):
    """Return the first rows of the CSV files that `covidcxr report reproduce` keeps."""
    from covidcxr.papers.reporting.reproduction.store import COLUMNS

    row = {"run": "r1", "split": "val", "scoring": "plain"}
    lines = {name: ",".join(row.get(column, "1") for column in columns) for name, columns in COLUMNS.items()}
    files = {f"{name}.csv": ",".join(columns) + f"\n{lines[name]}\n" for name, columns in COLUMNS.items()}
    _laid(folder, files)
    return [(name, text.encode()) for name, text in files.items()]


def read_results(folder, _place):
    """Read the results as `covidcxr report reproduce --check` does."""
    from covidcxr.papers.reporting.reproduction import store

    return store.read(folder)
