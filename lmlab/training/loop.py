"""The training loop: before each step it checks for a stop request, evaluates, saves, and checks whether training is over.

A boundary is the point between two steps. Everything that happens there depends only on the number of steps taken and on the
state, so a run that is resumed at a boundary is identical to the uninterrupted run.

    boundary -> (stop requested?) -> (evaluate) -> (save) -> (over?) -> step -> (handle a spike) -> (log) -> boundary

A deferred step (`deferred.py`) is launched, and finished after the next one was launched: the state, the lines and the display are
a step behind the device then. Whatever needs the state of the last launched step finishes it first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from lmlab.data.windows import WindowedTokens
from lmlab.recipe import Recipe
from lmlab.training.display import Display, TrainingProgress
from lmlab.training.hooks import Ending, Hooks, StopCheck
from lmlab.training.outlook import MISSED, Outlook, missed_words
from lmlab.training.pace import Meter, Pace, correction_words
from lmlab.training.parallel import RankLost
from lmlab.training.signals import Interrupted
from lmlab.training.spikes import Decision, SpikeGuard
from lmlab.training.state import State
from lmlab.training.step import StepGradients, TrainingStep, chained


class Loop:
    """Runs one training from its current state to its end."""

    def __init__(
        self,
        recipe: Recipe,
        step: TrainingStep,
        state: State,
        hooks: Hooks,
        display: Display,
        stop: StopCheck,
        outlook: Outlook,
        pace: Pace,
        flops_per_token: float,
        peak_flops: float | None,
        datasheet_flops: float | None = None,
    ) -> None:
        """`flops_per_token` is of forward and backward pass together. `peak_flops` is the peak in FLOP/s measured on this machine,
        `datasheet_flops` that of the device's datasheet, or None.
        """
        self.recipe = recipe
        self.step = step
        self.state = state
        self.hooks = hooks
        self.display = display
        self.stop = stop
        self.outlook = outlook
        self.pace = pace
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.datasheet_flops = datasheet_flops
        self.saved_step = -1
        # As in `lmlab runs`: an epoch is all tokens of a stream, or all windows of documents.
        windows, context = step.tokens, recipe.model.context
        sequences = windows.windows.epoch if isinstance(windows, WindowedTokens) else len(windows) / context
        self._epoch_steps = sequences / recipe.train.batch
        self._guard = SpikeGuard(recipe, step, hooks, display, self._save_now)
        self._meter = Meter()
        self._rate = _first(step.optimizer.rates())
        """The learning rate of the last update that was made."""
        self._launched: Callable[[], StepGradients] | None = None
        """The step that was launched and isn't finished: waits for its numbers."""
        self._since = 0.0
        """Since when the time of the step that is finished next is measured, in `time.perf_counter()`."""
        self._evaluations_here = 0
        self._evaluated_before = state.evaluate_seconds

    def run(self) -> Ending:
        """Train until the last step, until patience runs out, or until a stop is requested; the last state is always saved."""
        while True:
            ending = self._boundary() or self._take_step()
            if ending is not None:
                self._save_now()
                since = self.stop.since if ending.kind == "stopped" else None
                return ending if since is None else replace(ending, seconds=time.monotonic() - since)

    def _boundary(self) -> Ending | None:
        state, train = self.state, self.recipe.train
        self.hooks.check_save(False)
        # With the step that isn't finished.
        taken = state.step + (self._launched is not None)
        last = taken >= self.step.steps
        try:
            if self._stopping():
                return self._stopped()
            if state.evaluated_step != taken and (last or taken % self.recipe.evaluate.every == 0):
                self._evaluate()
        except Interrupted:
            return self._stopped()
        except RankLost as lost:
            return _lost(lost)
        if taken % train.checkpoint_every == 0 or self.stop.save_requested():
            self._save(best=False)
        if last:
            return Ending(kind="finished", reason=f"{self.step.steps:,} steps")
        if train.patience and state.worse_in_a_row >= train.patience:
            better = f"better by more than {train.minimum_gain:g}" if train.minimum_gain else "better"
            return Ending(kind="patience", reason=f"no validation loss {better} in {train.patience} evaluations")
        return None

    def _stopping(self) -> bool:
        """Return whether to stop; a pause meanwhile doesn't count as time of a step."""
        started = time.perf_counter()
        stopping = self.stop.stopping()
        self._since += time.perf_counter() - started
        return stopping

    def _stopped(self) -> Ending:
        return Ending(kind="stopped", reason=self.stop.reason or "a request")

    def _take_step(self) -> Ending | None:
        """Take one step. Return the ending if a rank is lost in it; the state is then that of the boundary before the step."""
        if self.step.deferred:
            self._launch()
            return None
        self._since = time.perf_counter()
        try:
            gradients = self.step.gradients(self.state)
            decision = self._guard.decide(self.state, gradients, self.state.step)
            updated = self.step.update(gradients, decision.limit)
        except RankLost as lost:
            return _lost(lost)
        self._rate = _first(self.step.optimizer.rates())
        self._count(gradients, decision, updated)
        return None

    def _launch(self) -> None:
        """Launch a step, and finish the one before it."""
        state, train = self.state, self.recipe.train
        if state.skipped_in_a_row + 1 >= train.tolerate:
            # If it isn't finite it ends the training, and no update may follow.
            self._finish_launched()
        before = self._launched
        if before is None:
            self._since = time.perf_counter()
        ahead = int(before is not None)
        try:
            self._launched = self.step.launch(state.step + ahead, state.cursor + ahead * train.batch)
        except Exception:
            # The error is of this step alone, such as memory that ran out.
            self._finish_launched()
            raise
        if before is not None:
            self._finish(before)

    def _finish_launched(self) -> None:
        """Finish the step that was launched, if there is one: the state is then that of the weights."""
        launched, self._launched = self._launched, None
        if launched is not None:
            self._finish(launched)

    def _finish(self, launched: Callable[[], StepGradients]) -> None:
        """Wait for a launched step's numbers, and count the step."""
        gradients = launched()
        weights_step = self.state.step + 1 + (self._launched is not None)
        decision = self._guard.decide(self.state, gradients, weights_step)
        if gradients.finite:
            # The optimizer's own rates may be those of the next step already.
            self._rate = _first(self.step.optimizer.rates(gradients.rate))
        self._count(gradients, decision, gradients.finite)

    def _count(self, gradients: StepGradients, decision: Decision, updated: bool) -> None:
        """Advance the state by a step, whose update was made or not, handle a spike, and log."""
        state = self.state
        state.step += 1
        state.cursor += self.recipe.train.batch
        state.tokens += gradients.targets
        state.batches = chained(state.batches, gradients.batch)
        if self.step.scaler is not None:
            state.scale, state.clean_steps = self.step.scaler.scale, self.step.scaler.clean_steps
        if updated:
            state.loss_sum += gradients.loss_sum
            state.loss_tokens += gradients.targets
            if gradients.first is not None:
                state.noise.add(gradients.first.norm, gradients.first.sequences, gradients.norm, gradients.sequences)
        now = time.perf_counter()
        # From the numbers of one step to those of the next, if the next was launched meanwhile.
        seconds, self._since = now - self._since, now
        state.train_seconds += seconds
        self.pace.add(seconds)
        self._meter.add(gradients.targets, seconds)
        if self._guard.after(state, decision, gradients, updated):
            self._report(gradients)

    def _report(self, gradients: StepGradients) -> None:
        state = self.state
        logged = state.step % self.recipe.train.log_every == 0 or state.step == self.step.steps
        loss = state.loss_sum / state.loss_tokens if state.loss_tokens else gradients.loss
        if logged:
            speed = self._meter.take()
            values = {
                "loss": loss,
                "learning_rate": self._rate,
                "gradient_norm": gradients.norm,
                "tokens_per_second": speed,
                "mfu": self._mfu(speed, self.peak_flops),
                "batches": state.batches,
            }
            if self.datasheet_flops is not None:
                values["mfu_datasheet"] = self._mfu(speed, self.datasheet_flops)
            if state.noise.steps:
                values["noise_scale"] = state.noise.scale()
            self.hooks.record("metrics", "train", state.step, state.tokens, values)
            state.loss_sum, state.loss_tokens = 0.0, 0
        self.display.progress(self._progress(loss, gradients), logged)
        self._correct()

    def _correct(self) -> None:
        """Correct the forecast of the run's time, once enough of its own steps were timed."""
        state, left = self.state, self._remaining()
        if left is None or self.pace.expected is None:
            return
        found = self.pace.correction(state.step, self.hooks.wall_seconds(), left)
        if found is None:
            return
        self.hooks.corrected(found)
        words = correction_words(found, self.pace.expected)
        if words:
            self.display.note(words)

    def _progress(self, loss: float, gradients: StepGradients) -> TrainingProgress:
        state = self.state
        return TrainingProgress(
            step=state.step,
            steps=self.step.steps,
            tokens=state.tokens,
            loss=loss,
            learning_rate=self._rate,
            gradient_norm=gradients.norm,
            tokens_per_second=self._meter.recent,
            mfu=self._mfu(self._meter.recent, self.peak_flops),
            mfu_datasheet=self._mfu(self._meter.recent, self.datasheet_flops),
            elapsed_seconds=state.train_seconds + state.evaluate_seconds + state.save_seconds,
            remaining_seconds=self._remaining(),
            end=self.outlook.words(),
            step_seconds=self._meter.step_seconds or None,
            epochs=state.step / self._epoch_steps,
            epoch_seconds=self._meter.step_seconds * self._epoch_steps if self._meter.step_seconds else None,
            useful_batch=state.noise.scale(),
        )

    def _mfu(self, tokens_per_second: float, peak_flops: float | None) -> float | None:
        return None if peak_flops is None else tokens_per_second * self.flops_per_token / peak_flops

    def _remaining(self) -> float | None:
        """Return the expected seconds of the remaining steps and evaluations, final one included, at this process's pace."""
        state, every = self.state, self.recipe.evaluate.every
        pace = self.pace.step_seconds
        if pace is None:
            return None
        steps_left = self.step.steps - state.step
        spent = state.evaluate_seconds - self._evaluated_before
        evaluation = spent / self._evaluations_here if self._evaluations_here else 0.0
        return steps_left * pace + -(-steps_left // every) * evaluation + self.pace.closing_seconds

    def _evaluate(self) -> None:
        self._finish_launched()
        state = self.state
        started = time.perf_counter()
        scores = self.hooks.evaluate(state)
        best = state.best_loss is None or scores.valid_loss < state.best_loss
        if best:
            state.best_loss, state.best_step = scores.valid_loss, state.step
        if state.patience_loss is None or scores.valid_loss < state.patience_loss - self.recipe.train.minimum_gain:
            state.patience_loss, state.worse_in_a_row = scores.valid_loss, 0
        else:
            state.worse_in_a_row += 1
        state.evaluations += 1
        state.evaluated_step = state.step
        self.hooks.record("metrics", "evaluation", state.step, state.tokens, {**scores.metrics, "best": best})
        for sample in scores.samples:
            self.hooks.record("samples", "sample", state.step, state.tokens, sample)
        missed = self.outlook.add(state.step, scores.metrics)
        if missed is not None:
            self.hooks.record("events", MISSED, state.step, state.tokens, missed)
        state.evaluate_seconds += time.perf_counter() - started
        self._evaluations_here += 1
        end = self.outlook.words()
        self.display.note(
            scores.line + (f"  at the end {end}" if end else "") + ("  best so far" if best and state.step else "")
        )
        if missed is not None:
            self.display.note(missed_words(missed))
        # A checkpoint that this step may already have doesn't include this evaluation.
        self.saved_step = -1
        if best:
            self._save(best=True)

    def _save(self, best: bool) -> None:
        self._finish_launched()
        if self.saved_step == self.state.step:
            return
        started = time.perf_counter()
        self.hooks.save(self.state, best)
        self.saved_step = self.state.step
        self.state.saves += 1
        self.state.save_seconds += time.perf_counter() - started

    def _save_now(self, again: bool = False) -> None:
        """Save a checkpoint and wait until it is on the disk; with `again` also if this step has one already."""
        if again:
            self.saved_step = -1
        self._save(best=False)
        started = time.perf_counter()
        self.hooks.check_save(True)
        self.state.save_seconds += time.perf_counter() - started


def _first(rates: dict[str, float]) -> float:
    """Return the rate that is logged as the learning rate."""
    return next(iter(rates.values()))


def _lost(lost: RankLost) -> Ending:
    """Return the ending of a training that has lost a rank; nothing has changed since the boundary before."""
    return Ending(kind="stopped", reason=f"RankLost: {lost}")
