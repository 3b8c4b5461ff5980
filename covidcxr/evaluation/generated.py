"""How good generated radiographs are, and whether they are only copies of the real ones.

Distances between sets are taken on the features of a network that is named with the number: FID and KID in the
literature use Inception's, trained on photographs, and no number of another network compares with those.
"""

import numpy as np

from covidcxr.atomic import whole_file
from covidcxr.errors import DataError, OptionError

_CHUNK = 256
_SIDE = 128
_GAP, _CAPTION = 4, 16
_INK, _PAPER = 0, 255


def feature_network(key, weights=None, size=None):
    """Build a backbone that gives one vector an image, and the preprocessing it wants.

    Parameters
    ----------
    key : str
        See :func:`covidcxr.models.backbones.get`.
    weights : path-like, optional
        See :func:`covidcxr.models.start.start`; without them the network is random, and distances say
        little.
    size : int, optional
        Height and width that images are brought to; default that of the published weights.

    Returns
    -------
    model : keras.Model
        To (n, features), averaged over places.
    preprocessing : covidcxr.data.preprocessing.Preprocessing

    Raises
    ------
    ModelError
        As :func:`covidcxr.models.start.start`.
    """
    from covidcxr.data.preprocessing import Preprocessing
    from covidcxr.models import backbones
    from covidcxr.models.start import start

    known = backbones.get(key)
    side = size or known.input_size
    mode = "none" if known.value_range == "0-255" else known.value_range
    model = start(known, (side, side, 3), weights, pooling="avg")
    return model, Preprocessing((side, side), 3, interpolation="bilinear", mode=mode)


def features(model, images, preprocessing, batch_size=64):
    """Return a network's output for images held in memory.

    Parameters
    ----------
    model : keras.Model
    images : sequence of numpy.ndarray of uint8, shape (height, width)
    preprocessing : covidcxr.data.preprocessing.Preprocessing
    batch_size : int

    Returns
    -------
    numpy.ndarray of float64, shape (n, features)
        Outputs of more axes are flattened.

    Raises
    ------
    DataError
        If there is no image.
    """
    from covidcxr.data.images import resize

    if not len(images):
        raise DataError("no images to take features of; give at least one")
    parts = []
    for start in range(0, len(images), batch_size):
        resized = [
            resize(image, preprocessing.size, preprocessing.interpolation)
            for image in images[start : start + batch_size]
        ]
        batch = preprocessing.standardize(preprocessing.expand(np.stack(resized)))
        parts.append(np.asarray(model.predict_on_batch(batch), dtype=np.float64))
    return _flat(np.concatenate(parts))


def fid(features_a, features_b):
    """Return the Fréchet distance of two sets: 0 where mean and covariance agree (Heusel 2017, section 3).

    ``|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` with unbiased covariances. The last trace is the
    sum of singular values of ``A B^T`` (A, B: centred features over the root of n - 1), which needs no matrix
    root and stays exact where there are fewer images than features. Small sets give too large a distance, so
    compare only sets of equal sizes, or use :func:`kid`.

    Parameters
    ----------
    features_a, features_b : array-like, (n_a, features) and (n_b, features)
        At least 2 images each.

    Returns
    -------
    float

    Raises
    ------
    DataError
        If the sets are too small, differ in features, or are not finite.
    """
    from scipy.linalg import qr, svdvals

    a, b = _checked(features_a, features_b)
    shift = a.mean(axis=0) - b.mean(axis=0)
    # Rows beyond the number of features add nothing to a product of two triangles.
    triangles = [
        qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1), mode="r", check_finite=False)[0][: x.shape[1]]
        for x in (a, b)
    ]
    spread = sum(np.sum(triangle**2) for triangle in triangles)
    common = svdvals(triangles[0] @ triangles[1].T).sum()
    return max(0.0, float(shift @ shift + spread - 2 * common))


