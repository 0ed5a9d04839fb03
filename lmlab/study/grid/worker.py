"""One worker of a study: it repeatedly takes a run that no other worker holds and trains it, until none is left.

A single worker runs in the command's own process. Several are separate processes (`pool`):

    parent: a line of JSON on the worker's standard input     the study and the time limit
    worker: lines for the user on its standard output         one for each finished run
            a line that begins with REFUSED, and that status  the disk failed, which is no failure of any run

A worker whose standard input closes has lost its parent: it saves and ends, as after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from lmlab import LabError, StorageError
from lmlab.data.progress import Silent
from lmlab.experiment.start import train_or_resume
from lmlab.recipe.extensions import load_extensions
from lmlab.recipe.quantities import duration
from lmlab.runs import Run
from lmlab.runs.lock import is_locked
from lmlab.stats.factorial import Cell
from lmlab.study.grid.holding import holding, note, noted
from lmlab.study.grid.pruning_runs import RunPruner, best_mean, last_losses
from lmlab.study.grid.study_plan import PlannedRun, StudyPlan, read_plan
from lmlab.training.display import Display, Quiet
from lmlab.training.signals import Interruptible

ASKED = ("SIG",)
"""Prefixes of the reasons for a stop of the whole study."""
REFUSED = "refused: "
"""The prefix of a worker's line with the reason for ending with REFUSED_STATUS."""
REFUSED_STATUS = 4


@dataclass(frozen=True, kw_only=True)
class Work:
    """A worker's task."""

    runs: Path
    study: Path
    """The study's folder."""
    stop_losers: bool = False
    until: float | None = None
    """The time limit (`time.time()`): no run is begun that isn't expected to finish before it."""
    seconds: Mapping[Cell, float] = field(default_factory=dict)
    """Expected time of a run of each cell."""
    threads: int = 0
    """CPU threads of each training where its recipe leaves them open; 0: as many as for a single training."""


def is_done(planned: PlannedRun, work: Work) -> bool:
    """Return whether there is nothing left to train: it's finished, has failed, was stopped because it can't win, or was given."""
    if planned.id:
        return True
    run = Run(work.runs / planned.name)
    if (run.folder / "summary.json").exists() and (run.summary() or {}).get("finished") is True:
        return True
    lost = work.stop_losers and noted(work.study, planned.name, "lost") is not None
    return lost or noted(work.study, planned.name, "failed") is not None


def work_through(plan: StudyPlan, work: Work, display: Display, say: Callable[[str], object]) -> bool:
    """Train the runs of `plan` that are left and that no other worker holds; False where a signal stopped it.

    StorageError where the disk fails, since the next run would fail the same way.
    """
    put_off: set[str] = set()
    while True:
        for planned in plan.runs:
            if planned.name in put_off or is_done(planned, work) or not _in_time(planned, work):
                continue
            with holding(work.study, planned.name) as held:
                if not held or is_done(planned, work) or is_locked(work.runs / planned.name):
                    continue
                if not _train(plan, planned, work, display, say):
                    return False
                if not is_done(planned, work):
                    put_off.add(planned.name)  # a user stopped this run alone, or has begun to train it
                break
        else:
            return True


def _train(plan: StudyPlan, planned: PlannedRun, work: Work, display: Display, say: Callable[[str], object]) -> bool:
    """Train one run to its end; False where a signal stopped it."""
    began = time.monotonic()
    recipe = planned.recipe
    if work.threads and not recipe.train.threads:
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, threads=work.threads))
    shown = display
    if work.stop_losers:
        best = best_mean(last_losses(work.runs, work.study, plan.runs))
        shown = RunPruner(display, planned, work.runs, work.study, best)
    options: dict[str, Any] = {"runs": work.runs, "display": shown, "progress": Silent(), "say": _nobody}
    try:
        outcome = train_or_resume(recipe, run=planned.name, **options)
    except StorageError as error:
        raise StorageError(
            f"{planned.name}: {error} (it doesn't count as failed: the same command continues once the disk works)"
        ) from None
    except LabError as error:
        if is_locked(work.runs / planned.name):
            say(f"{planned.name} is left to another process: {error}")
            return True
        note(work.study, planned.name, "failed", {"reason": str(error)})
        say(f"{planned.name} failed: {error}")
        return True
    took = duration(time.monotonic() - began)
    if outcome.summary:
        say(f"{planned.name}: loss {outcome.summary['final']['loss']:.4f} ({took})")
        return True
    lost = noted(work.study, planned.name, "lost") if work.stop_losers else None
    say(f"{planned.name} stopped by {outcome.ending.reason}" + (f": {lost['reason']}" if lost else ", saved"))
    return not outcome.ending.reason.startswith(ASKED)


def _in_time(planned: PlannedRun, work: Work) -> bool:
    return work.until is None or time.time() + work.seconds.get(planned.cell, 0.0) <= work.until


def _nobody(line: str) -> None:
    """Discard a run's own lines, which are in its folder; in a study one line for each run is enough."""


def request_of(work: Work) -> str:
    """Return a worker's request as a line of JSON."""
    value = dataclasses.asdict(work)
    seconds = [[list(cell), float(one)] for cell, one in work.seconds.items()]
    return json.dumps(
        {**value, "runs": str(work.runs.resolve()), "study": str(work.study.resolve()), "seconds": seconds}
    )


def _main(stdin: TextIO) -> int:
    value = json.loads(stdin.readline())
    threading.Thread(target=_end_with_parent, args=(stdin,), daemon=True).start()
    load_extensions()
    seconds = {tuple(cell): float(one) for cell, one in value.pop("seconds")}
    work = Work(**{**value, "runs": Path(value["runs"]), "study": Path(value["study"]), "seconds": seconds})
    plan = read_plan(work.study)
    if plan is None:
        raise LabError(f"{work.study} has no plan")
    with Interruptible():
        return 0 if work_through(plan, work, Quiet(), _tell) else 3


def _tell(line: str) -> None:
    """Print a line for the parent; an error is ignored, since the parent may be gone."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _end_with_parent(stdin: TextIO) -> None:
    stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        sys.exit(_main(sys.stdin))
    except KeyboardInterrupt:
        sys.exit(3)
    except StorageError as failure:
        _tell(f"{REFUSED}{failure}")
        sys.exit(REFUSED_STATUS)
    except LabError as failure:
        print(f"lmlab: {failure}", file=sys.stderr)
        sys.exit(1)
