"""Extrapolation of a run's own loss curve to the end of the run.

Input: the losses at some steps and the learning-rate schedule. Output: the loss at the end. The model is

    L(x) = now + R (x^-beta - 1) - C d(x) + W(x)

x is the sum of the relative learning rates so far over that sum now, so that a step at half the rate counts as half a step; d is
how much the rate has fallen from its peak since now. A curve bends down while the rate decays, which a plain power law misses.
This is the law of arXiv 2408.11029 with its annealing area in the limit of a memory much shorter than the run. W is a Brownian
motion in log x that models the deviation of real curves from this form. R, C and beta have priors, so few points are enough; given
beta all is linear and normal, so the forecast is a mixture over betas, computed without sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab.scaling.estimate import LEVEL, Estimate

Array = NDArray[np.float64]

FEWEST_POINTS = 4
MOST_POINTS = 40
"""Longer curves are averaged over neighbouring points, since the arithmetic grows with the cube of their number."""
YOUNGEST = 0.15
"""Points count from this share of the progress so far, in summed relative rates: the earliest part has another shape."""
LARGEST_LOSS = 1e4
"""Nats a token; larger values are ignored."""
PLACES = 1024
"""Largest number of steps at which a schedule is sampled."""

# Priors as shares of the loss, (mean, standard deviation), from curves of small models: docs/notes/curves-to-their-end.md.
REDUCIBLE = (0.45, 0.15)
"""R: the part that would vanish in an infinitely long run at this rate."""
COOLING = (0.11, 0.05)
"""C: the reduction from decaying the rate from its peak to 0."""
BETAS = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25])
BETA = (math.log(0.45), 0.6)
"""Mean and standard deviation of log beta."""
STRAYING = 0.03
"""W's standard deviation at x = e."""
NOISE = 0.004
"""Standard deviation of one point around the curve."""
NOISE_WORTH = 4.0
"""Weight of that prior noise, as a number of points."""
RISEN = 4.0
"""A curve whose end lies this many standard deviations above its lowest point has turned."""


@dataclass(frozen=True)
class RatePath:
    """The learning rate over a run, relative to its peak."""

    steps: Array
    """Ascending, from 0 to the run's length."""
    sums: Array
    """The sum of the relative rates of all steps before each of these."""
    shares: Array

    @property
    def length(self) -> float:
        """The number of steps of the run."""
        return float(self.steps[-1])

    def sum_at(self, steps: ArrayLike) -> Array:
        """Return the sum of the relative rates before each step."""
        return np.interp(np.asarray(steps, dtype=np.float64), self.steps, self.sums)

    def share_at(self, steps: ArrayLike) -> Array:
        """Return the relative rate at each step."""
        return np.interp(np.asarray(steps, dtype=np.float64), self.steps, self.shares)

    def until(self, step: float) -> RatePath:
        """Return the path cut off at `step`."""
        before = self.steps < step
        return RatePath(
            steps=np.append(self.steps[before], float(step)),
            sums=np.append(self.sums[before], self.sum_at(step)),
            shares=np.append(self.shares[before], self.share_at(step)),
        )

    def fallen_at(self, steps: ArrayLike) -> Array:
        """Return how far the relative rate has fallen from its maximum by each step."""
        fallen = np.maximum.accumulate(self.shares) - self.shares
        return np.interp(np.asarray(steps, dtype=np.float64), self.steps, fallen)


def rate_path(share: Callable[[int], float], length: int) -> RatePath:
    """Return the path of a run of `length` steps; `share(step)` is the relative rate at a step, counted from 0."""
    places = np.unique(np.linspace(0, length, min(length, PLACES) + 1).round().astype(np.int64))
    shares = np.array([share(min(int(place), length - 1)) for place in places], dtype=np.float64)
    between = 0.5 * (shares[1:] + shares[:-1]) * np.diff(places)
    return RatePath(steps=places.astype(np.float64), sums=np.concatenate([[0.0], np.cumsum(between)]), shares=shares)


