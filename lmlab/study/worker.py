"""One worker of a study: it takes the next run that nobody holds, trains it, and goes on until there is none.

Alone it works in the command's own process. Several are processes of their own (`pool`):

    parent: a line of JSON on the worker's standard input     which study, until when
    worker: lines for people on its standard output           a run is done
            a line that begins with REFUSED, and that status  the disk refused, which is no fault of any run

A worker that finds its standard input closed has lost its parent: it saves and ends, as after Ctrl-C.
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

from lmlab import LabError, StorageError, experiment
from lmlab.data.progress import Silent
from lmlab.runs import Run
from lmlab.runs.lock import is_locked
from lmlab.stats.factorial import Cell
from lmlab.study.holding import holding, note, noted
from lmlab.study.plan import PlannedRun, StudyPlan, read_plan
from lmlab.study.pruning_runs import RunPruner, best_mean, last_losses
from lmlab.training.display import Display, Quiet, duration
from lmlab.training.signals import Interruptible

ASKED = ("SIG",)
"""What the reason of a stop begins with that was meant for all of the study."""
REFUSED = "refused: "
"""What a worker's line begins with that says why it ends with REFUSED_STATUS."""
REFUSED_STATUS = 4


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker has to do."""

    runs: Path
    study: Path
    """The study's folder."""
    stop_losers: bool = False
    until: float | None = None
    """No run is begun that isn't expected to be done by then, in `time.time()`."""
    seconds: Mapping[Cell, float] = field(default_factory=dict)
    """What a run of each cell is expected to take."""
    threads: int = 0
    """CPU threads of each training where its recipe leaves them open; 0: as many as one training alone has."""


def is_done(planned: PlannedRun, work: Work) -> bool:
    """Whether there is nothing to train any more: it's finished, has failed, was stopped because it can't win, or was given."""
    if planned.id:
        return True
    run = Run(work.runs / planned.name)
    if (run.folder / "summary.json").exists() and (run.summary() or {}).get("finished") is True:
        return True
    lost = work.stop_losers and noted(work.study, planned.name, "lost") is not None
    return lost or noted(work.study, planned.name, "failed") is not None


def work_through(plan: StudyPlan, work: Work, display: Display, say: Callable[[str], object]) -> bool:
    """Train what is left of `plan` and nobody holds; False where a signal stopped it.

    StorageError where the disk refuses: the next run would meet the same, and none of them is to blame.
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
                    put_off.add(planned.name)  # somebody asked this run alone to stop, or has begun to train it
                break
        else:
            return True


def _train(plan: StudyPlan, planned: PlannedRun, work: Work, display: Display, say: Callable[[str], object]) -> bool:
    """One run to its end; False where a signal stopped it."""
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
        outcome = experiment.train_or_resume(recipe, run=planned.name, **options)
    except StorageError as error:
        raise StorageError(
            f"{planned.name}: {error} (it doesn't count as failed: the same command goes on once that is mended)"
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
    """What a run says of itself stands in its folder; of a study a line a run is enough."""


def request_of(work: Work) -> str:
    """A worker's line of JSON."""
    value = dataclasses.asdict(work)
    seconds = [[list(cell), float(one)] for cell, one in work.seconds.items()]
    return json.dumps(
        {**value, "runs": str(work.runs.resolve()), "study": str(work.study.resolve()), "seconds": seconds}
    )


def _main(stdin: TextIO) -> int:
    value = json.loads(stdin.readline())
    threading.Thread(target=_end_with_parent, args=(stdin,), daemon=True).start()
    seconds = {tuple(cell): float(one) for cell, one in value.pop("seconds")}
    work = Work(**{**value, "runs": Path(value["runs"]), "study": Path(value["study"]), "seconds": seconds})
    plan = read_plan(work.study)
    if plan is None:
        raise LabError(f"{work.study} has no plan")
    with Interruptible():
        return 0 if work_through(plan, work, Quiet(), _tell) else 3


def _tell(line: str) -> None:
    """A line for the parent, which may be gone: then it has nobody to reach."""
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
