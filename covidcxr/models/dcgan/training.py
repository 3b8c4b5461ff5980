"""A DCGAN trained in a folder of its own, so that a training that was stopped goes on there."""

import contextlib
import json
from pathlib import Path

import keras
import pandas as pd

from covidcxr.atomic import make_folder, whole_file, write_csv, write_json
from covidcxr.errors import DataError
from covidcxr.models import containers
from covidcxr.models.dcgan.model import DCGAN
from covidcxr.models.dcgan.pictures import gan_batches
from covidcxr.models.dcgan.sheets import SampleSheets

STATE = "state.json"
HISTORY = "history.csv"
SAMPLES = "samples"


def train_gan(
    files, folder, *, epochs, batch_size, seed, every=10, sheets_every=50, callbacks=(), **settings
):
    """Train a DCGAN, or go on after the last epoch that the folder holds.

    The order of images depends on (seed, epoch) and the noise's state is part of a checkpoint: on one machine a
    training that was killed at any moment ends, bit for bit, with the weights of one that was not (on a GPU
    only where its operations are deterministic). It is done in float32 whatever Keras' policy is, so that the
    images that a run trains on do not hang on the precision of its networks.

    Parameters
    ----------
    files : sequence of path-like
        Radiographs.
    folder : path-like
        For ``epoch-0010.keras`` (the newest only), `state.json`, `history.csv` (epoch, discriminator_loss,
        generator_loss, real_score, fake_score) and pages of samples. What it holds must come from the same
        arguments.
    epochs, batch_size : int
        A batch is at most all images.
    seed : int
        0 to 2**31 - 1: of weights, noise and order.
    every, sheets_every : int
        Epochs from one checkpoint, or page of samples, to the next; the last epoch has a checkpoint too.
    callbacks : sequence of keras.callbacks.Callback
    **settings
        `size`, `channels`, `latent`, `width`, `ema` of :class:`DCGAN`.

    Returns
    -------
    DCGAN

    Raises
    ------
    DataError
        If a checkpoint cannot be read.
    ImageError, OptionError
        As :func:`gan_batches`.
    """
    folder = make_folder(folder)
    with _full_precision():
        gan, rows = _last_checkpoint(folder) or (_fresh(seed, settings), [])
        if len(rows) >= epochs:
            return gan
        batches = gan_batches(
            files,
            gan.size,
            min(batch_size, len(files)),
            seed,
            channels=gan.channels,
            first_epoch=len(rows),
        )
        samples = SampleSheets(folder / SAMPLES, every=min(sheets_every, epochs))
        gan.fit(
            batches.dataset,
            steps_per_epoch=batches.steps,
            initial_epoch=len(rows),
            epochs=epochs,
            callbacks=[samples, GanCheckpoints(folder, epochs, every, rows), *callbacks],
            # The stream is shuffled already; Keras would warn that it cannot.
            shuffle=False,
            verbose=0,
        )
    return gan


class GanCheckpoints(keras.callbacks.Callback):
    """Write the whole model every few epochs; `state.json` always names a whole file.

    Parameters
    ----------
    folder : pathlib.Path
    epochs : int
        Of the whole training: the last one is written in any case.
    every : int
    rows : sequence of dict
        History of the epochs that are done already.
    """

    def __init__(self, folder, epochs, every, rows=()):
        super().__init__()
        self.folder = folder
        self.epochs = epochs
        self.every = every
        self.rows = list(rows)

    def on_epoch_end(self, epoch, logs=None):
        """Note the epoch's measures, and write a checkpoint where one is due."""
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        if len(self.rows) % self.every and len(self.rows) != self.epochs:
            return
        name = f"epoch-{len(self.rows):04d}.keras"
        with whole_file(self.folder / name) as temporary:
            self.model.save(temporary)
        write_csv(self.folder / HISTORY, pd.DataFrame(self.rows))
        write_json(self.folder / STATE, {"model": name, "history": self.rows})
        # Also what a killed run was writing: such names begin with a dot.
        for old in self.folder.glob("*epoch-*.keras"):
            if old.name != name:
                old.unlink(missing_ok=True)


def _fresh(seed, settings):
    keras.utils.set_random_seed(seed)
    gan = DCGAN(seed=seed, **settings)
    gan.compile()
    return gan


def _last_checkpoint(folder):
    """Return the model and history of the last epoch that was written, or None."""
    if not (folder / STATE).is_file():
        return None
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        path = folder / Path(state["model"]).name
        containers.check(path)
        return keras.saving.load_model(path), state["history"]
    except Exception as error:
        # A damaged file makes Keras raise almost anything.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: cannot go on ({reason}); remove this folder to train anew") from error


@contextlib.contextmanager
def _full_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
