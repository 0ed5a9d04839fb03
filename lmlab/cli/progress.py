"""Progress of the command line, as the callback of the data package: bars in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from lmlab import printable
from lmlab.cli.printing import show
from lmlab.data.progress import Silent
from lmlab.recipe.quantities import byte_count, count, duration

LINE_SECONDS = 30.0
"""Time between two lines where there is no terminal."""


def progress_for(quiet: bool) -> Silent | RichProgress:
    """Return bars on standard error in a terminal, plain lines elsewhere; nothing when quiet."""
    return Silent() if quiet else RichProgress()


class RichProgress:
    """One bar at a time on standard error; it is removed when its task is over. Without a terminal, lines of long tasks."""

    def __init__(self) -> None:
        """Draw nothing until a task begins."""
        self._bars: Any = None
        self._task: Any = None
        self._lines: _Lines | None = None

    def begin(self, task: str, total: int | None, unit: str = "bytes") -> None:
        """Draw a new bar in place of the last."""
        self.end()
        if not sys.stderr.isatty():
            self._lines = _Lines(task, total, unit)
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [TextColumn("{task.description}", markup=False), BarColumn()]
        if unit != "bytes":
            columns += [TextColumn("{task.fields[done]}", markup=False)]
        elif total is not None:
            columns += [DownloadColumn()]
        if total is not None:
            columns += [TimeRemainingColumn()]
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bars.start()
        self._task = self._bars.add_task(printable(task), total=total, done="")
        self._lines = _Lines(task, total, unit)

    def advance(self, amount: int) -> None:
        """Advance the bar."""
        if self._lines is None:
            return
        self._lines.advance(amount)
        if self._bars is not None:
            self._bars.update(self._task, advance=amount, done=self._lines.done())
        elif self._lines.is_due():
            show(self._lines.line(), file=sys.stderr)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        show(line, file=sys.stderr)

    def end(self) -> None:
        """Remove the bar."""
        self._lines = None
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class _Lines:
    """How far a task is, in words. What is there before its first second counts as done before it began."""

    def __init__(self, task: str, total: int | None, unit: str) -> None:
        self._task, self._total, self._unit = task, total, unit
        self._amount = self._before = 0
        self._began = self._said = time.monotonic()
        self._calls = 0

    def advance(self, amount: int) -> None:
        self._calls += 1
        if self._calls == 1 and self._unit != "bytes":
            self._before = amount  # what an earlier process did
        self._amount += amount

    def is_due(self) -> bool:
        """Return whether it's time for a line, which then counts as said."""
        now = time.monotonic()
        if now - self._said < LINE_SECONDS:
            return False
        self._said = now
        return True

    def done(self) -> str:
        """Return the amount and the rate."""
        rate = self._rate()
        of = f" of {self._number(self._total)}" if self._total is not None else ""
        return f"{self._number(self._amount)}{of} {self._name()}{f', {count(rate)} {self._name()}/s' if rate else ''}".strip()

    def line(self) -> str:
        """Return task, amount, rate and the time left."""
        rate, left = self._rate(), ""
        if rate and self._total is not None and self._total > self._amount:
            left = f", {duration((self._total - self._amount) / rate)} left"
        return f"{printable(self._task)}: {self.done()}{left}"

    def _rate(self) -> float:
        """Return units a second, 0 for bytes, whose rate says little, and in the first second."""
        seconds = time.monotonic() - self._began
        return 0.0 if self._unit == "bytes" or seconds < 1 else (self._amount - self._before) / seconds

    def _name(self) -> str:
        return "" if self._unit == "bytes" else self._unit

    def _number(self, amount: float) -> str:
        return byte_count(amount) if self._unit == "bytes" else count(amount)
