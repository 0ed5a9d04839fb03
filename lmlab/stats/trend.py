"""Whether a loss curve was still falling at its end: how much lower it would be if the steps doubled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def nats_per_doubling(steps: Sequence[int], losses: Sequence[float]) -> tuple[float, float]:
    """How much the loss changes when the steps double, and the standard error of that, from the last part of the curve.

    A line through loss against log2(step), over the evaluations of the second half of the run's steps and at least the
    last four; (NaN, NaN) where fewer than three have a positive step. Negative means falling.
    """
    places, values = _finite(losses)
    at = np.asarray(steps, dtype=np.float64)[places]
    values, at = values[at > 0], at[at > 0]
    late = at >= at[-1] / 2 if len(at) else at > 0
    late[-4:] = True
    values, at = values[late], np.log2(at[late])
    if len(values) < 3 or np.ptp(at) == 0:
        return math.nan, math.nan
    centred = at - at.mean()
    slope = float(centred @ values / (centred @ centred))
    residuals = values - values.mean() - slope * centred
    error = math.sqrt(float(residuals @ residuals) / (len(values) - 2) / float(centred @ centred))
    return slope, error


def still_falling(steps: Sequence[int], losses: Sequence[float]) -> bool:
    """Whether the run ended before its loss had settled: the loss would fall by more than .5 % (and by more than
    chance) if the steps doubled. False too where there are fewer than three evaluations to tell from."""
    slope, error = nats_per_doubling(steps, losses)
    if math.isnan(slope):
        return False
    _, values = _finite(losses)
    return slope + 2.0 * error < 0.0 and -slope > 0.005 * abs(float(values[-1]))


def _finite(losses: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    values = np.asarray(losses, dtype=np.float64)
    places = np.flatnonzero(np.isfinite(values))
    return places, values[places]
