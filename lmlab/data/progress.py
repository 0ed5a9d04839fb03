"""Progress reporting of long work: the data package calls it, the command line draws a bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Receiver of progress. Tasks come one after another; each ends when the next begins or `end` is called."""

    def begin(self, task: str, total: int | None, unit: str = "bytes") -> None:
        """Begin a task of `total` bytes, or of another unit such as tokens (None: unknown)."""

    def advance(self, amount: int) -> None:
        """Report that `amount` more of the current task is done."""

    def say(self, line: str) -> None:
        """Show one line to the user."""

    def end(self) -> None:
        """End the current task."""


class Silent:
    """A Progress that shows nothing."""

    def begin(self, task: str, total: int | None, unit: str = "bytes") -> None:
        """Do nothing."""

    def advance(self, amount: int) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """Yield `progress`, or a silent one for None, and end its task on leaving."""
    shows = progress or Silent()
    try:
        yield shows
    finally:
        shows.end()
