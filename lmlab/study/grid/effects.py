"""Effects of a study's factors: contrasts of its cells, each with an interval and a verdict."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmlab.stats import PairVerdict, paired_difference
from lmlab.stats.factorial import Cell, Contrast, covers, difference, interaction, main_effect
from lmlab.stats.multiple import holm
from lmlab.stats.paired_seeds import Noise, judge_paired, noise_among, paired_contrast
from lmlab.stats.shapley import exact_values, sampling_error, values_in
from lmlab.stats.verdict import LEVEL, ErrorPart, judged, verdict
from lmlab.study.grid.bounds import Side, bounded, ends_of, mean_of
from lmlab.study.grid.cells import Cells
from lmlab.study.grid.design import Factor, stack_cell
from lmlab.study.grid.study_plan import StudyPlan

EffectKind = Literal["level", "main", "stack", "step", "beyond sum", "interaction", "share"]
MOST_INTERACTIONS = 60
SAYS: dict[str, tuple[str, str, str]] = {
    "interaction": ("better than their sum", "worse than their sum", "no interaction seen"),
    "beyond sum": ("better than their sum", "worse than their sum", "no difference seen"),
}
"""What better, worse and indistinguishable mean where a contrast compares a combination with its parts."""
ERRORS = ("text", "seeds", "orders")
"""The components of an effect's error."""
ERRORS_OF_BOUND = ("text", "seeds", "stopped", "orders")
"""The same for an effect with runs that were stopped early."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One contrast."""

    kind: EffectKind
    name: str
    """The change that it measures."""
    contrast: Contrast
    verdict: PairVerdict
    p_holm: float = 1.0
    """The verdict's p-value, adjusted (Holm) for testing all effects of the study."""
    seeds: int = 0
    """How many seeds all of its cells have, by which it is paired; 0 where runs count as independent."""
    parts: tuple[ErrorPart, ...] = ()
    """Its error components: the text, the seeds, and the orders of a Shapley value where not all were taken; for a bound also the
    predictions of the stopped runs."""
    bound: Side | None = None
    """Set where the verdict's difference is only a bound, because some runs were stopped early."""

    @property
    def holds(self) -> bool:
        """Whether it is significant after adjusting for all effects that the study tests."""
        return self.p_holm < 1 - LEVEL

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.bound is not None and self.verdict.kind == "indistinguishable":
            return "undetermined: stopped early"
        kinds = ("better", "worse", "indistinguishable")
        return SAYS[self.kind][kinds.index(self.verdict.kind)] if self.kind in SAYS else self.verdict.kind

    def to_json(self, plan: StudyPlan) -> dict[str, Any]:
        """Return the value for study.json; `cells` has the weights whose sum the difference is."""
        return {
            "kind": self.kind,
            "name": self.name,
            "says": self.words,
            **self.verdict.to_json(),
            **self._bound_json(),
            "p_holm": self.p_holm,
            "holds": self.holds,
            "seeds": self.seeds,
            "errors": {
                name: {
                    "standard_error": part.standard_error,
                    "freedom": None if math.isinf(part.known_freedom) else round(part.known_freedom, 3),
                }
                for name, part in zip(ERRORS_OF_BOUND if self.bound else ERRORS, self.parts, strict=False)
            },
            "cells": {plan.label(cell): weight for cell, weight in self.contrast.weights.items()},
        }

    def _bound_json(self) -> dict[str, Any]:
        """Return a bound's JSON, in which the open side is null."""
        if self.bound is None:
            return {}
        limits = (self.verdict.low, self.verdict.high)
        low, high = (limit if math.isfinite(limit) else None for limit in limits)
        return {"difference": None, "bound": self.bound, "low": low, "high": high}


def wanted(plan: StudyPlan) -> Iterator[tuple[EffectKind, str, Contrast]]:
    """Yield every contrast of the design: kind, name, weights.

    one-factor and cumulative   each level alone against the baseline
    cumulative                  what each level adds to those before it, all together, and all together minus the sum of each alone
    factorial                   main effects, and the interactions of every two levels
    subsets                     the share of each factor in the difference of all to none (Shapley values), and that difference
    """
    zero = (0,) * len(plan.factors)
    levels = [len(factor.levels) + 1 for factor in plan.factors]
    if plan.design == "subsets":
        count = len(plan.factors)
        shares = values_in(plan.orders) if plan.pairs else exact_values(count)
        yield from (("share", factor.name, share) for factor, share in zip(plan.factors, shares, strict=True))
        yield "stack", "all of them", difference((1,) * count, zero)
        return
    for place, level in _levels(plan):
        name = _level_name(plan.factors[place], level)
        if plan.design == "factorial":
            kind: EffectKind = "level" if len(levels) == 1 else "main"
            yield kind, name, main_effect(levels, place, level)
        else:
            yield "level", name, difference(_alone(zero, place, level), zero)
    if plan.design == "cumulative":
        yield from _stacked(plan, zero)
    if plan.design == "factorial":
        pairs = [pair for pair in itertools.combinations(_levels(plan), 2) if pair[0][0] != pair[1][0]]
        for one, other in pairs[:MOST_INTERACTIONS]:
            names = [_level_name(plan.factors[place], level) for place, level in (one, other)]
            yield "interaction", " x ".join(names), interaction(levels, one, other)


