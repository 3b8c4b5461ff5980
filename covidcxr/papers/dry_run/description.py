"""A run told before it starts: images, models, steps, memory, time. Nothing is trained, fetched or kept."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from covidcxr.papers.dry_run import costs, counts, page, weights
from covidcxr.papers.reporting import show
from covidcxr.papers.running import feeding
from covidcxr.papers.running.monitoring import monitored

# A paper may compare dozens of networks; these many show what a step takes.
_MOST_TIMED, _MOST_SECONDS = 5, 60


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes
    ----------
    title : str
    images : pandas.DataFrame
        Long: case, arm, part, label, images (see :func:`covidcxr.papers.dry_run.counts.count`); of several folds and
        trials the first.
    models : pandas.DataFrame
        One row a model: name, case, model, fold, trial, arm, steps, seconds (NaN where its network was not
        timed), missing (what is wrong with its weights, "" if nothing).
    stages : pandas.DataFrame
        One row a stage of a case, arm and batch size: case, arm, networks, models, stage, data, epochs, batch,
        steps_per_epoch, optimizer, trains, loss, steps (of one model), all_steps.
    networks : pandas.DataFrame
        One row a network and arm: model, arm, input, batch, parameters, trainable, memory (bytes), weights,
        gradients, optimizer, activations (its parts), step (seconds, of the stage that takes longest), timed (how).
    memory : int or None
        Bytes that this machine lets a process have.
    notes : tuple of str
    """

    title: str
    images: pd.DataFrame
    models: pd.DataFrame
    stages: pd.DataFrame
    networks: pd.DataFrame
    memory: int | None
    notes: tuple

    @property
    def steps(self):
        """Training steps of all models."""
        return int(self.models["steps"].sum())

    @property
    def seconds(self):
        """Estimated seconds of the models whose networks were timed; None if none was."""
        return float(self.models["seconds"].sum()) if self.models["seconds"].notna().any() else None

    def table(self):
        """Return `models`: one row a model."""
        return self.models

    def print(self):
        """Print the tables and what they mean."""
        page.print_page(self)

    def _repr_html_(self):
        return page.as_html(self)


def describe(plans):
    """Tell what a run of these plans would do.

    Parameters
    ----------
    plans : sequence of Plan

    Returns
    -------
    DryRun

    Raises
    ------
    CovidcxrError
        If the images cannot be used. Weights that are not at hand are no fault here.
    """
    from covidcxr.models import memory

    with tempfile.TemporaryDirectory(prefix="covidcxr-dry-run-") as folder:
        described = _Describer(plans, Path(folder), memory.available())
        described.look_at_images()
        described.look_at_networks()
    return described.result()


