"""A run's losses for the small chart of a page: fewer points, each the mean of its neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_POINTS = 300


def curves(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Return [step, loss in nats a token] of training and validation from the lines of metrics.jsonl."""
    found: dict[str, list[list[float]]] = {"train": [], "valid": []}
    for line in lines:
        if line.get("kind") == "train":
            _add(found["train"], line, "loss")
        elif line.get("kind") == "evaluation":
            _add(found["valid"], line, "valid_loss")
    return {name: thinned(points) for name, points in found.items()}


def thinned(points: Sequence[Sequence[float]], most: int = MOST_POINTS) -> list[list[float]]:
    """Return at most `most` points, each the mean of as many consecutive ones; the last one may have fewer."""
    size = max(1, math.ceil(len(points) / most))
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [[round(sum(column) / len(group), 5) for column in zip(*group, strict=True)] for group in groups]


def _add(points: list[list[float]], line: Mapping[str, Any], key: str) -> None:
    step, value = line.get("step"), line.get(key)
    if isinstance(step, int) and isinstance(value, int | float) and math.isfinite(value):
        points.append([step, float(value)])
