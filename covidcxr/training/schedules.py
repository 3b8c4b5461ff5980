"""When a stage ends early and how its learning rate moves, as data that is computed from the history alone.

Nothing here keeps a state: what Keras' callbacks remember between epochs is worked out anew from the stage's
finished epochs, so that a resumed run decides as an uninterrupted one.
"""

import math
from dataclasses import dataclass

import numpy as np

from covidcxr.errors import OptionError

MONITORS = ("val_loss", "val_accuracy", "loss", "accuracy")


def value_of(row, monitor):
    """Return what a finished epoch scored.

    Parameters
    ----------
    row : mapping of str to float
        A row of the history.
    monitor : str
        One of :data:`MONITORS`. Where nothing was validated, ``val_loss`` means ``loss`` and ``val_accuracy``
        ``accuracy``.

    Returns
    -------
    float
    """
    return row[monitor] if monitor in row else row[monitor.removeprefix("val_")]


def improves(value, best, monitor, min_delta=0.0):
    """Tell whether a value is better than the best so far, as Keras' callbacks do: in float32, ties are not."""
    if best is None:
        return True
    sign = 1 if monitor.endswith("accuracy") else -1
    return bool(sign * np.float32(value - sign * min_delta) > sign * np.float32(best))


def best_epoch(rows, monitor):
    """Return the place of the best row, the first of equals; None where there is none or all are NaN.

    It is the one whose weights `keras.callbacks.ModelCheckpoint` with `save_best_only` leaves behind, except
    that a NaN never counts: Keras takes a first one for the best and keeps it for ever.
    """
    found, best = None, None
    for place, row in enumerate(rows):
        value = value_of(row, monitor)
        if not math.isnan(value) and improves(value, best, monitor):
            found, best = place, value
    return found


def check_monitor(monitor):
    """Raise an OptionError if `monitor` is not one of :data:`MONITORS`."""
    if monitor not in MONITORS:
        raise OptionError(f"cannot monitor '{monitor}'; choose one of {', '.join(MONITORS)}")


@dataclass(frozen=True)
class EarlyStopping:
    """Ends a stage when it no longer gets better, as `keras.callbacks.EarlyStopping` does.

    The weights stay those of the last epoch (see `keep` of :func:`covidcxr.training.stages.run_stages`).

    Attributes
    ----------
    monitor : str
        One of :data:`MONITORS`, see :func:`value_of`.
    patience : int
        Epochs without improvement after which the stage ends.
    min_delta : float
        By how much a better value must be better.

    Raises
    ------
    OptionError
        If a value has no meaning.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self):
        check_monitor(self.monitor)
        _check_waiting(self)

    def stops(self, rows):
        """Tell whether the stage ends after the last of its finished epochs."""
        best, wait = None, 0
        for row in rows:
            value = value_of(row, self.monitor)
            wait += 1
            if improves(value, best, self.monitor, self.min_delta):
                best, wait = value, 0
            elif wait >= self.patience:
                return True
        return False


class Schedule:
    """How a stage's learning rate moves. Epochs of the stage count from 0."""

    def before(self, epoch, epochs, first):
        """Return the rate of an epoch.

        Parameters
        ----------
        epoch, epochs : int
            Which of how many.
        first : float
            The rate that the stage begins with.

        Returns
        -------
        float or None
            None leaves the rate as it is.
        """

    def after(self, rows):
        """Return the rate that follows the stage's finished epochs; None leaves it as it is.

        Parameters
        ----------
        rows : list of dict
            Of the history, with the learning rate that each epoch had.
        """


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplies the rate by `factor` every so many epochs.

    Attributes
    ----------
    every : int
    factor : float
        Above 0; below 1 to decay.
    """

    every: int
    factor: float

    def __post_init__(self):
        _check(self.every >= 1, f"a learning rate that falls every {self.every} epochs: give 1 or more")
        _check_positive(self.factor)

    def before(self, epoch, epochs, first):
        """Return ``first * factor ** (epoch // every)``."""
        return first * self.factor ** (epoch // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Multiplies the rate by `factor` after every epoch.

    Attributes
    ----------
    factor : float
        Above 0; below 1 to decay.
    """

    factor: float

    def __post_init__(self):
        _check_positive(self.factor)

    def before(self, epoch, epochs, first):
        """Return ``first * factor ** epoch``."""
        return first * self.factor**epoch


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Takes the rate along half a cosine from its first value to `to`, which the epoch after the last would have.

    It is `keras.optimizers.schedules.CosineDecay` with epochs for steps and ``alpha = to / first``.

    Attributes
    ----------
    to : float
        A rate, 0 or above.
    """

    to: float = 0.0

    def __post_init__(self):
        _check(self.to >= 0, f"a learning rate that falls to {self.to}: give 0 or more")

    def before(self, epoch, epochs, first):
        """Return the rate of an epoch."""
        share = (1 + math.cos(math.pi * epoch / epochs)) / 2
        # Weighted so that the first epoch has exactly `first`, which a resumed run reads from the history.
        return first * share + self.to * (1 - share)


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` when the stage no longer gets better.

    It is `keras.callbacks.ReduceLROnPlateau` with no cooldown.

    Attributes
    ----------
    monitor : str
        One of :data:`MONITORS`, see :func:`value_of`.
    factor : float
        Between 0 and 1.
    patience : int
        Epochs without improvement after which the rate falls.
    min_rate : float
        It falls no lower.
    min_delta : float
        By how much a better value must be better.

    Raises
    ------
    OptionError
        If a value has no meaning.
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    min_rate: float = 0.0
    min_delta: float = 1e-4

    def __post_init__(self):
        check_monitor(self.monitor)
        _check_waiting(self)
        _check(0 < self.factor < 1, f"a learning rate times {self.factor}: give a factor between 0 and 1")
        _check(self.min_rate >= 0, f"a lowest learning rate of {self.min_rate}: give 0 or more")

    def after(self, rows):
        """Return the reduced rate where the last epoch was one too many, else None."""
        best, wait, reduced = None, 0, False
        for row in rows:
            value, reduced = value_of(row, self.monitor), False
            if improves(value, best, self.monitor, self.min_delta):
                best, wait = value, 0
                continue
            wait += 1
            if wait >= self.patience and row["learning_rate"] > np.float32(self.min_rate):
                wait, reduced = 0, True
        return max(rows[-1]["learning_rate"] * self.factor, self.min_rate) if reduced else None


def _check(holds, message):
    if not holds:
        raise OptionError(message)


def _check_positive(factor):
    _check(factor > 0, f"a learning rate times {factor}: give a factor above 0")


def _check_waiting(each):
    _check(each.patience >= 0, f"a patience of {each.patience} epochs: give 0 or more")
    _check(each.min_delta >= 0, f"an improvement by {each.min_delta}: give 0 or more")
