"""What a paper is made of, as data: frozen classes that a reader can hold against the text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from covidcxr.data.augmentation import Augmentation
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
    """

    counts: Mapping[str, int]
    sources: Mapping[str, str]

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
        ``build(classes, dropout) -> keras.Model`` with random weights; the backbone's own layers are frozen
        as the paper says.
    backbone : str
        Key of the backbone whose ImageNet weights start it (see :mod:`covidcxr.models.backbones`).
    input_size : tuple of int
        Height and width in pixels.
    total_parameters, trainable_parameters : int or None
        As printed, for two classes; None where the paper prints none.
    """

    title: str
    build: Callable
    backbone: str
    input_size: tuple
    total_parameters: int | None = None
    trainable_parameters: int | None = None


@dataclass(frozen=True)
class Case:
    """One row of the paper's results: a data set with the settings that row was obtained with."""

    title: str
    data_set: str
    dropout: float
    stages: Mapping[str, tuple]
    batch_size: int = 32


@dataclass(frozen=True)
class Protocol:
    """How images are split, what is scored, and which epoch's weights are kept.

    Attributes
    ----------
    fractions : mapping of str to float
        Split name to its share of the images; the remainder goes to ``train``.
    grouped : bool
        Whether all images of one patient (and of patients who share a picture) stay in one split.
    headline : str
        The split whose figures stand beside the paper's.
    augment_evaluation : bool
        Whether images are augmented when scored during training, as one of the papers does.
    keep : str
        ``"last"`` epoch's weights, or ``"best"`` by validation loss.
    """

    title: str
    fractions: Mapping[str, float]
    grouped: bool
    headline: str
    augment_evaluation: bool
    keep: str


@dataclass(frozen=True)
class Claim:
    """A number printed in the paper.

    Attributes
    ----------
    case : str
        Key of the case it belongs to.
    measure : str
        ``accuracy``, ``loss``, ``precision``, ``sensitivity``, ``f1``, ``roc_auc``; all but the first two of the
        positive class.
    value : float
    where : str
        Table or figure.
    note : str
        What a reader must know to compare, such as a contradiction inside the paper.
    """

    case: str
    measure: str
    value: float
    where: str
    note: str = ""


@dataclass(frozen=True)
class Recipe:
    """A paper: its data, networks, schedules, protocols and claims."""

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

    def claims_of(self, case):
        """Return the claims that belong to one case, in the paper's order."""
        return [claim for claim in self.claims if claim.case == case]


__all__ = ["Case", "Claim", "DataSet", "Network", "Protocol", "Recipe", "Stage"]
