"""The images of a run, counted before it: the real draw and split, but nothing rendered, generated or kept."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from covidcxr.data.records import Records
from covidcxr.papers.running.images import PHANTOM_FOLDER, Gatherer
from covidcxr.papers.running.monitoring import monitored

GENERATED = "generated"
COLUMNS = ("case", "arm", "part", "label", "images")
_SCORED = "each epoch"
# Large enough for every reader, small enough to write thousands.
_SIDE = 32
_UNLINKED = "phantom patients whose pictures look alike are not joined here: counts may differ by a few from the run's"


class CountingGatherer(Gatherer):
    """A gatherer in a temporary folder; phantom and generated images are there in name and number only.

    A phantom image is replaced by a small one of noise under the same path and patient, so that draw and split
    come out as in the run; where patients are kept together, but for those few whose pictures look alike.
    """

    def _read(self, plan):
        if str(plan.options.data) != "phantom":
            return super()._read(plan)
        folder = self.folder / f"{PHANTOM_FOLDER}-{plan.case.data_set}"
        return _stand_ins(folder, dict(plan.data_set.counts), plan.options.seed)

    def _grouped(self, records, plan):
        if str(plan.options.data) != "phantom" or not plan.protocol.arrangement.grouped:
            return super()._grouped(records, plan)
        from covidcxr.data import duplicates

        groups = duplicates.linked_groups(records, pd.DataFrame({"a": [], "b": []}))
        return replace(records.with_columns(group=groups.to_numpy()), notes=(*records.notes, _UNLINKED))

    def _split(self, records, plan):
        if plan.recipe.enlargement is not None:
            counted = _Enlargement(plan.recipe.enlargement.times)
            plan = replace(plan, recipe=replace(plan.recipe, enlargement=counted))
        return super()._split(records, plan)


@dataclass(frozen=True)
class _Enlargement:
    """Stands in for the networks that generate images (:mod:`covidcxr.papers.running.enlargement`)."""

    times: int

    def __call__(self, records, plan, folder, say=None):
        """Return as many images as would be generated, of which there are none."""
        counts = records.table["label"].value_counts().sort_index()
        rows = [
            {"path": name, "label": label, "patient_id": f"{GENERATED}-{name}", "source": GENERATED}
            for label, number in counts.items()
            for name in (f"{label}/{image:05d}.png" for image in range(1, (self.times - 1) * number + 1))
        ]
        return Records.from_rows(rows, folder / GENERATED)


def count(plan, records):
    """Count a plan's images.

    Parameters
    ----------
    plan : Plan
    records : Records
        As a gatherer gives them.

    Returns
    -------
    pandas.DataFrame
        Columns of :data:`COLUMNS`: `part` is a split, ``"phase k"`` where stages read phases, or ``"each epoch"``
        where other images than the split val are scored after every epoch.
    """
    from covidcxr.papers.running import feeding

    splits = records.table["split"]
    parts = {
        name: records.where(splits == name) for name in ("train", "val", "test") if (splits == name).any()
    }
    for stage in plan.stages:
        if stage.data != feeding.TRAIN:
            parts[stage.data] = feeding.part(records, stage.data)
    scored = monitored(records)
    if len(scored) and set(scored.table["path"]) != set(records.table.loc[splits == "val", "path"]):
        parts[_SCORED] = scored
    rows = [
        (plan.unit.case, plan.unit.arm, part, label, int((images.table["label"] == label).sum()))
        for part, images in parts.items()
        for label in plan.data_set.class_names
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def sample(plan, records, folder, number=16):
    """Return a few training images as they will be read; of a phantom, these few are rendered.

    Parameters
    ----------
    plan : Plan
    records : Records
        As :class:`CountingGatherer` gives them.
    folder : path-like
        Where phantom images are rendered.
    number : int

    Returns
    -------
    Records
        With the column `split`.
    """
    from covidcxr.data.sources import phantom

    if str(plan.options.data) == "phantom":
        each = max(1, number // len(plan.data_set.counts))
        counts = {label: min(each, there) for label, there in plan.data_set.counts.items()}
        rendered = phantom.write(folder, counts, seed=plan.options.seed)
        return rendered.with_columns(split="train")
    table = records.table
    real = records.where((table["split"] == "train") & (table["source"] != GENERATED))
    rows = np.unique(np.linspace(0, len(real) - 1, min(number, len(real))).astype(int))
    return real.where(np.isin(np.arange(len(real)), rows))


def _stand_ins(folder, counts, seed):
    from covidcxr.data.phantom import folder as phantoms
    from covidcxr.data.phantom.patients import draw_patient, draw_pose

    parameters = phantoms._parameters(counts, 256, seed, (1, 4), phantoms.Confounders(), "png", masks=False)
    rows, noise = [], np.random.default_rng(0)
    for label, patient, image, name in phantoms._plan(parameters):
        person = draw_patient(patient, seed)
        rows.append(
            {
                "path": name,
                "label": label,
                "patient_id": f"{phantoms.SOURCE}-{patient:04d}",
                "source": phantoms.SOURCE,
                "view": draw_pose(patient, image, seed).view,
                "sex": person.sex,
                "age": person.age,
            }
        )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), noise.integers(0, 256, (_SIDE, _SIDE), dtype=np.uint8))
    return Records.from_rows(rows, folder)
