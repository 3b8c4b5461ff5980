"""What a plan's frozen layers say of its images: which transforms, which bank, and in what order it is read."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from covidcxr.errors import ModelError
from covidcxr.papers.reporting import show
from covidcxr.papers.running import feeding
from covidcxr.papers.running.monitoring import monitored

# Transforms of an image under `--draws auto`; `python -m covidcxr.bench.draws` compares it with others.
DEFAULT_DRAWS = 16
OFF, ALL, AUTO = "off", "all", "auto"


@dataclass(frozen=True)
class Frozen:
    """How a plan trains on frozen features.

    Attributes
    ----------
    cut : covidcxr.models.cutting.Cut
    draws : int
        Transforms of an image; epoch e has draw ``e % draws``.
    exact : bool
        Whether the run is the stock one, whose weights a rounding of the features would move.
    """

    cut: object
    draws: int
    exact: bool

    @property
    def note(self):
        """The choice, in a line."""
        return f"frozen features of {self.draws} draw{'s' if self.draws > 1 else ''} an image"


def choose(plan, model):
    """Choose whether, and with how many transforms, a plan trains on the features of its frozen layers.

    Nothing here hangs on the machine: a run that goes on elsewhere sees the same transforms.

    Parameters
    ----------
    plan : Plan
    model : keras.Model
        As the plan builds it.

    Returns
    -------
    Frozen or None
        None where the whole network runs at every step, each epoch with transforms of its own.
    """
    from covidcxr.models.cutting import cut
    from covidcxr.training.stages import as_built

    epochs = sum(stage.epochs for stage in plan.stages[: as_built(plan.stages)])
    if plan.options.draws == OFF or not epochs:
        return None
    parts = cut(model)
    if parts is None:
        return None
    if not plan.recipe.augmentation.is_random:
        return Frozen(parts, 1, True)
    wanted = {ALL: epochs, AUTO: DEFAULT_DRAWS}
    draws = min(epochs, wanted.get(plan.options.draws) or int(plan.options.draws))
    return Frozen(parts, draws, draws == epochs)


def feeds(plan, records, loader, model, frozen, banks, folder):
    """Return what training on frozen features reads.

    Parameters
    ----------
    plan, records, loader
        As for :func:`covidcxr.papers.running.feeding.feeds`.
    model : keras.Model
    frozen : Frozen
    banks : covidcxr.training.bank.Banks
    folder : path-like
        For a bank that memory does not hold.

    Returns
    -------
    covidcxr.training.frozen.FrozenFeeds or None
        None where the choice was left to us and the features have no place.

    Raises
    ------
    ModelError
        If the user's own choice has no place.
    """
    from covidcxr.training import bank
    from covidcxr.training.frozen import FrozenFeeds

    size = bank.needed(frozen.cut, _rows(plan, records, frozen.draws))
    if not bank.fits(size, banks.room, folder):
        text = f"frozen features of {frozen.draws} draws an image would take {size / 2**30:.1f} GiB"
        if plan.options.draws != AUTO:
            raise ModelError(f"{plan.unit.name}: {text}; lower --draws, or give --draws off")
        show.step(f"{text}: the whole network runs at every step instead")
        return None
    source = _Source(plan, records, loader, frozen, banks, folder)
    return FrozenFeeds(frozen.cut.suffix, source.training, source.validation, plan.batch_size)


def _rows(plan, records, draws):
    data = {stage.data for stage in plan.stages}
    return draws * sum(len(feeding.part(records, each)) for each in data) + len(monitored(records))


class _Source:
    """Passes over features, computed when they are first asked for: a resumed run has its weights by then."""

    def __init__(self, plan, records, loader, frozen, banks, folder):
        self._plan, self._records, self._loader = plan, records, loader
        self._frozen, self._banks, self._folder = frozen, banks, folder
        self._prefix = self._identity = self._scored = None
        self._parts = {}

    def training(self, epoch, data):
        """Return an epoch's images in its order."""
        from covidcxr.data.batches import epoch_order
        from covidcxr.training.frozen import Pass

        images, places, targets = self._part(data)
        stream = feeding.stream_of(data)
        draw = epoch % self._frozen.draws
        features = self._features(images, places, draw, stream, self._plan.recipe.augmentation.is_random)
        order = epoch_order(len(images), epoch, seed=self._plan.seed, stream=stream)
        return Pass(features, places[order], targets[order])

    def validation(self):
        """Return the images that are scored after every epoch."""
        from covidcxr.training.frozen import Pass

        if self._scored is None:
            images = monitored(self._records)
            if not len(images):
                return None
            augmented = self._plan.protocol.augment_evaluation and self._plan.recipe.augmentation.is_random
            places = feeding.places(images, self._records)
            features = self._features(images, places, 0, feeding.VALIDATION_STREAM, augmented)
            self._scored = Pass(features, places, feeding.one_hot(images, self._plan))
        return self._scored

    def _part(self, data):
        if data not in self._parts:
            images = feeding.part(self._records, data)
            places = feeding.places(images, self._records)
            self._parts[data] = images, places, feeding.one_hot(images, self._plan)
        return self._parts[data]

    def _features(self, images, places, draw, stream, augmented):
        """Return the features of one draw, those of `images` among them."""
        bank = self._bank(stream if augmented else None)
        missing = bank.missing(draw, places)
        if len(missing):
            chosen = images.where(np.isin(places, missing))
            self._fill(bank, chosen, draw, stream, augmented)
        return bank.of(draw)

    def _bank(self, stream):
        key = (self._shared_key(), stream)
        draws = self._frozen.draws if stream is not None else 1
        return self._banks.get((*key, draws), self._frozen.cut, draws, len(self._records), self._folder)

    def _fill(self, bank, images, draw, stream, augmented):
        from covidcxr.data.batches import clear_errors
        from covidcxr.training.bank import BATCH

        if self._prefix is None:
            self._prefix = self._banks.compiled(
                self._shared_key(), self._frozen.cut.prefix, self._frozen.exact
            )
        places = feeding.places(images, self._records)
        batches = feeding.one_pass(
            self._plan,
            self._records,
            self._loader,
            images,
            augmented,
            stream=stream,
            epoch=draw,
            batch_size=BATCH,
        )
        with clear_errors(batches):
            for number, (pixels, _) in enumerate(batches.dataset.as_numpy_iterator()):
                own = places[number * BATCH :][:BATCH]
                bank.put(draw, own, self._prefix(pixels))

    def _shared_key(self):
        """Return what two models have in common whose features are the same."""
        if self._identity is None:
            plan = self._plan
            words = (
                plan.seed,
                self._frozen.exact,
                plan.options.engine,
                plan.recipe.augmentation.to_dict(),
                self._loader.to_dict(),
                str(self._records.root),
                sorted(self._records.table["path"].astype(str)),
                [_nameless(layer) for layer in self._frozen.cut.prefix.layers],
            )
            digest = hashlib.sha256(json.dumps(words, default=str, sort_keys=True).encode())
            for weight in self._frozen.cut.prefix.weights:
                digest.update(np.ascontiguousarray(weight.numpy()).view(np.uint8))
            self._identity = digest.hexdigest()
        return self._identity


def _nameless(layer):
    """Describe a layer by all but its name, which counts up within a process."""
    return type(layer).__name__, {**layer.get_config(), "name": None}
