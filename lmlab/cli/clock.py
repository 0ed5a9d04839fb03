"""The wall time of the running command: from the start of its process, or of the call of `main` in another program."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmlab.training.wall import WallClock

_CALLED: ContextVar[float | None] = ContextVar("called")


def command_begins(own_process: bool) -> None:
    """Start the command's clock: with this process, or with the call by another program."""
    _CALLED.set(None if own_process else time.monotonic())


def command_clock() -> WallClock:
    """Return the clock of the command; one that begins now where none was started."""
    from lmlab.training.wall import WallClock

    called = _CALLED.get(time.monotonic())
    return WallClock.of_process() if called is None else WallClock(began=called, since="call")
