"""What earlier forecasts were worth: how far off they were on this machine, and what the next one makes of it.

Of each figure the logarithm of measured over forecast is taken as normal around a bias. Before there are runs, the bias is 0 and
the spread PRIOR_SPREADS; with each run they move towards what was found (the usual conjugate update, which gives Student's t).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.scaling.estimate import WITHIN, Estimate
from lmlab.stats import student_quantile

PRIOR_SPREADS = {"total_seconds": 0.06, "peak_memory_bytes": 0.025, "final_loss": 0.02, "tokens_per_second": 0.06}
"""Standard deviations of log(measured / forecast) before anything is known."""
OTHER_SPREAD = 0.08
PRIOR_BIAS_RUNS = 4.0
"""The bias of 0 counts like so many runs."""
PRIOR_SPREAD_RUNS = 6.0
LARGEST_RATIO = 3.0
"""A run that was further off was disturbed, and teaches nothing about the next."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of one figure."""

    factor: float
    """By which forecasts were too small in the middle."""
    spread: float
    """Standard deviation of log(measured / forecast) around it."""
    runs: int

    def around(self, value: float, own_spread: float = 0.0) -> tuple[float, float, float]:
        """(value, low, high) of a forecast, of which `own_spread` (of its logarithm) comes from this run's own measurements."""
        middle = value * self.factor
        width = student_quantile(WITHIN, self.runs + PRIOR_SPREAD_RUNS) * math.hypot(self.spread, own_spread)
        return middle, middle * math.exp(-width), middle * math.exp(width)


def calibration_of(name: str, ratios: Iterable[float], disturbed: Iterable[float] = ()) -> Calibration:
    """From the ratios measured / raw forecast of earlier runs, whichever order.

    Those of runs that were `disturbed` by other work count for the spread alone.
    """
    logs, others = (
        [math.log(ratio) for ratio in some if 1 / LARGEST_RATIO < ratio < LARGEST_RATIO] for some in (ratios, disturbed)
    )
    prior = PRIOR_SPREADS.get(name, OTHER_SPREAD)
    bias = sum(logs) / (len(logs) + PRIOR_BIAS_RUNS)
    squares = sum((one - bias) ** 2 for one in logs + others)
    count = len(logs) + len(others)
    variance = (PRIOR_SPREAD_RUNS * prior**2 + squares) / (PRIOR_SPREAD_RUNS + count)
    return Calibration(factor=math.exp(bias), spread=math.sqrt(variance), runs=count)


def calibrated(
    name: str,
    value: float,
    calibrations: Mapping[str, Calibration],
    rests_on: str,
    own_spread: float = 0.0,
    **more: Any,
) -> Estimate:
    """An estimate of `value` that was measured here, corrected by what such estimates were off before."""
    known = calibrations.get(name) or calibration_of(name, ())
    middle, low, high = known.around(value, own_spread)
    corrected = f"; x{known.factor:.3f} after {known.runs} runs here" if known.runs else ""
    return Estimate(value=middle, low=low, high=high, **{"evidence": "measured", **more}, rests_on=rests_on + corrected)
