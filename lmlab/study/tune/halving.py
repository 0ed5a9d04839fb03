"""Successive halving over the learning rate (arXiv 1502.07943), as a pure function that returns the next short training.

Rates lie on a grid around the recipe's own with a factor of 2 between neighbours and have integer indices: rate k is 2^k times the
recipe's. The whole grid is trained for a quarter of the steps, the better rates for half, and the best for all of them; each is a
separate training, with the recipe's schedule over its length. At every length the best rate's neighbours are measured too, also
beyond the grid, so that the optimum is never at its edge. Finally the best rates are trained again from other seeds, to estimate
how much of a difference is chance.

The next training follows from the measurements alone, so that an interrupted search continues where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

RUNGS = (4, 2, 1)
"""The steps of each rung are those of the last one divided by this."""
FEWEST_KEPT = 4
REPEATED = 3
"""How many rates are trained from several seeds."""
FURTHEST = 8
"""Rates lie between 2^-8 and 2^8 times the recipe's."""
MOST_TRIALS = 2 * FURTHEST + 1


@dataclass(frozen=True, order=True)
class ShortRun:
    """One short training."""

    steps: int
    seed: int
    """Offset from the recipe's seed."""
    rate: int
    """k, for 2^k times the recipe's learning rate."""


Measured = Mapping[ShortRun, float]
"""Validation loss in nats a token; infinite where the training diverged."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """The extent of a search."""

    steps: int
    """Steps of the last rung."""
    trials: int
    """How many rates the first rung has."""
    seeds: int
    """Seeds from which the best rates are trained in the last rung."""

    def rungs(self) -> tuple[int, ...]:
        """Return the steps of each rung."""
        return tuple(dict.fromkeys(max(1, self.steps // share) for share in RUNGS))

    def planned_steps(self) -> int:
        """Return the training steps of the whole search where the recipe's own rate is near the best; otherwise it takes more."""
        rungs = self.rungs()
        runs = [self._kept(rung) for rung in range(len(rungs))]
        runs[-1] += (self.seeds - 1) * min(REPEATED, runs[-1])
        return sum(steps * count for steps, count in zip(rungs, runs, strict=True))

    def next_run(self, measured: Measured) -> ShortRun | None:
        """Return the next training; None where the search is done."""
        wanted, losses = around(self.trials), dict[int, float]()
        for rung, steps in enumerate(self.rungs()):
            if rung:
                wanted = best_of(losses, self._kept(rung))
            for rate in wanted:
                if ShortRun(steps, 0, rate) not in measured:
                    return ShortRun(steps, 0, rate)
            losses = at(measured, steps)
            if not losses:  # every rate has diverged
                return None
            for rate in unmeasured_neighbours(losses):
                return ShortRun(steps, 0, rate)
        for seed in range(1, self.seeds):
            for rate in best_of(losses, REPEATED):
                if ShortRun(self.steps, seed, rate) not in measured:
                    return ShortRun(self.steps, seed, rate)
        return None

    def _kept(self, rung: int) -> int:
        found: int = min(self.trials, max(FEWEST_KEPT, -(-self.trials // 2**rung)))
        return found


def around(count: int) -> list[int]:
    """Return the first rates, from the recipe's own outwards.

    >>> around(5)
    [0, 1, -1, 2, -2]
    """
    return [(place + 1) // 2 * (1 if place % 2 else -1) for place in range(count)]


def at(measured: Measured, steps: int) -> dict[int, float]:
    """Return rate -> loss of the trainings of that length from the recipe's own seed."""
    return {run.rate: loss for run, loss in sorted(measured.items()) if run.steps == steps and run.seed == 0}


def best_of(losses: Mapping[int, float], count: int) -> list[int]:
    """Return `count` rates: the best one, its neighbours, and then the next best ones; none that diverged."""
    order = sorted((rate for rate in losses if math.isfinite(losses[rate])), key=lambda rate: losses[rate])
    near = [rate for rate in order if abs(rate - order[0]) <= 1]
    return [*near, *(rate for rate in order if rate not in near)][:count]


def unmeasured_neighbours(losses: Mapping[int, float]) -> list[int]:
    """Return neighbours of the best rate that weren't trained for this long; the rate below all where every one diverged."""
    best = min(losses, key=lambda rate: (losses[rate], rate))
    near = (best - 1, best + 1) if math.isfinite(losses[best]) else (best - 1,)
    return [rate for rate in near if rate not in losses and abs(rate) <= FURTHEST]
