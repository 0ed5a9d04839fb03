"""What may come next, drafted from the text itself: what followed when its last tokens stood there before.

Known as prompt lookup (A. Saxena, 2023). A model checks all guesses in one pass, which costs little more than reading a
single token (speculative decoding, arXiv 2211.17192). The CPU engine has the same in source/guess.h.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST, SHORTEST = 8, 2
"""Tokens that are looked for."""


class Lookup:
    """Where each n-gram of one text, which only grows, last stood."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._known = 1

    def draft(self, text: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens: those after the longest match of the text's end, of equals the latest; else none.

        As many as matched, since short matches are seldom followed by the same for long; all after the longest.
        """
        size = len(text)
        for end in range(self._known, size):
            for length in range(SHORTEST, min(LONGEST, end) + 1):
                self._after[tuple(text[end - length : end])] = end
        self._known = size
        for length in range(min(LONGEST, size), SHORTEST - 1, -1):
            after = self._after.get(tuple(text[size - length :]))
            if after is not None:
                return self._continued(text, after, most if length == LONGEST else min(most, length))
        return []

    @staticmethod
    def _continued(text: Sequence[int], after: int, most: int) -> list[int]:
        """What follows place `after`; beyond the text's end it goes on as the draft does."""
        drafted: list[int] = []
        for place in range(after, after + most):
            drafted.append(text[place] if place < len(text) else drafted[place - len(text)])
        return drafted
