"""Bounds on an effect some of whose runs were stopped early.

A stopped run gives a lower limit of its loss (`study.grid.stopped`). So a contrast is bounded on one side: where its stopped cells
have positive weights it is at least

    x = sum over cells of w_cell m_cell - half          m: mean over the cell's seeds, stopped runs at their predicted final loss

and where they have negative weights at most the same with + half. With both signs there is no bound. `half` is the half-width of a
difference whose runs are all finished and of the same level, with one more source of error: the prediction error of the stopped
runs' final losses. These errors count as perfectly correlated, since all predictions use one form of curve. The bound is the end of
a confidence interval of a partially identified difference (Imbens and Manski 2004, Confidence intervals for partially identified
parameters, Econometrica 72), at the quantile of the two-sided intervals beside it: false in at most one of 40. The other side stays
open, so that an effect with stopped cells can be judged worse than what it is compared with and never better.

The spread between seeds is estimated from the cells without a stopped run, which are not truncated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lmlab.stats import PairVerdict
from lmlab.stats.factorial import Cell, Contrast
from lmlab.stats.paired_seeds import FEWEST_SEEDS, Noise
from lmlab.stats.verdict import LEVEL, ErrorPart, judged
from lmlab.study.grid.cells import Cells
from lmlab.study.grid.stopped import Heading

Side = Literal["at least", "at most"]


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A verdict with one open side."""

    side: Side
    verdict: PairVerdict
    """`difference` is the bound; `low` and `high` are the bound and infinity."""
    parts: tuple[ErrorPart, ...]
    """Its error components: the text, the seeds, the predictions of the stopped runs, and others."""
    seeds: int
    """How many seeds are paired; 0 where runs count as independent."""


def bounded(
    contrast: Contrast, cells: Cells, noise: Noise, text: ErrorPart, others: Sequence[ErrorPart] = ()
) -> Bounded | None:
    """Return the bound of a contrast with stopped runs; None where one of its cells is unknown, or nothing bounds it.

    `text` and `others` are further error components.
    """
    ends = ends_of(cells)
    stopped = [cell for cell in contrast.weights if cell in cells.stopped()]
    sides = {contrast.weights[cell] > 0 for cell in stopped}
    if len(sides) != 1 or any(cell not in ends for cell in contrast.weights):
        return None
    counts = {cell: len(ends[cell]) for cell in contrast.weights}
    value = contrast.value({cell: mean_of(ends[cell]) for cell in contrast.weights})
    ahead = math.fsum(abs(contrast.weights[cell]) * mean_deviation(ends[cell]) for cell in stopped)
    seeds, paired = _seeds(contrast, ends, counts, noise)
    parts = (text, seeds, ErrorPart(standard_error=ahead), *others)
    number = sum(cells.stopped()[cell] for cell in stopped)
    rests = (
        f"{number} of {sum(counts.values())} runs stopped early, counted at where they were heading; {noise.words()}"
    )
    told = judged(value, parts, None, rests)
    return Bounded(
        side="at least" if True in sides else "at most",
        verdict=_one_sided(told, True in sides),
        parts=parts,
        seeds=paired,
    )


def ends_of(cells: Cells) -> dict[Cell, dict[int, Heading]]:
    """Return for each cell, by seed, the final losses of its runs, or the predicted ones of those that were stopped."""
    whole = {
        cell: {seed: Heading(value=loss) for seed, loss in losses.items()} for cell, losses in cells.by_seed().items()
    }
    return {**whole, **cells.censored()}


def mean_of(ends: Mapping[int, Heading]) -> float:
    """Return the mean over a cell's runs."""
    return math.fsum(end.value for end in ends.values()) / len(ends)


def mean_deviation(ends: Mapping[int, Heading]) -> float:
    """Return the standard error of that mean; errors of stopped runs count as perfectly correlated."""
    return math.fsum(end.deviation for end in ends.values()) / len(ends)


def least_mean(ends: Mapping[int, Heading]) -> float:
    """Return the lower limit of the mean of a cell's runs, at the level of the bounds."""
    return mean_of(ends) - ErrorPart(standard_error=mean_deviation(ends)).half(LEVEL)


def _seeds(
    contrast: Contrast, ends: Mapping[Cell, Mapping[int, Heading]], counts: Mapping[Cell, int], noise: Noise
) -> tuple[ErrorPart, int]:
    """Return the seeds' error component and how many seeds are paired, by the deviation pooled over cells, never a cell's own."""
    shared = {frozenset(ends[cell]) for cell in contrast.weights}
    fewest = min(counts.values())
    if noise.runs is not None and len(shared) == 1 and fewest >= FEWEST_SEEDS:
        squares = math.fsum(weight**2 for weight in contrast.weights.values())
        error = noise.runs.moderated(0.0, 0.0).scaled(math.sqrt(squares / fewest))
        return ErrorPart(standard_error=error.standard_error, mixture=error), fewest
    one, other = contrast.runs(counts)
    spread = noise.seeds.standard_deviation * math.sqrt(1 / one + 1 / other)
    return ErrorPart(standard_error=spread, freedom=noise.seeds.freedom), 0


def _one_sided(told: PairVerdict, below: bool) -> PairVerdict:
    """Restrict a verdict to one side, where the difference is known only from below, or only from above."""
    says = "worse" if below else "better"
    bound = told.low if below else told.high
    return dataclasses.replace(
        told,
        kind=says if told.kind == says else "indistinguishable",
        difference=bound,
        low=bound if below else -math.inf,
        high=math.inf if below else bound,
        p_value=told.p_value if (told.difference > 0) == below else 1.0,
        reason=f"{'at least' if below else 'at most'} {bound:+.4f}: {told.reason}",
    )
