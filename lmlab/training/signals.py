"""Ctrl-C, SIGTERM and the run's control folder, as a question that the loop asks between steps: should I stop?

The first signal asks for an orderly stop (finish the step, save, exit 3); the second stops at once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

POLL_SECONDS = 1.0
PAUSE_SECONDS = 0.5


class StopRequests:
    """A context in which signals become requests; outside the main thread only the control folder is heard."""

    def __init__(self, read_control: Callable[[], set[str]]) -> None:
        """`read_control` gives the names of the requests in the run's control folder: save, pause, stop."""
        self.reason: str | None = None
        self._read_control = read_control
        self._previous: dict[int, Any] = {}
        self._next_poll = 0.0

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name

    def poll(self) -> set[str]:
        """What the control folder asks for, looked at once a second at most; waits here while it says pause."""
        now = time.monotonic()
        if now < self._next_poll:
            return set()
        self._next_poll = now + POLL_SECONDS
        asked = self._read_control()
        while "pause" in asked and "stop" not in asked and self.reason is None:
            time.sleep(PAUSE_SECONDS)
            asked = self._read_control() | (asked & {"save"})
        if "stop" in asked and self.reason is None:
            self.reason = "control/stop"
        return asked
