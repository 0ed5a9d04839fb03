"""Incremental decoding of bytes to text: pieces of whole characters, without any part of a stop string.

A possible beginning of a stop string is held back until the stop string is complete (then the text ends before it) or can't be
completed any more. The pieces, joined, are the text.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Collects the text of a stream of bytes."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        """`stop` are strings; the text ends before the first one that occurs."""
        self.stop = tuple(stop)
        self.stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._given: list[str] = []
        self._held = ""

    @property
    def text(self) -> str:
        """The text returned so far."""
        return "".join(self._given)

    def write(self, piece: bytes) -> str:
        """Add the next bytes; return the text that is now final. After a stop string, further bytes are ignored."""
        return "" if self.stopped else self._take(self._decoder.decode(piece))

    def close(self) -> str:
        """Return the text that was held back; an incomplete character becomes U+FFFD, as when the tokens are decoded."""
        if self.stopped:
            return ""
        certain = self._take(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return certain + self._give(rest)

    def _take(self, text: str) -> str:
        self._held += text
        # The one that is completed first, as if characters arrived one at a time; of several, the longest.
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
    """Return the length of the longest suffix of `text` that is a proper prefix of `stop`."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
