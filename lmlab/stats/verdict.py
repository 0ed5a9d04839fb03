"""Whether one recipe is better than another, or the difference of two losses is within the variation between seeds.

Two things vary a loss by chance. The text that it's measured on: the standard error of the difference over units of the text
(paired_difference). And the seed: initialisation, order of the batches and dropout. The second is usually the larger, and one
run doesn't show it: it's measured from runs that differ only in their seed. Each is an `ErrorPart`, and

    half-width of the interval = sqrt(sum over the parts of (t standard error)^2)

Each part uses the quantile of its own distribution: the normal distribution for many units, and Student's t for seeds, since a
deviation from few runs is itself uncertain. (Satterthwaite's single number of degrees of freedom for the sum gives too narrow
intervals if two seeds happen to agree: it then treats the sum as well known.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmlab.stats.moderated import StudentMixture
from lmlab.stats.student import normal_quantile, student_quantile, student_within

Source = Literal["measured", "default"]
Kind = Literal["better", "worse", "indistinguishable"]

DEFAULT_RELATIVE_NOISE = 0.0155 / 3.69
"""Standard deviation over seeds as a share of the loss: .0155 at 3.69, of a 163M model (G. Thomas, Writing an LLM from scratch)."""
DEFAULT_FREEDOM = 3.0
"""Degrees of freedom of that default: the deviations of the studies in docs/studies scatter around it as if each had been measured
with three.
"""
POWER = 0.8
"""Probability with which the required number of seeds would show a difference of the observed size."""
MOST_SEEDS = 1000
"""Upper limit of the required number of seeds."""
LEVEL = 0.95
HALVINGS = 50
SMALLEST_P_VALUE = 1e-12
"""Lower limit of reported p-values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorPart:
    """One source of error of a difference, independent of the others."""

    standard_error: float
    """NaN, if unknown, adds nothing."""
    freedom: float = math.inf
    """Degrees of freedom, if its distribution is a t distribution."""
    mixture: StudentMixture | None = None
    """Its distribution, if that isn't a t distribution."""

    @property
    def known_freedom(self) -> float:
        """Degrees of freedom; for a mixture those of the t distribution with an equally wide interval."""
        return self.freedom if self.mixture is None else self.mixture.freedom

    @property
    def known(self) -> bool:
        """Whether the part adds anything."""
        return self.standard_error > 0.0  # False for NaN

    def half(self, level: float) -> float:
        """Return the half-width of the interval of that level from this part alone."""
        if not self.known:
            return 0.0
        if self.mixture is not None:
            return self.mixture.quantile((1 + level) / 2)
        return student_quantile((1 + level) / 2, self.freedom) * self.standard_error

    def level(self, half: float) -> float:
        """Return the level of the interval with that half-width."""
        if self.mixture is not None:
            return self.mixture.within(half)
        return student_within(half / self.standard_error, self.freedom)


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """The variation of the loss of one recipe between seeds."""

    standard_deviation: float
    """Standard deviation of one run's loss, in the unit of the loss."""
    seeds: int
    """Number of runs that it was measured from; 0 for the default."""
    source: Source
    families: int = 1
    """Recipes that the runs belong to: the mean of each takes a degree of freedom."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the deviation."""
        return self.seeds - self.families if self.source == "measured" else DEFAULT_FREEDOM

    def words(self) -> str:
        """Return the noise and its origin as text."""
        if self.source == "default":
            return (
                f"seed SD {self.standard_deviation:.4f} by default ({DEFAULT_RELATIVE_NOISE:.2%} of the loss, as published of a "
                "163M model): no recipe has two seeds here"
            )
        of = "a recipe" if self.families == 1 else f"{self.families} recipes"
        return f"seed SD {self.standard_deviation:.4f}, measured from {self.seeds} seeds of {of}"

    def smallest_visible(self, level: float = LEVEL) -> float:
        """Return the smallest difference of two single runs that exceeds this noise at 1.96 standard errors: 1.96 sqrt(2) SD."""
        return normal_quantile((1 + level) / 2) * math.sqrt(2) * self.standard_deviation

    def smallest_judged(self, standard_error: float, level: float = LEVEL) -> float:
        """Return the smallest difference of two single runs that `verdict` calls better or worse, given the standard error over the
        text's units (NaN adds nothing).
        """
        seeds = ErrorPart(standard_error=self.standard_deviation * math.sqrt(2.0), freedom=self.freedom)
        return half_width((ErrorPart(standard_error=standard_error), seeds), level)

    def scaled(self, factor: float) -> SeedNoise:
        """Return the noise of losses that are `factor` times as large, such as those in another unit."""
        deviation = self.standard_deviation * factor
        return SeedNoise(standard_deviation=deviation, seeds=self.seeds, source=self.source, families=self.families)


@dataclass(frozen=True, kw_only=True)
class PairVerdict:
    """The verdict on the first of two against the second, where lower is better."""

    kind: Kind
    difference: float
    """First minus second."""
    low: float
    high: float
    """`low` and `high` are the interval of the true difference."""
    p_value: float
    """Probability of a difference of this size or more by chance alone: one minus the level at which the interval reaches 0."""
    seeds_needed: int | None
    """Seeds on each side needed to detect a difference of this size in four of five cases; None if no number of seeds would."""
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "verdict": self.kind,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p_value": self.p_value,
            "seeds_needed": self.seeds_needed,
            "reason": self.reason,
        }


