"""From a few small trainings to a large one of the same kind: a loss law with priors, for fewer points than it has numbers.

    L(n, d) = E (1 + B (d^-beta - 1)) + A n^-alpha

n and d are size and length as shares of the training that is asked about: parameters of its blocks, and steps. This is the law of
arXiv 2203.15556, with all that a training of this length leaves unlearnt, whatever its size, in E: where d is 1 the factor
behind it is, too, so that shorter trainings, whose curves have other shapes, say nothing of the loss where there are longer
ones. A few trainings can't tell five numbers, so that each has a prior; what the trainings leave open stays as wide as the
prior leaves it, which is where the interval comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.scaling.estimate import NORMAL_QUANTILE, Estimate

Array = NDArray[np.float64]

NOISE = 0.005
"""Of log-loss, in a training as long as the longest: what another seed changes."""
SHORTER_NOISE = 0.03
"""In a shorter one: what this law doesn't know of its curve."""
SAME_LENGTH = 0.9
FEWEST_POINTS = 3


@dataclass(frozen=True, kw_only=True)
class Point:
    """A finished training."""

    size: float
    """Parameters of its blocks, as a share of those of the training that is asked about; without the head's, which grow with
    the width alone and took no part in what width was found to gain."""
    length: float
    """Its steps, as a share likewise."""
    loss: float
    """On the whole validation split, nats a token."""


PRIOR_MEANS = np.array([math.log(0.55), math.log(0.15), 0.36, -0.8, 0.3])
PRIOR_SPREADS = np.array([0.7, 1.5, 0.06, 0.8, 0.1])
"""Of log(E/L), log(A/L), alpha, log(B/(1-B)) and beta, with L the least loss of the ladder. The first two are wide: the
trainings tell them. Alpha is .35 in arXiv 2404.10102; on twelve trainings it was .36 (docs/notes/ladders-of-narrow-models.md)."""


SIZE_PARAMETERS = np.array([True, True, True, False, False])
"""Which of the numbers size tells; length tells the others."""
FIXED_SPREAD, IGNORED_NOISE = 1e-4, 1e4
"""A spread so small that a number stays, and a noise so large that a training says nothing."""


@dataclass(frozen=True, kw_only=True)
class LadderLaw:
    """The law of a ladder, around the training that it was climbed for."""

    points: tuple[Point, ...]
    numbers: tuple[float, ...]
    """log(E/L), log(A/L), alpha, log(B/(1-B)) and beta, with L the least loss of the ladder."""
    spread: float
    """Standard deviation of the log-loss of the training that is asked about."""

    def loss(self, size: float, length: float) -> float:
        """Nats a token after a training of such a size and length, as shares of the one that is asked about."""
        place = np.array([[size, length]])
        return self._least * math.exp(float(_log_loss(np.array(self.numbers), place)[0]))

    def expected(self) -> Estimate:
        """The loss of the training that was asked about."""
        value = self.loss(1.0, 1.0)
        largest = max(point.size for point in self.points)
        longest = max(point.length for point in self.points)
        beyond = f"the blocks have {1 / largest:.0f} times the parameters of the ladder's largest model"
        if longest < SAME_LENGTH:
            beyond += f", and the training {1 / longest:.1f} times the steps of its longest"
        return Estimate(
            value=value,
            low=value * math.exp(-NORMAL_QUANTILE * self.spread),
            high=value * math.exp(NORMAL_QUANTILE * self.spread),
            evidence="extrapolated",
            rests_on=f"a ladder of {len(self.points)} small trainings",
            alarm=beyond,
        )

    @property
    def _least(self) -> float:
        return min(point.loss for point in self.points)


def ladder_law(points: Sequence[Point]) -> LadderLaw:
    """The law of `points`.

    The most likely five numbers by Levenberg-Marquardt least squares; the spread from the curvature there. LabError with fewer
    than three points, or a loss that isn't a positive number.
    """
    from scipy.optimize import least_squares  # a tenth of a second, which only a ladder needs

    if len(points) < FEWEST_POINTS:
        raise LabError(f"{len(points)} trainings are too few to draw a line through: expected {FEWEST_POINTS} or more")
    losses = np.array([point.loss for point in points])
    if not (np.isfinite(losses).all() and (losses > 0).all()):
        raise LabError("a training of the ladder has no finite loss: expected a lower optim.lr")
    places = np.array([[point.size, point.length] for point in points])
    observed = np.log(losses / losses.min())
    long = places[:, 1] > SAME_LENGTH * places[:, 1].max()

    def fitted(means: Array, spreads: Array, shorter: float) -> tuple[Array, Array]:
        """The numbers, and how sure they are: their covariance."""
        noise = np.where(long, NOISE, shorter)

        def residuals(numbers: Array) -> Array:
            return np.concatenate([(_log_loss(numbers, places) - observed) / noise, (numbers - means) / spreads])

        numbers = least_squares(residuals, means, method="lm").x
        slopes = _jacobian(residuals, numbers)
        return numbers, np.asarray(np.linalg.inv(slopes.T @ slopes), np.float64)

    if places[:, 1].max() > SAME_LENGTH:
        # What size does, from the long ones alone; then, with that settled, what length does.
        numbers, covariance = fitted(PRIOR_MEANS, PRIOR_SPREADS, IGNORED_NOISE)
        spreads = np.where(SIZE_PARAMETERS, FIXED_SPREAD, PRIOR_SPREADS)
        means = np.where(SIZE_PARAMETERS, numbers, PRIOR_MEANS)
        final, _ = fitted(means, spreads, SHORTER_NOISE)
    else:
        final, covariance = fitted(PRIOR_MEANS, PRIOR_SPREADS, SHORTER_NOISE)
    direction = _jacobian(lambda at: _log_loss(at, np.ones((1, 2))), final)[0]
    return LadderLaw(
        points=tuple(points),
        numbers=tuple(final.tolist()),
        spread=math.sqrt(float(direction @ covariance @ direction) + NOISE**2),
    )


def _log_loss(numbers: Array, places: Array) -> Array:
    entropy, capacity = np.exp(numbers[:2])
    alpha, beta = numbers[2], numbers[4]
    size, length = places.T
    share = 1 / (1 + np.exp(-numbers[3]))
    return np.log(entropy * (1 + share * np.expm1(-beta * np.log(length))) + capacity * size**-alpha)


def _jacobian(function: Callable[[Array], Array], at: Array) -> Array:
    """By central differences."""
    columns = []
    for index in range(len(at)):
        width = np.zeros_like(at)
        width[index] = 1e-5
        columns.append((function(at + width) - function(at - width)) / 2e-5)
    return np.stack(columns, axis=1)
