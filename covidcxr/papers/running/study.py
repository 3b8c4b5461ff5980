"""Carry out several plans: one model after the other, the paper's tables growing row by row."""

import dataclasses
import datetime
import gc
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from covidcxr import json_files
from covidcxr.atomic import make_folder, write_csv
from covidcxr.errors import DataError, ModelError
from covidcxr.formula_cells import plain_table
from covidcxr.papers import tables
from covidcxr.papers.reporting import show, study_report
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.running.single import run_one

DONE = "done"
_NOTES = "notes"


@dataclass(frozen=True)
class StudyResult:
    """Several finished models of one paper.

    Attributes
    ----------
    folder : pathlib.Path
    recipe : covidcxr.papers.recipe.Recipe
    results, models : pandas.DataFrame
        See :mod:`covidcxr.papers.tables`.
    tables : dict of str to pandas.DataFrame
        The paper's tables, made from them.
    notes : tuple of str
    """

    folder: Path
    recipe: object
    results: pd.DataFrame
    models: pd.DataFrame
    tables: dict
    notes: tuple = ()

    @property
    def config(self):
        """config.json of the run."""
        return run_folder.read_config(self.folder)

    @property
    def metrics(self):
        """metrics.json of every model, by the name of its folder."""
        return {path.name: _read_json(path / run_folder.METRICS) for path in self._folders()}

    @property
    def history(self):
        """One row an epoch of every model, with the column `name`."""
        return self._joined(run_folder.HISTORY)

    @property
    def predictions(self):
        """One row an image of every model, with the column `name`."""
        return self._joined(run_folder.PREDICTIONS)

    def model(self, name):
        """Load one of the models by the name of its folder."""
        from covidcxr.models.files import load_model

        return load_model(self.folder / run_folder.MODELS / name / run_folder.MODEL)

    def table(self):
        """Return the paper's numbers beside the means of these models, as text."""
        return study_report.beside_the_paper(self.recipe, self.results)

    def print(self):
        """Print the paper's tables and where everything lies."""
        study_report.print_study(self)

    def _repr_html_(self):
        return study_report.as_html(self)

    def _folders(self):
        done = self.models.loc[self.models["state"] == DONE, "folder"]
        return [self.folder / name for name in done]

    def _joined(self, name):
        parts = [plain_table(pd.read_csv(path / name)).assign(name=path.name) for path in self._folders()]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def run_study(plans, options, out, gatherer, placement):
    """Train and score several models of a paper.

    Parameters
    ----------
    plans : sequence of Plan
    options : RunOptions
        As the user gave them.
    out : path-like
        Folder of the whole.
    gatherer : covidcxr.papers.running.images.Gatherer
    placement : covidcxr.training.strategy.Placement

    Returns
    -------
    StudyResult or None
        None in a process that only helps to train. A model whose weights are not at hand, or for which memory
        does not suffice, has its reason in `models`; the others go on.

    Raises
    ------
    CovidcxrError
        If the data cannot be used, or no model could be trained.
    """
    from covidcxr.training.bank import Banks

    folder = Path(out)
    if placement.is_chief:
        folder = run_folder.prepare(out, overwrite=options.overwrite)
        if not (options.resume and (folder / run_folder.CONFIG).is_file()):
            run_folder.write_config(folder, _config(plans, options, out))
    with Banks() as banks:
        study = _Study(plans, folder, placement.is_chief, banks)
        for plan in plans:
            study.run(plan, gatherer, placement)
    return study.finish() if placement.is_chief else None


class _Study:
    """What is known of every model so far."""

    def __init__(self, plans, folder, writes, banks):
        self.plans = plans
        self.folder = folder
        self.writes = writes
        self.banks = banks
        self._rows = {}
        self._results = {}
        self._notes = []

    def run(self, plan, gatherer, placement):
        """Train one model, or take over what an interrupted run left of it."""
        number = self.plans.index(plan) + 1
        where = Path(plan.out)
        if plan.options.resume and (where / run_folder.REPORT).is_file():
            show.step(f"[{number}/{len(self.plans)}] {plan.unit.name}: done before")
            state = DONE
        else:
            show.step(f"[{number}/{len(self.plans)}] {plan.unit.name}")
            state = self._train(plan, gatherer, placement)
        if self.writes:
            self._take(plan, state)
            self._write()

    def finish(self):
        """Write the report and return the result."""
        done = [row for row in self._rows.values() if row["state"] == DONE]
        if not done:
            raise ModelError(f"{self.folder}: no model could be trained; {self._reasons()}")
        result = self._result()
        study_report.write(result, self.plans, [self._where(row) for row in done])
        return result

    def _train(self, plan, gatherer, placement):
        import keras

        begun = dataclasses.replace(plan.options, resume=_begun(plan), overwrite=False)
        try:
            run_one(dataclasses.replace(plan, options=begun), gatherer, placement, self.banks)
        except ModelError as error:
            show.step(f"{plan.unit.name}: left out: {error}")
            return str(error)
        finally:
            # Twenty-seven networks one after the other would otherwise stay in memory.
            keras.backend.clear_session()
            gc.collect()
        return DONE

    def _take(self, plan, state):
        where = Path(plan.out)
        facts = {"state": state, "backbone": plan.network.backbone}
        if state == DONE:
            try:
                facts |= self._facts(plan, where)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{where}: a file of this finished model is damaged ({type(error).__name__}: {error}); "
                    "remove the folder, and --resume trains it anew"
                ) from error
        self._rows[plan.unit] = tables.model_row(plan.unit, **facts)

    def _facts(self, plan, where):
        config, metrics = run_folder.read_config(where), _read_json(where / run_folder.METRICS)
        history = pd.read_csv(where / run_folder.HISTORY)
        self._results[plan.unit] = tables.long_results(plan.unit, metrics)
        self._notes += [note for note in config[_NOTES] if note not in self._notes]
        return {
            **{name: config[name] for name in ("parameters", "trainable", "frozen_layers")},
            "epochs": len(history),
            "seconds": round(float(history["seconds"].sum()), 1),
            "folder": where.relative_to(self.folder).as_posix(),
        }

    def _write(self):
        result = self._result()
        write_csv(self.folder / run_folder.RESULTS, result.results)
        write_csv(self.folder / run_folder.MODEL_LIST, result.models)
        place = make_folder(self.folder / run_folder.TABLES)
        for name, table in result.tables.items():
            write_csv(place / f"{name}.csv", table)

    def _result(self):
        recipe = self.plans[0].recipe
        results = tables.joined(self._results.values(), tables.RESULT_COLUMNS)
        models = pd.DataFrame(self._rows.values(), columns=list(tables.MODEL_COLUMNS))
        made = {name: table.make(results, models) for name, table in recipe.tables.items()}
        return StudyResult(self.folder, recipe, results, models, made, tuple(self._notes))

    def _where(self, row):
        return self.folder / row["folder"]

    def _reasons(self):
        (first, *others) = dict.fromkeys(row["state"] for row in self._rows.values())
        return first + (f" (and {len(others)} other reasons)" if others else "")


def _begun(plan):
    return plan.options.resume and (Path(plan.out) / run_folder.CONFIG).is_file()


def _config(plans, options, out):
    from covidcxr import environment

    return {
        "paper": plans[0].recipe.key,
        "command": environment.command_line(),
        "options": {**dataclasses.asdict(options), "weights": plans[0].options.weights, "out": str(out)},
        "models": [plan.unit.name for plan in plans],
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment.describe(),
    }


def _read_json(path):
    return json_files.read(path)
