"""Whether answers follow the loss: Kendall's tau between the order of the bases by loss and by a figure of their tuned models.

Near 1: a base with a lower loss answers better. Whether it differs from 0 is told by the permutations of the bases, since an
interval from a handful of them is nearly all of [-1, 1]. Each tuning has an order of its own, and the mean over the tunings of a
base has one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab.chain.rows import ModelRow
from lmlab.stats.kendall import tau_b, tau_p_value

FEWEST = 3
"""Bases from which an order is computed."""
TOGETHER = "mean of the tunings"

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Order:
    """Whether a figure follows the loss."""

    tau: float
    """NaN where all values are the same."""
    p_value: float
    """Two-sided, over the permutations of the bases; NaN where tau is."""
    bases: int


Orders = Mapping[str, Mapping[str, Order]]


def orders_of(rows: Sequence[ModelRow], qualities: Mapping[str, Sequence[float]]) -> Orders:
    """Return figure -> tuning -> tau; `qualities` has a value for each row, of which the higher is better.

    Rows of bases themselves, and of bases whose loss isn't known, don't count; empty with fewer than `FEWEST` bases.
    """
    places = {
        (row.tuning, row.base): place
        for place, row in enumerate(rows)
        if row.tuning is not None and row.base_loss is not None
    }
    bases = list(dict.fromkeys(base for _, base in places))
    tunings = list(dict.fromkeys(tuning for tuning, _ in places))
    if len(bases) < FEWEST or len(places) < len(bases) * len(tunings):
        return {}
    losses = {row.base: row.base_loss for row in rows}
    quality = np.array([-_number(losses[base]) for base in bases])
    found: dict[str, dict[str, Order]] = {}
    for name, values in qualities.items():
        scores = np.array([[values[places[tuning, base]] for base in bases] for tuning in tunings])
        orders = {str(tuning): _order(quality, row) for tuning, row in zip(tunings, scores, strict=True)}
        if len(tunings) > 1:
            orders[TOGETHER] = _order(quality, scores.mean(axis=0))
        found[name] = orders
    return found


def order_text(order: Order) -> str:
    """Return an order in words."""
    if math.isnan(order.tau):
        return "all alike"
    verdict = "not shown to follow the loss"
    if order.p_value < LEVEL:
        verdict = "follows the loss" if order.tau > 0 else "goes against the loss"
    return f"{verdict}, tau {order.tau:.2f} (p {order.p_value:.2g}, {order.bases} bases)"


def _order(quality: NDArray[np.float64], scores: NDArray[np.float64]) -> Order:
    return Order(tau=tau_b(quality, scores), p_value=tau_p_value(quality, scores), bases=len(quality))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
