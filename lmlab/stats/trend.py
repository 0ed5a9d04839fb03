"""Whether a loss curve was still falling at its end: how much lower the loss would be after twice the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def nats_per_doubling(steps: Sequence[int], losses: Sequence[float]) -> tuple[float, float]:
    """Return the change of the loss per doubling of the steps and its standard error, from the last part of the curve.

    A least-squares line of loss against log2(step), over the evaluations of the second half of the run's steps and at least the
    last four; (NaN, NaN) if fewer than three have a positive step. Negative means falling.
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
    """Return whether the loss had not converged at the end: doubling the steps would lower it by more than 0.5% and by more than
    chance. False if there are fewer than three evaluations.
    """
    slope, error = nats_per_doubling(steps, losses)
    if math.isnan(slope):
        return False
    _, values = _finite(losses)
    return slope + 2.0 * error < 0.0 and -slope > 0.005 * abs(float(values[-1]))


def _finite(losses: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    values = np.asarray(losses, dtype=np.float64)
    places = np.flatnonzero(np.isfinite(values))
    return places, values[places]
