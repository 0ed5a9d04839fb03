"""From a few small trainings to a large one of the same kind: a loss law with priors, for fewer points than it has numbers.

    L(N, D) = E + A (N/N*)^-alpha + B (N/N*)^-gamma (D/D*)^-beta

N and D are parameters and tokens, N* and D* those of the training that is asked about. This is the law of arXiv 2203.15556 but for
gamma: small models with few tokens were found to lie further apart than a sum of two terms allows, because larger ones
learn more from each token. Four trainings can't tell six numbers, so that each has a prior; what the trainings leave open stays as
wide as the prior leaves it, which is where the interval comes from.
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

NOISE = 0.01
"""Of log-loss: what another seed and another rounding of steps and warm-up change in a short training."""
ROUNDS = 60
FEWEST_POINTS = 3


@dataclass(frozen=True, kw_only=True)
class Point:
    """A finished training."""

    parameters: float
    """Those that every token is multiplied by."""
    tokens: float
    loss: float
    """On the whole validation split, nats a token."""


# log(E/L), log(A/L), log(B/L) with L the least loss seen, alpha, beta, gamma: middle and standard deviation.
PRIOR_MEANS = np.array([math.log(0.45), math.log(0.15), math.log(0.3), 0.35, 0.30, 0.10])
PRIOR_SPREADS = np.array([0.40, 1.0, 1.5, 0.10, 0.08, 0.10])


@dataclass(frozen=True, kw_only=True)
class LadderLaw:
    """The law of a ladder, around the training that it was climbed for."""

    points: tuple[Point, ...]
    parameters: float
    """N*: of the training that is asked about."""
    tokens: float
    """D*."""
    numbers: tuple[float, ...]
    """log(E/L), log(A/L), log(B/L), alpha, beta, gamma, with L the least loss of the ladder."""
    spread: float
    """Standard deviation of the log-loss at N* and D*."""

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats a token after training so many parameters on so many tokens."""
        place = np.array([[parameters / self.parameters, tokens / self.tokens]])
        return self._least * math.exp(float(_log_loss(np.array(self.numbers), place)[0]))

    def expected(self) -> Estimate:
        """The loss of the training that was asked about."""
        value = self.loss(self.parameters, self.tokens)
        largest = max(point.parameters for point in self.points)
        furthest = max(point.tokens for point in self.points if point.parameters == largest)
        return Estimate(
            value=value,
            low=value * math.exp(-NORMAL_QUANTILE * self.spread),
            high=value * math.exp(NORMAL_QUANTILE * self.spread),
            evidence="extrapolated",
            rests_on=f"a ladder of {len(self.points)} short trainings",
            alarm=f"{self.tokens / furthest:.0f} times the tokens of the ladder's largest model",
        )

    @property
    def _least(self) -> float:
        return min(point.loss for point in self.points)


def ladder_law(points: Sequence[Point], parameters: float, tokens: float) -> LadderLaw:
    """The law of `points`, for a training of their kind with so many parameters and tokens.

    The most likely six numbers by Levenberg's damped least squares; the spread from the curvature there. LabError with fewer
    than three points, or a loss that isn't a positive number.
    """
    if len(points) < FEWEST_POINTS:
        raise LabError(f"{len(points)} trainings are too few to draw a line through: expected {FEWEST_POINTS} or more")
    losses = np.array([point.loss for point in points])
    if not (np.isfinite(losses).all() and (losses > 0).all()):
        raise LabError("a training of the ladder has no finite loss: expected a lower optim.lr")
    places = np.array([[point.parameters / parameters, point.tokens / tokens] for point in points])
    observed = np.log(losses / losses.min())

    def residuals(numbers: Array) -> Array:
        misfit = (_log_loss(numbers, places) - observed) / NOISE
        return np.concatenate([misfit, (numbers - PRIOR_MEANS) / PRIOR_SPREADS])

    numbers = _least_squares(residuals, PRIOR_MEANS)
    slopes = _jacobian(residuals, numbers)
    direction = _jacobian(lambda at: _log_loss(at, np.ones((1, 2))), numbers)[0]
    variance = float(direction @ np.linalg.inv(slopes.T @ slopes) @ direction)
    return LadderLaw(
        points=tuple(points),
        parameters=parameters,
        tokens=tokens,
        numbers=tuple(numbers.tolist()),
        spread=math.sqrt(variance + NOISE**2),
    )


def _log_loss(numbers: Array, places: Array) -> Array:
    entropy, capacity, data = np.exp(numbers[:3])
    alpha, beta, gamma = numbers[3:]
    size, length = places.T
    return np.log(entropy + capacity * size**-alpha + data * size**-gamma * length**-beta)


def _least_squares(residuals: Callable[[Array], Array], start: Array) -> Array:
    numbers, damping = start, 1.0
    error = residuals(numbers)
    for _ in range(ROUNDS):
        slopes = _jacobian(residuals, numbers)
        square = slopes.T @ slopes
        step = np.linalg.solve(square + damping * np.diag(np.diag(square)), -slopes.T @ error)
        tried = residuals(numbers + step)
        if tried @ tried < error @ error:
            numbers, error, damping = numbers + step, tried, damping / 3
        else:
            damping *= 4
        if damping > 1e12:
            break
    return numbers


def _jacobian(function: Callable[[Array], Array], at: Array) -> Array:
    """By central differences."""
    columns = []
    for index in range(len(at)):
        width = np.zeros_like(at)
        width[index] = 1e-5
        columns.append((function(at + width) - function(at - width)) / 2e-5)
    return np.stack(columns, axis=1)
