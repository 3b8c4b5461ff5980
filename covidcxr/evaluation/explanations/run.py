"""A model's predictions on image files explained, and held against the lung field."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from covidcxr.errors import DataError, OptionError
from covidcxr.evaluation.explanations import lungs, overlay
from covidcxr.evaluation.explanations.gradcam import gradcam
from covidcxr.evaluation.explanations.integrated_gradients import integrated_gradients
from covidcxr.evaluation.explanations.occlusion import occlusion
from covidcxr.evaluation.intervals import LEVEL

# Each method with its own options.
_OPTIONS = {"gradcam": ("layer",), "occlusion": ("patch", "stride"), "integrated_gradients": ("steps",)}
METHODS = tuple(_OPTIONS)
MASK, ESTIMATE = "mask", "estimate"
COLUMNS = (
    "path",
    "patient_id",
    "predicted",
    "explained",
    "probability",
    "lung_share",
    "area_share",
    "lung_field",
)
# Pictures kept for the figure; the table has every image.
KEPT = 32


@dataclass(frozen=True)
class Explanations:
    """What a model's predictions rest on, image by image.

    Attributes
    ----------
    table : pandas.DataFrame
        One row an image: `path`, `patient_id`, `predicted`, `explained` (class), `probability` (of the
        explained class), `lung_share` (of the attribution for that class, inside the lung field; NaN where
        nothing speaks for the class), `area_share` (of the picture that is lung field), `lung_field`
        (``"mask"`` from a file, ``"estimate"`` by :func:`covidcxr.evaluation.explanations.lungs.estimate_field`).
    pictures : tuple of covidcxr.evaluation.explanations.overlay.Picture
        The first `KEPT`.
    method : str
        One of `METHODS`.
    layer : str
        Of Grad-CAM's map; ``""`` for the other methods.
    """

    table: object
    pictures: tuple
    method: str
    layer: str

    def figure(self, path):
        """Draw the pictures with their attributions (see :func:`overlay.overlay_grid`)."""
        names = {
            "gradcam": "Grad-CAM",
            "occlusion": "occlusion",
            "integrated_gradients": "integrated gradients",
        }
        caption = names[self.method] + (f", layer {self.layer}" if self.layer else "")
        kinds = set(self.table["lung_field"])
        caption += "; lung field estimated" if kinds == {ESTIMATE} else ""
        return overlay.overlay_grid(self.pictures, path, caption)

    def lung_preference(self, *, seed=0, resamples=2000, level=LEVEL):
        """How much denser attribution is inside the lung field than a model without preference would have it.

        The mean share of attribution inside the field, divided by the field's mean share of the picture: 1
        without preference, above 1 where the network looks at the lungs.

        Parameters
        ----------
        seed : int, optional
            Of the bootstrap over patients.
        resamples : int, optional
        level : float, optional
            Confidence level in (0, 1).

        Returns
        -------
        dict
            ``value``, ``low``, ``high``, ``images``, ``patients``, ``lung_field`` (kinds), ``method``; value
            None where no image has attribution, limits None where there is only one patient.
        """
        known = self.table[self.table["lung_share"].notna()]
        patients = known["patient_id"].factorize()[0]
        result = {"value": None, "low": None, "high": None, "images": len(known), "method": None}
        result |= {"patients": len(set(patients)), "lung_field": sorted(set(known["lung_field"]))}
        if known.empty:
            return result
        sums = np.zeros((result["patients"], 2))
        np.add.at(sums, patients, known[["lung_share", "area_share"]].to_numpy(dtype=float))
        result["value"] = _ratio(sums.sum(axis=0))
        if len(sums) < 2:
            return result
        drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
        low, high = np.quantile(_ratio(sums[drawn].sum(axis=1).T), [(1 - level) / 2, (1 + level) / 2])
        return result | {"low": float(low), "high": float(high), "method": "patient bootstrap"}


def explain(model, files, masks=None, method="gradcam", most=16, seed=0, **options):
    """Explain a model's predictions on image files.

    One image is in memory at a time, with what its explanation needs.

    Parameters
    ----------
    model : keras.Model or path-like
        A model of this package (it carries class names and preprocessing), or its file.
    files : path-like or sequence of path-like
        Files or folders, as :func:`covidcxr.inference.predict` takes them.
    masks : path-like, optional
        Folder with lung masks named as the images (see :func:`lungs.find_masks`); only images that have one
        are explained. Without it the lung field is estimated.
    method : {"gradcam", "occlusion", "integrated_gradients"}, optional
    most : int or None, optional
        Explain at most so many images, drawn without replacement; None for all.
    seed : int, optional
        Of that draw.
    **options
        `target` (name of the class to explain; default the predicted one), `patients` (patient of each file,
        same length as `files`; ``""``, and by default every file, is a patient of its own) and whatever the
        method takes (`layer`; `patch`, `stride`; `steps`).

    Returns
    -------
    Explanations

    Raises
    ------
    CovidcxrError
        If the model carries no preprocessing, an image or mask cannot be read, or an option has no meaning.
    """
    from covidcxr import inference

    model, info = inference._model_and_info(model)
    loader = inference._loader(model, info)
    target, patients = options.pop("target", None), options.pop("patients", None)
    wanted = _class_index(target, info.class_names)
    rows = _chosen(inference.expand(files), masks, patients, most, seed)
    attribute, layer = _attribution(model, loader, method, options)
    records, pictures = [], []
    for file, mask, patient in rows:
        grey = loader.load(file)
        image = loader.standardize(loader.expand(grey))[None]
        probabilities = np.asarray(model.predict_on_batch(image))[0]
        best = int(probabilities.argmax())
        index = best if wanted is None else wanted
        heat = _stretched(attribute(image, np.array([index]))[0], grey.shape)
        field = lungs.estimate_field(grey) if mask is None else lungs.read_mask(mask, grey.shape)
        share = lung_share(heat, field)
        names = info.class_names[best], info.class_names[index]
        kind = ESTIMATE if mask is None else MASK
        numbers = float(probabilities[index]), share, float(field.mean())
        records.append((str(file), patient, *names, *numbers, kind))
        if len(pictures) < KEPT:
            shown = (heat / (heat.max() or 1)).astype(np.float16)
            pictures.append(overlay.Picture(grey, shown, field, *names, numbers[0], share))
    return Explanations(_table(records), tuple(pictures), method, layer)


def lung_share(attribution, field):
    """Return the share of attribution inside a lung field.

    Parameters
    ----------
    attribution : array of float, shape (rows, columns)
        Only what is positive, so speaks for the class, counts.
    field : array of bool, shape (rows, columns)

    Returns
    -------
    float
        In [0, 1]; NaN where nothing is positive.
    """
    positive = np.maximum(np.asarray(attribution, dtype=np.float64), 0)
    total = positive.sum()
    return float(positive[field].sum() / total) if total > 0 else float("nan")


def _ratio(sums):
    share, area = sums
    return share / area if np.ndim(share) else float(share / area)


def _class_index(name, class_names):
    if name is None:
        return None
    if name not in class_names:
        raise OptionError(f"class {name!r}: the model's classes are {', '.join(class_names)}")
    return class_names.index(name)


def _chosen(files, masks, patients, most, seed):
    """Return (file, mask or None, patient) of the images to explain, in the order of the files."""
    names = [""] * len(files) if patients is None else [str(name) for name in patients]
    if len(names) != len(files):
        raise DataError(f"{len(names)} patients for {len(files)} images; give one an image")
    names = [name or str(file) for name, file in zip(names, files, strict=True)]
    if most is not None and most < 1:
        raise OptionError(f"most={most}: explain at least one image, or None for all")
    found = [None] * len(files) if masks is None else lungs.find_masks(masks, files)
    rows = [row for row in zip(files, found, names, strict=True) if masks is None or row[1] is not None]
    if most is None or most >= len(rows):
        return rows
    drawn = np.random.default_rng(seed).choice(len(rows), most, replace=False)
    return [rows[i] for i in sorted(drawn)]


def _attribution(model, loader, method, options):
    """Return attribute(images, classes) and the name of Grad-CAM's layer."""
    if method not in METHODS:
        raise OptionError(f"method {method!r}: choose one of {', '.join(METHODS)}")
    strange = sorted(set(options) - set(_OPTIONS[method]))
    if strange:
        raise OptionError(f"{method} has no option {strange[0]!r}; it takes {', '.join(_OPTIONS[method])}")
    if method == "gradcam":
        from covidcxr.evaluation.explanations.graph import Network

        layer = Network(model).feature_map(options.get("layer")).path
        return partial(gradcam, model, **{**options, "layer": layer}), layer
    if method == "occlusion":
        return partial(occlusion, model, **options), ""
    black = loader.standardize(np.zeros((*loader.size, loader.channels), np.float32))
    return partial(integrated_gradients, model, baseline=black, **options), ""


def _stretched(values, size):
    """Keep what speaks for the class, at the picture's size."""
    import cv2

    positive = np.maximum(values, 0).astype(np.float32)
    if positive.shape == tuple(size):
        return positive
    return cv2.resize(positive, size[::-1], interpolation=cv2.INTER_LINEAR)


def _table(records):
    import pandas as pd

    return pd.DataFrame(records, columns=list(COLUMNS))