def expected_end(steps: Sequence[int], losses: Sequence[float], path: RatePath) -> Estimate | None:
    """Return the expected loss at the end of `path`, given `losses` at `steps`.

    None if fewer than four points are valid and recent enough, if no steps are left, or if the curve has turned up: this
    model can only fall.
    """
    curve = _curve(steps, losses, path)
    if curve is None:
        return None
    level, noise = curve.level, NOISE * curve.level
    for _ in range(3):
        mixture, misfit = _mixture(curve, noise)
        free = NOISE_WORTH + max(0, len(curve.losses) - 3)
        noise = math.sqrt((NOISE_WORTH * (NOISE * level) ** 2 + misfit) / free)
    if curve.risen(noise):
        return None
    low, value, high = (mixture.quantile(share) for share in ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    return Estimate(
        value=value,
        low=max(0.0, low),
        high=high,
        evidence="extrapolated",
        rests_on=f"the run's own curve over {curve.step / path.length:.0%} of its steps",
    )


@dataclass(frozen=True)
class _Curve:
    """The points of a curve that are used, relative to the last one."""

    losses: Array
    counts: Array
    """Number of evaluations averaged in each point."""
    ways: Array
    """log x of each point: 0 now, negative before."""
    fallen: Array
    """How far the relative rate at each point is below the rate now."""
    way: float
    """log x at the end."""
    fall: float
    """How much the relative rate falls until the end."""
    step: float

    @property
    def level(self) -> float:
        """The approximate loss now."""
        return float(self.losses[-3:].mean())

    def risen(self, noise: float) -> bool:
        """Return whether the last two points both exceed the lowest one by more than noise; capped, since a turn itself inflates
        the noise.
        """
        return float(self.losses[-2:].min() - self.losses.min()) > RISEN * min(noise, 2.0 * NOISE * self.level)

    def columns(self, beta: float) -> Array:
        """Return [points, 3]: the derivatives of each loss with respect to (now, R, C)."""
        return np.stack([np.ones_like(self.ways), np.exp(-beta * self.ways) - 1.0, -self.fallen], axis=1)

    def end(self, beta: float) -> Array:
        """Return those derivatives for the loss at the end."""
        return np.array([1.0, math.exp(-beta * self.way) - 1.0, -self.fall])


def _curve(steps: Sequence[int], losses: Sequence[float], path: RatePath) -> _Curve | None:
    at, values = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    good = (values > 0.0) & (values < LARGEST_LOSS) & (at > 0.0)
    at, places = np.unique(at[good], return_index=True)
    values = values[good][places]
    sums = path.sum_at(at)
    if not len(at) or sums[-1] <= 0.0 or at[-1] >= path.length:
        return None
    recent = sums >= YOUNGEST * sums[-1]
    at, values, sums = at[recent], values[recent], sums[recent]
    if len(at) < FEWEST_POINTS:
        return None
    now, fallen_now = float(sums[-1]), float(path.fallen_at(at[-1]))
    groups = np.array_split(np.arange(len(at)), min(len(at), MOST_POINTS))
    ways, fallen = np.log(sums / now), path.fallen_at(at) - fallen_now
    end = float(path.sums[-1])
    return _Curve(
        losses=np.array([values[group].mean() for group in groups]),
        counts=np.array([float(len(group)) for group in groups]),
        ways=np.array([ways[group].mean() for group in groups]),
        fallen=np.array([fallen[group].mean() for group in groups]),
        way=math.log(end / now),
        fall=float(path.fallen_at(path.length)) - fallen_now,
        step=float(at[-1]),
    )


@dataclass(frozen=True)
class _Mixture:
    """A mixture of normal distributions."""

    weights: Array
    means: Array
    deviations: Array

    def quantile(self, share: float) -> float:
        """Return the quantile at `share`, by bisection."""
        low = float((self.means - 8.0 * self.deviations).min())
        high = float((self.means + 8.0 * self.deviations).max())
        for _ in range(50):
            middle = 0.5 * (low + high)
            scores = (middle - self.means) / self.deviations / math.sqrt(2.0)
            below = sum(
                weight * 0.5 * (1.0 + math.erf(score)) for weight, score in zip(self.weights, scores, strict=True)
            )
            low, high = (middle, high) if below < share else (low, middle)
        return 0.5 * (low + high)


def _mixture(curve: _Curve, noise: float) -> tuple[_Mixture, float]:
    """Return the distribution of the loss at the end, and the weighted sum of squared residuals, given the noise of one point."""
    level = curve.level
    straying = (STRAYING * level) ** 2
    covariance = np.diag(noise**2 / curve.counts) + straying * np.minimum.outer(-curve.ways, -curve.ways)
    inverse = np.linalg.inv(covariance)
    # The prior of the present loss is nearly flat.
    prior_mean = np.array([level, REDUCIBLE[0] * level, COOLING[0] * level])
    prior_precision = np.diag((np.array([10.0, REDUCIBLE[1], COOLING[1]]) * level) ** -2.0)
    scores, means, variances, misfits = [], [], [], []
    for beta in BETAS:
        columns, end = curve.columns(beta), curve.end(beta)
        precision = columns.T @ inverse @ columns + prior_precision
        spread = np.linalg.inv(precision)
        numbers = spread @ (columns.T @ inverse @ curve.losses + prior_precision @ prior_mean)
        off, moved = curve.losses - columns @ numbers, numbers - prior_mean
        likely = off @ inverse @ off + moved @ prior_precision @ moved + np.linalg.slogdet(precision)[1]
        scores.append(-0.5 * likely - 0.5 * ((math.log(beta) - BETA[0]) / BETA[1]) ** 2)
        means.append(end @ numbers)
        variances.append(end @ spread @ end + straying * curve.way + noise**2)
        misfits.append(noise**2 * float(off @ inverse @ off))
    weights = np.exp(np.array(scores) - max(scores))
    weights /= weights.sum()
    mixture = _Mixture(weights=weights, means=np.array(means), deviations=np.sqrt(np.array(variances)))
    return mixture, float(weights @ np.array(misfits))
