"""Pages of a token file that is larger than memory: requested for the next batch, and nothing else."""

import ctypes
import mmap
import os
import sys
import time

import numpy as np
import pytest

from lmlab.data.document_order import DocumentStream
from lmlab.data.fresh import training_batch, training_pieces
from lmlab.data.paging import random_reads

PAGE = mmap.PAGESIZE
needs_madvise = pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system has no madvise")


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "tokens.bin"
    np.arange(200 * PAGE, dtype="<u2").tofile(file)
    return file


def split_of(path):
    return np.memmap(path, dtype="<u2", mode="r")


def resident(mapped):
    """Which pages of a map are in memory, from mincore(2)."""
    found = (ctypes.c_ubyte * (len(mapped) // PAGE))()
    address = np.frombuffer(mapped, np.uint8).ctypes.data
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), found) == 0
    return np.array(found) & 1


@needs_madvise
@pytest.mark.skipif(sys.platform != "linux", reason="mincore and posix_fadvise are read as Linux has them")
def test_the_pages_of_the_ranges_are_read_and_no_others(path):
    descriptor = os.open(path, os.O_RDWR)
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    tokens = split_of(path)
    if resident(tokens._mmap).any():
        pytest.skip("this file system keeps the file in memory")
    of_page = PAGE // 2
    reads = random_reads(tokens, memory=1)
    reads.expect(np.array([10 * of_page, 70 * of_page - 1]), np.array([10 * of_page + 5, 70 * of_page + 1]))
    for _ in range(200):
        if resident(tokens._mmap).sum() >= 3:
            break
        time.sleep(0.01)
    assert np.flatnonzero(resident(tokens._mmap)).tolist() == [10, 69, 70]


@needs_madvise
@pytest.mark.parametrize("begin", [0, 7 * PAGE + 3])
def test_batches_are_the_same(path, begin):
    tokens, plain = split_of(path)[begin:], np.fromfile(path, "<u2")[begin:]
    reads = random_reads(tokens, memory=1)
    for cursor in (0, 8, 16):
        reads.expect(*training_pieces(tokens, "shuffle", 1, 64, cursor, 8))
        for ours, same in zip(
            training_batch(tokens, "shuffle", 1, 64, cursor, 8),
            training_batch(plain, "shuffle", 1, 64, cursor, 8),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, same)


@needs_madvise
def test_documents_in_another_order_are_read_as_without_requests(path):
    starts = np.arange(0, len(split_of(path)) + 1, 1024)
    stream, plain = (DocumentStream(tokens, starts) for tokens in (split_of(path), np.fromfile(path, "<u2")))
    random_reads(stream, memory=1).expect(*training_pieces(stream, "documents", 1, 64, 0, 8))
    ours, same = (training_batch(one, "documents", 1, 64, 0, 8) for one in (stream, plain))
    np.testing.assert_array_equal(ours, same)


def test_a_file_that_fits_memory_or_is_no_map_is_left_alone(path):
    assert random_reads(split_of(path), memory=1 << 40) is None
    assert random_reads(np.arange(10), memory=1) is None
