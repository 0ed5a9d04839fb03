"""Step time and memory as linear functions of the micro-batch, with intervals.

A pass over m sequences takes a + b m: b for their arithmetic, a for everything that doesn't grow with them (kernel launches, the
update of the weights). Its memory is linear too: weights, gradients and optimizer, plus m times the activations.

The fit is weighted by 1 / y^2, since measurement errors are relative, and robust: iteratively reweighted least squares with Huber's
weights (Huber, Robust Statistics, section 7.8), so that a step that other work disturbed has less weight. The interval is that of a
new measurement in weighted least squares.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.from_layers import measured_or_extended
from lmlab.planning.trials.store import facts_of, measured
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import NORMAL_QUANTILE, WITHIN, Estimate, Evidence
from lmlab.stats import student_quantile
from lmlab.training.policy import Policy

HUBER = 1.345
"""In standard deviations: 95 % as efficient as least squares for normal errors."""
MAD_OF_NORMAL = 0.6745
ROUNDS = 30
LEAST_SPREAD = 0.005
"""Share of the value: no measurement here is more precise than half a percent."""
UNKNOWN_SPREAD = 0.1
"""Relative standard deviation of a line through one or two points, which leave no residuals."""
SIZES = 4
SIZES_OF_LONG_STEPS = 3
"""Sizes where a step takes above a second and each is measured with two models of fewer layers, so that a plan takes half a
minute."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """y = intercept + slope x, fitted to `points`."""

    intercept: float
    slope: float
    points: tuple[tuple[float, float], ...]
    spread: float
    """Standard deviation of a point around the line, as a share of the line's value."""

    def at(self, x: float) -> float:
        """Return the line's value."""
        return self.intercept + self.slope * x

    def estimate(self, x: float, what: str = "") -> Estimate:
        """Return the value at x with the interval that should contain four of five measurements.

        Its evidence is measured at a point's x, fitted between points, extrapolated beyond them. `what` names the measurements.
        """
        value = self.at(x)
        points = len(self.points)
        freedom = points - 2
        student = student_quantile(WITHIN, freedom) if freedom > 0 else NORMAL_QUANTILE
        half = student * self.spread * abs(value) * math.sqrt(1 + self._leverage(x))
        places = [point for point, _ in self.points]
        evidence: Evidence = "extrapolated"
        if x in places:
            evidence = "measured"
        elif min(places) < x < max(places):
            evidence = "fitted"
        sizes = ", ".join(f"{place:g}" for place in places)
        return Estimate(
            value=value,
            low=max(0.0, value - half),
            high=value + half,
            evidence=evidence,
            rests_on=f"{what or 'measurements'} at {sizes}",
        )

    def largest_below(self, limit: float) -> float:
        """Return the largest x whose value is at most `limit`; infinite where the line doesn't rise, negative where there is
        none."""
        if self.slope <= 0:
            return math.inf if self.intercept <= limit else -1.0
        return (limit - self.intercept) / self.slope

    def _leverage(self, x: float) -> float:
        """Return how much the line's own uncertainty adds to a point's variance, in units of the squared spread."""
        places = np.array([place for place, _ in self.points])
        if len(places) < 2 or places.min() == places.max():
            return abs(x / places[0] - 1) ** 2 if len(places) and places[0] else 0.0
        values = np.maximum(np.array([value for _, value in self.points]), 1e-300)
        weights = 1 / values**2
        design = np.stack([np.ones_like(places), places], axis=1)
        inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
        row = np.array([1.0, x])
        return float(row @ inverse @ row) / max(self.at(x) ** 2, 1e-300)


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """Fit a line to (x, y) pairs, y above 0. One point gives a line through the origin; ValueError without any."""
    if not points:
        raise ValueError("a line needs a point")
    xs, ys = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    kept = tuple((float(x), float(y)) for x, y in points)
    if len(set(xs)) == 1:
        middle = statistics.median(ys)
        return Line(intercept=0.0, slope=middle / xs[0], points=kept, spread=UNKNOWN_SPREAD)
    weights = np.ones_like(xs)
    intercept, slope = _least_squares(xs, ys, weights)
    for _ in range(ROUNDS):
        residuals = (ys - intercept - slope * xs) / ys
        scale = statistics.median(np.abs(residuals)) / MAD_OF_NORMAL
        if scale <= 1e-12:
            break
        weights = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residuals), 1e-300))
        intercept, slope = _least_squares(xs, ys, weights)
    residuals = (ys - intercept - slope * xs) / ys
    freedom = len(xs) - 2
    spread = math.sqrt(float(np.sum(weights * residuals**2)) / freedom) if freedom > 0 else UNKNOWN_SPREAD
    return Line(intercept=intercept, slope=slope, points=kept, spread=max(spread, LEAST_SPREAD))


