"""Calibrate forecasts on this machine by the errors of earlier ones.

For each figure, y = log(measured / forecast) of a run is modelled as normal with unknown mean and variance. Their prior is the
conjugate one, normal-inverse-gamma: mean 0 with the weight of kappa_0 runs, and spread s_0 (PRIOR_SPREADS) with the weight of
nu_0 runs. After n runs with the mean m (Murphy 2007, Conjugate Bayesian analysis of the Gaussian distribution, section 3;
Gelman et al., Bayesian Data Analysis, section 3.3):

    kappa_n = kappa_0 + n       mean_n = n m / kappa_n       nu_n = nu_0 + n
    nu_n s_n^2 = nu_0 s_0^2 + sum (y - m)^2 + (kappa_0 n / kappa_n) m^2

The y of the next run has a predictive Student's t distribution with nu_n degrees of freedom, location mean_n and scale
s_n sqrt(1 + 1 / kappa_n).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.scaling.estimate import WITHIN, Estimate
from lmlab.stats import student_quantile

PRIOR_SPREADS = {"total_seconds": 0.06, "peak_memory_bytes": 0.025, "final_loss": 0.02, "tokens_per_second": 0.06}
"""s_0: prior standard deviations of log(measured / forecast) around its mean."""
OTHER_SPREAD = 0.08
PRIOR_MEAN_RUNS = 4.0
"""kappa_0."""
PRIOR_SPREAD_RUNS = 6.0
"""nu_0."""
LARGEST_RATIO = 3.0
"""A run with a larger error was disturbed, and has no information about the next."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The posterior for one figure."""

    factor: float
    """The factor that corrects forecasts: exp(mean_n)."""
    spread: float
    """Standard deviation of log(measured / forecast) around it: s_n."""
    mean_runs: float
    """The weight of the mean, in runs: kappa_n."""
    runs: int
    squares: float
    """The sum of the squares of log(measured / forecast) over these runs: their errors without a correction."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the spread: nu_n."""
        return self.runs + PRIOR_SPREAD_RUNS

    @property
    def predictive_scale(self) -> float:
        """The scale of Student's t for log(measured / forecast) of the next run."""
        return self.spread * math.sqrt(1 + 1 / self.mean_runs)

    def around(self, value: float, own_spread: float = 0.0) -> tuple[float, float, float]:
        """Return (value, low, high) of a forecast; `own_spread` is the part of the error from this run's own measurements, in the
        logarithm.

        Such a spread widens the scale; the sum of the two is approximated by Student's t with the same degrees of freedom.
        """
        middle = value * self.factor
        width = student_quantile(WITHIN, self.freedom) * math.hypot(self.predictive_scale, own_spread)
        return middle, middle * math.exp(-width), middle * math.exp(width)


def calibration_of(name: str, ratios: Iterable[float], disturbed: Iterable[float] = ()) -> Calibration:
    """Return the calibration from the ratios measured / raw forecast of earlier runs, in any order.

    Runs that were `disturbed` by other work affect only the spread, by squared distances from the mean of the others.
    """
    logs, others = (
        [math.log(ratio) for ratio in some if 1 / LARGEST_RATIO < ratio < LARGEST_RATIO] for some in (ratios, disturbed)
    )
    prior, count = PRIOR_SPREADS.get(name, OTHER_SPREAD), len(logs) + len(others)
    mean_runs = PRIOR_MEAN_RUNS + len(logs)
    mean = sum(logs) / mean_runs
    # The sum around the posterior mean, with the prior mean of 0 as kappa_0 runs, equals the last two terms of the formula.
    squares = sum((one - mean) ** 2 for one in logs + others) + PRIOR_MEAN_RUNS * mean**2
    variance = (PRIOR_SPREAD_RUNS * prior**2 + squares) / (PRIOR_SPREAD_RUNS + count)
    return Calibration(
        factor=math.exp(mean),
        spread=math.sqrt(variance),
        mean_runs=mean_runs,
        runs=count,
        squares=sum(one**2 for one in logs + others),
    )


def calibrated(
    name: str,
    value: float,
    calibrations: Mapping[str, Calibration],
    rests_on: str,
    own_spread: float = 0.0,
    **more: Any,
) -> Estimate:
    """Return an estimate of `value` that was measured here, corrected by the errors of earlier ones."""
    known = calibrations.get(name) or calibration_of(name, ())
    middle, low, high = known.around(value, own_spread)
    corrected = f"; x{known.factor:.3f} after {known.runs} runs here" if known.runs else ""
    return Estimate(value=middle, low=low, high=high, **{"evidence": "measured", **more}, rests_on=rests_on + corrected)
