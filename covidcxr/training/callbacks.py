"""Keras callbacks of every run: repeatable noise, epoch records, TensorBoard, progress."""

import time

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from covidcxr.training.logs import EventLogs

LOGS = "logs"


def stage_callbacks(stage, number, checkpoints, seed):
    """Return the callbacks that every stage runs with, in the order they must act.

    Parameters
    ----------
    stage : covidcxr.training.stages.Stage
    number : int
        Its place among the stages, from 0.
    checkpoints : covidcxr.training.checkpoints.Checkpoints
    seed : int
    """
    always = [RepeatableNoise(seed), EpochRecord(stage, number, checkpoints)]
    # Logs come last: an epoch that they have and the checkpoint has not would be there twice after resuming.
    return [*always, EpochLogs(number, checkpoints)] if checkpoints.writes else always


def complete_logs(checkpoints):
    """Write what TensorBoard's event files lack of the finished epochs: a run may be killed before it does."""
    if checkpoints.writes:
        EventLogs(checkpoints.folder / LOGS).complete(checkpoints.finished)


class RepeatableNoise(keras.callbacks.Callback):
    """Reseed every layer that draws noise from (seed, epoch, layer), so that a resumed epoch draws the same.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        """Set the state of every seed generator in the model."""
        for number, layer in enumerate(self.model._flatten_layers(include_self=False)):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                state = np.random.SeedSequence([self.seed, epoch, number]).generate_state(2)
                generator.state.assign(state.astype(generator.state.dtype))


class EpochRecord(keras.callbacks.Callback):
    """Move the learning rate, hand every finished epoch to the checkpoints, and end the stage when it is time.

    Parameters
    ----------
    stage, number, checkpoints
        See :func:`stage_callbacks`.
    """

    def __init__(self, stage, number, checkpoints):
        super().__init__()
        self.stage = stage
        self.number = number
        self.checkpoints = checkpoints
        self._began = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock and set the epoch's learning rate."""
        self._began = time.perf_counter()
        if self.stage.schedule is not None:
            rows = self.checkpoints.rows(self.number)
            self._set_rate(self.stage.schedule.before(len(rows), self.stage.epochs, self._first_rate(rows)))

    def on_epoch_end(self, epoch, logs=None):
        """Save the epoch, with the learning rate that the next one begins with."""
        row = {"epoch": epoch + 1, "stage": self.stage.name}
        row.update({name: float(value) for name, value in (logs or {}).items()})
        row["learning_rate"] = self._rate()
        row["seconds"] = round(time.perf_counter() - self._began, 3)
        rows = [*self.checkpoints.rows(self.number), row]
        if self.stage.schedule is not None:
            self._set_rate(self.stage.schedule.after(rows))
        rule = self.stage.early_stopping
        stopped = rule is not None and rule.stops(rows)
        self.checkpoints.save(self.model, row, self.number, stopped, ended=len(rows) >= self.stage.epochs)
        if stopped:
            self.model.stop_training = True

    def _first_rate(self, rows):
        if self.stage.optimizer is not None:
            return float(self.stage.optimizer.learning_rate)
        return rows[0]["learning_rate"] if rows else self._rate()

    def _rate(self):
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _set_rate(self, rate):
        if rate is not None:
            self.model.optimizer.learning_rate = rate


class EpochLogs(keras.callbacks.Callback):
    """Write every finished epoch to TensorBoard's event files in `logs/`, once the checkpoint has it.

    Parameters
    ----------
    number, checkpoints
        See :func:`stage_callbacks`.
    """

    def __init__(self, number, checkpoints):
        super().__init__()
        self.number = number
        self.checkpoints = checkpoints
        self._events = EventLogs(checkpoints.folder / LOGS)
        self._waiting = []

    def on_epoch_end(self, epoch, logs=None):
        """Write the epoch, and those that waited for the checkpoint."""
        iterations = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        self._waiting.append((self.checkpoints.rows(self.number)[-1], iterations))
        if self.checkpoints.written > epoch:
            for each in self._waiting:
                self._events.write(*each)
            self._waiting.clear()

    def on_train_end(self, logs=None):
        """Close the files."""
        self._events.close()


class EpochProgress(keras.callbacks.Callback):
    """A bar while an epoch runs on a terminal, and one line when it ends anywhere.

    Parameters
    ----------
    total_epochs : int
    console : rich.console.Console, optional
        Default: standard error.
    """

    def __init__(self, total_epochs, console=None):
        super().__init__()
        self.total_epochs = total_epochs
        self.console = console or Console(stderr=True)
        self._bar = None

    def on_epoch_begin(self, epoch, logs=None):
        """Open the bar."""
        columns = (
            TextColumn(f"epoch {epoch + 1}/{self.total_epochs}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._bar = Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        )
        self._task = self._bar.add_task("", total=self.params.get("steps"), state="")
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        """Advance the bar."""
        self._bar.update(self._task, completed=batch + 1, state=_figures(logs, ("loss", "accuracy")))

    def on_epoch_end(self, epoch, logs=None):
        """Replace the bar by a line."""
        self._bar.stop()
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        self.console.print(f"epoch {epoch + 1}/{self.total_epochs}  {_figures(logs, names)}", highlight=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # An error inside an epoch leaves the bar open, and the message would be drawn over.
        if self._bar is not None:
            self._bar.stop()


def _figures(logs, names):
    return "  ".join(f"{name} {float(logs[name]):.4f}" for name in names if name in (logs or {}))
