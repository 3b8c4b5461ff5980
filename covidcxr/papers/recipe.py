"""What a paper is made of, as data: frozen classes that a reader can hold against the text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from covidcxr.data.augmentation import Augmentation
from covidcxr.data.greyscale import GreyReading
from covidcxr.training.stages import Stage


@dataclass(frozen=True)
class DataSet:
    """A named set of images, by class.

    Attributes
    ----------
    counts : mapping of str to int
        Label to the number of images that the paper prints.
    sources : mapping of str to str
        Label to the public source that the paper took it from; used when the data folder holds several.
    parts : mapping of str to (mapping of str to int)
        Label to split to number, where the paper prints how many images each split has.
    reading : mapping of str to object
        Options of :func:`covidcxr.data.sources.read`, such as ``{"labels": "kinds"}``.
    only : mapping of str to str
        Column to the value that an image must have there, where its source has that column, such as
        ``{"given_split": "test"}``.
    select : callable or None
        ``select(records, plan) -> Records`` in place of drawing `counts` at random.
    """

    counts: Mapping[str, int]
    sources: Mapping[str, str]
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reading: Mapping[str, object] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    select: Callable | None = None

    @property
    def class_names(self):
        """Labels in alphabetical order, as Keras' generators number classes."""
        return tuple(sorted(self.counts))


@dataclass(frozen=True)
class Network:
    """One network of a paper.

    Attributes
    ----------
    title : str
        As the paper describes it.
    build : callable
        ``build(classes, dropout, input_size, **settings) -> keras.Model`` with random weights, `input_size`
        the side in pixels and `settings` those of the run's arm; the backbone's own layers are frozen as the
        paper says.
    backbone : str
        Key of the backbone whose ImageNet weights start it (see :mod:`covidcxr.models.backbones`).
    input_size : tuple of int
        Height and width in pixels.
    total_parameters, trainable_parameters : int or None
        As printed, for two classes; None where the paper prints none.
    batch_size : int or None
        Where the paper gives this network its own.
    """

    title: str
    build: Callable
    backbone: str
    input_size: tuple
    total_parameters: int | None = None
    trainable_parameters: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Case:
    """One row of the paper's results: a data set with the settings that row was obtained with.

    Attributes
    ----------
    title, data_set : str
    dropout : float
    stages : mapping of str to tuple of Stage
        By schedule.
    batch_size : int
    batch_sizes : mapping of str to int
        By schedule, where one has its own.
    """

    title: str
    data_set: str
    dropout: float
    stages: Mapping[str, tuple]
    batch_size: int = 32
    batch_sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One side of a comparison that the paper makes with everything else equal.

    Attributes
    ----------
    title : str
    generated : bool
        Whether generated images join the real ones (see `Recipe.enlargement`).
    settings : mapping of str to object
        Further arguments of `Network.build`, such as how many blocks are frozen.
    """

    title: str
    generated: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """How images are split, what is scored, and which epoch's weights are kept.

    Attributes
    ----------
    title : str
    arrangement : callable
        ``arrangement(records, plan) -> Records`` with the column `split` (train, val, test) and, where they
        are not simply the split `val`, the boolean column `monitored`: the images that are scored after every
        epoch. See :mod:`covidcxr.papers.arrangements`. Its attribute `grouped` tells whether all images of
        one patient (and of patients who share a picture) stay in one split.
    headline : str
        The split whose figures stand beside the paper's.
    augment_evaluation : bool
        Whether images are augmented when scored during training, as one of the papers does.
    keep : str
        ``"last"`` epoch's weights, or ``"best"`` by `monitor`.
    monitor : str
        ``"val_loss"`` (lowest) or ``"val_accuracy"`` (highest).
    enlarge : str
        Where generated images go: ``"everything"`` generates from all images and splits afterwards,
        ``"training"`` splits first, generates from training images and trains on what is generated.
    """

    title: str
    arrangement: Callable
    headline: str
    augment_evaluation: bool
    keep: str
    monitor: str = "val_loss"
    enlarge: str = "training"


@dataclass(frozen=True)
class Claim:
    """A number printed in the paper.

    Attributes
    ----------
    case : str
        Key of the case it belongs to; "" for all.
    measure : str
        ``accuracy``, ``loss``, ``precision``, ``sensitivity``, ``f1``, ``roc_auc``...
    value : float
    where : str
        Table or figure.
    note : str
        What a reader must know to compare, such as a contradiction inside the paper.
    model, fold, arm : str
        Which of the paper's models it belongs to; "" for all, and for `fold` also ``"mean"``.
    label : str
        Class of a per-class measure; "" is the positive class.
    split : str
        ``"val"`` or ``"test"`` where the paper prints both; "" is the protocol's headline.
    """

    case: str
    measure: str
    value: float
    where: str
    note: str = ""
    model: str = ""
    fold: str = ""
    arm: str = ""
    label: str = ""
    split: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the paper, made anew from the runs.

    Attributes
    ----------
    title : str
        As in the paper, with its number: ``"Table II. Results of transfer learning algorithms"``.
    make : callable
        ``make(results, models) -> pandas.DataFrame`` with the paper's own columns; see
        :mod:`covidcxr.papers.tables` for `results` (one row a measure of a model) and `models` (one row a
        model). A cell whose model was not trained is empty.
    draw : callable or None
        ``draw(table, path)`` writes a figure of it as PNG and SVG.
    """

    title: str
    make: Callable
    draw: Callable | None = None


