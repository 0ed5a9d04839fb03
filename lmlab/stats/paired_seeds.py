"""The error that seeds leave in a contrast of cells whose runs share their seeds.

A seed draws initial values, batches and dropout masks, and moves the losses of all cells alike to some extent; that part falls out
of a difference of two runs with the same seed. So a contrast is taken seed by seed, and the spread of these values is its error:

    loss = a_cell + b_seed + e          d_s = sum over cells of w_cell loss(cell, s)          variance of d_s = sum w^2 sigma^2

With two or three seeds that spread is itself hardly known. It is drawn towards what the cells of the study have in common
(`stats.moderated`), which is told from what is left of all losses beside the levels of cells and seeds, by least squares.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.stats.factorial import Contrast
from lmlab.stats.moderated import CommonVariance, StudentMixture, common_variance
from lmlab.stats.verdict import ErrorPart, PairVerdict, SeedNoise, fewest_seeds, judged, seed_noise

Losses = Mapping[Any, Mapping[int, float]]
"""Of each cell, by seed."""
FEWEST_SEEDS = 2
"""Of one seed nothing tells how far it moves a difference."""
ROUNDING = 1e-9
"""Of a loss: errors no larger than that are those of adding up."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far runs lie apart for no reason but the seed."""

    seeds: SeedNoise
    """Of the runs of a cell or recipe, pooled over these."""
    runs: CommonVariance | None = None
    """Of a run beside its cell and seed; None where that can't be told."""

    def scaled(self, factor: float) -> Noise:
        """The same of losses that are `factor` times as large."""
        runs = None if self.runs is None else dataclasses.replace(self.runs, values=self.runs.values * factor**2)
        return Noise(seeds=self.seeds.scaled(factor), runs=runs)

    def words(self) -> str:
        """Both, and where they come from."""
        if self.runs is None:
            return self.seeds.words()
        return (
            f"{self.seeds.words()}; pairs of equal seeds: beside its seed and recipe a run has SD "
            f"{self.runs.standard_deviation:.4f}, towards which the SD of each difference is drawn"
        )

    def to_json(self) -> dict[str, Any]:
        """For study.json."""
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


def noise_among(losses: Mapping[Any, Mapping[int, float]]) -> Noise:
    """The noise between the seeds of these cells or recipes; losses that aren't finite are left out."""
    finite = {
        cell: {seed: loss for seed, loss in of_cell.items() if math.isfinite(loss)} for cell, of_cell in losses.items()
    }
    return Noise(
        seeds=seed_noise({str(cell): list(of_cell.values()) for cell, of_cell in finite.items()}),
        runs=run_variance(finite),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedContrast:
    """A contrast seed by seed."""

    value: float
    """The mean over the seeds."""
    seeds: int
    squares: float
    """The sum of its squared weights."""
    run: StudentMixture
    """The error of one run beside its cell and seed, as it stands in this contrast."""

    @property
    def part(self) -> ErrorPart:
        """What the seeds leave open."""
        return self.part_of(self.seeds)

    def part_of(self, seeds: int) -> ErrorPart:
        """The same of so many seeds; each that is new adds a degree of freedom."""
        more = max(0, seeds - self.seeds)
        known = dataclasses.replace(self.run, freedoms=self.run.freedoms + more)
        error = known.scaled(math.sqrt(self.squares / seeds))
        return ErrorPart(standard_error=error.standard_error, mixture=error)


def paired_contrast(contrast: Contrast, losses: Losses, common: CommonVariance | None) -> PairedContrast | None:
    """The contrast seed by seed; None where its cells don't have the same two seeds or more, or no variance is known."""
    cells = list(contrast.weights)
    shared = sorted(losses[cells[0]]) if cells else []
    if len(shared) < FEWEST_SEEDS or common is None or any(set(losses[cell]) != set(shared) for cell in cells):
        return None
    values = [math.fsum(contrast.weights[cell] * losses[cell][seed] for cell in cells) for seed in shared]
    squares = math.fsum(weight**2 for weight in contrast.weights.values())
    own = float(np.var(values, ddof=1)) / squares
    return PairedContrast(
        value=math.fsum(values) / len(values),
        seeds=len(shared),
        squares=squares,
        run=common.moderated(own, len(values) - 1),
    )


def judge_paired(found: PairedContrast, text: ErrorPart, others: Sequence[ErrorPart] = ()) -> PairVerdict:
    """The verdict on it, given its error over units of the text and other causes of error."""
    run = f"a run's SD {found.run.standard_error:.4f} with {found.run.freedom:.3g} degrees of freedom"
    needed = fewest_seeds(found.value, text, found.part_of)
    return judged(found.value, (text, found.part, *others), needed, f"{found.seeds} seeds, paired; {run}")


def run_variance(losses: Losses) -> CommonVariance | None:
    """What the variances of runs beside their cell and seed have in common; None where no cell has two seeds, or there is none.

    Each cell has as many degrees of freedom as least squares leaves it: of n seeds in each of C cells (n - 1) (C - 1) / C.
    """
    rows = [(cell, seed, loss) for cell, of_cell in losses.items() for seed, loss in of_cell.items()]
    cells = list(losses)
    cells_of = {seed: sum(seed in of_cell for of_cell in losses.values()) for _, seed, _ in rows}
    shared = [seed for seed, count in cells_of.items() if count > 1]
    design = np.zeros((len(rows), len(cells) + len(shared)))
    for place, (cell, seed, _) in enumerate(rows):
        design[place, cells.index(cell)] = 1.0
        if seed in shared:
            design[place, len(cells) + shared.index(seed)] = 1.0
    values = np.array([loss for _, _, loss in rows])
    directions, sizes, _ = np.linalg.svd(design, full_matrices=False)
    directions = directions[:, sizes > 1e-9 * sizes[0]] if len(rows) else directions
    left = values - directions @ (directions.T @ values)
    freedom = 1.0 - np.sum(directions**2, axis=1)
    variances, freedoms = [], []
    for cell in cells:
        of_cell = np.array([one == cell for one, _, _ in rows])
        known = float(freedom[of_cell].sum())
        if known > 1e-9:
            variances.append(float(np.sum(left[of_cell] ** 2)) / known)
            freedoms.append(known)
    rounding = (ROUNDING * float(np.abs(values).max(initial=0.0))) ** 2
    return common_variance(variances, freedoms) if max(variances, default=0.0) > rounding else None
