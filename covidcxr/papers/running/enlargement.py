"""Generated images beside real ones: a generative network a class, trained in the run folder, and where they go."""

import hashlib
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr import json_files
from covidcxr.atomic import make_folder, output_errors, write_csv, write_json
from covidcxr.data.records import Records, concat
from covidcxr.errors import OptionError, OutputError
from covidcxr.papers.running.folder import GENERATED

SOURCE = "generated"
PARAMETERS = "parameters.json"
INPUTS = "inputs.csv"
MANIFEST = "manifest.json"
NETWORKS = "gan"
# To be raised when the same parameters no longer give the same pictures.
_VERSION = 2
_SAMPLING = 1
_PLACE = "place"


@dataclass(frozen=True)
class DCGANEnlargement:
    """A DCGAN for each class makes the set so many times larger.

    Attributes
    ----------
    times : int
        Images afterwards for each one before: all but one of them are generated.
    size, channels, latent, width : int
        See :class:`covidcxr.models.dcgan.DCGAN`.
    epochs, batch_size : int
        A batch is at most all images of a class.
    checkpoint_every, sheet_every : int
        Epochs from one checkpoint, or page of samples, to the next.
    """

    times: int = 10
    size: int = 64
    channels: int = 3
    latent: int = 100
    width: int = 64
    epochs: int = 250
    batch_size: int = 32
    checkpoint_every: int = 10
    sheet_every: int = 50

    def __call__(self, records, plan, folder, say=lambda text: None):
        """Generate ``(times - 1) * n`` images of each class that has `n`, or reuse those made before.

        Images and networks go to ``generated/<case>-trial<t>/`` below `folder`: one folder a label, `gan/` with
        the networks, their histories and pages of samples, `inputs.csv` with what they learnt from, and last of
        all `manifest.json`. Models of one trial share them. What a killed run left is completed; what was made
        from other images or settings is made anew.

        Parameters
        ----------
        records : Records
            What the networks learn from: all of it.
        plan : Plan
            Its seed, and case, fold and trial for the folder's name.
        folder : path-like
            Of the run.
        say : callable, optional
            ``say(text)`` as it goes.

        Returns
        -------
        Records
            The generated images alone: source ``generated``, and a patient of its own for each, so that no
            split takes two for one.

        Raises
        ------
        OutputError
            If the folder holds something else, or cannot be written.
        """
        place = Path(folder).absolute() / GENERATED / set_name(plan)
        parameters = self._parameters(records, plan)
        _claim(place, parameters, say)
        counts = {label: (self.times - 1) * n for label, n in parameters["images"].items()}
        if not _complete(place, counts):
            write_csv(place / INPUTS, records.table[["path", "label", "patient_id"]])
            digests = {label: self._make(records, plan, place, label, counts[label], say) for label in counts}
            write_json(place / MANIFEST, {"images": counts, "sha256": digests})
        return _listed(place, counts)

    def _parameters(self, records, plan):
        numbers = records.table["label"].value_counts()
        return {
            "version": _VERSION,
            **asdict(self),
            "seed": plan.seed,
            "images": {label: int(numbers[label]) for label in sorted(numbers.index)},
            "inputs_sha256": _digest_of_inputs(records),
        }

    def _make(self, records, plan, place, label, count, say):
        """Train the class's network and write its images; return the digest of their pixels."""
        from covidcxr.models.dcgan import sheets, training

        files = records.where(records.table["label"] == label).files()
        seed = _seed(plan, label)
        say(f"training a DCGAN on {len(files)} images of {label}: {self.epochs} epochs")
        gan = training.train_gan(
            files,
            place / NETWORKS / label,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            every=self.checkpoint_every,
            sheets_every=self.sheet_every,
            callbacks=[_Teller(label, self.epochs, say).callback()],
            size=self.size,
            channels=self.channels,
            latent=self.latent,
            width=self.width,
        )
        say(f"generating {count} images of {label}")
        images = gan.generate(count, seed=seed + _SAMPLING)
        make_folder(place / label)
        for name, image in zip(_names(label, count), images, strict=True):
            sheets.write_grey(place / name, image)
        return hashlib.sha256(images.tobytes()).hexdigest()


