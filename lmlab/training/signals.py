"""What asks a training to stop: signals, a time limit, the run's control folder; as a question that is asked at every step.

    Ctrl-C, SIGTERM, SIGUSR1 (a batch system's warning), SIGHUP (the terminal was closed)   finish the step, save, exit 3
    the same once more                                                                      stop at once
    train.until                                                                             as one signal
    control/stop, control/save, control/pause                                               see `lmlab.runs.control`

Evaluations and samples ask too, and end early; the state from before them is saved then, and the resume makes them again.
Before the training, while data is prepared or a kernel compiled, nothing needs saving: there a signal ends the command, as
soon as what runs returns.
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
"""Those of them that this system has; SIGBREAK is Windows's."""


class Interrupted(Exception):
    """An evaluation or a sample ended early because the training was asked to stop."""


class _Handlers:
    """A context in which signals call `handle`; one that the caller's shell ignores (nohup) stays ignored.

    Only the main thread can hear them: elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
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
            # A rank that has left its group ignores signals until it ends.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


class Interruptible(_Handlers):
    """A context in which each of the signals is a KeyboardInterrupt, as Ctrl-C is."""


class StopRequests(_Handlers):
    """A context in which signals and a deadline become requests; outside the main thread only the latter and control/ count."""

    def __init__(self, read_control: Callable[[], set[str]], deadline: float | None = None) -> None:
        """`read_control` gives the requests in the run's control folder: save, pause, stop. `deadline` is in `time.monotonic()`."""
        super().__init__()
        self.reason: str | None = None
        self.since: float | None = None
        """When the request came, in `time.monotonic()`."""
        self._read_control = read_control
        self._deadline = deadline
        self._save = False
        self._next_poll = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first one is a request; the second stops at once."""
        if self.reason is not None:
            raise KeyboardInterrupt
        self._request_stop(signal.Signals(number).name)

    def stopping(self) -> bool:
        """Whether training should end now. Control/ is looked at once a second at most; this waits while it says pause."""
        now = time.monotonic()
        if self.reason is None and self._deadline is not None and now >= self._deadline:
            self._request_stop("train.until")
        if self.reason is None and now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            self._read()
        return self.reason is not None

    def save_requested(self) -> bool:
        """Whether a checkpoint was asked for since this was last called."""
        asked, self._save = self._save, False
        return asked

    def _read(self) -> None:
        asked = self._read_control()
        while "pause" in asked and "stop" not in asked and self.reason is None and not self._late():
            time.sleep(PAUSE_SECONDS)
            asked = self._read_control() | (asked & {"save"})
        self._save = self._save or "save" in asked
        if "stop" in asked and self.reason is None:
            self._request_stop("control/stop")

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _request_stop(self, reason: str) -> None:
        self.reason, self.since = reason, time.monotonic()