class _Describer:
    """What is known of the plans so far."""

    def __init__(self, plans, folder, memory):
        self.plans = plans
        self.memory = memory
        self._folder = folder
        self._gatherer = counts.CountingGatherer(folder, say=show.step)
        self._counts, self._sizes, self._scored, self._reading, self._costs = {}, {}, {}, {}, {}
        self._notes = []

    def look_at_images(self):
        """Draw, split and count the images of each case and arm, and time how some are read."""
        for group, plans in _by(_images_key, self.plans).items():
            # The largest batch is the one that may find too few images.
            records = self._gatherer.gather(max(plans, key=lambda plan: plan.batch_size))
            self._counts[group] = counts.count(plans[0], records)
            self._notes += [note for note in records.notes if note not in self._notes]
            self._scored[group] = len(monitored(records))
            for data in {stage.data for plan in plans for stage in plan.stages}:
                self._sizes[group, data] = len(feeding.part(records, data))
            self._time_reading(plans, records)

    def look_at_networks(self):
        """Build every network once, and time the first few."""
        begun = time.monotonic()
        for number, (key, plans) in enumerate(_by(costs.network_key, self.plans).items()):
            timed = number < _MOST_TIMED and time.monotonic() - begun < _MOST_SECONDS
            self._costs[key] = costs.measure(plans, timed, self.memory)

    def result(self):
        """Return everything together."""
        first = self.plans[0]
        if any(plan.arm.generated for plan in self.plans):
            self._notes.append("steps and time are those without the networks that generate images")
        if any(stage.early_stopping for plan in self.plans for stage in plan.stages):
            self._notes.append("stages may stop early: epochs, steps and time are the most")
        reasons = {key: weights.missing(plans[0]) for key, plans in _by(_weights_key, self.plans).items()}
        return DryRun(
            title=f"{first.recipe.key}, {first.options.protocol} protocol, seed {first.options.seed}: "
            "what a run would do",
            images=pd.concat(self._counts.values(), ignore_index=True),
            models=pd.DataFrame([self._model(plan, reasons[_weights_key(plan)]) for plan in self.plans]),
            stages=pd.DataFrame(
                [row for plans in _by(self._stages_key, self.plans).values() for row in self._stages(plans)]
            ),
            networks=pd.DataFrame(
                [
                    _network_row(plans[0], self._costs[key])
                    for key, plans in _by(costs.network_key, self.plans).items()
                ]
            ),
            memory=self.memory,
            notes=tuple(self._notes),
        )

    def _time_reading(self, plans, records):
        for key, (plan, *_) in _by(_reading_key, plans).items():
            if key not in self._reading:
                place = self._folder / f"read-{plan.case.data_set}"
                images = counts.sample(plan, records, place)
                self._reading[key] = costs.reading_seconds(plan, images)

    def _size(self, plan, stage):
        return self._sizes[_images_key(plan), stage.data]

    def _epoch_steps(self, plan, stage):
        return -(-self._size(plan, stage) // plan.batch_size)

    def _model(self, plan, missing):
        unit = plan.unit
        return {
            "name": unit.name,
            "case": unit.case,
            "model": unit.model,
            "fold": unit.fold,
            "trial": unit.trial,
            "arm": unit.arm,
            "steps": sum(stage.epochs * self._epoch_steps(plan, stage) for stage in plan.stages),
            "seconds": self._seconds(plan),
            "missing": missing,
        }

    def _seconds(self, plan):
        cost = self._costs[costs.network_key(plan)]
        if not cost.step:
            return float("nan")
        read = self._reading[_reading_key(plan)]
        scored = self._scored[_images_key(plan)]
        scoring = scored * costs.together(read, cost.scoring / plan.batch_size)
        seconds = 0
        for stage, mode in zip(plan.stages, costs.trained(plan.stages), strict=True):
            image = costs.together(read, cost.step[mode] / plan.batch_size)
            seconds += stage.epochs * (self._size(plan, stage) * image + scoring)
        return seconds

    def _stages_key(self, plan):
        sizes = [self._size(plan, stage) for stage in plan.stages]
        return repr((plan.unit.case, plan.stages, plan.batch_size, sizes))

    def _stages(self, plans):
        first = plans[0]
        for stage, mode in zip(first.stages, costs.trained(first.stages), strict=True):
            steps = self._epoch_steps(first, stage)
            yield {
                "case": first.unit.case,
                "arm": page.listed(plan.unit.arm for plan in plans),
                "networks": page.listed(plan.unit.model for plan in plans),
                "models": len(plans),
                "stage": stage.name,
                "data": stage.data,
                "epochs": stage.epochs,
                "batch": first.batch_size,
                "steps_per_epoch": steps,
                "optimizer": _optimizer(stage),
                "trains": mode,
                "loss": stage.loss,
                "steps": stage.epochs * steps,
                "all_steps": stage.epochs * steps * len(plans),
            }


def _by(key, plans):
    groups = {}
    for plan in plans:
        groups.setdefault(key(plan), []).append(plan)
    return groups


def _images_key(plan):
    return plan.unit.case, plan.unit.arm


def _reading_key(plan):
    return plan.case.data_set, plan.network.input_size


def _weights_key(plan):
    return plan.unit.model


def _network_row(plan, cost):
    parts = cost.memory
    return {
        "model": plan.unit.model,
        "arm": plan.unit.arm if plan.arm.settings else "",
        "input": "×".join(map(str, plan.network.input_size)),
        "batch": cost.batch_size,
        "parameters": cost.parameters,
        "trainable": cost.trainable,
        "memory": parts.total,
        "weights": parts.weights,
        "gradients": parts.gradients,
        "optimizer": parts.optimizer,
        "activations": parts.activations,
        "step": max(cost.step.values(), default=float("nan")),
        "timed": cost.timed,
    }


def _optimizer(stage):
    spec = stage.optimizer
    if spec is None:
        return "as before"
    arguments = [f"{name} {value}" for name, value in spec.arguments.items()]
    decay = [f"decay {spec.decay:g}"] if spec.decay else []
    schedule = [repr(stage.schedule)] if stage.schedule else []
    return ", ".join([f"{spec.name} {spec.learning_rate:g}", *arguments, *decay, *schedule])
