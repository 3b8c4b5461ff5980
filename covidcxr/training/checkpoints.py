"""What a run needs to go on after being stopped: the model with its optimiser, and where it stood."""

import json
import time
import warnings
import zipfile
from pathlib import Path

from covidcxr.atomic import make_folder, output_errors, whole_file, write_csv, write_json
from covidcxr.errors import DataError, OptionError, is_out_of_memory
from covidcxr.models import containers
from covidcxr.training.schedules import best_epoch, check_monitor

HISTORY = "history.csv"
STATE = "state.json"
_OURS = ("epoch-*.keras", ".epoch-*", ".state-*")
# Where epochs take milliseconds: seconds between two that are written, and how much longer than the last took.
_PAUSE_SECONDS, _PAUSE_TIMES = 5.0, 20.0


class Checkpoints:
    """The checkpoint/ and history.csv of one run folder.

    An epoch's model is written under its own name, then `state.json` is renamed to point at it, then those go
    that are no longer needed: whenever the run is killed, `state.json` names whole files.

    Where epochs take milliseconds (see :meth:`keep_pace`), not every one is written; those after the last are
    trained again on resuming, to the same weights.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder.
    keep : str
        Which epoch's weights the run ends with: ``"last"`` or ``"best"``.
    monitor : str
        What is best, one of :data:`covidcxr.training.schedules.MONITORS`: the lowest loss or the highest
        accuracy, the earliest of equals. Of no account where the last epoch is kept.
    writes : bool
        Whether this process writes the folder. One that does not follows the epochs all the same.

    Raises
    ------
    OptionError
        If `keep` or `monitor` is unknown.
    """

    def __init__(self, folder, keep="last", monitor="val_loss", writes=True):
        if keep not in ("last", "best"):
            raise OptionError(f"cannot keep the '{keep}' epoch's weights; choose last or best")
        check_monitor(monitor)
        self.folder = Path(folder)
        self.keep = keep
        self.monitor = monitor
        self.writes = writes
        self._place = self.folder / "checkpoint"
        if writes:
            make_folder(self._place)
        self._rows = []
        self._stages = []
        self._paced = None
        self._best = None
        self._next_write = 0.0
        self.written = 0

    def keep_pace(self, weights):
        """Write an epoch every few seconds only, and the last of a stage.

        Parameters
        ----------
        weights : sequence of keras.Variable or None
            All that training changes, optimiser aside: of the best epoch they are kept in memory. None writes
            every epoch again.
        """
        self._paced = weights

    def exist(self):
        """Return whether there is an epoch to resume after."""
        return (self._place / STATE).is_file()

    def restore(self, model, epochs, prepare=None):
        """Bring a model back to the end of the last finished epoch.

        The model is given and not read from the file, which does not remember all that freezing does.

        Parameters
        ----------
        model : keras.Model
            As the run is to train it.
        epochs : sequence of int
            Of each stage.
        prepare : callable, optional
            ``prepare(stage)`` compiles the model as it was compiled in the stage of that number, from 0, and
            builds its optimiser, so that its state can be read.

        Raises
        ------
        DataError
            If the checkpoint cannot be read, or is another network's or a longer run's.
        """
        try:
            state = json.loads((self._place / STATE).read_text(encoding="utf-8"))
            self._rows, self._stages = state["history"], state["stages"]
            _check_length(self._rows, self._stages, epochs)
            path = self._place / Path(state["model"]).name
            _check_network(path, model)
            if prepare is not None:
                prepare(len(self._stages) - 1)
            _load(model, path)
            self._kept_file()
            self.written = len(self._rows)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # A damaged file makes Keras raise almost anything.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self._place}: cannot resume ({reason}); start again with --overwrite"
            ) from error
        if self.writes:
            write_csv(self.folder / HISTORY, self.history())
            self._tidy(state["model"])

    def save(self, model, row, stage=0, stopped=False, ended=False):
        """Record a finished epoch.

        Parameters
        ----------
        model : keras.Model
        row : dict
            Its row of the history.
        stage : int
            Number of the stage that it belongs to, from 0.
        stopped : bool
            Whether it ends the stage, however many epochs are left.
        ended : bool
            Whether it is the stage's last.
        """
        while len(self._stages) <= stage:
            self._stages.append({"epochs": 0, "stopped": False})
        self._rows.append(row)
        self._stages[stage] = {"epochs": self._stages[stage]["epochs"] + 1, "stopped": stopped}
        if not self.writes:
            return
        if self._paced is None:
            self._write(model)
            return
        self._remember_best()
        if stopped or ended or time.monotonic() >= self._next_write:
            began = time.monotonic()
            self._write_best(model)
            self._write(model)
            now = time.monotonic()
            self._next_write = now + max(_PAUSE_SECONDS, _PAUSE_TIMES * (now - began))

    def load_kept_weights(self, model):
        """Give the model the weights that the run ends with. A process that does not write leaves it as it is.

        Raises
        ------
        DataError
            If their file has gone or is damaged.
        """
        kept = self._kept_file() if self.writes else None
        if kept is None or kept == _name(len(self._rows)):
            return
        try:
            _load_without_optimizer(model, self._place / kept)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise DataError(f"{self._place / kept}: cannot be read; start again with --overwrite") from error

    def rows(self, stage):
        """Return the finished epochs of a stage, as rows of the history."""
        if stage >= len(self._stages):
            return []
        first = sum(each["epochs"] for each in self._stages[:stage])
        return self._rows[first : first + self._stages[stage]["epochs"]]

    def has_ended(self, stage, epochs):
        """Return whether a stage of so many epochs is over."""
        stopped = stage < len(self._stages) and self._stages[stage]["stopped"]
        return stopped or len(self.rows(stage)) >= epochs

    @property
    def finished(self):
        """The finished epochs of all stages, as rows of the history."""
        return list(self._rows)

    def history(self):
        """Return the finished epochs as a table."""
        import pandas as pd

        return pd.DataFrame(self._rows)

    def _write(self, model):
        write_csv(self.folder / HISTORY, self.history())
        name = _name(len(self._rows))
        self._write_model(model, name)
        write_json(self._place / STATE, {"model": name, "stages": self._stages, "history": self._rows})
        self.written = len(self._rows)
        self._tidy(name)

    def _write_model(self, model, name):
        with whole_file(self._place / name) as temporary:
            model.save(temporary)

    def _remember_best(self):
        if self.keep == "best" and best_epoch(self._rows, self.monitor) == len(self._rows) - 1:
            self._best = _name(len(self._rows)), [weight.numpy().copy() for weight in self._paced]

    def _write_best(self, model):
        """Write the best epoch's weights where they are known from memory alone."""
        if self._best is None:
            return
        (name, best), self._best = self._best, None
        if name == _name(len(self._rows)):
            return
        now = [weight.numpy().copy() for weight in self._paced]
        _assign(self._paced, best)
        self._write_model(model, name)
        _assign(self._paced, now)

    def _kept_file(self):
        best = best_epoch(self._rows, self.monitor) if self.keep == "best" else None
        if best is None:
            return None
        name = _name(best + 1)
        if self.writes and not (self._place / name).is_file():
            raise DataError(f"{self._place / name}: the weights of the best epoch have gone")
        return name

    def _tidy(self, model):
        """Remove what `state.json` has no more use for, and what was being written when a run was killed."""
        needed = {model, self._kept_file()}
        with output_errors(self._place):
            for pattern in _OURS:
                for path in self._place.glob(pattern):
                    if path.name not in needed:
                        path.unlink(missing_ok=True)