@dataclass(frozen=True)
class Recipe:
    """A paper: its data, networks, schedules, protocols and claims.

    Every model of a paper is one combination of case, model (key of `networks`), fold, trial and arm; what a
    paper does not vary stays away. A run trains those that its options choose.

    Attributes
    ----------
    key, title, reference, doi : str
    data_sets, networks, cases, protocols, arms : mapping
        By the keys that options take.
    augmentation : Augmentation
    interpolation : str
        Of training images; see `covidcxr.data.images.INTERPOLATIONS`.
    positive_class : str
    deviations : tuple of str
        Numbered by their place.
    claims : tuple of Claim
    figures_batch : int or None
        Images of the one batch that a paper computes its figures on.
    folds, trials : int
        How many; 0 where the paper has none.
    default_network, default_case, default_fold, default_trial, default_arm : str
        What a run trains when it is not told; ``"all"`` and lists with commas are possible.
    scaling : str
        ``"generator"``: images reach the network as the augmentation's own rescaling leaves them;
        ``"backbone"``: as the backbone's pretrained weights expect them.
    scoring_interpolation : str or None
        Where the authors resized otherwise when they scored the finished model.
    reading : covidcxr.data.greyscale.GreyReading or None
        How stored values become grey, where the authors had a way of their own.
    enlargement : object or None
        ``enlargement(records, plan, folder, say) -> Records``: generated images, for arms that want them.
    tables : mapping of str to Table
        By file name.
    smoke : mapping of str to object
        Fields that ``--preset smoke`` replaces, to run the whole in seconds: fewer images, smaller inputs, two
        epochs.
    """

    key: str
    title: str
    reference: str
    doi: str
    data_sets: Mapping[str, DataSet]
    networks: Mapping[str, Network]
    cases: Mapping[str, Case]
    protocols: Mapping[str, Protocol]
    augmentation: Augmentation
    interpolation: str
    positive_class: str
    deviations: tuple
    claims: tuple
    figures_batch: int | None = None
    default_network: str = field(default="")
    default_case: str = field(default="")
    arms: Mapping[str, Arm] = field(default_factory=dict)
    folds: int = 0
    trials: int = 0
    default_fold: str = "1"
    default_trial: str = "1"
    default_arm: str = ""
    scaling: str = "generator"
    scoring_interpolation: str | None = None
    reading: GreyReading | None = None
    enlargement: Callable | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)
    smoke: Mapping[str, object] = field(default_factory=dict)

    @property
    def citation(self):
        """Reference and DOI in a line."""
        return f"{self.reference}, doi:{self.doi}" if self.doi else self.reference

    def claims_of(self, unit):
        """Return the claims that belong to one model of the paper, in the paper's order."""
        return [claim for claim in self.claims if unit.covers(claim)]


__all__ = ["Arm", "Case", "Claim", "DataSet", "Network", "Protocol", "Recipe", "Stage", "Table"]