def _least_squares(
    xs: NDArray[np.float64], ys: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the intercept and slope with the least weighted sum of squared relative residuals; neither is negative.

    Negative times and sizes are meaningless: a negative intercept, or slope, is set to 0 and the other one fitted alone.
    """
    total = weights / ys**2
    design = np.stack([np.ones_like(xs), xs], axis=1)
    intercept, slope = np.linalg.solve(design.T @ (total[:, None] * design), design.T @ (total * ys))
    if intercept < 0:
        intercept, slope = 0.0, float(np.sum(total * xs * ys) / np.sum(total * xs * xs))
    elif slope < 0:
        intercept, slope = float(np.sum(total * ys) / np.sum(total)), 0.0
    return float(intercept), float(slope)


@dataclass(frozen=True, kw_only=True)
class CostLines:
    """The cost of a step of one pass by its micro-batch, in seconds and bytes."""

    seconds: Line
    memory: Line
    evidence: Evidence
    """measured, or extrapolated from fewer layers or sequences."""

    def step_seconds(self, micro_batch: int) -> Estimate:
        """Return the time of a step with one pass over so many sequences."""
        return self._marked(self.seconds.estimate(micro_batch, "steps"))

    def peak_memory_bytes(self, micro_batch: int) -> Estimate:
        """Return the peak memory of a run with passes over so many sequences."""
        return self._marked(self.memory.estimate(micro_batch, "peaks of memory"))

    def _marked(self, estimate: Estimate) -> Estimate:
        if self.evidence != "extrapolated":
            return estimate
        return Estimate(
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            evidence="extrapolated",
            rests_on=f"{estimate.rests_on}, of fewer layers or sequences",
        )


def sizes_for(micro_batch: int, count: int = SIZES) -> tuple[int, ...]:
    """Return the `count` micro-batches (3 or 4) at which a line is measured: 1, a quarter, half (of four), and all of this one."""
    wanted = {1, -(-micro_batch // 4), micro_batch}
    if count > SIZES_OF_LONG_STEPS:
        wanted.add(-(-micro_batch // 2))
    size = max(wanted)
    while len(wanted) < count:
        size *= 2
        wanted.add(size)
    return tuple(sorted(wanted))


def measure_lines(
    recipe: Recipe,
    policy: Policy,
    data_folder: str | Path,
    vocabulary: int,
    sizes: Sequence[int] | None = None,
    *,
    known: tuple[Measurement, Evidence] | None = None,
    free_bytes: float = math.inf,
    probe: Callable[..., tuple[Measurement, Evidence]] = measured_or_extended,
) -> CostLines | None:
    """Return the lines of `recipe` on this machine, stored or measured now in child processes; None where nothing could be
    measured.

    Smaller sizes come first; a size at which the line of the smaller ones exceeds `free_bytes` isn't tried. `known` is an existing
    measurement of one size; where it was extrapolated, steps are long and fewer sizes are measured.
    """
    long = known is not None and known[1] == "extrapolated"
    chosen = tuple(sorted(sizes or sizes_for(policy.micro_batch, SIZES_OF_LONG_STEPS if long else SIZES)))
    names = [f"{what} {size}" for size in chosen for what in ("seconds", "bytes")] + ["extrapolated"]

    def find() -> dict[str, float]:
        found = dict.fromkeys(names, 0.0)
        memory: list[tuple[float, float]] = []
        for size in chosen:
            if len(memory) > 1 and fit_line(memory).at(size) > free_bytes:
                break
            if known is not None and known[0].micro_batch == known[0].batch == size:
                measurement, evidence = known
            else:
                measurement, evidence = probe(recipe, policy, data_folder, vocabulary, micro_batch=size, batch=size)
            if measurement.failed or not measurement.step_seconds:
                break
            memory.append((size, measurement.peak_memory_bytes))
            found[f"seconds {size}"] = statistics.median(measurement.step_seconds)
            found[f"bytes {size}"] = measurement.peak_memory_bytes
            found["extrapolated"] = float(evidence == "extrapolated")
        return found

    facts = facts_of(recipe, vocabulary, data_folder) | {"sizes": list(chosen)}
    kept = measured("lines", policy, facts, names, find)
    points = [(size, kept[f"seconds {size}"], kept[f"bytes {size}"]) for size in chosen if kept[f"seconds {size}"] > 0]
    if not points:
        return None
    return CostLines(
        seconds=fit_line([(size, seconds) for size, seconds, _ in points]),
        memory=fit_line([(size, taken) for size, _, taken in points]),
        evidence="extrapolated" if kept["extrapolated"] else "measured",
    )
