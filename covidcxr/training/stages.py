"""The schedule engine: runs a paper's stages on one model, and can go on where it was stopped."""

from collections.abc import Callable
from dataclasses import dataclass

from covidcxr.errors import OptionError
from covidcxr.training.checkpoints import Checkpoints
from covidcxr.training.optimizers import OptimizerSpec
from covidcxr.training.schedules import EarlyStopping, Schedule

TRAINABLE = ("as built", "all")


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs on the same images, with one optimiser and one choice of what trains.

    Attributes
    ----------
    name : str
        Shown in progress, history and figures.
    epochs : int
        At most, where the stage may stop early.
    optimizer : OptimizerSpec or None
        Built anew at the start of the stage, as a second `compile` does in Keras. None goes on: nothing is
        compiled, and the optimiser keeps its state and its learning rate, as in a second `fit`.
    trainable : str
        ``"as built"`` leaves the network's frozen layers frozen; ``"all"`` trains every layer, from this stage
        to the end.
    loss : str
        A Keras loss. For a two-class softmax, binary and categorical cross-entropy of one-hot targets are
        the same number (both outputs carry ``-log p`` of the true class), so papers naming either agree.
        A stage that goes on has that of the stage before.
    data : str
        What it trains on, as `Feeds.training` knows it.
    early_stopping : EarlyStopping or None
        Ends the stage early, not the run.
    schedule : Schedule or None
        How the learning rate moves within the stage.
    """

    name: str
    epochs: int
    optimizer: OptimizerSpec | None
    trainable: str = "as built"
    loss: str = "categorical_crossentropy"
    data: str = "train"
    early_stopping: EarlyStopping | None = None
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Feeds:
    """Where batches come from.

    Attributes
    ----------
    training : callable
        ``training(first_epoch, data) -> covidcxr.data.batches.Batches``: an endless stream of epochs, of which
        `first_epoch` is the first, counted from 0 over the whole run; `data` is the stage's. With `draws` in
        :func:`run_stages` it has that argument too.
    validation : covidcxr.data.batches.Batches or None
        One pass, the same at every epoch.
    """

    training: Callable
    validation: object | None


def as_built(stages):
    """Return how many stages, from the first, leave frozen what is built so."""
    return next((number for number, stage in enumerate(stages) if stage.trainable == "all"), len(stages))


def check_stages(stages):
    """See that stages can follow one another.

    Parameters
    ----------
    stages : sequence of Stage

    Raises
    ------
    OptionError
        If one has nothing to go on with, or is at odds with itself or with what it goes on with.
    """
    before = None
    for stage in stages:
        if stage.epochs < 1:
            raise OptionError(f"stage '{stage.name}' has {stage.epochs} epochs: give 1 or more")
        if stage.trainable not in TRAINABLE:
            raise OptionError(f"stage '{stage.name}' trains '{stage.trainable}': choose as built or all")
        if stage.optimizer is None:
            _check_going_on(stage, before)
        else:
            before = stage
        if stage.schedule is not None and before.optimizer.decay:
            raise OptionError(
                f"stage '{stage.name}' has a schedule, and its optimiser's learning rate decays by itself; "
                "leave one of the two out"
            )


def _check_going_on(stage, before):
    if before is None:
        raise OptionError(f"stage '{stage.name}' comes first and has no optimiser to go on with; give it one")
    if stage.loss != before.loss:
        raise OptionError(
            f"stage '{stage.name}' goes on with the optimiser of '{before.name}', so its loss must be "
            f"{before.loss}, not {stage.loss}"
        )
    if stage.trainable == "all" and before.trainable != "all":
        raise OptionError(
            f"stage '{stage.name}' goes on with the optimiser of '{before.name}', which trains no layer that is "
            "frozen there; give it an optimiser of its own to train all"
        )


def run_stages(
    model,
    stages,
    feeds,
    folder,
    *,
    seed,
    keep="last",
    monitor="val_loss",
    resume=False,
    callbacks=(),
    placement=None,
    frozen=None,
    draws=None,
):
    """Train a model through its stages, keeping a checkpoint of every epoch's end.

    Parameters
    ----------
    model : keras.Model
        Built in the placement's scope.
    stages : sequence of Stage
    feeds : Feeds
    folder : path-like
        Run folder: `history.csv`, `logs/` and `checkpoint/` are written there. Several workers share it.
    seed : int
        Dropout noise of epoch `e` is drawn from (seed, e) alone, so that a resumed run repeats it.
    keep : str
        ``"last"``: the final epoch's weights; ``"best"``: those of the best epoch of all stages.
    monitor : str
        What is best: the lowest ``"val_loss"`` or ``"loss"``, the highest ``"val_accuracy"`` or ``"accuracy"``;
        of equals the first. Without validation the former of each pair means the latter.
    resume : bool
        Go on after the last finished epoch found in `checkpoint/`.
    callbacks : sequence of keras.callbacks.Callback
        Further callbacks, such as a progress display.
    placement : covidcxr.training.strategy.Placement, optional
        Where to train; default: one device.
    frozen : covidcxr.training.frozen.FrozenFeeds, optional
        Trains on the features of the frozen prefix, as long as the stages leave it frozen.
    draws : int, optional
        Random transforms of an image as long as the stages leave the prefix frozen, if not another one every
        epoch; `frozen` sees to its own.

    Returns
    -------
    model : keras.Model
        The one given, trained. In a worker that is not the chief it has the last epoch's weights.
    history : pandas.DataFrame
        One row an epoch: epoch (from 1), stage, loss, accuracy, val_loss, val_accuracy, learning_rate (of the
        epoch; at its end where the optimiser moves it every step), seconds.

    Raises
    ------
    OptionError
        If the stages cannot follow one another (see :func:`check_stages`), or an option has no meaning.
    DataError
        If the checkpoint to resume from cannot be used.
    """
    from covidcxr.training.strategy import place

    check_stages(stages)
    placement = placement or place("single")
    checkpoints = Checkpoints(folder, keep, monitor, writes=placement.is_chief)
    run = _Run(model, tuple(stages), feeds, seed, placement, checkpoints, tuple(callbacks), frozen, draws)
    if resume and checkpoints.exist():
        run.resume()
    for number, stage in enumerate(stages):
        if not checkpoints.has_ended(number, stage.epochs):
            _run_stage(run, number)
    with placement.scope():
        checkpoints.load_kept_weights(model)
    return model, checkpoints.history()


@dataclass(frozen=True)
class _Run:
    model: object
    stages: tuple
    feeds: Feeds
    seed: int
    placement: object
    checkpoints: Checkpoints
    callbacks: tuple
    frozen: object | None
    draws: int | None

    def resume(self):
        """Bring model and logs back to the last finished epoch."""
        from covidcxr.training.callbacks import complete_logs

        with self.placement.scope():
            self.checkpoints.restore(self.model, [stage.epochs for stage in self.stages], self.prepare)
        complete_logs(self.checkpoints)

    def prepare(self, number):
        """Compile the model as it is compiled in a stage, with an optimiser that has its variables."""
        from covidcxr.models.freezing import unfreeze_all

        begun = self.stages[: number + 1]
        if not self.leaves_frozen(number):
            unfreeze_all(self.model)
        compiled = [stage for stage in begun if stage.optimizer is not None][-1]
        self.model.compile(optimizer=compiled.optimizer.build(), loss=compiled.loss, metrics=["accuracy"])
        self.model.optimizer.build(self.model.trainable_variables)

    def leaves_frozen(self, number):
        """Tell whether what is built frozen is still so in a stage."""
        return as_built(self.stages[: number + 1]) == number + 1


def _run_stage(run, number):
    """Train one stage, or what is left of it."""
    from covidcxr.training.callbacks import stage_callbacks

    stage, finished = run.stages[number], len(run.checkpoints.finished)
    begun = len(run.checkpoints.rows(number))
    if not begun and stage.optimizer is not None:
        with run.placement.scope():
            run.prepare(number)
    epochs = {"initial_epoch": finished, "epochs": finished - begun + stage.epochs}
    epochs["callbacks"] = [*stage_callbacks(stage, number, run.checkpoints, run.seed), *run.callbacks]
    if run.frozen is not None and run.leaves_frozen(number):
        _fit_suffix(run, stage, epochs)
    else:
        _fit_network(run, stage, epochs, run.draws if run.leaves_frozen(number) else None)


def _fit_suffix(run, stage, epochs):
    from covidcxr.training import frozen

    run.checkpoints.keep_pace(run.frozen.suffix.weights)
    try:
        with run.placement.scope():
            frozen.fit(run.model, run.frozen, stage.data, **epochs)
    finally:
        run.checkpoints.keep_pace(None)


def _fit_network(run, stage, epochs, draws):
    from covidcxr.data.batches import clear_errors

    chosen = {"draws": draws} if draws else {}
    training = run.feeds.training(epochs["initial_epoch"], stage.data, **chosen)
    validation = run.feeds.validation
    with clear_errors(training, *([validation] if validation else [])):
        run.placement.fit(run.model, training, validation, steps_per_epoch=training.steps, **epochs)
