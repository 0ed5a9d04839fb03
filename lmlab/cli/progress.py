"""Progress bars of the command line, as the callback of the data package."""

from __future__ import annotations

import sys
from typing import Any

from lmlab import printable
from lmlab.cli.printing import show
from lmlab.data.progress import Silent


def progress_for(quiet: bool) -> Silent | RichProgress:
    """Return bars on standard error in a terminal, plain lines elsewhere; nothing when quiet."""
    return Silent() if quiet else RichProgress()


class RichProgress:
    """One bar at a time on standard error; it is removed when its task is over."""

    def __init__(self) -> None:
        """Draw nothing until a task begins."""
        self._bars: Any = None
        self._task: Any = None

    def begin(self, task: str, total: int | None) -> None:
        """Draw a new bar in place of the last."""
        self.end()
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [TextColumn("{task.description}", markup=False), BarColumn()]
        if total is not None:
            columns += [DownloadColumn(), TimeRemainingColumn()]
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bars.start()
        self._task = self._bars.add_task(printable(task), total=total)

    def advance(self, amount: int) -> None:
        """Advance the bar."""
        if self._bars is not None:
            self._bars.advance(self._task, amount)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        show(line, file=sys.stderr)

    def end(self) -> None:
        """Remove the bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
