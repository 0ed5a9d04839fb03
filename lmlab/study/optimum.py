"""The best learning rate and how well it is known, from losses of a few rates.

    loss = a_seed + b x + c x^2    with x the binary logarithm of the rate

is fitted by least squares to the rates within two doublings of the best one. Each seed has a level of its own, since a seed moves
the losses of all rates alike. The further a training ended above the best rate, the less it weighs: there losses rise faster than
a parabola, and some trainings fail by chance. What the curve leaves over, chance and misfit together, is the error; the interval
is over draws of the coefficients from their multivariate t distribution (Gelman et al., Bayesian Data Analysis, section 14.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmlab.scaling.estimate import LEVEL, Estimate, Evidence
from lmlab.study.halving import ShortRun

REACH = 2
"""Doublings from the best rate within which a parabola is a fair picture."""
FEWEST_RATES = 3
DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Where the loss is lowest; rates as binary logarithms of what they are of the recipe's."""

    place: Estimate
    loss: float
    """Nats a token there, the mean over seeds."""
    half: Estimate
    """Nats a token that half the best rate costs."""
    double: Estimate
    """Nats a token that twice the best rate costs."""
    curvature: float
    """c, so that a rate 2^d times the best one costs c d^2."""


def find_optimum(losses: Mapping[ShortRun, float], steps: int) -> Optimum | None:
    """The optimum of the short runs of that length; None where they have no minimum between them."""
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
    slope, curvature = (float(value) for value in coefficients[-2:])
    rates = sorted({run.rate for run in near})
    if curvature <= 0 or not rates[0] < -slope / (2 * curvature) < rates[-1]:
        return None
    place = -slope / (2 * curvature)
    left_over = values - design @ coefficients
    freedom = len(values) - design.shape[1]
    places, curvatures = _draws(coefficients, design, weights, left_over, freedom, rates)
    sure: Evidence = "fitted" if freedom > 0 else "extrapolated"
    rests = f"{len(near)} trainings of {steps:,} steps at {len(rates)} rates"
    alarm = (
        ""
        if freedom > 0
        else f"only {len(rates)} rates were trained to the end, so the interval can't be checked; use --trials 5 --seeds 2"
    )

    def estimate(value: float, drawn: np.ndarray) -> Estimate:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        spread = (min(value, float(low)), max(value, float(high)))
        return Estimate(value=value, low=spread[0], high=spread[1], evidence=sure, rests_on=rests, alarm=alarm)

    # What the parabola misses is added again: losses rise faster above the optimum than below.
    misfit = [
        float(np.mean([left for run, left in zip(near, left_over, strict=True) if run.rate == rate])) for rate in rates
    ]
    left, middle, right = (float(one) for one in np.interp([place - 1, place, place + 1], rates, misfit))

    def cost(missed: float) -> Estimate:
        return estimate(max(0.0, curvature + missed), np.maximum(0.0, curvatures + missed))

    return Optimum(
        place=estimate(place, places),
        loss=float(np.mean(coefficients[: len(seeds)])) - curvature * place**2 + middle,
        half=cost(left - middle),
        double=cost(right - middle),
        curvature=curvature,
    )


def mean_losses(losses: Mapping[ShortRun, float]) -> dict[int, float]:
    """Rate -> mean loss over its seeds."""
    rates = sorted({run.rate for run in losses})
    return {rate: float(np.mean([loss for run, loss in losses.items() if run.rate == rate])) for rate in rates}


def _weights(runs: Mapping[ShortRun, float], means: Mapping[int, float]) -> np.ndarray:
    """1 for a training that ended where the best rate does, a half for one as far above it as the rates are in the middle."""
    lowest = min(means.values())
    excess = np.maximum(0.0, np.array(list(runs.values())) - lowest)
    usual = float(np.median(sorted(means[rate] - lowest for rate in {run.rate for run in runs})[1:] or [0.0]))
    return 1 / (1 + (excess / usual) ** 2) if usual > 0 else np.ones(len(excess))


def _draws(
    coefficients: np.ndarray,
    design: np.ndarray,
    weights: np.ndarray,
    left_over: np.ndarray,
    freedom: int,
    rates: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Optima and curvatures of draws; an optimum that a draw puts beyond the measured rates counts as at their end."""
    if freedom <= 0:
        return np.array(rates[:1] + rates[-1:], dtype=float), np.array([0.0, 2 * coefficients[-1]])
    generator = np.random.default_rng(0)
    error = float(left_over @ (weights * left_over)) / freedom
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design)) * error
    normal = generator.multivariate_normal(np.zeros(len(coefficients)), covariance, size=DRAWS)
    drawn = coefficients + normal / np.sqrt(generator.chisquare(freedom, size=(DRAWS, 1)) / freedom)
    slopes, curvatures = drawn[:, -2], drawn[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.where(curvatures > 0, -slopes / (2 * curvatures), np.where(slopes > 0, -np.inf, np.inf))
    return np.clip(places, rates[0], rates[-1]), curvatures