def _assign(weights, values):
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)


def _name(epoch):
    return f"epoch-{epoch:04d}.keras"


def _check_length(rows, stages, epochs):
    counts = [stage["epochs"] for stage in stages]
    if sum(counts) != len(rows) or not rows:
        raise ValueError("its stages do not make up its history")
    longest = list(epochs) + [0] * (len(counts) - len(epochs))
    if any(count > most for count, most in zip(counts, longest, strict=False)):
        raise ValueError(f"it has {len(rows)} epochs of {sum(epochs)}, or other stages")


def _check_network(path, model):
    containers.check(path)
    with zipfile.ZipFile(path) as archive:
        stored = json.loads(archive.read("config.json"))
    if _outline(stored["config"]) != _outline(json.loads(json.dumps(model.get_config(), default=str))):
        raise ValueError("its model is another network's")


def _outline(config):
    layers = config.get("layers", ())
    return [(layer["class_name"], layer["config"].get("batch_shape")) for layer in layers]


def _load(model, path):
    with warnings.catch_warnings():
        # Keras only warns where the optimiser's state does not fit, and trains on without it.
        warnings.filterwarnings("error", message="Skipping variable loading")
        model.load_weights(path)


def _load_without_optimizer(model, path):
    # The file has its epoch's optimiser too, which may be of another kind than the model's. Set past Keras, which
    # would track an optimiser that is set otherwise than by `compile` as a part of the model.
    containers.check(path)
    optimizer = model.optimizer
    object.__setattr__(model, "optimizer", None)
    try:
        model.load_weights(path)
    finally:
        object.__setattr__(model, "optimizer", optimizer)
