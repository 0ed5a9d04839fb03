"""After the last step: the figures that get quoted, and the summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint import find
from lmlab.data.reading import reading
from lmlab.evaluation import Evaluation, loss_gap
from lmlab.experiment.claims import claim_line, compared_claims
from lmlab.experiment.fresh import fresh_left
from lmlab.experiment.session import Session
from lmlab.experiment.verdict import gap_from, is_evaluation, verdict_on
from lmlab.hardware import peak_memory_bytes
from lmlab.planning.score import score, score_line
from lmlab.runs import Run
from lmlab.scaling.noise import useful_batch_line
from lmlab.training import ranks
from lmlab.training.display import duration
from lmlab.training.loop import Ending
from lmlab.training.saving import restore_weights

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training came to."""

    run: Run
    ending: Ending
    summary: dict[str, Any]
    """Empty where the run was stopped before its end."""
    step: int | None = None
    """Of the checkpoint that a stopped run goes on from."""

    @property
    def resume_command(self) -> str:
        """What goes on with the run as it was trained."""
        return f"{ranks.launcher()}lmlab resume {self.run.folder}"


def finish(session: Session, ending: Ending, say: Callable[[str], None]) -> Outcome:
    """Score the last and the best model and write summary.json; a stopped run gets neither."""
    run, state = session.run, session.state
    if ending.kind == "stopped":
        return _stopped(session, ending, say)
    final = session.final_scores()
    train = session.final_training_scores()
    run.append_units(state.evaluations, final.bits_per_unit, session.storage)
    best, best_step = _best(session, final)
    evaluations = [line for line in run.read_lines("metrics") if is_evaluation(line)]
    finals = {"step": state.step, **figures(final), **gap_figures(final, train)}
    bests = {"step": best_step, **figures(best)}
    scoring_seconds = final.seconds + train.seconds
    total = state.train_seconds + state.evaluate_seconds + state.save_seconds
    # A branch has its parent's tokens in its count, but not its seconds.
    read = reading(session.recipe, session.dataset)
    trained_here = read.tokens(state.cursor - state.first_cursor)
    measured = {
        "train_seconds": state.train_seconds,
        "evaluate_seconds": state.evaluate_seconds + scoring_seconds,
        "total_seconds": total + scoring_seconds,
        "tokens_per_second": trained_here / max(state.train_seconds, 1e-9),
        "peak_memory_bytes": float(peak_memory_bytes(session.policy.torch_device)),
        "final_loss": final.loss,
        "kept_bytes": float(_bytes_in(run.checkpoints)),
    }
    summary = {
        "format": FORMAT,
        "finished": True,
        "ending": ending.kind,
        "reason": ending.reason,
        "steps": state.step,
        "tokens": state.tokens,
        "final": finals,
        "best": bests,
        "verdict": verdict_on(run, read.unique_tokens, gap_from(finals)),
        "skipped_updates": len(state.skipped),
        "seconds": {
            "train": state.train_seconds,
            "evaluate": state.evaluate_seconds,
            "save": state.save_seconds,
            "total": total,
        },
        "saving": {
            "checkpoints": state.saves,
            "seconds": state.save_seconds,
            "share": state.save_seconds / max(total, 1e-9),
            "seconds_beside_training": session.saver.background_seconds,
        },
        "rewinds": state.guard.rewinds,
        "noise_scale": state.noise.scale(),
        "processor_share": session.processor_share,
        "score": score(_forecast(run), measured, session.processor_share),
        "data_used": data_used(session),
        "claims": compared_claims(session.recipe, evaluations, finals, bests),
    }
    # A process that dies between the two finishes again: the resume takes this line out.
    session.journal.append(
        "events",
        "finished",
        step=state.step,
        tokens=state.tokens,
        reason=ending.reason,
        seconds=total + scoring_seconds,
    )
    session.journal.flush()
    run.write("summary.json", summary, session.storage)
    for line in closing_lines(session, summary):
        say(line)
    return Outcome(run=run, ending=ending, summary=summary)