@dataclass(frozen=True)
class _Teller:
    """Says ten times during a training how far it is."""

    label: str
    epochs: int
    say: object

    def callback(self):
        """Return it as a Keras callback."""
        import keras

        return keras.callbacks.LambdaCallback(on_epoch_end=self._tell)

    def _tell(self, epoch, logs):
        if (epoch + 1) % max(1, self.epochs // 10) == 0:
            losses = ", ".join(
                f"{name} loss {logs[f'{name}_loss']:.2f}" for name in ("discriminator", "generator")
            )
            self.say(f"{self.label}: epoch {epoch + 1} of {self.epochs}, {losses}")


def set_name(plan):
    """Name the folder of one set of generated images, such as ``draw-trial2``: networks and arms share it."""
    numbers = (("fold", plan.unit.fold), ("trial", plan.unit.trial))
    return "-".join([plan.unit.case, *(f"{word}{number}" for word, number in numbers if number)])


def enlarged(records, plan, folder, say=lambda text: None):
    """Split a plan's images, with generated ones among them where its arm wants them.

    Parameters
    ----------
    records : Records
        The real images, with the column `group` where the protocol keeps patients together.
    plan : Plan
        ``plan.protocol.enlarge`` tells where generated images go: ``"everything"`` generates from all images and
        splits the whole afterwards; ``"training"`` splits first, generates from the training images, and trains
        on what is generated. The real images are then split as in the arm without generated ones.
    folder : path-like
        Of the run.
    say : callable, optional

    Returns
    -------
    Records
        With the columns of the protocol's arrangement.

    Raises
    ------
    OptionError
        If the protocol names another place.
    OutputError
        As :class:`DCGANEnlargement`.
    """
    if not plan.arm.generated:
        return plan.protocol.arrangement(records, plan)
    if plan.protocol.enlarge == "everything":
        made = plan.recipe.enlargement(records, plan, folder, say)
        return _noted(_arranged_together(records, made, plan))
    if plan.protocol.enlarge == "training":
        return with_generated(plan.protocol.arrangement(records, plan), plan, folder, say)
    raise OptionError(
        f"enlarge {plan.protocol.enlarge!r}: a protocol generates from 'everything' or from 'training'"
    )


def with_generated(records, plan, folder, say=lambda text: None):
    """Add images generated from the training images of a split, and train on them.

    Parameters
    ----------
    records : Records
        With the column `split`.
    plan, folder, say
        As for :func:`enlarged`.

    Returns
    -------
    Records
        The real images as they were; the generated ones have the split `train`.
    """
    training = records.where(records.table["split"] == "train")
    made = plan.recipe.enlargement(training, plan, folder, say)
    columns = {"split": "train"} | ({"monitored": False} if "monitored" in records.table else {})
    return _noted(_joined(records, made.with_columns(**columns)))


def _joined(real, made):
    """Join both; a generated image is a patient, and a group, of its own."""
    if "group" in real.table:
        made = made.with_columns(group=made.table["patient_id"])
    both = concat([real, made])
    gaps = {
        name: column.fillna("")
        for name, column in both.table.items()
        if column.isna().any() and not pd.api.types.is_numeric_dtype(column)
    }
    return both.with_columns(**gaps) if gaps else both


def _arranged_together(real, made, plan):
    """Split real and generated images as one set."""
    both = _joined(real, made)
    # Splits are drawn in the order of paths: these do not tell where the folders lie, so moving one changes nothing.
    names = [*("real/" + real.table["path"]), *("generated/" + made.table["path"])]
    arranged = plan.protocol.arrangement(both.with_columns(path=names, **{_PLACE: both.table["path"]}), plan)
    table = arranged.table.assign(path=arranged.table[_PLACE]).drop(columns=_PLACE)
    return replace(arranged, table=table)


def _noted(records):
    """Say how many images of each part no patient ever had taken."""
    table = records.table
    parts = [
        f"{int((part['source'] == SOURCE).sum())} of {len(part)} {split}"
        for split, part in table.groupby("split", sort=True)
    ]
    return replace(records, notes=(*records.notes, f"generated images: {', '.join(parts)} images"))


def _seed(plan, label):
    """Return a seed of this trial and label alone, whatever other labels there are."""
    letters = list(label.encode())
    return int(np.random.SeedSequence([plan.seed, *letters]).generate_state(1)[0] >> 1)


def _digest_of_inputs(records):
    """Digest which files are learnt from: their names below the data folder, labels and sizes."""
    order = np.argsort(records.table["path"].to_numpy(dtype=str), kind="stable")
    files, table = records.files(), records.table
    lines = [
        f"{table['path'].iloc[row]}\t{table['label'].iloc[row]}\t{os.path.getsize(files[row])}"
        for row in order
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _claim(place, parameters, say):
    """Record what is to be made here; clear away what was made here otherwise."""
    place, file = make_folder(place), place / PARAMETERS
    if file.is_file() and _read(file) == parameters:
        return
    if file.is_file():
        say(f"{place}: holds images generated otherwise; making them anew")
        _clear(place)
    elif any(not entry.name.startswith(".") for entry in place.iterdir()):
        raise OutputError(f"{place}: not empty and no generated images; choose another folder")
    write_json(file, parameters)


def _clear(place):
    """Remove all but the parameters, the manifest first: a run killed here leaves nothing that passes for whole."""
    with output_errors(place):
        (place / MANIFEST).unlink(missing_ok=True)
        for entry in place.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != PARAMETERS:
                entry.unlink()


def _complete(place, counts):
    manifest = _read(place / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("images") != counts:
        return False
    return all((place / name).is_file() for label, count in counts.items() for name in _names(label, count))


def _listed(place, counts):
    rows = [
        {
            "path": name,
            "label": label,
            "patient_id": f"{SOURCE}-{label}-{number}",
            "source": SOURCE,
        }
        for label, count in counts.items()
        for number, name in enumerate(_names(label, count), start=1)
    ]
    return Records.from_rows(rows, place)


def _names(label, count):
    return [f"{label}/{number:05d}.png" for number in range(1, count + 1)]


def _read(path):
    try:
        return json_files.read(path)
    except (OSError, ValueError):
        return None
