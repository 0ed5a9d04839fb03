"""The loss of a large training run predicted from a few small ones: a loss law with priors, for fewer points than parameters.

    L(n, d) = E (1 + B (d^-beta - 1)) + A n^-alpha

n and d are size and length relative to the target run: parameters of its blocks, and steps. This is the law of
arXiv 2203.15556, with E including everything that a run of the target length leaves unlearnt at any size: at d = 1 the factor
after E is 1, so that shorter runs, whose curves have other shapes, don't affect the predicted loss if there are longer
ones. A few runs don't determine five parameters, so each has a prior; what the runs leave undetermined stays as wide as its
prior, and that gives the interval.
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
"""Standard deviation of the log-loss of runs as long as the longest: the variation between seeds."""
SHORTER_NOISE = 0.03
"""The same for shorter runs: the error of this law's description of their curves."""
SAME_LENGTH = 0.9
FEWEST_POINTS = 3
FEW_STEPS, FEW_STEPS_SPREAD = 200, 0.1
"""Fewer steps than these leave narrow models in the first phase of training, of which the prior knows nothing: three trainings of
60 steps ended 16, 9 and 0% below their predictions (docs/notes/ladders-of-narrow-models.md)."""


@dataclass(frozen=True, kw_only=True)
class LadderPoint:
    """A finished training run."""

    size: float
    """Parameters of its blocks relative to those of the target; without the head's, which depend on width alone and were left
    out when the effect of width was measured.
    """
    length: float
    """Its steps relative to those of the target."""
    loss: float
    """On the whole validation split, in nats a token."""


PRIOR_MEANS = np.array([math.log(0.55), math.log(0.15), 0.36, -0.8, 0.3])
PRIOR_SPREADS = np.array([0.7, 1.5, 0.06, 0.8, 0.1])
"""For log(E/L), log(A/L), alpha, log(B/(1-B)) and beta, with L the lowest loss of the ladder. The first two are wide: the
runs determine them. Alpha is .35 in arXiv 2404.10102; on twelve runs it was .36 (docs/notes/ladders-of-narrow-models.md)."""


SIZE_PARAMETERS = np.array([True, True, True, False, False])
"""Which of the parameters depend on size; the others depend on length."""
FIXED_SPREAD, IGNORED_NOISE = 1e-4, 1e4
"""A prior spread that keeps a parameter fixed, and a noise that excludes a run."""


@dataclass(frozen=True, kw_only=True)
class LadderLaw:
    """The law of a ladder, relative to the target run."""

    points: tuple[LadderPoint, ...]
    numbers: tuple[float, ...]
    """log(E/L), log(A/L), alpha, log(B/(1-B)) and beta, with L the lowest loss of the ladder."""
    spread: float
    """Standard deviation of the predicted log-loss of the target run."""
    few_steps: int | None = None
    """Steps of the target run where they are so few that the law is uncertain; None otherwise."""

    def loss(self, size: float, length: float) -> float:
        """Return the loss in nats a token of a run of this relative size and length."""
        place = np.array([[size, length]])
        return self._least * math.exp(float(_log_loss(np.array(self.numbers), place)[0]))

    def expected(self) -> Estimate:
        """Return the predicted loss of the target run."""
        value = self.loss(1.0, 1.0)
        largest = max(point.size for point in self.points)
        longest = max(point.length for point in self.points)
        beyond = f"the blocks have {1 / largest:.0f} times the parameters of the ladder's largest model"
        if longest < SAME_LENGTH:
            beyond += f", and the training {1 / longest:.1f} times the steps of its longest"
        if self.few_steps is not None:
            beyond += f"; {self.few_steps} steps are few to extrapolate from: narrow models learn late"
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


def ladder_law(points: Sequence[LadderPoint], steps: int | None = None) -> LadderLaw:
    """Return the law fitted to `points`, for a target run of `steps` steps (None: many).

    The maximum a posteriori estimate by Levenberg-Marquardt; the spread from the curvature there. Raises LabError with
    fewer than three points, or a loss that isn't a positive number.
    """
    from scipy.optimize import least_squares  # takes a tenth of a second to import

    if len(points) < FEWEST_POINTS:
        raise LabError(f"{len(points)} runs are too few to fit a ladder law: expected {FEWEST_POINTS} or more")
    losses = np.array([point.loss for point in points])
    if not (np.isfinite(losses).all() and (losses > 0).all()):
        raise LabError("a training of the ladder has no finite loss: expected a lower optim.lr")
    few = steps is not None and steps < FEW_STEPS
    places = np.array([[point.size, point.length] for point in points])
    observed = np.log(losses / losses.min())
    long = places[:, 1] > SAME_LENGTH * places[:, 1].max()

    def fitted(means: Array, spreads: Array, shorter: float) -> tuple[Array, Array]:
        """Return the parameters and their covariance."""
        noise = np.where(long, NOISE, shorter)

        def residuals(numbers: Array) -> Array:
            return np.concatenate([(_log_loss(numbers, places) - observed) / noise, (numbers - means) / spreads])

        numbers = least_squares(residuals, means, method="lm").x
        slopes = _jacobian(residuals, numbers)
        return numbers, np.asarray(np.linalg.inv(slopes.T @ slopes), np.float64)

    if places[:, 1].max() > SAME_LENGTH:
        # First the size parameters, from the longest runs alone; then, with these fixed, the length parameters.
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
        spread=math.sqrt(float(direction @ covariance @ direction) + NOISE**2 + (FEW_STEPS_SPREAD**2 if few else 0.0)),
        few_steps=steps if few else None,
    )


def _log_loss(numbers: Array, places: Array) -> Array:
    entropy, capacity = np.exp(numbers[:2])
    alpha, beta = numbers[2], numbers[4]
    size, length = places.T
    share = 1 / (1 + np.exp(-numbers[3]))
    found: Array = np.log(entropy * (1 + share * np.expm1(-beta * np.log(length))) + capacity * size**-alpha)
    return found


def _jacobian(function: Callable[[Array], Array], at: Array) -> Array:
    """Return the Jacobian of `function` at `at`, by central differences."""
    columns = []
    for index in range(len(at)):
        width = np.zeros_like(at)
        width[index] = 1e-5
        columns.append((function(at + width) - function(at - width)) / 2e-5)
    return np.stack(columns, axis=1)
