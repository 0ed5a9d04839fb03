"""How long work tells how far it is: the data package calls these, the command line draws a bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Tasks come one after the other; each begins, advances and is over when the next one begins or `end` is called."""

    def begin(self, task: str, total: int | None) -> None:
        """A new task of `total` bytes (None: unknown)."""

    def advance(self, amount: int) -> None:
        """`amount` more bytes of the current task are done."""

    def say(self, line: str) -> None:
        """Something worth one line to the person who waits."""

    def end(self) -> None:
        """No task is under way any more."""


class Silent:
    """A Progress that shows nothing."""

    def begin(self, task: str, total: int | None) -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """`progress`, or one that shows nothing; no task is under way afterwards, whatever happened."""
    shows = progress or Silent()
    try:
        yield shows
    finally:
        shows.end()
