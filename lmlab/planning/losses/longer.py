"""A finished run trained for longer: its expected loss at the new end and on the way, from its own curve.

Inputs are a run's facts and the recipe of its branch; the result is the steps in between, each with learning rate, time and
expected loss. The curve is extrapolated under the branch's learning rate (`lmlab.scaling.curve`), which stretches the schedule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lmlab import LabError
from lmlab.optim.schedule import rate_share
from lmlab.planning.next_steps.facts import RunFacts
from lmlab.planning.next_steps.ranking import repetition
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import count, duration
from lmlab.scaling.curve import RatePath, expected_end, rate_path
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.law import FEW_PASSES

PLACES = 5
"""Steps that are shown, the end among them."""
MOST_TIMES = 5.0
"""A curve isn't extrapolated beyond this multiple of its steps: from a fifth of the steps on, 80 % intervals held in 80 % and more
of sixteen curves, and before that in none (docs/notes/curves-to-their-end.md)."""
UNKNOWN_FAR = "the loss can't be forecast beyond {most:,} steps, five times those of the run"
UNKNOWN_TURNED = (
    "the loss can't be forecast: validation has risen since step {step:,}, so more steps of this text make it worse"
)
UNKNOWN_CURVE = (
    "the loss can't be forecast: its curve of {evaluations} evaluations rises, or has fewer than four in its later part; a "
    "smaller evaluate.every makes more"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A step of the longer run."""

    step: int
    tokens: int
    passes: float
    """Passes over the training split."""
    rate: float
    """Share of the peak learning rate."""
    seconds: float
    """Time from the run's end to this step, at the run's own speed."""
    loss: Estimate | None
    """Over the whole validation split, in nats a token; None where unknown."""


@dataclass(frozen=True, kw_only=True)
class Longer:
    """The expected results of more steps of a run."""

    facts: RunFacts
    rate_line: str
    """A description of the learning rate after the branch."""
    command: str
    places: tuple[Place, ...]
    path: RatePath
    unknown: str
    """Why some of the losses are unknown; empty where all are known."""

    def lines(self) -> list[str]:
        """Return the run, a table of steps, and the command, as lines."""
        facts = self.facts
        read = f"{count(facts.tokens)} tokens, {facts.passes:.3g} epochs"
        head = f"{facts.name}: loss {facts.loss:.4f} at step {facts.steps:,} ({read})"
        rows = [
            ["step", "tokens", "epochs", "learning rate", "more time", "loss (80%)"],
            *map(self._cells, self.places),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines = [head, self.rate_line, *table]
        if any(place.loss for place in self.places):
            lines.append(f"losses: extrapolated from the run's own {len(facts.curve)} evaluations")
        if self.unknown:
            lines.append(self.unknown)
        end = self.places[-1]
        if end.passes > max(FEW_PASSES, facts.passes):
            lines.append(
                f"! {repetition(end.passes)}; the extrapolation doesn't include that: validation may rise before"
            )
        return [*lines, f"train it: {self.command}"]

    def _cells(self, place: Place) -> list[str]:
        loss = place.loss
        return [
            f"{place.step:,}",
            count(place.tokens),
            f"{place.passes:.3g}",
            f"{place.rate:.0%} of its peak",
            duration(place.seconds),
            "unknown" if loss is None else f"{loss.value:.3f} ({loss.low:.3f} to {loss.high:.3f})",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {
            "run": self.facts.name,
            "step": self.facts.steps,
            "loss": self.facts.loss,
            "learning_rate": self.rate_line,
            "steps": [
                {
                    "step": place.step,
                    "tokens": place.tokens,
                    "passes": place.passes,
                    "rate_share": place.rate,
                    "seconds": place.seconds,
                    "loss": None if place.loss is None else place.loss.to_json(),
                }
                for place in self.places
            ],
            "unknown": self.unknown,
            "command": self.command,
        }


def longer_run(facts: RunFacts, recipe: Recipe, rate_line: str, command: str) -> Longer:
    """Return how the run of `facts` continues as a branch with `recipe`, which has more train.steps and may change the schedule."""
    steps = recipe.train.steps
    if steps <= facts.steps:
        raise LabError(f"{facts.name} is at step {facts.steps:,} already: expected --train.steps above that")
    path = branched_path(facts, recipe)
    places = []
    for number in range(1, PLACES + 1):
        step = facts.steps + (steps - facts.steps) * number / PLACES
        at = steps if number == PLACES else min(steps, max(facts.steps + 1, round(float(f"{step:.2g}"))))
        more = (at - facts.steps) * facts.step_tokens
        tokens = facts.tokens + round(more)
        places.append(
            Place(
                step=at,
                tokens=tokens,
                passes=tokens / facts.unique_tokens,
                rate=float(path.share_at(at - 1)),
                seconds=more * facts.seconds_a_token,
                loss=loss_at(facts, path, at),
            )
        )
    return Longer(
        facts=facts,
        rate_line=rate_line,
        command=command,
        places=tuple({place.step: place for place in places}.values()),
        path=path,
        unknown=_unknown(facts, places),
    )


def branched_path(facts: RunFacts, recipe: Recipe) -> RatePath:
    """Return the learning rate of the run, and after it of the branch, as shares of the run's peak."""
    own, new, length = facts.recipe.schedule, recipe.schedule, recipe.train.steps
    # Another peak rate of the branch counts relative to the run's.
    higher = recipe.optim.lr / facts.recipe.optim.lr

    def share(step: int) -> float:
        if step < facts.steps:
            return rate_share(own, max(1, facts.length - own.start), max(0, step - own.start))
        return higher * rate_share(new, max(1, length - new.start), max(0, step - new.start))

    return rate_path(share, length)


def loss_at(facts: RunFacts, path: RatePath, step: int) -> Estimate | None:
    """Return the loss over the whole split at a step beyond the run's end; None where its curve doesn't determine it."""
    if facts.turned or not facts.curve or step > MOST_TIMES * facts.steps:
        return None
    steps, losses = zip(*facts.curve, strict=True)
    found = expected_end(steps, losses, path.until(step))
    if found is None:
        return None
    # Evaluations may score a sample: its difference to the whole split is kept.
    beside = facts.loss - losses[-1] if steps[-1] == facts.steps else 0.0
    return replace(found, value=found.value + beside, low=max(0.0, found.low + beside), high=found.high + beside)


def _unknown(facts: RunFacts, places: list[Place]) -> str:
    if all(place.loss is not None for place in places):
        return ""
    if facts.turned:
        return UNKNOWN_TURNED.format(step=facts.steps)
    if places[-1].step > MOST_TIMES * facts.steps:
        return UNKNOWN_FAR.format(most=round(MOST_TIMES * facts.steps))
    return UNKNOWN_CURVE.format(evaluations=len(facts.curve))
