"""Class probabilities for image files or arrays, through the preprocessing stored with the model."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from covidcxr.data.images import list_images, resize
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import DataError, ImageError, ModelError
from covidcxr.models.files import info_of, load_model


def predict(model, images, batch_size=32):
    """Predict class probabilities.

    Parameters
    ----------
    model : keras.Model or path-like
        A model of this package, or the path of its .h5 or .keras file.
    images : path-like, sequence of path-like, or numpy.ndarray
        A file, a folder (searched recursively), several of either, or grey radiographs as a uint8 array of
        shape (height, width) or (n, height, width).
    batch_size : int, optional

    Returns
    -------
    pandas.DataFrame
        One row an image: `path` (or `image`, the index, for arrays), `predicted` (class name) and
        `prob_<class>` for every class, float32 in 0..1 that sum to 1.

    Raises
    ------
    ImageError
        If an image cannot be read (the message names it).
    ModelError
        If the model carries no preprocessing or class names, or they do not fit the network.
    """
    import pandas as pd

    model, info = _model_and_info(model)
    if isinstance(images, np.ndarray):
        stack = images[None] if images.ndim == 2 else images
        if stack.ndim != 3 or stack.dtype != np.uint8:
            raise DataError(
                f"images: an array of shape {images.shape} and dtype {images.dtype}; give grey uint8 radiographs "
                "of shape (height, width) or (n, height, width)"
            )
        head = pd.DataFrame({"image": range(len(stack))})
        probabilities = _predict_arrays(model, _loader(model, info), stack, batch_size)
    else:
        files = expand(images)
        head = pd.DataFrame({"path": [str(path) for path in files]})
        probabilities = predict_files(model, files, batch_size)
    return pd.concat([head, table(probabilities, info.class_names)], axis=1)


def predict_files(model, files, batch_size=32, on_bad=None, progress=None):
    """Predict probabilities for image files, loading the next batch while the network runs.

    Parameters
    ----------
    model : keras.Model
        Loaded or trained by this package (it carries its preprocessing).
    files : sequence of path-like
    batch_size : int, optional
    on_bad : callable, optional
        ``on_bad(index, error)`` for an image that cannot be read; its row is then NaN. Without it the first
        such image raises.
    progress : callable, optional
        ``progress(done)`` after each batch.

    Returns
    -------
    numpy.ndarray
        float32 (n, classes).

    Raises
    ------
    ImageError
        If an image cannot be read and `on_bad` is not given.
    """
    info = info_of(model)
    loader = _loader(model, info)
    batch_size = min(batch_size, len(files))
    output = np.full((len(files), len(info.class_names)), np.nan, dtype=np.float32)
    for rows, batch in _batches(files, loader, batch_size, on_bad):
        if len(rows):
            output[rows] = np.asarray(model.predict_on_batch(_padded(batch, batch_size)))[: len(rows)]
        if progress:
            progress(int(rows[-1]) + 1 if len(rows) else 0)
    return output


def table(probabilities, class_names):
    """Return probabilities (n, classes) as a table with `predicted` and a column a class."""
    import pandas as pd

    known = ~np.isnan(probabilities).any(axis=1)
    best = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), -1)
    columns = {"predicted": [class_names[i] if i >= 0 else "" for i in best]}
    columns.update({f"prob_{name}": probabilities[:, i] for i, name in enumerate(class_names)})
    return pd.DataFrame(columns)


def expand(images):
    """List the image files that a path, a folder, or a sequence of either stands for.

    Raises
    ------
    DataError
        If a path does not exist or a folder holds no image.
    """
    entries = [images] if isinstance(images, str | Path) else list(images)
    files = []
    for entry in map(Path, entries):
        if os.path.isdir(entry):
            found = list_images(entry)
            if not found:
                raise DataError(f"{entry}: no image in this folder; give a file or a folder with radiographs")
            files.extend(found)
        elif os.path.lexists(entry):
            files.append(entry)
        else:
            raise DataError(f"{entry}: no such file or folder; check the path")
    return files


def _model_and_info(model):
    if isinstance(model, str | Path):
        model = load_model(model)
    info = info_of(model)
    if info is None:
        raise ModelError(
            "this model carries no class names and preprocessing; load one with covidcxr.load_model"
        )
    return model, info


def _loader(model, info):
    """Return the preprocessing that a model's file describes, if it and the class names fit the network."""
    loader = Preprocessing.from_dict(info.preprocessing)
    given, made = (*loader.size, loader.channels), (len(info.class_names),)
    takes, gives = tuple(model.input_shape[1:]), tuple(model.output_shape[1:])
    if not _agree(takes, given) or not _agree(gives, made):
        raise ModelError(
            f"{info.network}: the network takes {takes} and gives {gives}, the model file speaks of images "
            f"{given} and of {made[0]} classes; get the file again"
        )
    return loader


def _agree(shape, wanted):
    return len(shape) == len(wanted) and all(
        side in (None, other) for side, other in zip(shape, wanted, strict=True)
    )


def _batches(files, loader, batch_size, on_bad) -> Iterator:
    """Yield (row numbers, float32 batch), decoding one batch ahead on two threads."""

    def load(index):
        try:
            return index, loader(files[index])
        except ImageError as error:
            if on_bad is None:
                raise
            on_bad(index, error)
            return index, None

    starts = range(0, len(files), batch_size)
    with ThreadPoolExecutor(max_workers=2) as pool:
        ahead = [pool.submit(load, i) for i in range(min(batch_size, len(files)))]
        for start in starts:
            current = ahead
            following = range(start + batch_size, min(start + 2 * batch_size, len(files)))
            ahead = [pool.submit(load, i) for i in following]
            loaded = [pair for pair in (future.result() for future in current) if pair[1] is not None]
            rows = np.array([index for index, _ in loaded], dtype=int)
            yield rows, np.stack([image for _, image in loaded]) if loaded else None


def _predict_arrays(model, loader, stack, batch_size):
    parts = []
    batch_size = min(batch_size, len(stack))
    for start in range(0, len(stack), batch_size):
        chunk = stack[start : start + batch_size]
        batch = np.stack(
            [
                loader.standardize(loader.expand(resize(grey, loader.size, loader.interpolation)))
                for grey in chunk
            ]
        )
        parts.append(np.asarray(model.predict_on_batch(_padded(batch, batch_size)))[: len(chunk)])
    return np.concatenate(parts).astype(np.float32)


def _padded(batch, batch_size):
    """Repeat the last image up to a full batch, so that the network is compiled for one shape only."""
    lacking = batch_size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], lacking, axis=0)]) if lacking else batch
