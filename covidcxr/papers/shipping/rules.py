"""What a model must fulfil to be shipped."""

import re
from dataclasses import dataclass

import numpy as np

from covidcxr.errors import ModelError, OptionError

LARGEST_FILE = 15_000_000
LARGEST_SHELF = 30_000_000
LARGEST_CHANGE = 1e-3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_HEAD = "head"


@dataclass(frozen=True)
class Trained:
    """Which part of a network the run has trained.

    Attributes
    ----------
    blocks, frozen : tuple of str
        Names of the backbone's blocks (see :func:`covidcxr.models.freezing.blocks`) in which every layer with
        weights was trained, and of the others.
    layers, of_layers : int
        Layers with weights that were trained, of all; the head included.
    parameters, of_parameters : int
        The same for weights; moving statistics of trained layers count as trained.
    """

    blocks: tuple
    frozen: tuple
    layers: int
    of_layers: int
    parameters: int
    of_parameters: int


def check_name(name):
    """Refuse a name that could be taken for a path, or breaks a line of index.csv.

    Raises
    ------
    OptionError
    """
    if not _NAME.fullmatch(name):
        raise OptionError(f"--out .../{name}: name the model with letters, digits, - and _ only")


def trained(model, where):
    """Tell which layers a run has trained, and refuse a backbone that others have trained and we have not.

    The rule for networks of which a part was frozen: the last block of the backbone was trained whole. A
    backbone of which nothing was trained is its publisher's file under another name; whoever wants it fetches it
    there.

    Parameters
    ----------
    model : keras.Model
        As the run saved it: its layers remember whether they were frozen.
    where : path-like
        Named in the message.

    Returns
    -------
    Trained

    Raises
    ------
    ModelError
        If the last block of the backbone was not trained.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    learned = [layer for layer in weighted if layer.trainable]
    parts = [(name, layers) for name, layers in _parts(model) if layers]
    whole = tuple(name for name, layers in parts if all(layer.trainable for layer in layers))
    frozen = tuple(name for name, _ in parts if name not in whole)
    if parts and parts[-1][0] not in whole:
        raise ModelError(
            f"{where}: the last block of its backbone ({parts[-1][0]}) stayed frozen, so the file holds a backbone "
            "that others trained; ship a run that fine-tunes it"
        )
    return Trained(whole, frozen, len(learned), len(weighted), _size(learned), _size(weighted))


def check_size(size, others, where):
    """Refuse a file that is too large, or that makes all shipped models together so.

    Parameters
    ----------
    size, others : int
        Bytes of the file, and of the models that lie beside it.
    where : path-like

    Raises
    ------
    ModelError
    """
    if size > LARGEST_FILE:
        raise ModelError(
            f"{where}: {size / 1e6:.1f} MB, and a shipped model has at most {LARGEST_FILE / 1e6:.0f} MB; "
            "train a smaller network"
        )
    if size + others > LARGEST_SHELF:
        raise ModelError(
            f"{where}: {size / 1e6:.1f} MB beside {others / 1e6:.1f} MB of other models is more than "
            f"{LARGEST_SHELF / 1e6:.0f} MB; remove one of them"
        )


def change(before, after):
    """Return how far the probabilities of two passes over the same images are apart.

    Parameters
    ----------
    before, after : numpy.ndarray, shape (n, k)

    Returns
    -------
    largest : float
    classes : int
        Images whose most probable class is another.
    """
    largest = float(np.abs(before - after).max(initial=0))
    return largest, int((before.argmax(axis=1) != after.argmax(axis=1)).sum())


def is_same(largest, classes):
    """Return whether a file predicts what the run predicted; see :func:`change`."""
    return largest <= LARGEST_CHANGE and not classes


def check_change(largest, classes, where):
    """Refuse a file that does not predict what the run predicted.

    Raises
    ------
    ModelError
        If a probability differs by more than 0.001, or an image has another class.
    """
    if not is_same(largest, classes):
        raise ModelError(
            f"{where}: the file made of it predicts otherwise than the run did (a probability differs by "
            f"{largest:.2g}, {classes} images "
            f"change class; at most {LARGEST_CHANGE} and none may); check --data and --storage"
        )


def _parts(model):
    """Return the backbone's blocks with the layers of each that have weights."""
    from covidcxr.models import freezing
    from covidcxr.models.layer_names import is_head

    body = [layer for layer in model.layers if layer.weights and not is_head(layer)]
    try:
        known = [block for block in freezing.blocks(model) if block.name != _HEAD]
    except ModelError:
        known = []
    if len(known) < 2:
        # A network whose blocks are not known: its last layer stands for the last block.
        return [(layer.name, [layer]) for layer in body]
    parts = [(block.name, model.layers[block.first : block.last + 1]) for block in known]
    return [(name, [layer for layer in layers if layer in body]) for name, layers in parts]


def _size(layers):
    return sum(layer.count_params() for layer in layers)
