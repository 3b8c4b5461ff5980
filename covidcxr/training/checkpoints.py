"""What a run needs to go on after being stopped: the model with its optimiser, and where it stood."""

import json
import math
from pathlib import Path

from covidcxr.atomic import make_folder, whole_file, write_csv, write_json
from covidcxr.errors import DataError

HISTORY = "history.csv"
STATE = "state.json"


class Checkpoints:
    """The checkpoint/ and history.csv of one run folder.

    An epoch's model is written under its own name, then `state.json` is renamed to point at it, then the
    older one goes: whenever the run is killed, `state.json` names a whole file.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder.
    keep : str
        ``"last"`` or ``"best"`` (lowest validation loss): which epoch's weights the run ends with.
    """

    def __init__(self, folder, keep="last"):
        self.folder = Path(folder)
        self.keep = keep
        self._place = make_folder(self.folder / "checkpoint")
        self._rows = []
        self._best_loss = math.inf

    def exist(self):
        """Return whether there is an epoch to resume after."""
        return (self._place / STATE).is_file()

    def restore(self, network, epochs):
        """Load the last finished epoch.

        Parameters
        ----------
        network : keras.Model
            As the run is to train it.
        epochs : int
            Of all stages.

        Returns
        -------
        model : keras.Model
            Compiled, with its optimiser's state.
        epochs : int
            How many epochs are done.

        Raises
        ------
        DataError
            If the checkpoint cannot be read, or is another network's or a longer run's.
        """
        import keras

        from covidcxr.training import legacy_optimizers  # noqa: F401  (registers them with Keras)

        try:
            state = json.loads((self._place / STATE).read_text(encoding="utf-8"))
            model = keras.saving.load_model(self._place / Path(state["model"]).name)
            rows = state["history"]
            self._best_loss = min((_loss(row) for row in rows), default=math.inf)
            _check(model, network, len(rows), epochs)
        except Exception as error:
            # A damaged file makes Keras raise almost anything.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self._place}: cannot resume ({reason}); start again with --overwrite"
            ) from error
        self._rows = rows
        return model, len(rows)

    def save(self, model, row):
        """Record a finished epoch: its history row, its model and, where it is the best so far, its weights."""
        self._rows.append(row)
        write_csv(self.folder / HISTORY, self.history())
        previous = sorted(self._place.glob("epoch-*.keras"))
        name = f"epoch-{len(self._rows):04d}.keras"
        with whole_file(self._place / name) as temporary:
            model.save(temporary)
        if self.keep == "best" and _loss(row) < self._best_loss:
            self._best_loss = _loss(row)
            with whole_file(self._place / "best.weights.h5") as temporary:
                _save_weights(model, temporary)
        write_json(self._place / STATE, {"model": name, "history": self._rows})
        for old in previous:
            if old.name != name:
                old.unlink(missing_ok=True)

    def load_kept_weights(self, model):
        """Give the model the weights that the run ends with."""
        best = self._place / "best.weights.h5"
        if self.keep == "best" and best.is_file():
            model.load_weights(best)

    def history(self):
        """Return the finished epochs as a table."""
        import pandas as pd

        return pd.DataFrame(self._rows)


def _check(model, network, done, epochs):
    shapes = [sorted(tuple(weight.shape) for weight in each.weights) for each in (model, network)]
    if model.input_shape != network.input_shape or shapes[0] != shapes[1]:
        raise ValueError("its model is another network's")
    if done > epochs:
        raise ValueError(f"it has {done} epochs of {epochs}")


def _loss(row):
    return row.get("val_loss", row["loss"])


def _save_weights(model, path):
    # Keras wants the whole ending `.weights.h5`, which the temporary name has not.
    full = path.with_name(path.name + ".weights.h5")
    model.save_weights(full)
    full.replace(path)
