"""The end of a run: the final evaluation and summary.json."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.pointers import LATEST, pointed
from lmlab.data.reading import reading
from lmlab.evaluation.gap import loss_gap
from lmlab.evaluation.result import Evaluation
from lmlab.experiment.claims import compared_claims
from lmlab.experiment.closing import closing_lines
from lmlab.experiment.expectations import read_expectations
from lmlab.experiment.fresh import fresh_left
from lmlab.experiment.keeping import keep_least
from lmlab.experiment.session import Session
from lmlab.experiment.verdict import gap_from, is_evaluation, verdict_on
from lmlab.hardware.memory import peak_memory_bytes
from lmlab.planning.forecasts.score import counts_wall_time, score
from lmlab.runs import Run
from lmlab.stats import PairedDifference, divergence, paired_difference
from lmlab.training import parallel
from lmlab.training.hooks import Ending

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a training."""

    run: Run
    ending: Ending
    summary: dict[str, Any]
    """Empty where the run was stopped before its end."""
    step: int | None = None
    """The step of the checkpoint from which a stopped run continues."""
    lines: tuple[str, ...] = ()
    """The lines printed when the training was over."""

    @property
    def resume_command(self) -> str:
        """The command that continues the run."""
        return _resume_command(self.run)


def train_to_end(session: Session, deadline: float | None, say: Callable[[str], None]) -> Outcome:
    """Train until the last step, `deadline` (`time.monotonic()`) or a stop, and score.

    A second Ctrl-C raises KeyboardInterrupt with a message about what is saved and the command that continues from there.
    """
    try:
        return finish(session, session.train(deadline), say)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped_at_once(session.run)) from None


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """The final evaluations of a run."""

    final: Evaluation
    """The last model on the validation split."""
    train: Evaluation
    """The last model on a sample of the training split."""
    best: Evaluation
    """The best model on the validation split."""
    best_step: int

    @property
    def seconds(self) -> float:
        """Time that the evaluations of the last model took."""
        return self.final.seconds + self.train.seconds

    def figures(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the figures of the last model, at `step`, and of the best one."""
        finals = {"step": step, **figures(self.final), **gap_figures(self.final, self.train)}
        return finals, {"step": self.best_step, **figures(self.best)}


def finish(session: Session, ending: Ending, say: Callable[[str], None]) -> Outcome:
    """Score the last and the best model and write summary.json; a stopped run is neither scored nor summarised."""
    run, state = session.run, session.state
    if ending.kind == "stopped":
        return _stopped(session, ending, say)
    scored = _score(session)
    forecast, in_loop = _forecast(run), _loop_seconds(session) + scored.seconds
    # A run that an earlier version began is compared with that version's forecast.
    wall = counts_wall_time(forecast)
    keep_least(session, session.clock.seconds() if wall else in_loop)
    lines = run.read_lines("metrics")
    finals, bests = scored.figures(state.step)
    verdict = verdict_on(
        run,
        reading(session.recipe, session.dataset).unique_tokens,
        gap_from(finals),
        rise_between(scored.best, scored.final),
    )
    seconds = session.clock.seconds() if wall else in_loop
    evaluations = [line for line in lines if is_evaluation(line)]
    summary = {
        "format": FORMAT,
        "finished": True,
        "ending": ending.kind,
        "reason": ending.reason,
        "steps": state.step,
        "tokens": state.tokens,
        "final": finals,
        "best": bests,
        "diverged": _divergence(session, scored, lines),
        "verdict": verdict,
        "skipped_updates": len(state.skipped),
        **_times(session, seconds, wall),
        "rewinds": state.guard.rewinds,
        "noise_scale": state.noise.scale(),
        "processor_share": session.processor_share,
        "score": score(forecast, _measured(session, scored, seconds), session.processor_share, session.resumed),
        "data_used": data_used(session),
        "claims": compared_claims(session.recipe, evaluations, finals, bests),
        "expectations": [entry.scored(bests, seconds) for entry in read_expectations(run.origin().get("expected"))],
    }
    # If the process is killed between these two writes, a resume removes this line and finishes again.
    session.journal.append(
        "events",
        "finished",
        step=state.step,
        tokens=state.tokens,
        reason=ending.reason,
        seconds=seconds,
    )
    session.journal.flush()
    run.write("summary.json", summary, session.storage)
    closing = tuple(closing_lines(session.recipe, summary, state.noise))
    for line in closing:
        say(line)
    return Outcome(run=run, ending=ending, summary=summary, lines=closing)


def _score(session: Session) -> _Scored:
    """Evaluate the last and the best model, and store the bits of the units."""
    final = session.final_scores()
    train = session.final_training_scores()
    session.run.append_units(session.state.evaluations, final.bits_per_unit, session.storage)
    best, best_step = _best(session, final)
    return _Scored(final=final, train=train, best=best, best_step=best_step)


def _loop_seconds(session: Session) -> float:
    state = session.state
    return state.train_seconds + state.evaluate_seconds + state.save_seconds


def _measured(session: Session, scored: _Scored, seconds: float) -> dict[str, float]:
    """Return the measured value of each forecast figure."""
    state = session.state
    # A branch's token count includes its parent's tokens, but its time doesn't include its parent's.
    trained_here = reading(session.recipe, session.dataset).tokens(state.cursor - state.first_cursor)
    return {
        "train_seconds": state.train_seconds,
        "evaluate_seconds": state.evaluate_seconds + scored.seconds,
        "total_seconds": seconds,
        "tokens_per_second": trained_here / max(state.train_seconds, 1e-9),
        "peak_memory_bytes": float(peak_memory_bytes(session.policy.torch_device)),
        "final_loss": scored.final.loss,
        "kept_bytes": float(_bytes_in(session.run.checkpoints)),
    }


def _divergence(session: Session, scored: _Scored, lines: Sequence[Mapping[str, Any]]) -> Any:
    """Return whether the training diverged, from its losses on the training sample and its gradient norms."""
    losses = [line["train_loss"] for line in lines if is_evaluation(line)]
    losses.append(scored.train.loss if math.isfinite(scored.final.loss) else math.nan)
    norms = [line.get("gradient_norm") for line in lines if line.get("kind") == "train"]
    return divergence(losses, session.dataset.vocabulary_size, norms)


def _times(session: Session, seconds: float, wall: bool) -> dict[str, Any]:
    """Return the run's times, and those of its saves."""
    state, total = session.state, _loop_seconds(session)
    return {
        "seconds": {
            "train": state.train_seconds,
            "evaluate": state.evaluate_seconds,
            "save": state.save_seconds,
            "total": total,
            "wall": seconds if wall else None,
            "since": session.clock.since if wall else None,
        },
        "saving": {
            "checkpoints": state.saves,
            "seconds": state.save_seconds,
            "share": state.save_seconds / max(total, 1e-9),
            "seconds_beside_training": session.saver.background_seconds,
        },
    }


def _stopped(session: Session, ending: Ending, say: Callable[[str], None]) -> Outcome:
    run, state = session.run, session.state
    facts = {"reason": ending.reason, "seconds": ending.seconds}
    session.journal.append("events", "stopped", step=state.step, tokens=state.tokens, **facts)
    session.journal.flush()
    took = "" if ending.seconds is None else f" {ending.seconds:.1f} s later"
    outcome = Outcome(run=run, ending=ending, summary={}, step=state.step)
    line = f"stopped by {ending.reason} at step {state.step:,}, saved{took}; continue with: {outcome.resume_command}"
    say(line)
    return dataclasses.replace(outcome, lines=(line,))


def _stopped_at_once(run: Run) -> str:
    latest = pointed(run.checkpoints, LATEST)
    if latest is None:
        return f"stopped before the first checkpoint; start again with: {_resume_command(run)}"
    return f"stopped; saved up to step {latest['step']:,}, continue with: {_resume_command(run)}"


def _resume_command(run: Run) -> str:
    return f"{parallel.launcher()}lmlab resume {run.folder}"


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's figures for JSON, with the bootstrap interval of its loss over units."""
    interval = evaluation.interval()
    return {
        **evaluation.figures(),
        "loss_interval": [interval.low, interval.high],
        "loss_interval_level": interval.level,
    }


def rise_between(best: Evaluation, final: Evaluation) -> PairedDifference | None:
    """Return the loss of the last model minus the best one's, paired by unit; None where they are the same model."""
    if best is final:
        return None
    nats = [scores.bits_per_unit * math.log(2.0) for scores in (final, best)]
    return paired_difference(nats[0], nats[1], final.tokens_per_unit)


def gap_figures(valid: Evaluation, train: Evaluation) -> dict[str, Any]:
    """Return the training loss and the generalisation gap (validation minus training loss), over samples of equal size."""
    gap = loss_gap(valid, train)
    return {
        "train_loss": train.loss,
        "train_tokens": train.tokens,
        "gap": gap.estimate,
        "gap_interval": [gap.low, gap.high],
    }


def data_used(session: Session) -> dict[str, Any]:
    """Return which of the data set's tokens the run was trained on, so that later runs can avoid them."""
    recipe = session.recipe
    return {
        "data_id": session.dataset.id,
        "seed": recipe.train.seed,
        "order": recipe.data.order,
        "context": recipe.model.context,
        "cursor": [session.state.first_cursor, session.state.cursor],
        "skipped": session.state.skipped,
        "fresh": recipe.data.fresh,
        "windows": recipe.data.windows,
        "stride": recipe.data.stride,
        "fresh_left": fresh_left(session.run, session.state, session.dataset) if recipe.data.fresh else None,
    }


def _best(session: Session, final: Evaluation) -> tuple[Evaluation, int]:
    state, checkpoint = session.state, None
    if state.best_step is not None and state.best_step != state.step:
        # It may have been removed or damaged during the training: the last model is then the best one left.
        with contextlib.suppress(LabError):
            checkpoint, _ = find(session.run.checkpoints, str(state.best_step))
    # The last model is on the disk: it isn't restored afterwards, so that no second copy of it takes memory.
    session.training.share_weights(checkpoint)
    if checkpoint is None:
        return final, state.step
    return session.final_scores(), checkpoint.step


def _forecast(run: Run) -> Any:
    """Return the content of forecast.json; None where it is gone or damaged, which must not prevent a summary."""
    try:
        return run.read("forecast.json")
    except LabError:
        return None


def _bytes_in(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())
