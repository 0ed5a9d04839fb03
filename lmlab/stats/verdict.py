"""Whether one recipe is better than another, or the difference of two losses is what another seed makes too.

Two things move a loss by chance. The text that it's measured on: the standard error of the difference over units of the text
(paired_difference). And the seed: initialisation, order of the batches and dropout. The second is as a rule the larger, and one
run doesn't show it: it's measured from runs that differ in nothing but their seed, pooled over all such families that are at hand.

    half of the interval = sqrt((z standard error)^2 + (t noise)^2 (1/seeds_a + 1/seeds_b))

Each part has the quantile of what it rests on: z is the normal distribution's, and t Student's, since a deviation that comes from
few runs is itself uncertain. (Satterthwaite's single number of degrees of freedom for the sum is too bold where two seeds happen to
agree: it then takes the sum for well known.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmlab.stats.student import normal_quantile, student_quantile

Source = Literal["measured", "default"]
Kind = Literal["better", "worse", "indistinguishable"]

DEFAULT_RELATIVE_NOISE = 0.0155 / 3.69
"""Standard deviation over seeds as a share of the loss: .0155 at 3.69, of a 163M model (G. Thomas, Writing an LLM from scratch)."""
POWER = 0.8
"""How often the seeds that are asked for would show a difference of the size that was seen."""
MOST_SEEDS = 1000
"""More than anybody trains."""


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """How far the losses of one recipe lie apart for no reason but the seed."""

    standard_deviation: float
    """Of one run's loss, in its unit."""
    seeds: int
    """Runs that it was measured from; 0 for the default."""
    source: Source
    families: int = 1
    """Recipes that these were seeds of: each one's own mean takes a degree of freedom."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the deviation; infinite for the default, of which nothing is known."""
        return self.seeds - self.families if self.source == "measured" else math.inf

    def words(self) -> str:
        """The noise, and where it comes from."""
        if self.source == "default":
            return (
                f"seed SD {self.standard_deviation:.4f} by default ({DEFAULT_RELATIVE_NOISE:.2%} of the loss, as published of a "
                "163M model): no recipe has two seeds here"
            )
        of = "a recipe" if self.families == 1 else f"{self.families} recipes"
        return f"seed SD {self.standard_deviation:.4f}, measured from {self.seeds} seeds of {of}"

    def smallest_visible(self, level: float = 0.95) -> float:
        """The difference that two single runs must have to be told apart by it, at 1.96 standard errors: 1.96 sqrt(2) SD."""
        return normal_quantile((1 + level) / 2) * math.sqrt(2) * self.standard_deviation

    def smallest_judged(self, standard_error: float, level: float = 0.95) -> float:
        """The least difference at which `verdict` tells two single runs apart, both with the standard error over the text's units
        (NaN adds nothing).
        """
        text = 0.0 if math.isnan(standard_error) else standard_error
        return _half(text, self.standard_deviation, self.freedom, 2.0, level)

    def scaled(self, factor: float) -> SeedNoise:
        """The same of losses that are `factor` times as large, such as those in another unit."""
        deviation = self.standard_deviation * factor
        return SeedNoise(standard_deviation=deviation, seeds=self.seeds, source=self.source, families=self.families)


@dataclass(frozen=True, kw_only=True)
class PairVerdict:
    """What can be said of the first of two against the second, where less is better."""

    kind: Kind
    difference: float
    """Of the first minus the second."""
    low: float
    high: float
    """The interval of the true difference."""
    seeds_needed: int | None
    """On each side, to see a difference of this size in four of five cases; None where no number of seeds would do."""
    reason: str

    def to_json(self) -> dict[str, Any]:
        """For --json and files."""
        return {
            "verdict": self.kind,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "seeds_needed": self.seeds_needed,
            "reason": self.reason,
        }


def seed_noise(losses_by_family: Mapping[str, Sequence[float]]) -> SeedNoise:
    """The standard deviation of a loss over seeds, pooled over the families that have two or more; else the default share of the
    mean loss (0 where there is no loss at all). Losses that aren't finite are left out."""
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
    difference: float, standard_error: float, noise: SeedNoise, seeds_a: float, seeds_b: float, level: float = 0.95
) -> PairVerdict:
    """Whether a is better than b, given the difference of their mean losses (a minus b) and its standard error over units.

    A standard error that is NaN, where there were no units to draw, adds nothing.
    """
    text = 0.0 if math.isnan(standard_error) else standard_error
    half = _half(text, noise.standard_deviation, noise.freedom, 1 / seeds_a + 1 / seeds_b, level)
    kind: Kind = "indistinguishable" if abs(difference) <= half else "better" if difference < 0 else "worse"
    needed = seeds_needed(difference, text, noise, level)
    return PairVerdict(
        kind=kind,
        difference=difference,
        low=difference - half,
        high=difference + half,
        seeds_needed=needed,
        reason=_reason(difference, half, text, noise, (seeds_a, seeds_b), level),
    )


def seeds_needed(difference: float, standard_error: float, noise: SeedNoise, level: float = 0.95) -> int | None:
    """Seeds on each side with which a true difference of this size would be seen in four of five cases; None where 1,000 would not
    do, because the text itself leaves that much open or because there is hardly a difference."""

    def seen(seeds: int) -> bool:
        freedom = max(noise.freedom, 2 * (seeds - 1))
        half = _half(standard_error, noise.standard_deviation, freedom, 2 / seeds, level)
        spread = math.hypot(standard_error, noise.standard_deviation * math.sqrt(2 / seeds))
        return abs(difference) > half + normal_quantile(POWER) * spread

    if not math.isfinite(difference) or not seen(MOST_SEEDS):
        return None
    low, high = 0, 1
    while not seen(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def _half(text: float, deviation: float, freedom: float, shares: float, level: float) -> float:
    """Half of the interval of a difference; `shares` is one over the runs of each side, added up."""
    end = (1 + level) / 2
    return math.hypot(normal_quantile(end) * text, student_quantile(end, freedom) * deviation * math.sqrt(shares))


def _reason(
    difference: float, half: float, text: float, noise: SeedNoise, seeds: tuple[float, float], level: float
) -> str:
    of = "one run each" if seeds == (1, 1) else f"{seeds[0]:g} and {seeds[1]:g} runs"
    beyond = "beyond" if abs(difference) > half else "within"
    return (
        f"a difference of {difference:+.4f} is {beyond} the {half:.4f} that chance explains at {level:.0%} "
        f"({of}; {noise.words()}; standard error over the text {text:.4f})"
    )
