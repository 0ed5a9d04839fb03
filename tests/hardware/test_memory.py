"""The main memory that this process holds, and releases."""

import sys

import numpy as np
import pytest

from lmlab.hardware.memory import _status_bytes, held_memory_bytes, peak_memory_bytes, release_freed_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


@linux
def test_what_is_held_follows_an_array_and_the_peak_stays():
    release_freed_memory()  # else the array may lie in what other tests have freed
    before = held_memory_bytes()
    array = np.ones(40 << 20, dtype=np.uint8)
    assert held_memory_bytes() - before > 35 << 20
    assert peak_memory_bytes() >= held_memory_bytes()
    del array
    release_freed_memory()
    assert held_memory_bytes() - before < 20 << 20
    assert peak_memory_bytes() >= before + (35 << 20)


@linux
def test_freed_blocks_between_live_ones_go_back_to_the_system():
    # Of 64 kB: too small for pages of their own, and the live ones keep the heap from shrinking at its end.
    blocks = [np.ones(64 << 10, dtype=np.uint8) for _ in range(1_000)]
    held = held_memory_bytes()
    kept = blocks[::2]
    del blocks
    release_freed_memory()
    assert held - held_memory_bytes() > 20 << 20
    assert len(kept) == 500


def test_a_status_without_the_key_or_without_a_file_says_nothing(tmp_path):
    path = tmp_path / "status"
    assert _status_bytes("VmRSS", path) == 0
    path.write_text("VmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    assert (_status_bytes("VmRSS", path), _status_bytes("VmHWM", path), _status_bytes("VmSwap", path)) == (
        1 << 20,
        2 << 20,
        0,
    )
