"""From a few small trainings to a large one of the same kind: a loss law with priors, for fewer points than it has numbers.

    L(N, D) = E + A (N/N*)^-alpha + B (N/N*)^-gamma (D/D*)^-beta

N and D are parameters and tokens, N* and D* those of the training that is asked about. This is the law of arXiv 2203.15556 but for
gamma: small models with few tokens were found to lie further apart than a sum of two terms allows, because larger ones
learn more from each token. Four trainings can't tell six numbers, so that each has a prior; what the trainings leave open stays as
wide as the prior leaves it, which is where the interval comes from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.scaling.estimate import Estimate

NOISE = 0.01
"""Of log-loss: what another seed and another rounding of steps and warm-up change in a short training."""
NORMAL_QUANTILE = 1.2816
"""80 % of a normal distribution lie between minus and plus this."""
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


def extrapolate(points: Sequence[Point], parameters: float, tokens: float) -> Estimate:
    """The loss of a training with so many parameters and tokens, of the kind of `points`.

    The most likely six numbers by Levenberg's damped least squares; the interval from the curvature there. LabError with fewer
    than three points, or a loss that isn't a positive number.
    """
    if len(points) < FEWEST_POINTS:
        raise LabError(f"{len(points)} trainings are too few to draw a line through: expected {FEWEST_POINTS} or more")
    losses = np.array([point.loss for point in points])
    if not (np.isfinite(losses).all() and (losses > 0).all()):
        raise LabError("a training of the ladder has no finite loss: expected a lower optim.lr")
    places = np.array([[point.parameters / parameters, point.tokens / tokens] for point in points])
    least = float(losses.min())
    observed = np.log(losses / least)

    def residuals(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        misfit = (_log_loss(numbers, places) - observed) / NOISE
        return np.concatenate([misfit, (numbers - PRIOR_MEANS) / PRIOR_SPREADS])

    numbers = _least_squares(residuals, PRIOR_MEANS)
    here = np.ones((1, 2))
    value = float(_log_loss(numbers, here)[0])
    slopes = _jacobian(residuals, numbers)
    covariance = np.linalg.inv(slopes.T @ slopes)
    direction = _jacobian(lambda at: _log_loss(at, here), numbers)[0]
    spread = math.sqrt(float(direction @ covariance @ direction) + NOISE**2)
    furthest = tokens / max(
        point.tokens for point in points if point.parameters >= 0.9 * max(p.parameters for p in points)
    )
    return Estimate(
        value=least * math.exp(value),
        low=least * math.exp(value - NORMAL_QUANTILE * spread),
        high=least * math.exp(value + NORMAL_QUANTILE * spread),
        evidence="extrapolated",
        rests_on=f"a ladder of {len(points)} short trainings",
        alarm=f"{furthest:.0f} times the longest training of the ladder's largest model",
    )


def _log_loss(numbers: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    entropy, capacity, data = np.exp(numbers[:3])
    alpha, beta, gamma = numbers[3:]
    size, length = places.T
    return np.log(entropy + capacity * size**-alpha + data * size**-gamma * length**-beta)


def _least_squares(residuals, start: NDArray[np.float64]) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
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


def _jacobian(function, at: NDArray[np.float64]) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """By central differences."""
    columns = []
    for index in range(len(at)):
        width = np.zeros_like(at)
        width[index] = 1e-5
        columns.append((function(at + width) - function(at - width)) / 2e-5)
    return np.stack(columns, axis=1)
