"""Divisors of a setting, for messages and defaults."""

from __future__ import annotations

import math


def largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of `number` that is at most `most`, which is at least 1."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return max(divisor for one in small for divisor in (one, number // one) if divisor <= most)


def nearest_divisor(number: int, target: int) -> int:
    """Return the divisor of `number` nearest to `target`, the smaller of two equally near."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return min(
        (divisor for one in small for divisor in (one, number // one)),
        key=lambda divisor: (abs(divisor - target), divisor),
    )
