"""What happens to a step whose loss or gradient is a spike, or isn't finite.

    note      a line in events.jsonl and a black box; the update is made
    skip      besides, the update is left out
    rewind    besides, training goes back to a checkpoint and on from there with the batches after the spike

An update whose loss or gradient isn't finite is never made, whatever the policy. While float16's loss scale can be the cause,
it is lowered and nothing else happens. Everything here follows from the state and the batch, so that a run which is killed and
continued meets the same spikes and does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.recipe import Recipe
from lmlab.training.display import Display
from lmlab.training.guard import Verdict, judge, remember
from lmlab.training.state import State
from lmlab.training.step import StepGradients, TrainingStep

if TYPE_CHECKING:
    from lmlab.training.loop import Hooks

MOST_BOXES = 50
"""Black boxes of one run: what follows is noted in events.jsonl only."""

SHORTEST_REWIND = 10
"""Steps that a checkpoint must lie before a spike to be gone back to: a later one may hold what led to it."""


def rewind_target(recipe: Recipe, step: int) -> int:
    """The step whose checkpoint training goes back to from a spike in the update after `step`.

    It is one that is saved at `train.checkpoint_every`, so that it is the same whether a run was stopped in between or not.
    """
    every = recipe.train.checkpoint_every
    return max(0, (step - SHORTEST_REWIND) // every * every)


def rewind_targets(recipe: Recipe, step: int) -> tuple[int, ...]:
    """The checkpoints that a run at `step` may have to go back to later, and so must not lose."""
    if recipe.train.on_spike != "rewind":
        return ()
    return rewind_target(recipe, step), rewind_target(recipe, step + SHORTEST_REWIND)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is done with a step's gradients."""

    verdict: Verdict
    limit: float | None
    """The norm that the gradient is clipped to (0: not clipped); None leaves the update out."""
    box: str | None
    """The black box's file."""
    scale_at_fault: bool
    """Whether a too large loss scale can be the cause."""


class SpikeGuard:
    """The guard of one training."""

    def __init__(
        self, recipe: Recipe, step: TrainingStep, hooks: Hooks, display: Display, save_now: Callable[[bool], None]
    ) -> None:
        """`save_now` saves a checkpoint at once, with True also where the step has one already."""
        self._recipe = recipe
        self._step = step
        self._hooks = hooks
        self._display = display
        self._save_now = save_now

    def decide(self, state: State, gradients: StepGradients) -> Decision:
        """What to do with the gradients of the step that `state` is about to take; writes its black box where it is a spike."""
        loss = gradients.loss_sum / max(1, gradients.targets)
        verdict = judge(state.guard, self._recipe, state.step, loss, gradients.norm)
        scaler = self._step.scaler
        scale_at_fault = verdict.kind == "not finite" and scaler is not None and not scaler.exhausted
        wanted = verdict.kind != "fine" and not scale_at_fault and state.guard.boxes < MOST_BOXES
        return Decision(
            verdict=verdict,
            limit=verdict.limit if self._updates(state, verdict) else None,
            box=self._hooks.black_box(state, verdict) if wanted else None,
            scale_at_fault=scale_at_fault,
        )

    def after(self, state: State, decision: Decision, gradients: StepGradients, updated: bool) -> bool:
        """Remember and record the step that was taken, and do what the policy says; False where the step was taken back."""
        train, verdict = self._recipe.train, decision.verdict
        first = state.cursor - train.batch
        # Not when it is written: a step that fails after that is taken again, and writes it again.
        state.guard.boxes += decision.box is not None
        if decision.scale_at_fault:
            self._record(state, "scale_lowered", first, gradients, {"scale": state.scale, **verdict.values()})
            state.skipped.append([first, state.cursor])
            return True
        remember(state.guard, state.step, verdict)
        if verdict.kind == "fine":
            state.skipped_in_a_row = 0
            return True
        if train.on_spike == "rewind":
            self._rewind(state, verdict, gradients, decision.box)
            return False
        values = {**verdict.values(), "black_box": decision.box, "scale": state.scale}
        if updated:
            state.skipped_in_a_row = 0
            self._record(state, "spike", first, gradients, {**values, "action": "noted"})
            self._display.note(f"step {state.step:,}: a spike, {verdict.sentence()}")
            return True
        state.skipped.append([first, state.cursor])
        state.skipped_in_a_row += 1
        kind = "spike" if verdict.kind == "spike" else "skipped_update"
        self._record(state, kind, first, gradients, {**values, "action": "skipped"})
        row = f" ({state.skipped_in_a_row} in a row)"
        self._display.note(f"step {state.step:,}: {verdict.sentence()}; update left out{row}")
        if verdict.kind == "not finite" and state.skipped_in_a_row >= train.tolerate:
            self._save_now(False)
            raise LabError(
                f"training diverged: it was stopped at step {state.step:,}, since loss or gradient was not finite {train.tolerate} "
                "steps in a row; the weights are those of the last finite step: try a lower optim.lr than "
                f"{self._recipe.optim.lr:g}, optim.clip 1.0 or train.precision fp32"
            )
        return True

    def _updates(self, state: State, verdict: Verdict) -> bool:
        """Whether a step with this verdict changes the weights."""
        if verdict.kind != "spike" or self._recipe.train.on_spike == "note":
            return verdict.kind != "not finite"
        # Many spikes in a row are a new level rather than bad batches, which leaving out would not end.
        return self._recipe.train.on_spike == "skip" and state.skipped_in_a_row >= self._recipe.train.tolerate

    def _rewind(self, state: State, verdict: Verdict, gradients: StepGradients, box: str | None) -> None:
        """Back to a checkpoint, and on from there with the batches after this one."""
        train, at, beyond, guard = self._recipe.train, state.step, state.cursor, state.guard
        if guard.rewinds >= train.rewinds:
            self._hooks.check_save(True)
            raise LabError(
                f"training stopped at step {at:,}: {verdict.sentence()}, after {train.rewinds} rewinds; its black box is "
                f"{box or 'left out'}: try a lower optim.lr, optim.clip 1.0, or more train.rewinds"
            )
        self._hooks.check_save(True)
        back = self._hooks.rewind(state)
        skipped = [back.cursor, beyond]
        # What belongs to the run rather than to this line of training stays: time spent, saves, rewinds, black boxes. The best
        # model is that of the restored state: the new line saves the abandoned line's steps again, with other weights.
        back.train_seconds, back.evaluate_seconds = state.train_seconds, state.evaluate_seconds
        back.save_seconds, back.saves = state.save_seconds, state.saves
        back.guard.rewinds, back.guard.boxes = guard.rewinds + 1, guard.boxes
        back.cursor = beyond
        back.skipped = [*back.skipped, skipped]
        state.become(back)
        values = {**verdict.values(), "black_box": box, "from_step": at, "skipped": skipped}
        self._record(state, "rewind", beyond - train.batch, gradients, {**values, "rewinds": back.guard.rewinds})
        self._display.note(
            f"step {at:,}: {verdict.sentence()}; back to step {state.step:,}, past {skipped[1] - skipped[0]:,} sequences "
            f"(rewind {back.guard.rewinds} of {train.rewinds})"
        )
        self._save_now(True)

    def _record(self, state: State, kind: str, first: int, gradients: StepGradients, values: dict[str, Any]) -> None:
        where = {"cursor": first, "sequences": self._recipe.train.batch, "batch": gradients.batch}
        self._hooks.record("events", kind, state.step, state.tokens, {**where, **values})
