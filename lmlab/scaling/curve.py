"""A run's own loss curve, drawn on to the run's end.

In come the losses at some steps and the learning rate's path; out comes the loss at the end. The form is

    L(x) = now + R (x^-beta - 1) - C d(x) + W(x)

x is the sum of the learning rate's shares so far against that sum now, so that a step at half the rate counts as half a step; d is
by how much the rate has fallen from its peak since now. A curve bends down while the rate falls, and a plain power law misses that.
This is the law of arXiv 2408.11029 with its annealing area in the limit of a memory that is short against the run. W is a Brownian
motion in log x: how far a real curve strays from that form. R, C and beta have priors, which is what makes few points enough; given
beta all is linear and normal, so the forecast is a mixture over betas, computed without any chance.
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
"""More are averaged in neighbours, since the arithmetic grows with their cube."""
YOUNGEST = 0.15
"""Where on the way from the start to now, in sums of rate shares, the points begin to count: the first part bends otherwise."""
LARGEST_LOSS = 1e4
"""Nats a token; above that a number is none."""
PLACES = 1024
"""At so many steps at most a path is looked at."""

# Priors as shares of the loss, (mean, standard deviation), from curves of small models: docs/notes/curves-to-their-end.md.
REDUCIBLE = (0.45, 0.15)
"""R: how much would vanish in an endless run at this rate."""
COOLING = (0.11, 0.05)
"""C: what it brings to let the rate fall from its peak to 0."""
BETAS = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25])
BETA = (math.log(0.45), 0.6)
"""Of the logarithm of beta."""
STRAYING = 0.03
"""W's standard deviation at x = e."""
NOISE = 0.004
"""Of one point around the curve, and as how many points that guess counts."""
NOISE_WORTH = 4.0
RISEN = 4.0
"""A curve whose end lies so many standard deviations above its lowest point has turned."""


@dataclass(frozen=True)
class RatePath:
    """The learning rate over a run, as shares of its peak."""

    steps: Array
    """Ascending, from 0 to the run's length."""
    sums: Array
    """The sum of the shares of all steps before each of these."""
    shares: Array

    @property
    def length(self) -> float:
        """The run's steps."""
        return float(self.steps[-1])

    def sum_at(self, steps: ArrayLike) -> Array:
        """The sum of the shares before each step."""
        return np.interp(np.asarray(steps, dtype=np.float64), self.steps, self.sums)

    def share_at(self, steps: ArrayLike) -> Array:
        """The share at each step."""
        return np.interp(np.asarray(steps, dtype=np.float64), self.steps, self.shares)

    def until(self, step: float) -> RatePath:
        """The same path as far as `step`."""
        before = self.steps < step
        return RatePath(
            steps=np.append(self.steps[before], float(step)),
            sums=np.append(self.sums[before], self.sum_at(step)),
            shares=np.append(self.shares[before], self.share_at(step)),
        )

    def fallen_at(self, steps: ArrayLike) -> Array:
        """How far the rate has fallen from its highest by each step."""
        fallen = np.maximum.accumulate(self.shares) - self.shares
        return np.interp(np.asarray(steps, dtype=np.float64), self.steps, fallen)


def rate_path(share: Callable[[int], float], length: int) -> RatePath:
    """The path of a run of `length` steps whose rate at a step (the first is 0) is `share` of its peak."""
    places = np.unique(np.linspace(0, length, min(length, PLACES) + 1).round().astype(np.int64))
    shares = np.array([share(min(int(place), length - 1)) for place in places], dtype=np.float64)
    between = 0.5 * (shares[1:] + shares[:-1]) * np.diff(places)
    return RatePath(steps=places.astype(np.float64), sums=np.concatenate([[0.0], np.cumsum(between)]), shares=shares)


def expected_end(steps: Sequence[int], losses: Sequence[float], path: RatePath) -> Estimate | None:
    """The loss at the end of `path`, from `losses` after so many `steps`.

    None where fewer than four of them are losses and recent enough, where no steps are left, or where the curve has turned up: this
    form can only fall.
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
    """What of a curve counts, seen from its last point."""

    losses: Array
    counts: Array
    """How many evaluations each of them is the mean of."""
    ways: Array
    """The logarithm of x at each: 0 now, negative before."""
    fallen: Array
    """How far the rate is below where it is now, at each."""
    way: float
    """The logarithm of x at the end."""
    fall: float
    """By how much the rate falls until the end."""
    step: float

    @property
    def level(self) -> float:
        """The loss now, roughly."""
        return float(self.losses[-3:].mean())

    def risen(self, noise: float) -> bool:
        """Whether the last two points both lie above the lowest one by more than noise, of which a turn itself makes some."""
        return float(self.losses[-2:].min() - self.losses.min()) > RISEN * min(noise, 2.0 * NOISE * self.level)

    def columns(self, beta: float) -> Array:
        """[points, 3]: how each loss depends on (now, R, C)."""
        return np.stack([np.ones_like(self.ways), np.exp(-beta * self.ways) - 1.0, -self.fallen], axis=1)

    def end(self, beta: float) -> Array:
        """The same of the loss at the end."""
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
    """Normal distributions with weights."""

    weights: Array
    means: Array
    deviations: Array

    def quantile(self, share: float) -> float:
        """By bisection."""
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
    """The distribution of the loss at the end, and the sum of squares that the points are off by, given the noise of one point."""
    level = curve.level
    straying = (STRAYING * level) ** 2
    covariance = np.diag(noise**2 / curve.counts) + straying * np.minimum.outer(-curve.ways, -curve.ways)
    inverse = np.linalg.inv(covariance)
    # What is now is as good as unknown before the points tell it.
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