def effects_of(plan: StudyPlan, cells: Cells, noise: Noise | None = None) -> tuple[Noise, list[Effect]]:
    """Return the noise between seeds, by default of the study's own cells, and every contrast whose cells all have a finished run,
    or one that was stopped early, which gives a bound.

    Cells whose runs are equal bit for bit count as one.
    """
    once = {cell: cells.by_seed()[cell] for cell in dict.fromkeys(cells.same().values())}
    every = [(*one, one[2].merged(cells.same())) for one in wanted(plan)]
    paired = [merged for _, _, contrast, merged in every if covers(contrast, cells.means())]
    found = noise or noise_among(once, paired)
    means = {cell: mean_of(ends) for cell, ends in ends_of(cells).items()}
    effects = []
    for kind, name, contrast, merged in every:
        if covers(contrast, cells.means()):
            parts = [ErrorPart(standard_error=text_error(contrast, cells)), *_orders(plan, kind, name, cells.means())]
            effects.append(_effect(kind, name, merged, parts, cells, found))
        elif covers(contrast, means):
            text = ErrorPart(standard_error=text_error_beside(contrast, cells))
            limit = bounded(merged, cells, found, text, _orders(plan, kind, name, means))
            if limit is not None:
                effects.append(
                    Effect(
                        kind=kind,
                        name=name,
                        contrast=merged,
                        verdict=limit.verdict,
                        seeds=limit.seeds,
                        parts=limit.parts,
                        bound=limit.side,
                    )
                )
    adjusted = holm([effect.verdict.p_value for effect in effects])
    return found, [dataclasses.replace(effect, p_holm=value) for effect, value in zip(effects, adjusted, strict=True)]


def text_error(contrast: Contrast, cells: Cells) -> float:
    """Return the contrast's standard error over units of the validation text; NaN where the cells share none."""
    if not covers(contrast, cells.units):
        return math.nan
    scored = {cell: cells.units[cell] for cell in contrast.weights}
    sides = [
        np.sum(
            [abs(weight) * scored[cell].scores for cell, weight in contrast.weights.items() if sign * weight > 0],
            axis=0,
        )
        for sign in (1, -1)
    ]
    return paired_difference(sides[0], sides[1], next(iter(scored.values())).sizes).standard_error


def text_error_beside(contrast: Contrast, cells: Cells) -> float:
    """Approximate `text_error` where a cell of the contrast has no units, by the largest error between any other cell and the first
    one, scaled to the contrast's weights; NaN where no two cells share units.
    """
    first, *others = cells.units or [()]
    errors = [text_error(difference(cell, first), cells) for cell in others]
    size = math.fsum(abs(weight) for weight in contrast.weights.values()) / 2
    return size * max((error for error in errors if not math.isnan(error)), default=math.nan)


def _effect(
    kind: EffectKind, name: str, contrast: Contrast, beside: Sequence[ErrorPart], cells: Cells, noise: Noise
) -> Effect:
    """Return the effect. `contrast` is over distinct cells; `beside` are the error components other than the seeds, the text
    first."""
    paired = paired_contrast(contrast, cells.by_seed(), noise.runs)
    text, *orders = beside
    if not contrast.weights:
        told = judged(0.0, [text], None, "the runs of these cells are the same bit for bit")
        return Effect(kind=kind, name=name, contrast=contrast, verdict=told)
    if paired is None:
        error = math.hypot(*(part.standard_error for part in beside if not math.isnan(part.standard_error)))
        sides = contrast.runs(cells.counts())
        seeds = ErrorPart(
            standard_error=noise.seeds.standard_deviation * math.sqrt(1 / sides[0] + 1 / sides[1]),
            freedom=noise.seeds.freedom,
        )
        parts = (text, seeds, *orders)
        needed = verdict(contrast.value(cells.means()), error, noise.seeds, *sides).seeds_needed
        told = judged(contrast.value(cells.means()), parts, needed, noise.seeds.words())
        return Effect(kind=kind, name=name, contrast=contrast, verdict=told, parts=parts)
    return Effect(
        kind=kind,
        name=name,
        contrast=contrast,
        verdict=judge_paired(paired, text, orders),
        seeds=paired.seeds,
        parts=(text, paired.part, *orders),
    )


def _orders(plan: StudyPlan, kind: EffectKind, name: str, means: Mapping[Cell, float]) -> list[ErrorPart]:
    """Return the error from sampling orders; empty where all orders were taken, or the effect doesn't depend on them."""
    if kind != "share" or not plan.pairs:
        return []
    place = [factor.name for factor in plan.factors].index(name)
    error = sampling_error(plan.orders, place, means)
    return [ErrorPart(standard_error=error, freedom=plan.pairs - 1)]


def _stacked(plan: StudyPlan, zero: Cell) -> Iterator[tuple[EffectKind, str, Contrast]]:
    count = len(plan.factors)
    for place in range(2, count + 1):
        before, now = stack_cell(plan.factors, place - 1), stack_cell(plan.factors, place)
        yield (
            "step",
            f"+ {_level_name(plan.factors[place - 1], 1)}",
            difference(now, before),
        )
    if count > 1:
        whole = difference(stack_cell(plan.factors, count), zero)
        yield "stack", f"all {count} stacked", whole
        for place in range(count):
            whole = whole.plus(difference(_alone(zero, place, 1), zero), -1.0)
        yield "beyond sum", f"all {count} stacked, beyond the sum of each alone", whole


def _levels(plan: StudyPlan) -> list[tuple[int, int]]:
    return [(place, level + 1) for place, factor in enumerate(plan.factors) for level in range(len(factor.levels))]


def _level_name(factor: Factor, level: int) -> str:
    label = factor.levels[level - 1].label
    return factor.name if label == "on" else f"{factor.name} {label}"


def _alone(zero: Cell, place: int, level: int) -> Cell:
    return zero[:place] + (level,) + zero[place + 1 :]