def _stopped(session: Session, ending: Ending, say: Callable[[str], None]) -> Outcome:
    run, state = session.run, session.state
    facts = {"reason": ending.reason, "seconds": ending.seconds}
    session.journal.append("events", "stopped", step=state.step, tokens=state.tokens, **facts)
    session.journal.flush()
    took = "" if ending.seconds is None else f" {ending.seconds:.1f} s later"
    outcome = Outcome(run=run, ending=ending, summary={}, step=state.step)
    say(f"stopped by {ending.reason} at step {state.step:,}, saved{took}; continue with: {outcome.resume_command}")
    return outcome


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation's figures for JSON, with the bootstrap interval of its loss over units."""
    interval = evaluation.interval()
    return {
        **evaluation.figures(),
        "loss_interval": [interval.low, interval.high],
        "loss_interval_level": interval.level,
    }


def gap_figures(valid: Evaluation, train: Evaluation) -> dict[str, Any]:
    """The training loss beside final figures, and how far validation is above it, over samples of equal size."""
    gap = loss_gap(valid, train)
    return {
        "train_loss": train.loss,
        "train_tokens": train.tokens,
        "gap": gap.estimate,
        "gap_interval": [gap.low, gap.high],
    }


def figures_line(title: str, values: dict[str, Any]) -> str:
    """Those figures in words."""
    interval = ""
    if None not in values["loss_interval"] and math.isfinite(sum(values["loss_interval"])):
        interval = f" (95 % {values['loss_interval'][0]:.4f} to {values['loss_interval'][1]:.4f})"
    bits = "" if values["bits_per_byte"] is None else f", {values['bits_per_byte']:.4f} bits per byte"
    return (
        f"{title}: loss {values['loss']:.4f} nats a token{interval}, perplexity {values['perplexity']:.2f}{bits}, accuracy "
        f"{values['accuracy']:.1%} (majority token {values['majority_accuracy']:.1%}), {values['tokens']:,} tokens"
    )


def data_used(session: Session) -> dict[str, Any]:
    """Which of the data set's tokens the run was trained on: enough to know, and to avoid, them later."""
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


def closing_lines(session: Session, summary: dict[str, Any]) -> list[str]:
    """What a person reads when the training is over."""
    seconds, best, final = summary["seconds"], summary["best"], summary["final"]
    rate = summary["score"].get("tokens_per_second", {}).get("measured", 0.0)
    lines = [
        f"done: {summary['reason']}, {duration(seconds['total'])} (training {duration(seconds['train'])} at {rate:,.0f} tokens/s, "
        f"evaluation {duration(seconds['evaluate'])}, saving {seconds['save']:.1f} s: {summary['saving']['share']:.1%})"
    ]
    if summary["score"]:
        lines.append(score_line(summary["score"]))
    scored = "whole validation split" if session.plan.final == "whole" else "sample of the validation split"
    lines.append(figures_line(f"{scored}, last step {final['step']:,}", final))
    if best["step"] != final["step"]:
        lines.append(figures_line(f"{scored}, best step {best['step']:,}", best))
    lines.append(summary["verdict"]["reason"])
    train = session.recipe.train
    useful = useful_batch_line(session.state.noise, train.batch, session.recipe.model.context)
    if useful:
        lines.append(useful)
    if summary["data_used"]["fresh"]:
        lines.append(f"fresh tokens left after this run: {summary['data_used']['fresh_left']:,}")
    return lines + [claim_line(claim) for claim in summary["claims"]]


def _best(session: Session, final: Evaluation) -> tuple[Evaluation, int]:
    state = session.state
    if state.best_step is None or state.best_step == state.step:
        return final, state.step
    try:
        checkpoint, _ = find(session.run.checkpoints, str(state.best_step))
    except LabError:  # it was removed, or damaged, while the training went on: the last is the best that there is
        return final, state.step
    # The last model is on the disk: nothing is put back, so that no second copy of it takes memory.
    restore_weights(checkpoint, session.model)
    session.step.weights_changed()
    return session.final_scores(), checkpoint.step


def _forecast(run: Run) -> Any:
    """What forecast.json holds; None where it is gone or damaged, which is no reason to lose a summary."""
    try:
        return run.read("forecast.json")
    except LabError:
        return None


def _bytes_in(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())
