"""Rows of hashed n-gram tables: each token looks up the row of the n tokens that end with it (arXiv 2412.09871).

    tokens -> digits (token + 1, or 0 before the window's start) -> one number -> row

The number has these digits in base (vocabulary + 1, made odd), with the newest token as the lowest digit. If the table has at least
as many rows as there are such numbers, the number is the row, and no two n-grams share one; else the row is its hash (Knuth's
multiplicative hash, Art of Computer Programming 3, 6.4): the upper half of number x 2^64 / golden ratio mod 2^64, mod rows.
Arithmetic is modulo 2^64, as that of int64 tensors. `ngram_row` in lmlab/native/source/model.h is the same function.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 / golden ratio, rounded to an odd number."""
ABSENT = -1
"""Marks a position before the window's start."""


def reach(lengths: Sequence[int]) -> int:
    """Return how many tokens before the current one the longest n-gram needs."""
    return max(lengths, default=1) - 1


def ngram_rows(
    tokens: Int[Tensor, "batch time"],
    lengths: Sequence[int],
    rows: int,
    vocabulary: int,
    earlier: Int[Tensor, "batch reach"] | None = None,
) -> list[Int[Tensor, "batch time"]]:
    """Return, for each of `lengths`, the row numbers (below `rows`) of the n-grams that end at each token.

    `earlier` are the `reach(lengths)` tokens before `tokens`, ABSENT where there was none (default: all are ABSENT).
    """
    time, before = tokens.shape[1], reach(lengths)
    exact = tokens.to(torch.int64)
    seen = F.pad(exact, (before, 0), value=ABSENT) if earlier is None else torch.cat((earlier, exact), dim=1)
    digits = seen + 1
    base = (vocabulary + 1) | 1
    number = digits[:, before:]
    numbers = [number]
    for back in range(1, before + 1):
        number = number + digits[:, before - back : before - back + time] * _signed(base**back)
        numbers.append(number)
    return [numbers[length - 1] if base**length <= rows else _hashed(numbers[length - 1], rows) for length in lengths]


def _hashed(number: Int[Tensor, "batch time"], rows: int) -> Int[Tensor, "batch time"]:
    # The mask clears the copies of the sign bit that an arithmetic shift inserts.
    upper = ((number * _signed(GOLDEN)) >> 32) & 0xFFFFFFFF
    return upper % rows


def _signed(number: int) -> int:
    """Return the int64 with the bits of `number` modulo 2^64."""
    return (number + 2**63) % 2**64 - 2**63
