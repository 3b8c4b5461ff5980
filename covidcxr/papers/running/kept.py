"""What a run that was stopped has kept, and the command that goes on with it."""

import json
import os
import shlex
from pathlib import Path

from covidcxr.papers.running import folder as run_folder
from covidcxr.training.checkpoints import STATE
from covidcxr.training.workers import COUNT


class Progress:
    """How far the run in a folder is.

    Parameters
    ----------
    key : str
        Of the paper.
    folder : path-like
    resumed : bool
        Whether the run that stands there goes on. Otherwise one that is to be overwritten may stand there.
    """

    def __init__(self, key, folder, resumed):
        self._key = key
        self._folder = Path(folder)
        self._before = None if resumed else self._config()

    def line(self):
        """Return what is kept and how to go on; an empty text where nothing is."""
        config = self._config()
        if config is None or config == self._before:
            return ""
        stages = json.loads(config).get("stages")
        what = self._of_models() if stages is None else self._of_epochs(stages)
        return f"{what} kept in {self._folder}; resume with: {self._command()}"

    def _config(self):
        try:
            return (self._folder / run_folder.CONFIG).read_bytes()
        except OSError:
            return None

    def _of_epochs(self, stages):
        total = sum(stage["epochs"] for stage in stages)
        return f"{_epochs(self._folder)} of {total} epochs"

    def _of_models(self):
        places = [path for path in (self._folder / run_folder.MODELS).glob("*") if path.is_dir()]
        finished = [path for path in places if (path / run_folder.REPORT).is_file()]
        begun = sum(_epochs(path) for path in places if path not in finished)
        models = "1 finished model" if len(finished) == 1 else f"{len(finished)} finished models"
        return f"{models} and {begun} epoch{'s' if begun != 1 else ''} of the next"

    def _command(self):
        words = ["covidcxr", "train", self._key, "--out", str(self._folder)]
        if COUNT in os.environ:
            words += ["--workers", os.environ[COUNT]]
        return shlex.join([*words, "--resume"])


def _epochs(folder):
    """Count the finished epochs of one model that its checkpoint holds."""
    try:
        state = json.loads((folder / run_folder.CHECKPOINT / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    return len(state["history"])
