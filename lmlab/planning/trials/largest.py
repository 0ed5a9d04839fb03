"""The largest micro-batch that fits a GPU, found by running steps, all in one child process."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path

from lmlab.data.dataset import Dataset
from lmlab.hardware.memory import is_out_of_memory, release_device_memory
from lmlab.planning.trials.trial import Extent, Trial
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy

TRIED_STEPS = 2
TRIED_SECONDS = 2.0


def bisect_largest(fits: Callable[[int], bool], most: int, guess: int = 1) -> int:
    """Return the largest size from 1 to `most` that fits, where every smaller one does too; 0 where none does.

    Begins at `guess` and steps away from it by doubling, so that a good guess takes few trials.
    """
    low, high = 0, most + 1  # low fits (0 always does), high doesn't
    size, step = min(max(1, guess), most), 1
    while high - low > 1:
        if fits(size):
            low = size
        else:
            high = size
        if low and high <= most:
            size = (low + high) // 2
        else:
            size = min(low + step, most) if low else max(high - step, 1)
            step *= 2
    return low


def largest_in_this_process(
    recipe: Recipe, policy: Policy, dataset: Dataset, most: int, guess: int, limit_bytes: int
) -> int:
    """Return the largest micro-batch of at most `most` whose steps run and stay within `limit_bytes`; 0 where none does.

    A GPU that runs out of memory raises an error without further harm, so one process can try them all.
    """

    def fits(size: int) -> bool:
        train = dataclasses.replace(recipe.train, batch=size, micro_batch=None)
        one, chosen = dataclasses.replace(recipe, train=train), dataclasses.replace(policy, micro_batch=size)
        peak = None
        try:
            extent = Extent(steps=TRIED_STEPS, seconds=TRIED_SECONDS, whole=False, folder=Path())
            peak = Trial(one, chosen, dataset).go(extent, lambda: None)["peak_memory_bytes"]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler, because the error's traceback holds the trial's tensors.
        gc.collect()
        release_device_memory(policy.torch_device)
        return peak is not None and peak <= limit_bytes

    return bisect_largest(fits, most, guess)
