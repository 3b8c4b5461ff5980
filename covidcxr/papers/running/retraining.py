"""Train a run's model again on images of which only a part is left, for the audit of shortcuts."""

import dataclasses
from pathlib import Path

import pandas as pd

from covidcxr.atomic import make_folder, write_csv
from covidcxr.errors import OptionError
from covidcxr.formula_cells import plain_table
from covidcxr.papers.plan import options_from
from covidcxr.papers.running import folder as run_folder

PLACE = "audit/retrained"
_IMAGES, _TABLE, _RUN = "images", "images.csv", "run"


class Retrainer:
    """Retrains one run, a surgery at a time; what was interrupted goes on.

    Parameters
    ----------
    folder : path-like
        Of a finished run of one model.
    data : path-like, optional
        Where its images are now; default where they were.
    masks : path-like, optional
        Lung masks, for the surgeries that need them.

    Raises
    ------
    OptionError
        If the run trained on generated images, which cannot be cut like the others.
    """

    def __init__(self, folder, data=None, masks=None):
        from covidcxr import papers

        self.folder, self.data, self.masks = Path(folder), data, masks
        config = run_folder.read_config(folder)
        self.paper = papers.get(config["paper"])
        self.options = options_from(config["options"], self.folder / run_folder.CONFIG)
        arm = self.paper.recipe.arms.get(self.options.arm)
        if arm is not None and arm.generated:
            raise OptionError(f"{folder}: trained on generated images too; retrain the arm without them")

    def __call__(self, surgery, train, scored):
        """Train on what a surgery leaves of the run's images, and predict.

        Parameters
        ----------
        surgery : covidcxr.evaluation.audits.transforms.Surgery
        train, scored : Records
            Of the audit; the run trains on all training images of its own split.

        Returns
        -------
        numpy.ndarray, shape (n, k)
            Probabilities of `scored`, classes in the run's order.
        """
        place = self.folder / PLACE / surgery.name
        self._cut(surgery, place)
        out = place / _RUN
        begun = (out / run_folder.CONFIG).is_file()
        options = dataclasses.replace(
            self.options,
            data=str(place / _TABLE),
            split=str(place / run_folder.SPLIT),
            out=str(out),
            resume=begun,
            overwrite=False,
        )
        values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        predictions = self.paper.run(**values).predictions
        rows = predictions.table.set_index("path").index.get_indexer(_renamed(scored.table["path"]))
        return predictions.probabilities[rows]

    def _cut(self, surgery, place):
        """Write what a surgery leaves of every image, once; the table that names them comes last."""
        if (place / _TABLE).is_file():
            return
        from covidcxr.evaluation.audits import inputs

        records = inputs.run_records(self.folder, self.data)
        masks = _masks(records, self.masks) if surgery.needs_mask else [None] * len(records)
        reading = self.paper.recipe.reading
        for file, name, mask in zip(records.files(), _renamed(records.table["path"]), masks, strict=True):
            _write_cut(file, place / name, surgery, mask, reading)
        split = plain_table(pd.read_csv(self.folder / run_folder.SPLIT, dtype=str, keep_default_na=False))
        write_csv(place / run_folder.SPLIT, split.assign(path=_renamed(split["path"])))
        columns = ["path", "label", "patient_id", "source"]
        table = records.table[columns].assign(path=_renamed(records.table["path"]))
        write_csv(place / _TABLE, table)


def _renamed(paths):
    return [f"{_IMAGES}/{path}.png" for path in paths]


def _masks(records, folder):
    from covidcxr.evaluation.audits import transforms

    return transforms.lung_masks(records, folder)


def _write_cut(file, target, surgery, mask, reading):
    import cv2

    from covidcxr.atomic import whole_file
    from covidcxr.data.images import DEFAULT_READING, read_grey
    from covidcxr.evaluation.audits import transforms

    grey = read_grey(file, reading or DEFAULT_READING)
    inside = transforms.read_mask(mask, grey.shape) if mask is not None else None
    make_folder(target.parent)
    with whole_file(target) as temporary:
        # `imwrite` would say nothing of a full disk.
        temporary.write_bytes(cv2.imencode(target.suffix, surgery.cut(grey, inside))[1].tobytes())
