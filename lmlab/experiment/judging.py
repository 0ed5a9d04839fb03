"""Why a run's checkpoints or lines are missing, and what can be done; used by every command that finds some of them missing.

Whether a run ever had what is missing follows from the rest of its folder: summary, events, other checkpoints. Read-only, and
without torch.
"""

from __future__ import annotations

import contextlib

from lmlab import LabError
from lmlab.checkpoint.finding import INIT, find
from lmlab.checkpoint.initial import is_noted
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.checkpoint.opened import Checkpoint
from lmlab.runs import Run
from lmlab.runs.run import RECIPE


def checkpoint_in(run: Run, which: str) -> tuple[Checkpoint, list[str]]:
    """Return `find` among the checkpoints of `run`; step 0 is regenerated where the run keeps only its seed.

    Where there is none, LabError has the reason and what can be done.
    """
    present = checkpoint_steps(run.checkpoints)
    if which in (INIT, "0") and 0 not in present and is_noted(run.checkpoints):
        from lmlab.experiment.keeping import initial_again

        return initial_again(run), []
    if not present:
        raise LabError(without_checkpoints(run))
    if which.isdecimal() and int(which) not in present:
        there = ", ".join(str(step) for step in present_steps(run))
        raise LabError(
            f"{run.name} has no checkpoint of step {int(which):,}: expected one of {there}{_trained_to(run, int(which))}"
        )
    return find(run.checkpoints, which)


def _trained_to(run: Run, step: int) -> str:
    """Return the command that trains a run again and keeps that step, as the end of an error; empty where there is none."""
    if run.imported is not None or not 0 < step <= run.recipe().train.steps:
        return ""
    return f"; to have it, train the same run again: {_command(run)} --train.checkpoint_every {step} --train.keep_every {step}"


def present_steps(run: Run) -> list[int]:
    """Return the steps of which the run has a checkpoint, or can regenerate it from its seed; ascending."""
    return sorted({*([0] if is_noted(run.checkpoints) else []), *checkpoint_steps(run.checkpoints)})


def without_checkpoints(run: Run) -> str:
    """Return why a run has no checkpoint, and what can be done, in one line."""
    status, saved = run.status(), saved_step(run)
    if saved:
        what = f"finished at step {saved:,}" if status == "finished" else f"is {status}, and had saved step {saved:,}"
        return (
            f"{run.name} {what}, but its checkpoints are gone: {train_again(run)}; lmlab runs, report and compare still "
            "read its losses"
        )
    if status == "running":
        ask = f"touch {run.folder / 'control' / 'save'}"
        return f"{run.name} has begun and saved no checkpoint yet: wait for its first one, or request it with {ask}"
    return f"{run.name} was stopped before its first checkpoint: begin it again with lmlab resume {run.folder}"


def require_no_progress(run: Run) -> None:
    """Raise LabError where a run without checkpoints must have had one: a restart would not continue it."""
    if saved := saved_step(run):
        raise LabError(f"its checkpoints are gone, the last of step {saved:,}")


def lost_lines(run: Run) -> str | None:
    """Return which lines metrics.jsonl lacks for steps that the run is known to have taken, and what can be done; None where none.

    None too where another file that would show it is damaged: reading that one raises its own error.
    """
    with contextlib.suppress(LabError):
        return None if run.imported is not None else _lost_lines(run)
    return None


def _lost_lines(run: Run) -> str | None:
    steps = [line["step"] for line in run.read_lines("metrics")]
    begin = min((line["step"] for line in run.read_lines("segments")), default=0)
    last, summary = max(steps, default=begin), run.summary()
    if summary is not None:
        done = int(summary.get("steps", 0))
    else:
        done = max([begin, *checkpoint_steps(run.checkpoints)])
        done -= done % run.recipe().train.log_every
    if last >= done:
        return None
    path = run.folder / "metrics.jsonl"
    have = f"ends at step {last:,} of the {done:,}" if steps else f"has no line of the {done:,} steps"
    final = f"; the final figures are in summary.json: lmlab runs show {run.folder}" if summary is not None else ""
    return f"{path} {have} that {run.name} has taken, so it was cut: put it back from a copy{final}"


def saved_step(run: Run) -> int:
    """Return the last step that the run must have saved, by its summary or its lines; 0 where it may have saved none."""
    with contextlib.suppress(LabError):
        if (summary := run.summary()) is not None:
            return int(summary.get("steps", 0))
    with contextlib.suppress(LabError):
        lines = [line["step"] for line in run.read_lines("events") if line.get("kind") == "checkpoint"]
        # A line is written before its checkpoint: the first one doesn't prove that it was saved.
        return lines[-1] if len(lines) > 1 else 0
    return 0


def train_again(run: Run) -> str:
    """Return how a run's missing checkpoints can be restored."""
    return f"put them back from a copy, or train it again: {_command(run)}"


def _command(run: Run) -> str:
    parent = run.origin().get("parent")
    begin = f" --from {parent.get('name')}@{parent.get('step')}" if parent is not None else ""
    return f"lmlab train {run.folder / RECIPE}{begin}"
