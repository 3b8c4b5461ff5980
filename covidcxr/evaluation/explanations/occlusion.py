"""Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901): how far a class's probability falls with a patch covered.

Needs no gradients, so it serves every network on every backend, and stands as a check on Grad-CAM.
"""

import numpy as np

from covidcxr.errors import OptionError

BATCH = 16
# Of the shorter side: a patch, and the step between two.
_PATCH, _STRIDE = 6, 12


def occlusion(model, images, classes, patch=None, stride=None, batch_size=BATCH):
    """Cover one patch after another with the image's own mean, and note by how much the probability falls.

    Parameters
    ----------
    model : keras.Model
        A classifier; only its probabilities are used.
    images : array of float32, shape (n, rows, columns, channels)
        As the network is fed them.
    classes : array of int, shape (n,)
        Index of the class to explain, image by image.
    patch, stride : int, optional
        Side of the square patch and step between patches, in pixels of the network's input; default a sixth
        and a twelfth of its shorter side. The last patches end at the edges, so that every pixel is covered.
    batch_size : int, optional
        Covered copies that are in memory at once.

    Returns
    -------
    numpy.ndarray of float32, shape (n, rows, columns)
        Of each pixel the mean fall of the probability over the patches that cover it, -1 to 1; negative where
        the class becomes more probable without it.

    Raises
    ------
    OptionError
        If patch or stride is less than 1, the patch is larger than the image, or the stride larger than the
        patch, which would leave pixels out.
    """
    images = np.asarray(images, dtype=np.float32)
    side = min(images.shape[1:3])
    patch = max(1, side // _PATCH) if patch is None else patch
    stride = max(1, min(patch, side // _STRIDE)) if stride is None else stride
    if not 1 <= stride <= patch <= side:
        raise OptionError(
            f"patch {patch} and stride {stride}: want 1 <= stride <= patch <= {side}, the image's shorter side"
        )
    corners = [
        (top, left)
        for top in _places(images.shape[1], patch, stride)
        for left in _places(images.shape[2], patch, stride)
    ]
    pairs = zip(images, classes, strict=True)
    return np.stack([_one(model, image, int(target), corners, patch, batch_size) for image, target in pairs])


def _places(length, patch, stride):
    return sorted({*range(0, length - patch + 1, stride), length - patch})


def _one(model, image, target, corners, patch, batch_size):
    mean = image.mean(axis=(0, 1))
    covered = np.repeat(image[None], batch_size, axis=0)
    whole = np.asarray(model.predict_on_batch(covered))[0, target]
    fall, times = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    for start in range(0, len(corners), batch_size):
        part = corners[start : start + batch_size]
        # Always a full batch: the network is compiled for one shape only.
        covered[:] = image
        for copy, (top, left) in zip(covered, part, strict=False):
            copy[top : top + patch, left : left + patch] = mean
        probabilities = np.asarray(model.predict_on_batch(covered))[:, target]
        for (top, left), probability in zip(part, probabilities, strict=False):
            fall[top : top + patch, left : left + patch] += whole - probability
            times[top : top + patch, left : left + patch] += 1
    return (fall / times).astype(np.float32)
