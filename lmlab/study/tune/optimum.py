"""The optimal learning rate and its interval, from losses at a few rates.

    loss = a_seed + b x + c x^2    with x the binary logarithm of the rate

is fitted by least squares to the rates within two doublings of the best one. Each seed has its own level, since a seed shifts the
losses of all rates alike. A training's weight falls with how far it ended above the best rate: there losses rise faster than a
parabola, and some trainings fail by chance. The residual, chance and misfit together, is the error; the interval is over draws of
the coefficients from their multivariate t distribution (Gelman et al., Bayesian Data Analysis, section 14.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmlab.scaling.estimate import LEVEL, Estimate, Evidence
from lmlab.study.tune.halving import ShortRun

REACH = 2
"""Doublings from the best rate within which a parabola is a good approximation."""
FEWEST_RATES = 3
DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The minimum of the loss over rates; rates are binary logarithms of their ratio to the recipe's."""

    place: Estimate
    loss: float
    """The loss there in nats a token, the mean over seeds."""
    half: Estimate
    """The increase of loss at half the best rate, nats a token."""
    double: Estimate
    """The increase of loss at twice the best rate, nats a token."""
    curvature: float
    """c, so that the loss at 2^d times the best rate is higher by c d^2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A parabola through the losses of the rates near the best one, with a minimum between them."""

    losses: Mapping[ShortRun, float]
    """The losses at these rates."""
    design: np.ndarray
    """[runs, seeds + 2]: an indicator of each seed, x, x^2."""
    weights: np.ndarray
    """[runs]"""
    coefficients: np.ndarray
    """[seeds + 2]"""

    @property
    def rates(self) -> list[int]:
        """The rates, ascending."""
        return sorted({run.rate for run in self.losses})

    @property
    def curvature(self) -> float:
        """The coefficient c."""
        return float(self.coefficients[-1])

    @property
    def place(self) -> float:
        """The rate of the minimum, as a binary logarithm."""
        return -float(self.coefficients[-2]) / (2 * self.curvature)

    @property
    def levels(self) -> np.ndarray:
        """[seeds]: the coefficients a."""
        return self.coefficients[:-2]

    @property
    def left_over(self) -> np.ndarray:
        """[runs]: the residuals."""
        found: np.ndarray = np.array(list(self.losses.values())) - self.design @ self.coefficients
        return found

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residuals."""
        found: int = len(self.losses) - self.design.shape[1]
        return found

    @property
    def variance(self) -> float:
        """The error variance of a run with weight 1; NaN without a degree of freedom."""
        return float(self.left_over @ (self.weights * self.left_over)) / self.freedom if self.freedom > 0 else math.nan

    def missed(self, *places: float) -> list[float]:
        """Return the mean residuals at these places, interpolated between the rates."""
        runs = list(zip(self.losses, self.left_over, strict=True))
        misfit = [float(np.mean([left for run, left in runs if run.rate == rate])) for rate in self.rates]
        return [float(one) for one in np.interp(places, self.rates, misfit)]

    @property
    def lowest(self) -> float:
        """The loss at the minimum, the mean over seeds."""
        return float(np.mean(self.levels)) - self.curvature * self.place**2 + self.missed(self.place)[0]


def fit_parabola(losses: Mapping[ShortRun, float], steps: int) -> Fit | None:
    """Fit a parabola to the short runs of that length; None where they have no minimum between them."""
    finite = {run: loss for run, loss in sorted(losses.items()) if run.steps == steps and math.isfinite(loss)}
    means = mean_losses(finite)
    if len(means) < FEWEST_RATES:
        return None
    best = min(means, key=lambda rate: means[rate])
    near = {run: loss for run, loss in finite.items() if abs(run.rate - best) <= REACH}
    seeds = sorted({run.seed for run in near})
    design = np.array([[*(float(run.seed == seed) for seed in seeds), run.rate, run.rate**2] for run in near])
    values = np.array(list(near.values()))
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    weights = _weights(near, means)
    root = np.sqrt(weights)
    coefficients, *_ = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)
    found = Fit(losses=near, design=design, weights=weights, coefficients=coefficients)
    return found if found.curvature > 0 and found.rates[0] < found.place < found.rates[-1] else None


def find_optimum(losses: Mapping[ShortRun, float], steps: int) -> Optimum | None:
    """Return the optimum of the short runs of that length; None where they have no minimum between them."""
    fit = fit_parabola(losses, steps)
    if fit is None:
        return None
    place, curvature, rates = fit.place, fit.curvature, fit.rates
    places, curvatures = _draws(fit)
    sure: Evidence = "fitted" if fit.freedom > 0 else "extrapolated"
    rests = f"{len(fit.losses)} trainings of {steps:,} steps at {len(rates)} rates"
    alarm = (
        ""
        if fit.freedom > 0
        else f"only {len(rates)} rates were trained to the end, so the interval can't be checked; use --trials 5 --seeds 2"
    )

    def estimate(value: float, drawn: np.ndarray) -> Estimate:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        spread = (min(value, float(low)), max(value, float(high)))
        return Estimate(value=value, low=spread[0], high=spread[1], evidence=sure, rests_on=rests, alarm=alarm)

    # The residuals are added: losses rise faster above the optimum than below.
    left, middle, right = fit.missed(place - 1, place, place + 1)

    def cost(missed: float) -> Estimate:
        return estimate(max(0.0, curvature + missed), np.maximum(0.0, curvatures + missed))

    return Optimum(
        place=estimate(place, places),
        loss=fit.lowest,
        half=cost(left - middle),
        double=cost(right - middle),
        curvature=curvature,
    )


def mean_losses(losses: Mapping[ShortRun, float]) -> dict[int, float]:
    """Return rate -> mean loss over its seeds."""
    rates = sorted({run.rate for run in losses})
    return {rate: float(np.mean([loss for run, loss in losses.items() if run.rate == rate])) for rate in rates}


def _weights(runs: Mapping[ShortRun, float], means: Mapping[int, float]) -> np.ndarray:
    """Return weights: 1 for a training that ended at the best rate's loss, 0.5 for one as far above it as the median rate."""
    lowest = min(means.values())
    excess = np.maximum(0.0, np.array(list(runs.values())) - lowest)
    usual = float(np.median(sorted(means[rate] - lowest for rate in {run.rate for run in runs})[1:] or [0.0]))
    return 1 / (1 + (excess / usual) ** 2) if usual > 0 else np.ones(len(excess))


def _draws(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Return optima and curvatures of draws; an optimum beyond the measured rates counts as at their end."""
    coefficients, design, rates, freedom = fit.coefficients, fit.design, fit.rates, fit.freedom
    if freedom <= 0:
        return np.array(rates[:1] + rates[-1:], dtype=float), np.array([0.0, 2 * coefficients[-1]])
    generator = np.random.default_rng(0)
    covariance = np.linalg.inv(design.T @ (fit.weights[:, None] * design)) * fit.variance
    normal = generator.multivariate_normal(np.zeros(len(coefficients)), covariance, size=DRAWS)
    drawn = coefficients + normal / np.sqrt(generator.chisquare(freedom, size=(DRAWS, 1)) / freedom)
    slopes, curvatures = drawn[:, -2], drawn[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.where(curvatures > 0, -slopes / (2 * curvatures), np.where(slopes > 0, -np.inf, np.inf))
    return np.clip(places, rates[0], rates[-1]), curvatures
