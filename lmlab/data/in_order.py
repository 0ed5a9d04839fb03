"""A function of many items in threads, with the results in the items' order and a bounded number of items in memory.

    items 0 1 2 3 ...  ->  at most `workers` running and `2 x workers` waiting  ->  (item 0, result), (item 1, result), ...

Items are taken from their iterator by the caller's thread, so that reading, computing and writing go on at the same time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

HELD_A_WORKER = 3
"""Items held for each thread: one is computed, one waits for the thread, and one for its turn to be yielded."""


def _never() -> bool:
    return False


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    hold_back: Callable[[], bool] = _never,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with `function(item)`, in order; `function` is called in `workers` threads (1: in the caller's).

    While `hold_back()` is true no new item is taken, as long as results are pending: their consumer may need no more items. An
    exception in `function` is raised at its item's turn.
    """
    if workers <= 1:
        for item in items:
            yield item, function(item)
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers)
    source = iter(items)
    try:
        while True:
            while waiting and (len(waiting) >= HELD_A_WORKER * workers or hold_back()):
                first, future = waiting.popleft()
                yield first, future.result()
            try:
                item = next(source)
            except StopIteration:
                break
            waiting.append((item, pool.submit(function, item)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
