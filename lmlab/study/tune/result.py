"""The result of a learning-rate search, as values, lines and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmlab.recipe import Recipe
from lmlab.scaling.estimate import LEVEL, Estimate
from lmlab.scaling.noise import GradientNoise, useful_batch_line
from lmlab.study.tune.halving import ShortRun, at
from lmlab.study.tune.optimism import optimism
from lmlab.study.tune.optimum import Optimum, find_optimum, mean_losses
from lmlab.study.tune.short_training import ShortResult
from lmlab.training.table import Part, Table, table

FORMAT = 1
LEAST_GAIN = 0.001
"""Nats a token: a smaller gain isn't reported."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """A published law's learning rate for this model and so many tokens."""

    name: str
    rate: float
    alarm: str = ""
    """Why it may not apply here."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A search's result, also of an interrupted one."""

    recipe: Recipe
    measured_on: Recipe
    """The recipe itself, or a narrower one."""
    rungs: tuple[int, ...]
    """Steps of each rung."""
    run_steps: int
    """Steps of the recipe's own training."""
    outcomes: Mapping[ShortRun, ShortResult]
    laws: Sequence[Law] = ()
    finished: bool
    tuned_recipe: Path | None = None
    """The file of the recipe with the rate that was found."""

    @property
    def losses(self) -> dict[ShortRun, float]:
        """The loss of every short training, nats a token."""
        return {run: outcome.loss for run, outcome in self.outcomes.items()}

    @property
    def steps(self) -> int:
        """Steps of the last rung."""
        return self.rungs[-1]

    def rate_of(self, place: float) -> float:
        """Return the learning rate 2^place times the recipe's."""
        found: float = self.recipe.optim.lr * 2.0**place
        return found

    def optimum(self) -> Optimum | None:
        """Return the optimum of the last rung, as binary logarithms; None where it has none yet."""
        return find_optimum(self.losses, self.steps)

    def best_rate(self) -> Estimate | None:
        """Return the optimum as a learning rate; None where there is none yet."""
        found = self.optimum()
        if found is None:
            return None
        place = found.place
        value, low, high = (self.rate_of(entry) for entry in (place.value, place.low, place.high))
        return replace(place, value=value, low=low, high=high, alarm=place.alarm or self._alarm())

    def noise(self) -> GradientNoise:
        """Return the gradient noise at the best rate of the last rung."""
        losses = at(self.losses, self.steps)
        best = min(losses, key=lambda rate: losses[rate], default=None)
        return GradientNoise() if best is None else self.outcomes[ShortRun(self.steps, 0, best)].noise

    def rung_optima(self) -> dict[int, float]:
        """Return steps -> the best learning rate of that rung, where it has one."""
        found = {steps: find_optimum(self.losses, steps) for steps in self.rungs}
        return {steps: self.rate_of(entry.place.value) for steps, entry in found.items() if entry is not None}

    def lines(self) -> list[Part]:
        """Return the result as lines of text."""
        return [self._table(), *self._verdict(), *self._batch()]

    def _table(self) -> Table:
        rates = sorted({run.rate for run in self.outcomes})
        titles = ["learning rate", *(f"{steps:,} steps" for steps in self.rungs)]
        seeds = max((run.seed for run in self.outcomes), default=0) + 1
        if seeds > 1:
            titles.append(f"mean of {seeds} seeds")
        rows = []
        for rate in rates:
            cells = [f"{self.rate_of(rate):.3g}{' (recipe)' if rate == 0 else ''}"]
            cells += [_shown(at(self.losses, steps).get(rate)) for steps in self.rungs]
            own = {run: loss for run, loss in self.losses.items() if run.steps == self.steps and run.rate == rate}
            if seeds > 1:
                cells.append(_shown(mean_losses(own)[rate]) if len(own) == seeds else "")
            rows.append(cells)
        return table(titles, rows)

    def _verdict(self) -> list[str]:
        found, best = self.optimum(), self.best_rate()
        if found is None or best is None:
            if not self.finished:
                return ["no optimum yet: the search was stopped before it had one"]
            return self._best_tried_lines()
        lines = [
            f"best learning rate {best.value:.2g} ({LEVEL:.0%} interval {best.low:.2g} to {best.high:.2g}; {best.rests_on})",
            self._loss_line(found.loss),
            f"half of it costs {_cost(found.half)}, twice it {_cost(found.double)}",
        ]
        gain = found.curvature * found.place.value**2
        if best.low <= self.recipe.optim.lr <= best.high or gain < LEAST_GAIN:
            lines.append(
                f"the recipe's own {self.recipe.optim.lr:.3g} is indistinguishable from the best one in these trainings"
                if best.low <= self.recipe.optim.lr <= best.high
                else f"the recipe's own {self.recipe.optim.lr:.3g} is as good"
            )
        optima = self.rung_optima()
        if len(optima) > 1:
            lines.append(
                "best by length: " + ", ".join(f"{rate:.2g} at {steps:,} steps" for steps, rate in optima.items())
            )
        return [*lines, *([best.alarm] if best.alarm else [])]

    def _best_tried_lines(self) -> list[str]:
        tried = self.best_tried()
        if tried is None:
            return ["no learning rate trained to the end: every one diverged; try lower ones with --optim.lr"]
        means = self._means()
        rates = sorted(means)
        place = rates.index(tried)
        near = [
            f"{means[rate]:.4f} at {self.rate_of(rate):.2g}"
            for rate in rates[max(0, place - 1) : place + 2]
            if rate != tried
        ]
        beside = f" ({' and '.join(near)})" if near else ""
        lines = [
            f"lowest loss of the rates tried: {means[tried]:.4f} at {self.rate_of(tried):.2g}{beside}",
            self._loss_line(means[tried]),
        ]
        if 0 < place < len(rates) - 1:
            lines.append(
                "a parabola through the losses has no minimum, so there is no interval; more seeds (--seeds) smooth them"
            )
        else:
            lines.append(
                f"it is at the end of the rates tried, so the best may lie beyond: try --optim.lr {self.rate_of(tried):.2g}"
            )
        return lines

    def _means(self) -> dict[int, float]:
        """Return rate -> mean loss of its trainings in the last rung, without diverged ones."""
        return mean_losses(
            {run: loss for run, loss in self.losses.items() if run.steps == self.steps and math.isfinite(loss)}
        )

    def best_tried(self) -> int | None:
        """Return the rate with the lowest mean loss in the last rung, as a binary logarithm; None where none was trained so
        long."""
        means = self._means()
        return min(means, key=lambda rate: (means[rate], rate), default=None)

    def optimism(self) -> float | None:
        """Return by how many nats a token the loss at the chosen rate is too low, since it was chosen by it; None where unknown."""
        return optimism(self.losses, self.steps)

    def _loss_line(self, loss: float) -> str:
        """Return a line with the loss at the chosen rate, and its bias from the choice."""
        seeds = len({run.seed for run in self.losses if run.steps == self.steps})
        said = f"its loss is {loss:.4f} after {self.steps:,} steps, on a sample of the validation split"
        low = self.optimism()
        if low is None:
            return f"{said}; as the lowest of several it is too low, by an amount that needs more seeds (--seeds {seeds + 1})"
        return f"{said}; as the lowest of several it is about {low:.4f} too low, so expect {loss + low:.4f} (parametric bootstrap)"

    def _batch(self) -> list[str]:
        line = useful_batch_line(self.noise(), self.recipe.train.batch, self.recipe.model.context)
        return (
            [f"{line} (the useful batch grows as the loss falls, so it is larger in a longer training)"] if line else []
        )

    def _alarm(self) -> str:
        if self.run_steps <= self.steps:
            return ""
        return (
            f"measured over {self.steps:,} of {self.run_steps:,} steps: the best rate of the whole training may be another one "
            "(--steps N for longer trainings)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json and tune.json."""
        best, found, tried = self.best_rate(), self.optimum(), self.best_tried()
        return {
            "format": FORMAT,
            "finished": self.finished,
            "learning_rate": None if best is None else best.to_json(),
            "best_tried": None
            if tried is None
            else {"learning_rate": self.rate_of(tried), "loss": self._means()[tried]},
            "loss": None if found is None else found.loss,
            "optimism": self.optimism(),
            "half_costs": None if found is None else found.half.to_json(),
            "double_costs": None if found is None else found.double.to_json(),
            "best_by_steps": {str(steps): rate for steps, rate in self.rung_optima().items()},
            "useful_batch": self.noise().scale(),
            "laws": [{"name": law.name, "learning_rate": law.rate, "alarm": law.alarm} for law in self.laws],
            "width": self.measured_on.model.width,
            "recipe": None if self.tuned_recipe is None else str(self.tuned_recipe),
            "trainings": [
                {
                    "learning_rate": self.rate_of(run.rate),
                    "steps": run.steps,
                    "seed": self.recipe.train.seed + run.seed,
                    "loss": outcome.loss if math.isfinite(outcome.loss) else None,
                    "seconds": outcome.seconds,
                }
                for run, outcome in sorted(self.outcomes.items())
            ],
        }


def _shown(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}" if math.isfinite(loss) else "diverged"


def _cost(cost: Estimate) -> str:
    return f"{cost.value:.4f} nats a token ({cost.low:.4f} to {cost.high:.4f})"
