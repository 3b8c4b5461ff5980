"""Models of a paper that have no result here, and why: left out of a study, or never tried."""

from dataclasses import dataclass

import pandas as pd

from covidcxr.errors import DataError
from covidcxr.formula_cells import plain_table
from covidcxr.papers.reporting import comparison
from covidcxr.papers.reporting.reproduction import identity
from covidcxr.papers.running import folder as run_folder

WEIGHTS, MEMORY, FAILED = "weights not at hand", "memory does not suffice", "could not be trained"
NOT_RUN = "not run"
_DONE = "done"
_AXES = ("case", "model", "arm")


@dataclass(frozen=True)
class Missing:
    """A model that the paper prints figures of and that no run holds.

    Attributes
    ----------
    title, model : str
        Case, network and arm, as far as the paper's figures name them; the network alone.
    claims : tuple of covidcxr.papers.recipe.Claim
        Its measured figures.
    reason, command : str
        Why there is no result, and what makes one.
    """

    title: str
    model: str
    claims: tuple
    reason: str
    command: str


def rows(recipe, run):
    """List what a study left out whole: models of which not one fold or trial could be trained.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    run : covidcxr.papers.reporting.comparison_runs.Run

    Returns
    -------
    list of dict
        Rows of left_out.csv; none of a single run.
    """
    path = run.folder / run_folder.MODEL_LIST
    if "models" not in run.config or not path.is_file():
        return []
    try:
        listed = plain_table(pd.read_csv(path, dtype=str, keep_default_na=False))[[*_AXES, "state"]]
    except (KeyError, OSError, ValueError) as error:
        raise DataError(f"{path}: not readable ({error}); go on with the run by --resume") from error
    return [
        {
            "paper": recipe.key,
            **dict(zip(_AXES, axes, strict=True)),
            "protocol": run.config["options"]["protocol"],
            "reason": reason_of(found["state"].iloc[0]),
            "command": identity.command_of(run.config["command"]),
        }
        for axes, found in listed.groupby(list(_AXES), sort=False)
        if (found["state"] != _DONE).all()
    ]


def reason_of(message):
    """Return an error's message in few words that name no place of the machine it came from."""
    if "lower --batch-size" in message:
        return MEMORY
    return WEIGHTS if "weights" in message or "fetch" in message else FAILED


def missing(recipe, runs, left_out):
    """List the models that a paper prints figures of and that no run holds, in the paper's order.

    Parameters
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    runs : pandas.DataFrame
        runs.csv.
    left_out : pandas.DataFrame
        left_out.csv.

    Returns
    -------
    list of Missing
        Models that differ only in what the paper's figures do not tell apart stand once.
    """
    claimed = {}
    for claim in recipe.claims:
        if claim.measure in comparison.MEASURES:
            claimed.setdefault(tuple(getattr(claim, axis) for axis in _AXES), []).append(claim)
    mine = runs[runs["paper"] == recipe.key]
    known = left_out[left_out["paper"] == recipe.key]
    return [
        _missing(recipe, axes, claims, known[_covered(axes, known)])
        for axes, claims in claimed.items()
        if not _covered(axes, mine).any()
    ]


def _missing(recipe, axes, claims, known):
    words = [f"--{axis} {key}" for axis, key in zip(_AXES, axes, strict=True) if key]
    command = " ".join(["covidcxr train", recipe.key, "--data DATA --weights WEIGHTS", *words])
    reason = NOT_RUN
    if len(known):
        reason = known["reason"].iloc[0]
        command = next((text for text in known["command"] if text != identity.FROM_PYTHON), command)
    return Missing(" ".join(filter(None, axes)), axes[1], tuple(claims), reason, command)


def _covered(axes, table):
    """Tell which rows are of the model; what the paper's figures leave open, any fits."""
    fits = pd.Series(True, index=table.index)
    for axis, key in zip(_AXES, axes, strict=True):
        if key:
            fits &= table[axis] == key
    return fits
