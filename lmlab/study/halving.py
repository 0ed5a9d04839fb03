"""Which short training is worth making next: successive halving over the learning rate (arXiv 1502.07943), as a pure function.

Rates lie on a grid around the recipe's own, a factor of 2 from each other, and have whole numbers: rate k is 2^k times the
recipe's. All of the grid is trained for a quarter of the steps, the better ones for half, and the best for all of them; each of
these is a training of its own, with the recipe's schedule over its length. At every length the best rate's neighbours are
measured too, wherever that leads, so that an optimum is never the end of a grid. At last the best ones are trained once more from
other seeds, which tells how much of a difference is chance.

What comes next follows from what was measured alone, so that a search which is stopped goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

RUNGS = (4, 2, 1)
"""The steps of each rung are those of the last one over this."""
FEWEST_KEPT = 4
REPEATED = 3
"""Rates that are trained from several seeds."""
FURTHEST = 8
"""No rate is more than 2^8 times the recipe's, or less than its 2^-8th."""
MOST_TRIALS = 2 * FURTHEST + 1


@dataclass(frozen=True, order=True)
class ShortRun:
    """One short training."""

    steps: int
    seed: int
    """How far the seed lies above the recipe's."""
    rate: int
    """k, for 2^k times the recipe's learning rate."""


Measured = Mapping[ShortRun, float]
"""Validation loss in nats a token; infinite where the training diverged."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How far a search goes."""

    steps: int
    """Of the last rung."""
    trials: int
    """Rates of the first rung."""
    seeds: int
    """Seeds from which the best rates are trained in the last rung."""

    def rungs(self) -> tuple[int, ...]:
        """Steps of each rung."""
        return tuple(dict.fromkeys(max(1, self.steps // share) for share in RUNGS))

    def planned_steps(self) -> int:
        """Training steps of the whole search where the recipe's own rate is near the best: else it takes some more."""
        rungs = self.rungs()
        runs = [self._kept(rung) for rung in range(len(rungs))]
        runs[-1] += (self.seeds - 1) * min(REPEATED, runs[-1])
        return sum(steps * count for steps, count in zip(rungs, runs, strict=True))

    def next_run(self, measured: Measured) -> ShortRun | None:
        """What to train now; None where the search is done."""
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
        return min(self.trials, max(FEWEST_KEPT, -(-self.trials // 2**rung)))


def around(count: int) -> list[int]:
    """The first rates, from the recipe's own outwards.

    >>> around(5)
    [0, 1, -1, 2, -2]
    """
    return [(place + 1) // 2 * (1 if place % 2 else -1) for place in range(count)]


def at(measured: Measured, steps: int) -> dict[int, float]:
    """Rate -> loss of the trainings of that length from the recipe's own seed."""
    return {run.rate: loss for run, loss in sorted(measured.items()) if run.steps == steps and run.seed == 0}


def best_of(losses: Mapping[int, float], count: int) -> list[int]:
    """So many rates: the best one, its neighbours, and then the next best ones; none that diverged."""
    order = sorted((rate for rate in losses if math.isfinite(losses[rate])), key=lambda rate: losses[rate])
    near = [rate for rate in order if abs(rate - order[0]) <= 1]
    return [*near, *(rate for rate in order if rate not in near)][:count]


def unmeasured_neighbours(losses: Mapping[int, float]) -> list[int]:
    """Neighbours of the best rate that were not trained for this long; below all of them where every one diverged."""
    best = min(losses, key=lambda rate: (losses[rate], rate))
    near = (best - 1, best + 1) if math.isfinite(losses[best]) else (best - 1,)
    return [rate for rate in near if rate not in losses and abs(rate) <= FURTHEST]
