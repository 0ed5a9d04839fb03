"""Handling of steps whose loss or gradient is a spike, or isn't finite, by `train.on_spike`.

    note      write a line in events.jsonl and a black box; make the update
    skip      the same, but skip the update
    rewind    the same, and restore an earlier checkpoint; training goes on from it with the batches after the spike

An update whose loss or gradient isn't finite is never made. While float16's loss scale can be the cause, it is lowered and
nothing else happens. Everything here is a function of the state and the batch, so that a run which is killed and resumed has the
same spikes and handles them in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.recipe import Recipe
from lmlab.training.display import Display
from lmlab.training.guard import StepVerdict, judge, remember
from lmlab.training.state import State
from lmlab.training.step import StepGradients, TrainingStep

if TYPE_CHECKING:
    from lmlab.training.hooks import Hooks

MOST_BOXES = 50
"""Maximum number of black boxes of a run; later spikes are recorded in events.jsonl only."""

SHORTEST_REWIND = 10
"""Minimum steps between a spike and the checkpoint that a rewind restores: a later one may include the cause of the spike."""


def rewind_target(recipe: Recipe, step: int) -> int:
    """Return the step of the checkpoint that a rewind restores after a spike in the update after `step`.

    It is a multiple of `train.checkpoint_every`, so that it doesn't depend on whether the run was stopped in between.
    """
    every = recipe.train.checkpoint_every
    return max(0, (step - SHORTEST_REWIND) // every * every)


def rewind_targets(recipe: Recipe, step: int) -> tuple[int, ...]:
    """Return the steps of the checkpoints that must be kept because a run at `step` may have to restore them later."""
    if recipe.train.on_spike != "rewind":
        return ()
    return rewind_target(recipe, step), rewind_target(recipe, step + SHORTEST_REWIND)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision about a step's gradients."""

    verdict: StepVerdict
    limit: float | None
    """The norm that the gradient is clipped to (0: not clipped); None skips the update."""
    box: str | None
    """The black box's file; None if none was written."""
    loss_scale_overflow: bool
    """Whether a loss scale that is too large may have caused the overflow."""


class SpikeGuard:
    """Detects the spikes of one training and handles them by the recipe's `train.on_spike`."""

    def __init__(
        self, recipe: Recipe, step: TrainingStep, hooks: Hooks, display: Display, save_now: Callable[[bool], None]
    ) -> None:
        """`save_now` saves a checkpoint and waits for it, with True also if the step has one already."""
        self._recipe = recipe
        self._step = step
        self._hooks = hooks
        self._display = display
        self._save_now = save_now

    def decide(self, state: State, gradients: StepGradients, weights_step: int) -> Decision:
        """Return the decision about the gradients of the step that follows `state`; write its black box if it is a spike.

        `weights_step` is the number of steps that the weights have taken: more than the state's if the update was launched already.
        """
        loss = gradients.loss_sum / max(1, gradients.targets)
        verdict = judge(state.guard, self._recipe, state.step, loss, gradients.norm)
        scaler = self._step.scaler
        loss_scale_overflow = verdict.kind == "not finite" and scaler is not None and not scaler.exhausted
        wanted = verdict.kind != "fine" and not loss_scale_overflow and state.guard.boxes < MOST_BOXES
        return Decision(
            verdict=verdict,
            limit=verdict.limit if self._updates(state, verdict) else None,
            box=self._hooks.black_box(state, verdict, weights_step) if wanted else None,
            loss_scale_overflow=loss_scale_overflow,
        )

    def after(self, state: State, decision: Decision, gradients: StepGradients, updated: bool) -> bool:
        """Record the step that was taken, and apply `train.on_spike`. Return False if the step was undone by a rewind."""
        train, verdict = self._recipe.train, decision.verdict
        first = state.cursor - train.batch
        # Counted here and not when it is written: a step that fails after that is repeated, and writes it again.
        state.guard.boxes += decision.box is not None
        if decision.loss_scale_overflow:
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
        self._display.note(f"step {state.step:,}: {verdict.sentence()}; update skipped{row}")
        if verdict.kind == "not finite" and state.skipped_in_a_row >= train.tolerate:
            self._save_now(False)
            raise LabError(
                f"training diverged: it was stopped at step {state.step:,}, since loss or gradient was not finite {train.tolerate} "
                "steps in a row; the weights are those of the last finite step: try a lower optim.lr than "
                f"{self._recipe.optim.lr:g}, optim.clip 1.0 or train.precision fp32"
            )
        return True

    def _updates(self, state: State, verdict: StepVerdict) -> bool:
        """Return whether the update of a step with this verdict is made."""
        if verdict.kind != "spike" or self._recipe.train.on_spike == "note":
            return verdict.kind != "not finite"
        # Many spikes in a row are a new level of the loss rather than bad batches; skipping updates would not end them.
        return self._recipe.train.on_spike == "skip" and state.skipped_in_a_row >= self._recipe.train.tolerate

    def _rewind(self, state: State, verdict: StepVerdict, gradients: StepGradients, box: str | None) -> None:
        """Restore a checkpoint, and set its cursor to the batch after this one."""
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
        # The counters of the whole run are kept: time, saves, rewinds, black boxes. The best model is the restored state's, since
        # the discarded steps will be trained again with other weights.
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