def kid(features_a, features_b, subsets=100, seed=0, subset_size=None):
    """Return the kernel distance of two sets (Bińkowski 2018, section 4): unbiased, so fit for small sets.

    The squared maximum mean discrepancy with the kernel ``(x . y / features + 1)^3``, over random subsets. An
    unbiased estimate may be below 0 where the sets are alike.

    Parameters
    ----------
    features_a, features_b : array-like, (n_a, features) and (n_b, features)
        At least 4 images each.
    subsets : int
    seed : int
    subset_size : int, optional
        Images of each set in a subset, drawn without replacement; default 1000 as in the source, or half of
        the smaller set where that is less, so that subsets differ.

    Returns
    -------
    value : float
        Mean over the subsets.
    deviation : float
        Standard deviation over them. Subsets share images: it is not the standard error of the mean.

    Raises
    ------
    DataError
        As :func:`fid`.
    OptionError
        If there is no subset, or one of `subset_size` cannot be drawn.
    """
    a, b = _checked(features_a, features_b)
    fewest = min(len(a), len(b))
    size = subset_size or min(1000, fewest // 2)
    if not 2 <= size <= fewest or subsets < 1:
        raise OptionError(
            f"{subsets} subsets of {size} from sets of {len(a)} and {len(b)}; at least 1, of at least 2"
        )
    random = np.random.default_rng(seed)
    values = [
        _discrepancy(*(x[random.choice(len(x), size, replace=False)] for x in (a, b))) for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def nearest_real(generated, real):
    """Find the real image most like each generated one.

    Parameters
    ----------
    generated, real : array-like, (n, ...) and (m, ...)
        Pixels at one size, or features.

    Returns
    -------
    index : numpy.ndarray of int, shape (n,)
        Of the nearest in `real`.
    distance : numpy.ndarray of float64, shape (n,)
        Root mean square difference a value: grey levels a pixel, for uint8 images. 0 is a copy.

    Raises
    ------
    DataError
        If either is empty, or their shapes differ.
    """
    return _nearest(generated, real, 0)


def nearest_other(real):
    """Find for each real image the one most like it among the others, as a measure for :func:`nearest_real`.

    Generated images that lie much nearer to a real one than real ones lie to each other are memorised.

    Parameters
    ----------
    real : array-like, (m, ...)
        At least 2.

    Returns
    -------
    index, distance
        As of :func:`nearest_real`.
    """
    if len(real) < 2:
        raise DataError("one image has no other to be like; give at least two")
    return _nearest(real, real, np.inf)


def nearest_sheet(generated, real, spaces, path, rows=12):
    """Write a page of generated images beside their nearest real ones, the most alike first.

    Parameters
    ----------
    generated, real : numpy.ndarray of uint8, (n, height, width) and (m, height, width)
    spaces : mapping of str to (index, distance)
        What "near" means, such as ``{"pixels": nearest_real(...), "features": nearest_real(...)}``: one
        column each. Rows are ordered by the first.
    path : path-like
        An image file.
    rows : int
        At most so many generated images.

    Returns
    -------
    numpy.ndarray of int
        Which generated images are shown, from the top.

    Raises
    ------
    DataError
        If there is nothing to show.
    """
    from PIL import Image, ImageDraw

    if not len(generated) or not spaces:
        raise DataError("no generated images, or no neighbours of theirs, to show; give at least one")
    shown = np.argsort(next(iter(spaces.values()))[1], kind="stable")[:rows]
    wide, high = _SIDE + _GAP, _SIDE + _CAPTION
    size = ((len(spaces) + 1) * wide + _GAP, len(shown) * high + _CAPTION)
    sheet = Image.new("L", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(["generated", *(f"nearest in {name}" for name in spaces)]):
        pen.text((_GAP + column * wide, 2), title, fill=_INK)
    for row, place in enumerate(shown):
        cells = [(generated[place], f"no. {place}")]
        cells += [
            (real[index[place]], f"real {index[place]}, {far[place]:.3g} away")
            for index, far in spaces.values()
        ]
        for column, (image, caption) in enumerate(cells):
            left, top = _GAP + column * wide, _CAPTION + row * high
            sheet.paste(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, top))
            pen.text((left, top + _SIDE), caption, fill=_INK)
    with whole_file(path) as temporary:
        sheet.save(temporary)
    return shown


def _nearest(queries, others, own):
    """Return the nearest of `others`; `own` is added to the distance of an image from its own place."""
    queries, others = (_flat(np.asarray(x, dtype=np.float64)) for x in (queries, others))
    if not len(queries) or not len(others) or queries.shape[1] != others.shape[1]:
        raise DataError(
            f"images or features of shapes {queries.shape} and {others.shape} cannot be compared; "
            "give two sets that are not empty, of one size"
        )
    index = np.empty(len(queries), dtype=np.int64)
    norms = np.sum(others**2, axis=1)
    for start in range(0, len(queries), _CHUNK):
        chunk = queries[start : start + _CHUNK]
        squares = norms - 2 * chunk @ others.T
        rows = np.arange(len(chunk))
        if own:
            squares[rows, start + rows] = own
        index[start : start + _CHUNK] = squares.argmin(axis=1)
    # Anew from the differences: the expansion above loses the digits that tell a copy from a likeness.
    return index, np.sqrt(np.mean((queries - others[index]) ** 2, axis=1))


def _discrepancy(a, b):
    count = len(a)
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_kernel(a, a), _kernel(b, b)))
    return within / (count * (count - 1)) - 2 * _kernel(a, b).mean()


def _kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def _checked(*sets):
    sets = [np.asarray(x, dtype=np.float64) for x in sets]
    shapes = " and ".join(str(x.shape) for x in sets)
    if any(x.ndim != 2 or len(x) < 2 for x in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise DataError(
            f"features of shapes {shapes}; give (images, features), 2 images or more, equal features"
        )
    if not all(np.isfinite(x).all() for x in sets):
        raise DataError(f"features of shapes {shapes} are not all finite; check the network and its input")
    return sets


def _flat(values):
    return values.reshape(len(values), -1)