def seed_noise(losses_by_family: Mapping[str, Sequence[float]]) -> SeedNoise:
    """Return the standard deviation of a loss over seeds, pooled over the families that have two or more; else the default share of
    the mean loss (0 if there is no loss). Losses that aren't finite are left out.
    """
    finite = [[loss for loss in losses if math.isfinite(loss)] for losses in losses_by_family.values()]
    families = [losses for losses in finite if len(losses) > 1]
    seeds = sum(map(len, families))
    if families:
        squares = sum(float(np.var(losses)) * len(losses) for losses in families)
        deviation = math.sqrt(squares / (seeds - len(families)))
        return SeedNoise(standard_deviation=deviation, seeds=seeds, source="measured", families=len(families))
    every = [loss for losses in finite for loss in losses]
    mean = sum(every) / len(every) if every else 0.0
    return SeedNoise(standard_deviation=DEFAULT_RELATIVE_NOISE * abs(mean), seeds=0, source="default")


def verdict(
    difference: float, standard_error: float, noise: SeedNoise, seeds_a: float, seeds_b: float, level: float = LEVEL
) -> PairVerdict:
    """Return whether a is better than b, given the difference of their mean losses (a minus b) and its standard error over units.

    The seeds of the two sides are treated as independent. A standard error of NaN (no units to resample) adds nothing.
    """
    text = ErrorPart(standard_error=standard_error)
    seeds = ErrorPart(
        standard_error=noise.standard_deviation * math.sqrt(1 / seeds_a + 1 / seeds_b), freedom=noise.freedom
    )
    of = "one run each" if seeds_a == seeds_b == 1 else f"{seeds_a:g} and {seeds_b:g} runs"
    needed = seeds_needed(difference, standard_error, noise, level)
    return judged(difference, (text, seeds), needed, f"{of}; {noise.words()}", level)


def judged(
    difference: float, parts: Sequence[ErrorPart], needed: int | None, rests_on: str, level: float = LEVEL
) -> PairVerdict:
    """Return the verdict on a difference with these sources of error, the first being the text; `rests_on` names their basis."""
    half = half_width(parts, level)
    kind: Kind = "indistinguishable" if abs(difference) <= half else "better" if difference < 0 else "worse"
    beyond = "within" if kind == "indistinguishable" else "beyond"
    text = 0.0 if math.isnan(parts[0].standard_error) else parts[0].standard_error
    return PairVerdict(
        kind=kind,
        difference=difference,
        low=difference - half,
        high=difference + half,
        p_value=p_value(difference, parts),
        seeds_needed=needed,
        reason=f"a difference of {difference:+.4f} is {beyond} the {half:.4f} that chance explains at {level:.0%} "
        f"({rests_on}; standard error over the text {text:.4f})",
    )


def half_width(parts: Sequence[ErrorPart], level: float = LEVEL) -> float:
    """Return the half-width of the interval of a difference with these sources of error."""
    return math.hypot(*(part.half(level) for part in parts))


def p_value(difference: float, parts: Sequence[ErrorPart]) -> float:
    """Return the probability that these sources of error alone give a difference of that size or more: one minus the level at which
    the interval reaches it.
    """
    size = abs(difference)
    known = sorted((part for part in parts if part.known), key=lambda part: part.mixture is None)
    if size == 0.0 or not math.isfinite(size):
        return 1.0
    if not known:
        return SMALLEST_P_VALUE
    first, *others = known
    if not others:
        return max(SMALLEST_P_VALUE, 1.0 - first.level(size))
    # The level follows from the half-width of the first part, and the half-widths of the others from the level.
    low, high = 0.0, size
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        level = min(first.level(middle), 1.0 - SMALLEST_P_VALUE)
        wide = math.hypot(middle, *(part.half(level) for part in others)) > size
        low, high = (low, middle) if wide else (middle, high)
    return max(SMALLEST_P_VALUE, 1.0 - first.level(high))


def seeds_needed(difference: float, standard_error: float, noise: SeedNoise, level: float = LEVEL) -> int | None:
    """Return the number of seeds on each side needed to detect a true difference of this size in four of five cases; None if 1,000
    are not enough, because the text itself leaves that much uncertainty or the difference is nearly 0.
    """

    def seeds(count: int) -> ErrorPart:
        error = noise.standard_deviation * math.sqrt(2 / count)
        return ErrorPart(standard_error=error, freedom=max(noise.freedom, 2 * (count - 1)))

    return fewest_seeds(difference, ErrorPart(standard_error=standard_error), seeds, level)


def fewest_seeds(
    difference: float, text: ErrorPart, seeds: Callable[[int], ErrorPart], level: float = LEVEL
) -> int | None:
    """Return the fewest seeds needed to detect a true difference of this size in four of five cases; None if MOST_SEEDS are not
    enough. `seeds` returns the error due to seeds for a number of seeds.
    """

    def seen(count: int) -> bool:
        parts = (text, seeds(count))
        spread = math.hypot(*(part.standard_error for part in parts if not math.isnan(part.standard_error)))
        return abs(difference) > half_width(parts, level) + normal_quantile(POWER) * spread

    if not math.isfinite(difference) or not seen(MOST_SEEDS):
        return None
    low, high = 0, 1
    while not seen(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high
