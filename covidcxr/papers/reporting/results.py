"""What a run leaves behind: model, predictions, metrics, figures, report, and the table it closes with."""

import dataclasses
import html
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr.atomic import make_folder, write_csv, write_json
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.running import scores as scores_module

RESULTS_NOTE = (
    "Intervals: 95 % percentiles over 2,000 resamples of the patients, seeded; where every resample agrees, "
    "Wilson's or Newcombe's interval counting patients. Rows measured as the paper measured have none."
)
_GRID_CAPTION = "Predictions: green and ticked are right, red and crossed are wrong."
_GRID_AUGMENTED = " The paper's way: predicted from augmented copies; the pictures are shown as they are."


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    folder : pathlib.Path
    model : keras.Model
    history : pandas.DataFrame
        One row an epoch.
    predictions : covidcxr.evaluation.predictions.Predictions
        Of every image outside the training split.
    metrics : dict
        As in metrics.json.
    rows : list of dict
        The closing table: paper beside this run (see :func:`covidcxr.evaluation.tables.result_cells`).
    """

    folder: Path
    model: object
    history: pd.DataFrame
    predictions: object
    metrics: dict
    rows: list
    notes: tuple = ()

    @property
    def config(self):
        """config.json of the run."""
        return run_folder.read_config(self.folder)

    def table(self):
        """Return the closing table: section, measure, paper, this run [95 % interval], note, as text."""
        from covidcxr.evaluation.tables import RESULT_COLUMNS, result_cells

        cells = [(row["section"], *result_cells(row)) for row in self.rows]
        return pd.DataFrame(cells, columns=["section", *RESULT_COLUMNS])

    def _repr_html_(self):
        title = html.escape(self.metrics["title"])
        body = "".join(
            f"<p>{html.escape(section)}</p>{part.drop(columns='section').to_html(index=False, escape=True)}"
            for section, part in self.table().groupby("section", sort=False)
        )
        return f"<b>{title}</b>{body}<p>Not a medical device.</p>"

    def print(self):
        """Print the closing table and where everything lies."""
        from rich.console import Console

        from covidcxr.evaluation.tables import results_table

        console = Console(highlight=False, markup=False, emoji=False)
        console.print(self.metrics["title"], style="bold")
        for section, rows in itertools.groupby(self.rows, key=lambda row: row["section"]):
            console.print(results_table(list(rows), title=section))
        for note in self.notes:
            console.print(f"note: {note}")
        console.print(f"model:  {self.folder / run_folder.MODEL}\nreport: {self.folder / run_folder.REPORT}")
        console.print("Not a medical device: no result here says anything about a patient.")


def finish(plan, records, model, history, scored_feed, folder):
    """Score the trained model and write everything a run leaves behind.

    Parameters
    ----------
    plan : Plan
    records : Records
        With the column `split`.
    model : keras.Model
        Trained, carrying its :class:`~covidcxr.models.files.ModelInfo`.
    history : pandas.DataFrame
    scored_feed : covidcxr.data.batches.Batches
        The validation batches of training.
    folder : pathlib.Path
        The run folder.

    Returns
    -------
    RunResult
    """
    from covidcxr.models.files import info_of, save_model

    save_model(model, folder / run_folder.MODEL, info_of(model))
    scores = scores_module.score(plan, records, model, history, scored_feed)
    scores.predictions.write_csv(folder / run_folder.PREDICTIONS)
    captions = _figures(plan, records, history, scores, folder)
    scores.metrics["figures"] = list(captions)
    write_json(folder / run_folder.METRICS, scores.metrics)
    _report(plan, records, scores, captions, folder)
    return RunResult(
        folder, model, history, scores.predictions, scores.metrics, scores.rows, tuple(records.notes)
    )


def write_exclusions(records, folder):
    """Write exclusions.csv: every file or row that was left out, and why; nothing disappears silently."""
    rows = [dataclasses.asdict(item) for item in records.exclusions]
    write_csv(folder / run_folder.EXCLUSIONS, pd.DataFrame(rows, columns=["path", "source", "reason"]))


def _figures(plan, records, history, scores, folder):
    """Draw the run's figures; return file name to caption, in the report's order."""
    from covidcxr.evaluation import figures

    place = make_folder(folder / run_folder.FIGURES)
    headline = scores.predictions.subset(plan.protocol.headline)
    block = scores.metrics["splits"][plan.protocol.headline]
    claims = {claim.measure: claim.value for claim in plan.recipe.claims_of(plan.unit)}
    figures.learning_curves(history, place / "learning_curves")
    figures.confusion(block["confusion_matrix"], headline.class_names, place / "confusion")
    figures.roc(
        headline,
        place / "roc",
        summary=block["intervals"],
        paper=claims.get("roc_auc"),
        positive=plan.recipe.positive_class,
    )
    figures.reliability(headline, place / "reliability")
    shown = scores.batch or headline
    _grid(plan, records, shown, place / "predictions.png")
    split = {"val": "validation", "test": "test"}[plan.protocol.headline]
    captions = {
        "learning_curves": "Accuracy and loss by epoch, training and validation.",
        "confusion": f"Confusion matrix of the {split} images as they are.",
        "roc": f"ROC curve of the {split} images as they are.",
        "reliability": f"Reliability of the predicted probabilities on the {split} images.",
        "predictions": _GRID_CAPTION + (_GRID_AUGMENTED if scores.batch is not None else ""),
    }
    if scores.batch is not None:
        matrix = scores.metrics["as_published"]["one_batch"]["confusion_matrix"]
        figures.confusion(matrix, headline.class_names, place / "confusion_one_batch")
        captions["confusion_one_batch"] = (
            f"Confusion matrix as the paper computes it: one batch of {len(scores.batch)} augmented images."
        )
    return captions


def _grid(plan, records, predictions, path, most=32):
    from covidcxr.data.images import read_grey, resize
    from covidcxr.evaluation import figures

    table = predictions.table
    if len(table) > most:
        rows = np.random.default_rng([plan.seed, 3]).permutation(len(table))[:most]
        table = table.iloc[np.sort(rows)]
    size = (160, 160)
    images = [resize(read_grey(records.root / name), size, "bilinear") for name in table["path"]]
    figures.prediction_grid(images, table["predicted"], table["predicted"] == table["label"], path)


def _report(plan, records, scores, captions, folder):
    from covidcxr.evaluation.report import write_run_report

    config = run_folder.read_config(folder)
    write_run_report(
        folder,
        {
            "title": scores.metrics["title"],
            "paper": f"{plan.recipe.title}. {plan.recipe.citation}",
            "protocol": f"{plan.options.protocol}: {plan.protocol.title}",
            "command": config["command"],
            "seed": plan.options.seed,
            "results": [
                {**row, "note": "; ".join(filter(None, (row["note"], row["section"])))} for row in scores.rows
            ],
            "results_note": RESULTS_NOTE,
            "notes": records.notes,
            "counts": records.counts("split", "label"),
            "exclusions": records.exclusions,
            "figures": [(f"{run_folder.FIGURES}/{name}.png", text) for name, text in captions.items()],
            "configuration": {key: value for key, value in config.items() if key != "environment"},
            "environment": config["environment"],
            "deviations": plan.recipe.deviations,
        },
    )
