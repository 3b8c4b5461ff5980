"""The same picture twice: in its bytes, its pixels, or nearly; and the patients whom it joins."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from covidcxr import handles
from covidcxr.data.splits import UNKNOWN, group_names
from covidcxr.errors import ImageError

HASH_DISTANCE = 4
CORRELATION = 0.95
DETAIL = 0.55
"""Least correlation in fine detail of two pictures that are one."""

_THUMB = 32
_DETAIL_SIDE, _DETAIL_SHIFT, _DETAIL_BLUR = 128, 12, 2
_BLOCK = 128
# Pairs whose thumbnails are compared at once: some tens of megabytes.
_PAIRS = 2048
# Images handed out at once: Ctrl-C then waits for these only.
_CHUNK = 64
_COLUMNS = ("path", "sha256", "pixels", "phash", "thumb", "width", "height", "error")


def fingerprints(records, progress=None, workers=2):
    """Read every image once and keep what tells it from others: about 1.5 kB an image, no picture.

    Parameters
    ----------
    records : Records
    progress : callable, optional
        Called with (images done, images in all).
    workers : int
        Threads that decode.

    Returns
    -------
    pandas.DataFrame
        A row an image, in row order: `path`; `sha256` of the file and `pixels`, that of its decoded grey
        values and their shape (hexadecimal); `phash`, the 64 bits of `imagehash.phash` (uint64); `thumb`,
        the 32 × 32 grey thumbnail (bytes); `width`, `height` (pixels); `error`, why the file cannot be used
        (``""`` if it can; the other columns are then empty or 0).
    """
    files, rows = records.files(), []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(files), _CHUNK):
            rows += pool.map(_fingerprint, files[start : start + _CHUNK])
            if progress:
                progress(len(rows), len(files))
    table = pd.DataFrame(rows, columns=list(_COLUMNS[1:]))
    table.insert(0, "path", records.table["path"].to_numpy())
    return table.astype({"phash": np.uint64, "width": int, "height": int})


def exact_duplicates(table):
    """Pair every repeated picture with the first one like it.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`fingerprints`.

    Returns
    -------
    pandas.DataFrame
        Columns `a` (the first of its kind), `b` (the repetition) and `kind`: ``"bytes"`` where the files
        are the same, ``"pixels"`` where only the pictures are (another format or other metadata).
    """
    readable = table[table["error"] == ""]
    first = readable.groupby("pixels", sort=False)[["path", "sha256"]].transform("first")
    again = (first["path"] != readable["path"]).to_numpy()
    same_bytes = readable["sha256"] == first["sha256"]
    pairs = {"a": first["path"], "b": readable["path"], "kind": np.where(same_bytes, "bytes", "pixels")}
    return pd.DataFrame(pairs)[again].reset_index(drop=True)


def near_duplicates(table, distance=HASH_DISTANCE, correlation=CORRELATION):
    """Find pictures that are the same but for size, compression or a small mark.

    Two pictures match if their perceptual hashes differ in at most `distance` of 64 bits and their thumbnails
    correlate at `correlation` or more; the second condition drops the hash's false alarms, of which
    radiographs, being all alike, have many. Crops, rotations and strong changes of contrast are not found.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`fingerprints`. 20,000 images take seconds; memory grows with the pairs found only.
    distance : int
        Bits, 0 to 64.
    correlation : float
        Pearson's, -1 to 1.

    Returns
    -------
    pandas.DataFrame
        Columns `a`, `b` (paths; `a` stands earlier in `table`), `distance`, `correlation`, in table order.
        Pictures equal in every pixel are paired with the first of them only.
    """
    readable = table[table["error"] == ""].reset_index(drop=True)
    first_of = readable.groupby("pixels", sort=False)["path"].transform("first")
    alone = readable[first_of == readable["path"]].reset_index(drop=True)
    found = _near(alone, distance, correlation)
    equal = exact_duplicates(readable)[["a", "b"]].assign(distance=0, correlation=1.0)
    place = pd.Series(np.arange(len(readable)), index=readable["path"])
    both = pd.concat([part for part in (found, equal) if len(part)] or [found], ignore_index=True)
    order = np.lexsort((place.loc[both["a"]], place.loc[both["b"]]))
    return both.iloc[order].reset_index(drop=True)


def detail_correlations(records, pairs, workers=2):
    """Compare pictures in what hash and thumbnail are too coarse for: ribs, vessels, letters.

    Radiographs of two people can agree at 32 pixels a side. Here each picture is brought to 128 × 128, its coarse
    shades are taken off, and the middle of the one is looked for in the other, up to 12 pixels away.

    Parameters
    ----------
    records : Records
    pairs : pandas.DataFrame
        Columns `a`, `b` (see :func:`near_duplicates`).
    workers : int
        Threads that decode.

    Returns
    -------
    numpy.ndarray of float, shape (pairs,)
        Pearson's correlation at the best place, -1 to 1; NaN where a file cannot be read. The same picture in
        another size or compression has about 0.9 to 1, a slightly cropped or marked one 0.6 and more, pictures of
        two people 0.5 and less, a flat one 0: see :data:`DETAIL`.
    """
    paths = sorted({*pairs["a"], *pairs["b"]})
    with ThreadPoolExecutor(workers) as pool:
        read = pool.map(_detail, [records.root / path for path in paths])
        details = dict(zip(paths, read, strict=True))
    return np.array(
        [_found_in(details[a], details[b]) for a, b in zip(pairs["a"], pairs["b"], strict=True)], dtype=float
    )


def linked_groups(records, pairs):
    """Join patients who share a picture, so that a split by group cannot put one picture into two parts.

    Parameters
    ----------
    records : Records
    pairs : pandas.DataFrame
        Columns `a`, `b`: paths of the same picture (see :func:`near_duplicates`). Paths that are not among
        the records are passed over.

    Returns
    -------
    pandas.Series of str
        Group of each row: the patient id that sorts first among those joined, so the name does not depend
        on row order; an image of an unknown patient that is joined to none is ``"file:<path>"``.
    """
    names = group_names(records, records.table["patient_id"])
    by_path = dict(zip(records.table["path"], names, strict=True))
    parent = {name: name for name in names}
    for a, b in zip(pairs["a"], pairs["b"], strict=True):
        if a in by_path and b in by_path:
            _join(parent, by_path[a], by_path[b])
    groups = [_head(parent, name) for name in names]
    return pd.Series(groups, index=records.table.index, name="group", dtype=object)


def _fingerprint(path):
    from covidcxr.data.images import read_grey

    if not os.path.lexists(path):
        return "", "", 0, b"", 0, 0, "file missing"
    try:
        # Decoded first: it refuses a pipe, of which the other would wait for ever.
        grey = read_grey(path)
        data = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ImageError) as error:
        if handles.spent(error):
            raise
        return "", "", 0, b"", 0, 0, str(error).removeprefix(f"{path}: ")
    height, width = grey.shape
    pixels = hashlib.sha256(f"{height}x{width}:".encode() + np.ascontiguousarray(grey).tobytes())
    thumb, bits = _perceptual(grey)
    return data, pixels.hexdigest(), bits, thumb, width, height, ""


def _perceptual(grey):
    import imagehash
    from PIL import Image

    # phash shrinks to 32 × 32 by Lanczos itself; shrinking first gives the same hash and the thumbnail for
    # one price.
    thumb = Image.fromarray(grey).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS)
    bits = np.packbits(imagehash.phash(thumb).hash.ravel())
    return thumb.tobytes(), int.from_bytes(bits.tobytes(), "big")


def _near(table, distance, correlation):
    hashes = table["phash"].to_numpy(np.uint64)
    thumbs = np.frombuffer(b"".join(table["thumb"]), np.uint8).reshape(len(table), -1 if len(table) else 1)
    found = []
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        bits = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        a, b = np.nonzero(bits <= distance)
        later = b > a
        a, b, bits = a[later], b[later], bits[a[later], b[later]]
        alike = _correlations(thumbs, a + start, b + start)
        kept = alike >= correlation
        found.append(np.stack([a[kept] + start, b[kept] + start, bits[kept], alike[kept]]))
    a, b, bits, alike = np.concatenate(found, axis=1) if found else np.zeros((4, 0))
    paths = table["path"].to_numpy(dtype=object)
    columns = {"a": paths[a.astype(int)], "b": paths[b.astype(int)], "distance": bits.astype(int)}
    return pd.DataFrame({**columns, "correlation": alike})


def _correlations(thumbs, a, b):
    """Return Pearson's r of thumbnails `a` with `b`, row by row; 0 for one that is flat, 1 for equal ones."""
    parts = [
        _correlation(thumbs[a[start : start + _PAIRS]], thumbs[b[start : start + _PAIRS]])
        for start in range(0, len(a), _PAIRS)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _correlation(first, second):
    equal = (first == second).all(axis=1)
    x, y = (part - part.mean(axis=1, keepdims=True) for part in (first, second))
    scale = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
    product = np.einsum("ij,ij->i", x, y)
    alike = np.divide(product, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(equal, 1.0, alike)


def _detail(path):
    """Return the fine detail of a picture, float16 (128, 128), or None if it cannot be read."""
    import cv2

    from covidcxr.data.images import read_grey

    try:
        grey = read_grey(path)
    except (OSError, ImageError):
        return None
    small = cv2.resize(grey, (_DETAIL_SIDE, _DETAIL_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = small - cv2.GaussianBlur(small, (0, 0), _DETAIL_BLUR)
    # A burnt-in letter would otherwise outweigh the whole chest.
    most = 3 * detail.std()
    return np.clip(detail, -most, most).astype(np.float16)


def _found_in(first, second):
    import cv2

    if first is None or second is None:
        return np.nan
    middle = np.s_[_DETAIL_SHIFT:-_DETAIL_SHIFT, _DETAIL_SHIFT:-_DETAIL_SHIFT]
    whole, part = first.astype(np.float32), second[middle].astype(np.float32)
    # OpenCV finds what is flat everywhere.
    if not part.std() or not whole.std():
        return 0.0
    return float(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max())


def _head(parent, name):
    while parent[name] != name:
        parent[name] = parent[parent[name]]
        name = parent[name]
    return name


def _join(parent, first, second):
    heads = {_head(parent, first), _head(parent, second)}
    head = min(heads, key=lambda name: (name.startswith(UNKNOWN), name))
    for other in heads:
        parent[other] = head
