"""Class probabilities for image files or arrays, through the preprocessing stored with the model."""

import os
from contextlib import closing
from pathlib import Path

import numpy as np

from covidcxr.data.images import list_images, resize
from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import DataError, ModelError
from covidcxr.inference import runtimes
from covidcxr.inference.reading import Reader, in_order
from covidcxr.models.files import info_of, load_model

# Images on which bfloat16 is compared with float32 before it is used.
_COMPARED = 16


def predict(model, images, batch_size=None, *, runtime="keras", precision="float32"):
    """Predict class probabilities.

    Parameters
    ----------
    model : keras.Model or path-like
        A model of this package, or the path of its .h5 or .keras file.
    images : path-like, sequence of path-like, or numpy.ndarray
        A file, a folder (searched recursively), several of either, or grey radiographs as a uint8 array of
        shape (height, width) or (n, height, width).
    batch_size : int, optional
        Images a forward pass; by default what was measured to be fastest for the runtime.
    runtime : {"keras", "onnxruntime", "openvino"}, optional
        What computes the network; the others are of the extra ``runtimes`` and agree with Keras within 1e-4.
    precision : {"float32", "bfloat16"}, optional
        "bfloat16" is compared with float32 on a few of the images first.

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
        If the model carries no preprocessing or class names, or they do not fit the network; if the runtime is
        not installed or cannot hold the network; if bfloat16 changes its probabilities by more than 0.01.
    OptionError
        If there is no such runtime or precision.
    """
    import pandas as pd

    runtimes.check(runtime, precision)
    model, info = _model_and_info(model)
    if isinstance(images, np.ndarray):
        stack = images[None] if images.ndim == 2 else images
        if stack.ndim != 3 or stack.dtype != np.uint8:
            raise DataError(
                f"images: an array of shape {images.shape} and dtype {images.dtype}; give grey uint8 radiographs "
                "of shape (height, width) or (n, height, width)"
            )
        head = pd.DataFrame({"image": range(len(stack))})
        sources, reads = stack, _resized
    else:
        sources, reads = expand(images), Preprocessing.load
        head = pd.DataFrame({"path": [str(path) for path in sources]})
    probabilities = _probabilities(model, sources, reads, batch_size, runtime, precision)
    return pd.concat([head, table(probabilities, info.class_names)], axis=1)


def predict_files(
    model, files, batch_size=None, on_bad=None, progress=None, *, runtime="keras", precision="float32"
):
    """Predict probabilities for image files, decoding on some threads while others run the network.

    Parameters
    ----------
    model : keras.Model
        Loaded or trained by this package (it carries its preprocessing).
    files : sequence of path-like
    batch_size, runtime, precision : optional
        As in :func:`predict`.
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
    ModelError, OptionError
        As :func:`predict`.
    """
    return _probabilities(model, files, Preprocessing.load, batch_size, runtime, precision, on_bad, progress)


def _probabilities(model, sources, reads, batch_size, runtime, precision, on_bad=None, progress=None):
    info = info_of(model)
    reader = Reader(_loader(model, info), reads, on_bad is None)
    if not len(sources):
        return np.empty((0, len(info.class_names)), np.float32)
    forward = runtimes.prepare(model, len(sources), runtime, precision)
    if precision != "float32":
        _check_precision(model, forward, reader, sources)
    return run_batches(forward, reader, sources, len(info.class_names), batch_size, on_bad, progress)


def run_batches(forward, reader, sources, classes, batch_size=None, on_bad=None, progress=None):
    """Read and predict, several batches at once, with a network that is ready.

    Parameters
    ----------
    forward : covidcxr.inference.runtimes.Forward
    reader : covidcxr.inference.reading.Reader
    sources : sequence
        What `reader` reads.
    classes : int
    batch_size, on_bad, progress : optional
        As in :func:`predict_files`.

    Returns
    -------
    numpy.ndarray
        float32 (sources, classes).
    """
    output = np.full((len(sources), classes), np.nan, dtype=np.float32)
    size = min(batch_size or forward.batch_size, len(sources))

    def run(start):
        rows, images, faults = reader(sources, range(start, min(start + size, len(sources))))
        return rows, forward.run(_padded(images, size))[: len(rows)] if rows else None, faults

    starts = range(0, len(sources), size)
    with closing(in_order(run, starts, runtimes.workers())) as results:
        for start, (rows, probabilities, faults) in zip(starts, results, strict=True):
            for index, error in faults:
                on_bad(index, error)
            if rows:
                output[rows] = probabilities
            if progress:
                progress(min(start + size, len(sources)))
    return output


def _check_precision(model, forward, reader, sources):
    """Compare with float32 on images spread over all, those left out that cannot be read."""
    spread = np.linspace(0, len(sources) - 1, min(_COMPARED, len(sources))).astype(int)
    rows, images, _ = reader(sources, spread.tolist())
    if rows:
        runtimes.check_precision(model, forward, images)


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


def _resized(loader, grey):
    return resize(grey, loader.size, loader.interpolation)


def _padded(batch, batch_size):
    """Repeat the last image up to a full batch, so that the network is compiled for one shape only."""
    lacking = batch_size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], lacking, axis=0)]) if lacking else batch
