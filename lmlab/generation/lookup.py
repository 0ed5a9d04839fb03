"""Draft tokens by prompt lookup (A. Saxena, 2023): the tokens that followed an earlier occurrence of the text's last tokens.

The model verifies all draft tokens in one pass, which costs little more than reading a single token (speculative decoding, arXiv
2211.17192). The CPU engine has the same in source/guess.h.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST, SHORTEST = 8, 2
"""Lengths of the n-grams that are looked up."""


class Lookup:
    """The last occurrence of each n-gram of one text, which may only grow."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._known = 1

    def draft(self, text: Sequence[int], most: int) -> list[int]:
        """Return up to `most` draft tokens: those after the latest of the longest matches of the text's end; none without a match.

        At most as many as the match's length, since short matches rarely predict many tokens; after a match of LONGEST, `most`.
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
        """Return the tokens from place `after` on; beyond the text's end, the draft is repeated."""
        drafted: list[int] = []
        for place in range(after, after + most):
            drafted.append(text[place] if place < len(text) else drafted[place - len(text)])
        return drafted
