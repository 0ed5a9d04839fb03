"""The distance of a size and length from those of runs: from the convex hull of their logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterable

Place = tuple[float, float]


def beyond(runs: Iterable[Place], wanted: Place) -> float:
    """Return the distance of `wanted` (parameters, tokens) from the convex hull of `runs`, in natural-log units; 0 inside."""
    hull = convex_hull([(math.log(size), math.log(length)) for size, length in runs])
    at = (math.log(wanted[0]), math.log(wanted[1]))
    edges = list(zip(hull, hull[1:] + hull[:1], strict=True))
    if len(hull) > 2 and all(_turn(one, other, at) >= 0.0 for one, other in edges):
        return 0.0
    return min(_distance(one, other, at) for one, other in edges)


def convex_hull(places: Iterable[Place]) -> list[Place]:
    """Return the corners of the convex hull, counter-clockwise (Andrew's monotone chain); one or two if all places are equal or
    collinear.
    """
    ordered = sorted(set(places))
    if len(ordered) < 3:
        return ordered

    def chain(towards: Iterable[Place]) -> list[Place]:
        corners: list[Place] = []
        for place in towards:
            while len(corners) > 1 and _turn(corners[-2], corners[-1], place) <= 0.0:
                corners.pop()
            corners.append(place)
        return corners[:-1]

    return chain(ordered) + chain(reversed(ordered))


def _turn(one: Place, other: Place, third: Place) -> float:
    """Return a positive number if the path from `one` over `other` to `third` turns left."""
    return (other[0] - one[0]) * (third[1] - one[1]) - (other[1] - one[1]) * (third[0] - one[0])


def _distance(one: Place, other: Place, at: Place) -> float:
    """Return the distance of `at` from the segment between two places."""
    along = (other[0] - one[0], other[1] - one[1])
    length = along[0] ** 2 + along[1] ** 2
    share = 0.0 if length == 0.0 else ((at[0] - one[0]) * along[0] + (at[1] - one[1]) * along[1]) / length
    share = min(1.0, max(0.0, share))
    return math.hypot(at[0] - one[0] - share * along[0], at[1] - one[1] - share * along[1])
