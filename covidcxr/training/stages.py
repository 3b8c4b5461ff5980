"""The schedule engine: runs a paper's stages on one model, and can go on where it was stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covidcxr.training.checkpoints import Checkpoints
from covidcxr.training.optimizers import OptimizerSpec


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with one optimiser and one choice of what trains.

    Attributes
    ----------
    name : str
        Shown in progress, history and figures.
    epochs : int
    optimizer : OptimizerSpec
        Built anew at the start of the stage, as a second `compile` does in Keras.
    trainable : str
        ``"as built"`` leaves the network's frozen layers frozen; ``"all"`` trains every layer.
    loss : str
        A Keras loss. For a two-class softmax, binary and categorical cross-entropy of one-hot targets are
        the same number (both outputs carry ``-log p`` of the true class), so papers naming either agree.
    """

    name: str
    epochs: int
    optimizer: OptimizerSpec
    trainable: str = "as built"
    loss: str = "categorical_crossentropy"


@dataclass(frozen=True)
class Feeds:
    """Where batches come from.

    Attributes
    ----------
    training : callable
        ``training(first_epoch) -> covidcxr.data.batches.Batches``: an endless stream of epochs.
    validation : covidcxr.data.batches.Batches or None
        One pass, the same at every epoch.
    """

    training: Callable
    validation: object | None


def run_stages(model, stages, feeds, folder, *, seed, keep="last", resume=False, callbacks=()):
    """Train a model through its stages, keeping a checkpoint of every epoch's end.

    Parameters
    ----------
    model : keras.Model
    stages : sequence of Stage
    feeds : Feeds
    folder : path-like
        Run folder: `history.csv`, `logs/` and `checkpoint/` are written there.
    seed : int
        Dropout noise of epoch `e` is drawn from (seed, e) alone, so that a resumed run repeats it.
    keep : str
        ``"last"``: the final epoch's weights; ``"best"``: those of the lowest validation loss.
    resume : bool
        Go on after the last finished epoch found in `checkpoint/`.
    callbacks : sequence of keras.callbacks.Callback
        Further callbacks, such as a progress display.

    Returns
    -------
    model : keras.Model
        The trained model (another object than the one given where the run was resumed).
    history : pandas.DataFrame
        One row an epoch: epoch (from 1), stage, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds.
    """
    checkpoints = Checkpoints(Path(folder), keep=keep)
    done = 0
    if resume and checkpoints.exist():
        model, done = checkpoints.restore(model, sum(stage.epochs for stage in stages))
    first = 0
    for stage in stages:
        last = first + stage.epochs
        if done < last:
            _run_stage(model, stage, feeds, checkpoints, seed, max(first, done), first, callbacks)
        first = last
    checkpoints.load_kept_weights(model)
    return model, checkpoints.history()


def _run_stage(model, stage, feeds, checkpoints, seed, epoch, first, callbacks):
    from covidcxr.data.batches import clear_errors
    from covidcxr.models.freezing import unfreeze_all
    from covidcxr.training.callbacks import stage_callbacks

    if epoch == first:
        if stage.trainable == "all":
            unfreeze_all(model)
        model.compile(optimizer=stage.optimizer.build(), loss=stage.loss, metrics=["accuracy"])
    training = feeds.training(epoch)
    validation = [feeds.validation] if feeds.validation else []
    with clear_errors(training, *validation):
        model.fit(
            training.dataset,
            steps_per_epoch=training.steps,
            initial_epoch=epoch,
            epochs=first + stage.epochs,
            validation_data=validation[0].dataset if validation else None,
            callbacks=[*stage_callbacks(stage.name, checkpoints, seed), *callbacks],
            # The stream is shuffled already; Keras would warn that it cannot.
            shuffle=False,
            verbose=0,
        )
