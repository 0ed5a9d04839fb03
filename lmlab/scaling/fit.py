"""The loss law fitted to runs: all five parameters at once, with intervals.

Input: points (parameters, tokens, loss) of finished runs on one text and tokenizer. As in arXiv 2203.15556 (equation 3), the
Huber loss of the logarithm is minimised from several starts,

    sum over runs of Huber_delta(LSE(log E, log A - alpha log N, log B - beta log D') - log L),      delta = 1e-3,

here by Levenberg-Marquardt steps with Huber's weights, for a batch of problems at once.

Four to eight small runs don't determine five parameters, so weak priors are added: on the exponents, from published fits, and
on the share of the loss of each term at the centre of the runs. An interval comes from fits to redrawn data: every fit has other
noise in its losses and other centres of its priors ("randomise, then optimise", Bardsley et al., SIAM J. Sci. Comput. 36, exact
for a linear law). So it is valid for few runs too, where a bootstrap over runs would leave too few points to fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.scaling.estimate import LEVEL, Estimate, Evidence
from lmlab.scaling.law import CLOSE, FEW_PASSES, LossLaw, effective_tokens, leaving
from lmlab.scaling.region import beyond

Array = NDArray[np.float64]

DELTA = 1e-3
"""Residual at which the Huber loss changes from quadratic to linear."""
FEWEST_POINTS = 4
REPLICAS = 200
STEPS = 200
USUAL_NOISE = 0.01
"""Prior standard deviation of the log-loss around the law: seeds account for .004, the error of the law for the rest."""
NOISE_WORTH = 4.0
"""Weight of that prior, as a number of runs."""
POOR = 2.0
"""Multiple of the usual noise above which runs are reported not to follow the law."""


@dataclass(frozen=True, kw_only=True)
class LossPoint:
    """The outcome of one run."""

    parameters: float
    tokens: float
    loss: float
    """Nats a token, over the same validation text in all points."""
    unique_tokens: float | None = None
    """Distinct tokens among `tokens`; None: all of them."""
    group: str = ""
    """Points of one group share their noise, as several lengths of one run do; empty: independent."""


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Normal priors, each as (mean, standard deviation)."""

    entropy: tuple[float, float] = (math.log(0.6), 0.35)
    """Log of the entropy, as a share of the lowest loss."""
    parameters_term: tuple[float, float] = (math.log(0.15), 1.0)
    """Log of the finite-parameters term at the centre of the runs, as a share of their mean loss."""
    tokens_term: tuple[float, float] = (math.log(0.25), 1.0)
    """Likewise for the finite-tokens term."""
    alpha: tuple[float, float] = (0.35, 0.1)
    beta: tuple[float, float] = (0.37, 0.1)


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """The law fitted to one's own runs."""

    law: LossLaw
    points: tuple[LossPoint, ...]
    noise: float
    """Standard deviation of the runs' log-losses around the law."""
    replicas: tuple[LossLaw, ...] = field(repr=False)
    """The laws fitted to redrawn data."""
    chance: tuple[float, ...] = field(repr=False)
    """For each of them, the noise of one more run's log-loss."""

    def expected(self, parameters: float, tokens: float, unique_tokens: float | None = None) -> Estimate:
        """Return the expected loss of a run of that size, with an alarm if no runs surround it.

        No law is exact, and its own error grows with the distance from the runs: by once the noise for each factor of e.
        """
        value = self.law.loss(parameters, tokens, unique_tokens)
        away = beyond(self._sizes_and_lengths(), (parameters, tokens))
        losses = [
            law.loss(parameters, tokens, unique_tokens) * math.exp(chance * (1.0 + away))
            for law, chance in zip(self.replicas, self.chance, strict=True)
        ]
        low, high = np.quantile(losses, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
        evidence, alarm = self._evidence(parameters, tokens, unique_tokens, away)
        return Estimate(
            value=value,
            low=min(value, float(low)),
            high=max(value, float(high)),
            evidence=evidence,
            rests_on=f"a law fitted to {len(self.points):,} runs",
            alarm=alarm,
        )

    def _sizes_and_lengths(self) -> list[tuple[float, float]]:
        return [(point.parameters, point.tokens) for point in self.points]

    def _evidence(
        self, parameters: float, tokens: float, unique_tokens: float | None, away: float
    ) -> tuple[Evidence, str]:
        sizes, lengths = zip(*self._sizes_and_lengths(), strict=True)
        ranges = {"parameters": (min(sizes), max(sizes)), "tokens": (min(lengths), max(lengths))}
        words = leaving({"parameters": parameters, "tokens": tokens}, ranges)
        if not words and away > math.log(CLOSE):
            words = ["no run that was fitted had about so many parameters with so many tokens"]
        passes = tokens / (unique_tokens or tokens)
        most = max(point.tokens / (point.unique_tokens or point.tokens) for point in self.points)
        if passes > max(most, FEW_PASSES):
            words.append(
                f"{passes:,.1f} passes over the text, where the runs that were fitted made at most {most:,.1f}"
            )
        evidence: Evidence = "extrapolated" if words else "fitted"
        if self.noise > POOR * USUAL_NOISE:
            words.append(f"the runs themselves lie {self.noise:.1%} off the law")
        return evidence, "; ".join(words)


def fit_law(
    points: Sequence[LossPoint], priors: Priors | None = Priors(), replicas: int = REPLICAS, seed: int = 0
) -> FittedLaw:
    """Return the law of these runs; raises LabError if there are too few, or one isn't valid. Deterministic for equal arguments.

    With `priors` None it's the published method, which needs dozens of runs over a wide range.
    """
    data = _Data.of(points)
    weight = 1.0 / (USUAL_NOISE * DELTA)  # beyond delta, Huber's loss is then |residual| / noise
    centre, precision = _priors(priors, data)
    generator = np.random.default_rng(seed)
    starts = _starts(data)
    thetas, values = _minimise(starts, data, data.log_losses[None], centre[None], precision, weight)
    best = thetas[int(np.argmin(values))]
    noise, trust = _noise(data, best, precision)
    # Each replica has its own noise level, since a few residuals determine it only roughly.
    noises = noise * np.sqrt(trust / generator.chisquare(trust, size=(replicas, 1)))
    shared = generator.standard_normal((replicas, data.groups))[:, data.group]
    redrawn = data.predicted(best[None]) + noises * shared
    moved = centre + generator.standard_normal((replicas, 5)) * np.where(precision > 0, precision, np.inf) ** -0.5
    drawn, _ = _minimise(np.repeat(best[None], replicas, axis=0), data, redrawn, moved, precision, weight)
    chance = noises[:, 0] * generator.standard_normal(replicas)
    return FittedLaw(
        law=data.law(best),
        points=tuple(points),
        noise=noise,
        replicas=tuple(data.law(theta) for theta in drawn),
        chance=tuple(chance.tolist()),
    )


@dataclass(frozen=True)
class _Data:
    """The points as columns, with log size and log length centred on their means."""

    sizes: Array
    lengths: Array
    log_losses: Array
    centre: tuple[float, float]
    group: NDArray[np.int64]
    groups: int

    @classmethod
    def of(cls, points: Sequence[LossPoint]) -> _Data:
        if len(points) < FEWEST_POINTS:
            raise LabError(f"{len(points)} runs are too few to fit a law: expected {FEWEST_POINTS} at least")
        for point in points:
            figures = (point.parameters, point.tokens, point.loss, point.unique_tokens or 1.0)
            if not all(math.isfinite(figure) and figure > 0 for figure in figures):
                raise LabError(f"{point} is not a run to fit: expected finite numbers above 0")
        sizes = np.log([point.parameters for point in points])
        lengths = np.log([effective_tokens(point.tokens, point.unique_tokens) for point in points])
        centre = (float(sizes.mean()), float(lengths.mean()))
        names = [point.group or f"\0{number}" for number, point in enumerate(points)]
        order = {name: place for place, name in enumerate(dict.fromkeys(names))}
        return cls(
            sizes=sizes - centre[0],
            lengths=lengths - centre[1],
            log_losses=np.log([point.loss for point in points]),
            centre=centre,
            group=np.array([order[name] for name in names], dtype=np.int64),
            groups=len(order),
        )

    def terms(self, thetas: Array) -> Array:
        """Return [problems, 3, points]: the logarithms of the three terms."""
        entropy, a, b, alpha, beta = (column[:, None] for column in thetas.T)
        return np.stack(
            [np.broadcast_to(entropy, a.shape[:1] + self.sizes.shape), a - alpha * self.sizes, b - beta * self.lengths],
            axis=1,
        )

    def predicted(self, thetas: Array) -> Array:
        """Return [problems, points]: the law's log-losses."""
        found: Array = np.logaddexp.reduce(self.terms(thetas), axis=1)
        return found

    def jacobian(self, thetas: Array) -> tuple[Array, Array]:
        """Return the law's log-losses, and their derivatives [problems, points, 5]."""
        terms = self.terms(thetas)
        total = np.logaddexp.reduce(terms, axis=1)
        shares = np.exp(terms - total[:, None])
        columns = [shares[:, 0], shares[:, 1], shares[:, 2], -shares[:, 1] * self.sizes, -shares[:, 2] * self.lengths]
        return total, np.stack(columns, axis=2)

    def law(self, theta: Array) -> LossLaw:
        """Return the law in its original units, from parameters relative to the centre."""
        entropy, a, b, alpha, beta = (float(number) for number in theta)
        return LossLaw(
            entropy=math.exp(entropy),
            a=math.exp(a + alpha * self.centre[0]),
            b=math.exp(b + beta * self.centre[1]),
            alpha=alpha,
            beta=beta,
        )


def _priors(priors: Priors | None, data: _Data) -> tuple[Array, Array]:
    """Return the prior means of the five parameters and their precisions; zeros without priors."""
    if priors is None:
        return np.zeros(5), np.zeros(5)
    lowest, mean = float(data.log_losses.min()), float(data.log_losses.mean())
    pairs = (priors.entropy, priors.parameters_term, priors.tokens_term, priors.alpha, priors.beta)
    centres = np.array([centre for centre, _ in pairs]) + [lowest, mean, mean, 0.0, 0.0]
    return centres, np.array([deviation for _, deviation in pairs]) ** -2.0


def _starts(data: _Data) -> Array:
    """Return the starting points: a grid of entropies, term sizes and exponents."""
    lowest, mean = float(data.log_losses.min()), float(data.log_losses.mean())
    grid = np.meshgrid(
        lowest + np.log([0.3, 0.6, 0.9]),
        mean + np.log([0.05, 0.2, 0.5]),
        mean + np.log([0.05, 0.2, 0.5]),
        [0.2, 0.5],
        [0.2, 0.5],
        indexing="ij",
    )
    return np.stack([axis.ravel() for axis in grid], axis=1)


def _noise(data: _Data, theta: Array, precision: Array) -> tuple[float, float]:
    """Return the noise of one run, and its degrees of freedom: those of the prior, plus the residuals less the number of
    parameters that the runs, not the priors, determine.
    """
    predicted, jacobian = data.jacobian(theta[None])
    information = jacobian[0].T @ jacobian[0] / USUAL_NOISE**2
    decided = float(np.trace(np.linalg.solve(information + np.diag(precision + 1e-9), information)))
    residuals = data.log_losses - predicted[0]
    trust = NOISE_WORTH + max(0.0, len(residuals) - decided)
    return math.sqrt((NOISE_WORTH * USUAL_NOISE**2 + float(residuals @ residuals)) / trust), trust


def _minimise(
    thetas: Array, data: _Data, log_losses: Array, centres: Array, precision: Array, weight: float
) -> tuple[Array, Array]:
    """Minimise many problems at once by Levenberg-Marquardt; return the parameters [problems, 5] and the objective at each."""

    def objective(at: Array) -> Array:
        size = np.abs(data.predicted(at) - log_losses)
        huber = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA))
        total = weight * huber.sum(axis=1) + 0.5 * (precision * (at - centres) ** 2).sum(axis=1)
        return np.where(np.isfinite(total), total, np.inf)

    damping = np.full(len(thetas), 1e-2)
    values = objective(thetas)
    for _ in range(STEPS):
        predicted, jacobian = data.jacobian(thetas)
        residuals = predicted - log_losses
        weights = weight * np.minimum(1.0, DELTA / np.maximum(np.abs(residuals), 1e-300))
        gradient = np.einsum("pn,pn,pnk->pk", weights, residuals, jacobian) + precision * (thetas - centres)
        hessian = np.einsum("pn,pni,pnj->pij", weights, jacobian, jacobian) + np.diag(precision)
        diagonal = np.einsum("pii->pi", hessian)
        damped = hessian + np.eye(5) * (damping[:, None] * diagonal + 1e-12 * weight)[:, None]
        tried = thetas - np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        found = objective(tried)
        better = found < values
        converged = better & (values - found <= 1e-10 * np.abs(values))
        thetas = np.where(better[:, None], tried, thetas)
        values = np.where(better, found, values)
        damping = np.clip(np.where(better, damping / 4.0, damping * 4.0), 1e-9, 1e9)
        if np.all(converged | (damping >= 1e9)):
            break
    return thetas, values
