"""The optimism of a search: by how much the loss at the chosen learning rate is too low because the rate was chosen by it.

A search takes the rate with the lowest losses, partly by chance, so its loss there is lower than the rate's expected loss.
(Choosing on another text would not remove this: seeds and batches are chance too.) The bias is that of a minimum over noisy errors
(Tibshirani and Tibshirani 2009, A bias correction for the minimum error rate in cross-validation, Annals of Applied Statistics 3),
and is estimated by a parametric bootstrap: the choice is repeated on losses drawn around a fit, whose truth is known, and

    optimism = mean over draws of (true loss at the rate chosen in a draw - loss reported in that draw)

(Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 17). The losses of the last rung are drawn: from the recipe's
seed at every rate, and from the other seeds at the rates that are then best, as in a search. The truth is the parabola with a level
for each seed; where none has a minimum, a level for each rate in its place. The error is the residual of a level for each rate and
one for each seed. (Residuals of a parabola also contain misfit: with them the bias of quiet searches was estimated about four times
too large.) All rates are scored on the same text, whose sampling error is common to them and doesn't count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lmlab.study.tune.halving import REPEATED, ShortRun, best_of
from lmlab.study.tune.optimum import Fit, fit_parabola, mean_losses

DRAWS = 400


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """The distribution from which losses are drawn."""

    of_rate: Callable[[float], float]
    """True loss by rate (a binary logarithm), without the seed's level."""
    levels: Mapping[int, float]
    """The level of each seed."""
    deviation: float
    """Standard deviation of a run around both."""


def optimism(losses: Mapping[ShortRun, float], steps: int) -> float | None:
    """Return by how many nats a token the loss at the chosen rate is too low on average; None where the noise can't be estimated.

    `losses` are of all short trainings, `steps` the length of the last rung.
    """
    finite = {run: loss for run, loss in sorted(losses.items()) if run.steps == steps and math.isfinite(loss)}
    fit = fit_parabola(finite, steps)
    truth = _additive(finite)
    if truth is None:
        return None
    if fit is not None:
        truth = _around(fit, finite, truth.deviation)
    generator = np.random.default_rng(0)
    first = [run.rate for run in finite if run.seed == 0]
    others = sorted({run.seed for run in finite if run.seed})
    off = []
    for _ in range(DRAWS):
        drawn = _drawn(truth, steps, first, others, generator)
        place, loss, seeds = _chosen(drawn, steps)
        off.append(truth.of_rate(place) + float(np.mean([truth.levels[seed] for seed in seeds])) - loss)
    return max(0.0, float(np.mean(off)))  # the bias can't be negative; below 0 is chance of the draws


def _drawn(
    truth: _Truth, steps: int, first: list[int], others: list[int], generator: np.random.Generator
) -> dict[ShortRun, float]:
    """Draw the losses of the last rung."""

    def draw(rate: int, seed: int) -> float:
        return truth.of_rate(rate) + truth.levels[seed] + truth.deviation * float(generator.normal())

    alone = {rate: draw(rate, 0) for rate in first}
    repeated = {ShortRun(steps, seed, rate): draw(rate, seed) for rate in best_of(alone, REPEATED) for seed in others}
    return {**{ShortRun(steps, 0, rate): loss for rate, loss in alone.items()}, **repeated}


def _chosen(losses: Mapping[ShortRun, float], steps: int) -> tuple[float, float, list[int]]:
    """Return the rate that a search chooses by these losses, the loss that it reports, and the seeds over which that is the
    mean."""
    fit = fit_parabola(losses, steps)
    if fit is not None:
        return fit.place, fit.lowest, sorted({run.seed for run in fit.losses})
    means = mean_losses(losses)
    best = min(means, key=lambda rate: (means[rate], rate))
    return best, means[best], [run.seed for run in losses if run.rate == best]


def _around(fit: Fit, finite: Mapping[ShortRun, float], deviation: float) -> _Truth:
    """Return the parabola as truth, with the means of the rates that lie outside its range."""
    seeds = sorted({run.seed for run in fit.losses})
    level = float(np.mean(fit.levels))
    levels = {run.seed: level for run in finite} | dict(zip(seeds, map(float, fit.levels), strict=True))
    far = {rate: mean - level for rate, mean in mean_losses(finite).items() if rate not in fit.rates}
    slope, curvature = (float(one) for one in fit.coefficients[-2:])
    return _Truth(
        of_rate=lambda rate: far[int(rate)] if rate in far else slope * rate + curvature * rate**2,
        levels=levels,
        deviation=deviation,
    )


def _additive(finite: Mapping[ShortRun, float]) -> _Truth | None:
    """Fit a level for each rate and one for each seed by least squares; None without a degree of freedom."""
    rates, seeds = sorted({run.rate for run in finite}), sorted({run.seed for run in finite})
    if not finite:
        return None
    design = np.array(
        [
            [*(float(run.rate == rate) for rate in rates), *(float(run.seed == seed) for seed in seeds[1:])]
            for run in finite
        ]
    )
    values = np.array(list(finite.values()))
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(values) - int(np.linalg.matrix_rank(design))
    if freedom <= 0:
        return None
    error = math.sqrt(float(np.sum((values - design @ coefficients) ** 2)) / freedom)
    of_rate = dict(zip(rates, map(float, coefficients), strict=False))
    levels = {seeds[0]: 0.0, **dict(zip(seeds[1:], map(float, coefficients[len(rates) :]), strict=True))}

    def between(place: float) -> float:
        return float(np.interp(place, rates, [of_rate[rate] for rate in rates]))

    return _Truth(of_rate=between, levels=levels, deviation=error)
