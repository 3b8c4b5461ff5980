"""Batches of images for the network, several under way at once and a bounded number in memory."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from covidcxr.data.standardizing import Standardizer
from covidcxr.errors import ImageError


class Reader:
    """Reads images as batches, and names those that cannot be read.

    Parameters
    ----------
    loader : covidcxr.data.preprocessing.Preprocessing
    reads : callable
        ``reads(loader, source)`` gives one image as uint8 of the network's size.
    strict : bool
        Whether an image that cannot be read raises.
    """

    def __init__(self, loader, reads, strict):
        self._loader, self._reads, self._strict = loader, reads, strict
        self._standardize = Standardizer(loader)

    def __call__(self, sources, indices):
        """Read some of the sources.

        Returns
        -------
        rows : list of int
            The indices of those that could be read.
        images : numpy.ndarray of float32, shape (rows, height, width, channels), or None
            None where there is no row.
        faults : list of (int, ImageError)

        Raises
        ------
        ImageError
            If `strict` and an image cannot be read.
        """
        rows, greys, faults = [], [], []
        for index in indices:
            try:
                greys.append(self._reads(self._loader, sources[index]))
                rows.append(index)
            except ImageError as error:
                if self._strict:
                    raise
                faults.append((index, error))
        return rows, self._standardize(greys) if rows else None, faults


def in_order(work, items, threads):
    """Yield ``work(item)`` in the order of the items, computed by several threads.

    At most twice as many results as there are threads are under way or wait to be taken.

    Parameters
    ----------
    work : callable
    items : iterable
    threads : int

    Yields
    ------
    object
    """
    pool, waiting = ThreadPoolExecutor(max_workers=threads), deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # What was not begun is not wanted after an error or Ctrl-C.
        pool.shutdown(cancel_futures=True)
