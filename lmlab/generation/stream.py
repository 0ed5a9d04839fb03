"""Bytes that arrive in pieces, as text: whole characters only, and nothing of a stop string.

What could still become a stop string is held back until it's one (then the text ends before it) or can't be one any
more. The pieces that are given out, joined, are the text.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Collects the text that tokens stand for."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        """`stop`: texts before the first of which the text ends."""
        self.stop = tuple(stop)
        self.stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._given: list[str] = []
        self._held = ""

    @property
    def text(self) -> str:
        """All that was given out so far."""
        return "".join(self._given)

    def write(self, piece: bytes) -> str:
        """Take the next bytes; the text that is now certain. After a stop string nothing more is taken."""
        return "" if self.stopped else self._take(self._decoder.decode(piece))

    def close(self) -> str:
        """The text that was held back; an incomplete character becomes U+FFFD, as when the tokens are decoded."""
        if self.stopped:
            return ""
        certain = self._take(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return certain + self._give(rest)

    def _take(self, text: str) -> str:
        self._held += text
        # In the order in which they are completed, as if one character came at a time; of those, the longest.
        found = [(self._held.find(stop) + len(stop), -len(stop)) for stop in self.stop if stop in self._held]
        if found:
            end, length = min(found)
            self.stopped = True
            certain, self._held = self._held[: end + length], ""
            return self._give(certain)
        kept = max((_overlap(self._held, stop) for stop in self.stop), default=0)
        certain, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return self._give(certain)

    def _give(self, text: str) -> str:
        if text:
            self._given.append(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is the beginning of `stop`, shorter than it."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
