"""The error due to seeds in a contrast of cells whose runs share their seeds.

A seed determines initial values, batches and dropout masks. It moves the losses of all cells alike to some extent, and those of
similar cells nearly alike. That cancels in a difference of two runs with the same seed. So a contrast is computed per seed,
and the spread over seeds gives its error:

    d_s = sum over cells of w_cell loss(cell, s)          variance of a run in this contrast = variance of d_s / sum of w^2

With two or three seeds that spread is itself uncertain. It is shrunk towards the common spread of the study's contrasts
(`stats.moderated`): strongly if they are alike, weakly if they differ by a factor of ten.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.stats.factorial import Contrast, difference
from lmlab.stats.moderated import CommonVariance, StudentMixture, common_variance
from lmlab.stats.verdict import ErrorPart, PairVerdict, SeedNoise, fewest_seeds, judged, seed_noise

Losses = Mapping[Any, Mapping[int, float]]
"""Cell -> seed -> loss."""
MOST_CELLS = 20
"""Number of cells whose pairwise differences are used if no contrasts are given."""
FEWEST_SEEDS = 2
"""One seed gives no estimate of the spread over seeds."""
ROUNDING = 1e-9
"""Share of a loss: smaller errors are rounding errors of sums."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The variation between runs that differ only in their seed."""

    seeds: SeedNoise
    """Variation of the runs of a cell or recipe, pooled over cells or recipes."""
    runs: CommonVariance | None = None
    """Variance of a run in the contrasts that are paired by seed; None if none is."""

    def scaled(self, factor: float) -> Noise:
        """Return the noise of losses that are `factor` times as large."""
        runs = None if self.runs is None else dataclasses.replace(self.runs, values=self.runs.values * factor**2)
        return Noise(seeds=self.seeds.scaled(factor), runs=runs)

    def words(self) -> str:
        """Return both estimates and their origin as text."""
        if self.runs is None:
            return self.seeds.words()
        return (
            f"{self.seeds.words()}; differences of equal seeds have an SD of {self.runs.standard_deviation:.4f} a run, towards "
            "which each one's own is drawn"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for study.json."""
        return {
            "standard_deviation": self.seeds.standard_deviation,
            "seeds": self.seeds.seeds,
            "families": self.seeds.families,
            "source": self.seeds.source,
            "freedom": self.seeds.freedom,
            "runs": None
            if self.runs is None
            else {
                "standard_deviation": self.runs.standard_deviation,
                "freedom": self.runs.freedom,
            },
        }


def noise_among(losses: Losses, contrasts: Sequence[Contrast] | None = None) -> Noise:
    """Return the noise between the seeds of these cells or recipes; losses that aren't finite are left out.

    `contrasts` are those to judge; None: all differences of two cells.
    """
    finite = {
        cell: {seed: loss for seed, loss in of_cell.items() if math.isfinite(loss)} for cell, of_cell in losses.items()
    }
    chosen = contrasts
    if chosen is None:
        chosen = [difference(one, other) for one, other in itertools.combinations(list(finite)[:MOST_CELLS], 2)]
    return Noise(
        seeds=seed_noise({str(cell): list(of_cell.values()) for cell, of_cell in finite.items()}),
        runs=run_variance(finite, chosen),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedContrast:
    """A contrast computed per seed."""

    value: float
    """The mean over the seeds."""
    seeds: int
    squares: float
    """The sum of the squared weights."""
    run: StudentMixture
    """The error of one run in this contrast."""

    @property
    def part(self) -> ErrorPart:
        """The error due to seeds."""
        return self.part_of(self.seeds)

    def part_of(self, seeds: int) -> ErrorPart:
        """Return the error due to seeds if there were `seeds` of them; each added seed adds a degree of freedom."""
        more = max(0, seeds - self.seeds)
        known = dataclasses.replace(self.run, freedoms=self.run.freedoms + more)
        error = known.scaled(math.sqrt(self.squares / seeds))
        return ErrorPart(standard_error=error.standard_error, mixture=error)


def paired_contrast(contrast: Contrast, losses: Losses, common: CommonVariance | None) -> PairedContrast | None:
    """Return the contrast per seed; None if its cells don't share two or more seeds, or no variance is known."""
    values = _by_seed(contrast, losses)
    if values is None or common is None:
        return None
    squares = math.fsum(weight**2 for weight in contrast.weights.values())
    return PairedContrast(
        value=math.fsum(values) / len(values),
        seeds=len(values),
        squares=squares,
        run=common.moderated(float(np.var(values, ddof=1)) / squares, len(values) - 1),
    )


def judge_paired(found: PairedContrast, text: ErrorPart, others: Sequence[ErrorPart] = ()) -> PairVerdict:
    """Return the verdict on the contrast, given its error over units of the text and other causes of error."""
    run = f"a run's SD {found.run.standard_error:.4f} with {found.run.freedom:.3g} degrees of freedom"
    needed = fewest_seeds(found.value, text, found.part_of)
    return judged(found.value, (text, found.part, *others), needed, f"{found.seeds} seeds, paired; {run}")


def run_variance(losses: Losses, contrasts: Sequence[Contrast]) -> CommonVariance | None:
    """Return the common distribution of the run variances in these contrasts; None if none can be paired, or seeds change nothing.

    Contrasts share cells: C cells have only C - 1 independent contrasts, so more of them count as C - 1.
    """
    variances: list[float] = []
    freedoms: list[float] = []
    cells: set[Any] = set()
    for contrast in contrasts:
        values = _by_seed(contrast, losses)
        if values is not None:
            squares = math.fsum(weight**2 for weight in contrast.weights.values())
            variances.append(float(np.var(values, ddof=1)) / squares)
            freedoms.append(len(values) - 1.0)
            cells |= contrast.weights.keys()
    rounding = (ROUNDING * max((abs(loss) for cell in cells for loss in losses[cell].values()), default=0.0)) ** 2
    if max(variances, default=0.0) <= rounding:
        return None
    return common_variance(variances, freedoms, min(1.0, (len(cells) - 1) / len(variances)))


def _by_seed(contrast: Contrast, losses: Losses) -> list[float] | None:
    """Return the value of the contrast for each seed; None if its cells don't share two or more seeds."""
    cells = list(contrast.weights)
    if not cells or any(cell not in losses for cell in cells):
        return None
    seeds = sorted(losses[cells[0]])
    if len(seeds) < FEWEST_SEEDS or any(set(losses[cell]) != set(seeds) for cell in cells):
        return None
    return [math.fsum(contrast.weights[cell] * losses[cell][seed] for cell in cells) for seed in seeds]
