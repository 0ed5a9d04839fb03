"""The number of CPU threads that PyTorch computes with."""

from __future__ import annotations

from lmlab import LabError
from lmlab.hardware.cpu import physical_cores


def use_threads(count: int = 0) -> int:
    """Compute with `count` threads, or with one per physical core if it is 0; return the number used.

    Two threads on one core share its arithmetic units, so more than one per core only adds waiting.
    """
    if count < 0:
        raise LabError(f"train.threads is {count}: expected a number of threads, or 0 for one a physical core")
    import torch

    chosen = count or physical_cores()
    if torch.get_num_threads() != chosen:
        torch.set_num_threads(chosen)
    return chosen
