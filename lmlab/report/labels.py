"""Text and positions of labels: readable numbers, names that fit, and labels that don't overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmlab import printable

LONGEST_NAME = 26
LEAST_DECIMAL = 0.001


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions as near to the wanted ones as possible, in the same order, at least `gap` apart and inside [low, high].

    Pools neighbours that collide and centres each pool on the mean of its members' wanted positions (least squares, as in
    isotonic regression). Where not all fit, they are spaced evenly over the whole range.
    """
    count = len(wanted)
    if count * gap >= high - low + gap:
        step = (high - low) / max(1, count - 1)
        order = sorted(range(count), key=lambda index: wanted[index])
        return [low + step * order.index(index) for index in range(count)]
    order = sorted(range(count), key=lambda index: wanted[index])
    pools: list[tuple[float, int]] = []  # of each pool: the position of its first member, and its size
    for rank, index in enumerate(order):
        # Shifted by rank, "gap apart" becomes "not descending".
        pools.append((wanted[index] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (later, many), (earlier, more) = pools.pop(), pools.pop()
            pools.append(((later * many + earlier * more) / (many + more), many + more))
    level = [place for place, many in pools for _ in range(many)]
    placed = [min(max(place, low), high - (count - 1) * gap) + rank * gap for rank, place in enumerate(level)]
    return [placed[order.index(index)] for index in range(count)]


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Return `name` as a label: without terminal escapes, and with its middle left out where it is too long.

    Its ends distinguish runs.
    """
    name = printable(name)
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def amount(value: float) -> str:
    """Format 1500 as "1,500", 250000 as "250k", 81920000 as "81.9M": about four characters."""
    if abs(value) < 10_000:
        return f"{value:,.0f}"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            digits = 0 if abs(value) >= 99.95 * size else 1
            return f"{value / size:.{digits}f}".removesuffix(".0") + letter
    return f"{value:,.0f}"


def rates_in_words(values: Sequence[float]) -> dict[float, str]:
    """Format the learning rates of one axis, all with decimals or all with exponents.

    >>> list(rates_in_words([0.005, 0.01]).values()), list(rates_in_words([0.0003, 0.01]).values())
    (['0.005', '0.01'], ['3e-4', '1e-2'])
    """
    if min(values, default=1.0) >= LEAST_DECIMAL:
        return {value: f"{value:.3g}" for value in values}
    return {value: _with_exponent(value) for value in values}


def small(value: float) -> str:
    """Format a learning rate or a norm: 0.0003 as "3e-4", 0.02 as "0.02", 12.5 as "12.5"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 0.01 <= abs(value) < 10_000:
        return f"{value:.3g}"
    return _with_exponent(value)


def _with_exponent(value: float) -> str:
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
