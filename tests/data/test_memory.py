"""Memory that is used again: never while somebody still has it."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covidcxr.data.memory import Buffers, Scratch


def address(array):
    return array.__array_interface__["data"][0]


def test_an_array_is_lent_again_only_when_no_part_of_it_is_left():
    buffers = Buffers()
    first = buffers.take((4, 5))
    where, part = address(first), first[1:, 2].T
    part[...] = 7
    del first
    gc.collect()
    other = buffers.take((4, 5))
    other[...] = 1
    assert address(other) != where
    np.testing.assert_array_equal(part, 7)
    del part
    gc.collect()
    assert address(buffers.take((2, 3))) == where


def test_arrays_are_aligned_writable_and_as_large_as_asked():
    buffers = Buffers()
    for shape in ((3,), (2, 7, 5, 3), (1, 1), (2, 9, 9, 3)):
        array = buffers.take(shape)
        array[...] = 3
        assert array.shape == shape
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert address(array) % 64 == 0


def test_scratch_is_each_threads_own():
    scratch = Scratch()
    mine = scratch.take("a", (8, 8))
    mine[...] = 5
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(scratch.take, "a", (8, 8)).result()
    assert not np.shares_memory(mine, theirs)
    assert not np.shares_memory(mine, scratch.take("b", (8, 8)))
    assert np.shares_memory(mine, scratch.take("a", (2, 3)))
    assert scratch.take("a", (20, 20)).shape == (20, 20)
