"""Whether answers follow the loss: Kendall's tau between the order of the bases by loss and by a figure of their tuned models.

Near 1: a base with a lower loss answers better; an interval that holds 0: no order can be seen. The bases are what the interval is
over. Each tuning has an order of its own, and the mean over the tunings of a base has one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lmlab.chain.rows import ModelRow
from lmlab.stats.bootstrap import Interval
from lmlab.stats.kendall import kendall_tau

FEWEST = 3
"""Bases from which an order is computed."""
TOGETHER = "mean of the tunings"

Orders = Mapping[str, Mapping[str, Interval]]


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
    found: dict[str, dict[str, Interval]] = {}
    for name, values in qualities.items():
        scores = np.array([[values[places[tuning, base]] for base in bases] for tuning in tunings])
        orders = {str(tuning): kendall_tau(quality, row) for tuning, row in zip(tunings, scores, strict=True)}
        if len(tunings) > 1:
            orders[TOGETHER] = kendall_tau(quality, scores.mean(axis=0))
        found[name] = orders
    return found


def order_text(tau: Interval) -> str:
    """Return an order in words, with its interval where there is one."""
    if math.isnan(tau.low):
        return "too few models to tell, or all alike"
    verdict = "not shown to follow the loss"
    if tau.low > 0 or tau.high < 0:
        verdict = "follows the loss" if tau.low > 0 else "goes against the loss"
    return f"{verdict}, tau {tau.estimate:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def _number(value: float | None) -> float:
    return math.nan if value is None else value
