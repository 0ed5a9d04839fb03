"""The batches of a training on a GPU, read and hashed by a thread while the device computes the step before."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The batch of one step, with what is counted of it."""

    inputs: np.ndarray
    """int64 [batch, context]."""
    targets: np.ndarray
    """int64 [batch, context]; ignored targets are negative."""
    counted: int
    """Number of targets that aren't ignored."""
    sequences: int
    """Number of sequences with such a target."""
    hash: str
    """See `lmlab.training.step.batch_hash`."""


class BatchesAhead:
    """Reads the batch at the next cursor in advance.

    A batch is a function of its cursor alone, so a wrong guess costs only time.
    """

    def __init__(self, read: Callable[[int], Batch]) -> None:
        """`read` returns the batch at a cursor; a thread calls it."""
        self._read = read
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._next: tuple[int, Future[Batch]] | None = None

    def take(self, cursor: int, following: int) -> Batch:
        """Return the batch at `cursor`, and begin to read that at `following`. Errors of reading are raised here."""
        expected, self._next = self._next, None
        found = expected[1].result() if expected is not None and expected[0] == cursor else self._read(cursor)
        self._next = following, self._thread.submit(self._read, following)
        return found
