"""Requests to stop a training: signals, a time limit and the run's control folder, checked at every step.

    Ctrl-C, SIGTERM, SIGUSR1 (a batch system's warning), SIGHUP (the terminal was closed)   finish the step, save, exit 3
    the same once more                                                                      stop at once
    train.until                                                                             as one signal
    control/stop, control/save, control/pause                                               see `lmlab.runs.control`

Evaluations and samples check too, and end early; the state before them is saved then, and a resume repeats them. Before the
training, while data is prepared or a kernel is compiled, nothing needs saving: there a signal ends the command as soon as the
current call returns to Python.
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
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGBREAK")
"""Handled signals; those that this system lacks are skipped. SIGBREAK exists on Windows only."""


class Interrupted(Exception):
    """Raised if an evaluation or a sample ends early because a stop was requested."""


class _Handlers:
    """A context in which signals call `handle`; a signal that is ignored before (nohup) stays ignored.

    Only the main thread can set handlers: in other threads this does nothing.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        raise KeyboardInterrupt

    def __enter__(self) -> Any:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self.handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # A rank that has left its group ignores signals until it exits.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


class Interruptible(_Handlers):
    """A context in which each of the signals raises KeyboardInterrupt, as Ctrl-C does."""


class StopRequests(_Handlers):
    """A context that collects requests from signals, a deadline and control/; outside of the main thread without signals."""

    def __init__(
        self, read_control: Callable[[], set[str]], deadline: float | None = None, forgiving: bool = False
    ) -> None:
        """`read_control` returns the requests in control/ (save, pause, stop); `deadline` is in `time.monotonic()`.

        If `forgiving`, further signals don't stop at once: torchrun repeats the signal that a terminal sends to all its processes.
        """
        super().__init__()
        self.pausing = False
        """Whether control/ requests a pause."""
        self._forgiving = forgiving
        self.reason: str | None = None
        self.since: float | None = None
        """Time of the stop request, in `time.monotonic()`."""
        self._read_control = read_control
        self._deadline = deadline
        self._save = False
        self._next_poll = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Request a stop on the first signal; raise KeyboardInterrupt on the second."""
        if self.reason is not None:
            if self._forgiving:
                return
            raise KeyboardInterrupt
        self._request_stop(signal.Signals(number).name)

    def stopping(self) -> bool:
        """Return whether training should stop. Reads control/ at most once a second, and blocks while it requests a pause."""
        self.poll()
        while self.pausing and self.reason is None:
            time.sleep(PAUSE_SECONDS)
            self._next_poll = 0.0
            self.poll()
        return self.reason is not None

    def stopping_now(self) -> bool:
        """Return the same; for ranks that agree, the call within an evaluation differs."""
        return self.stopping()

    def poll(self) -> None:
        """Look for requests without waiting; reads control/ at most once a second."""
        now = time.monotonic()
        if self.reason is None and self._deadline is not None and now >= self._deadline:
            self._request_stop("train.until")
        if self.reason is None and now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            asked = self._read_control()
            self.pausing = "pause" in asked and "stop" not in asked
            self._save = self._save or "save" in asked
            if "stop" in asked and self.reason is None:
                self._request_stop("control/stop")

    def save_requested(self) -> bool:
        """Return whether a checkpoint was requested since the last call."""
        asked, self._save = self._save, False
        return asked

    def _request_stop(self, reason: str) -> None:
        self.reason, self.since = reason, time.monotonic()
