"""Trainings that die where they are told: one process imports everything, and each training is a fork of it.

    python -m tests.faults.nursery      reads a request a line on standard input, answers each with a line

A request is {"words": [...], "folder": ..., "plan": {...} or null, "environment": {...}, "surroundings": [...]}: `lmlab`'s command
line, the folder for what the child writes beside its run (what it printed, the trace of its disk operations, the hashes of its
batches), what is to come upon it, and what is otherwise than usual, by name: a jumping clock, local locks, equal process ids,
evaluations whose losses are planned. The answer is {"status": N}: the exit status, or minus the signal. Forking takes
milliseconds where starting Python and importing torch takes seconds; nothing is computed before the fork, so that no thread is
lost in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import functools
import hashlib
import importlib
import itertools
import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

OPERATIONS = (
    *("make_folder", "open", "write", "truncate", "flush"),
    *("flush_folder", "rename", "remove", "remove_folder"),
)
"""Of `lmlab.files.Storage`: all that durable writing is made of."""


REFUSED = {"full": errno.ENOSPC, "read-only": errno.EROFS, "fails once": errno.EIO}
"""What the disk says at the point; full and read-only from then on."""
ASKED_AFTER = ("make_folder", "open", "flush", "flush_folder")
"""Operations after which a process asks again whether the run is still its own, before it changes anything that it shares."""
STILL_DONE = {"full": ("truncate", "flush", "flush_folder", "rename", "remove", "remove_folder")}
"""What a full disk still does."""


TIMES_BLOCKED = 3
SHARING_VIOLATION = 32
PROCESS = os.getpid
"""The process's own number, whatever it is told."""


class Victim:
    """Counts what happens in this process, writes it down, and lets come what the plan says.

    A plan is {"point": "disk" or a name below, "index": N, "when": ...}: the N-th time, from 0. `when` is before, during or
    after, where the process is killed; full, read-only or "fails once", where the disk refuses; blocked, where a reader keeps a
    file from being renamed for a moment, as on Windows; overtaken, where a second process does the same to its end; or a signal's
    name.
    """

    def __init__(self, folder: Path, plan: dict[str, Any] | None, words: list[str]) -> None:
        self.plan = plan or {}
        self.words = words
        self.counts: dict[str, int] = {}
        self.refuses = False
        self.blocks = 0
        self._trace = os.open(folder / "trace.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._batches = os.open(folder / "batches.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def prepare(self) -> None:
        """Put the points of death where they belong."""
        import lmlab.experiment.session as session
        from lmlab.experiment import outline
        from lmlab.files import Storage
        from lmlab.training.step import TrainingStep
        from tests.trial import tried_before

        os.replace = self.blocked(os.replace)
        for name in OPERATIONS:
            setattr(Storage, name, self.watched("disk", getattr(Storage, name), name))
        TrainingStep.gradients = self.hashed(self.watched("step", TrainingStep.gradients))
        session.evaluate_sample = self.watched("evaluation", session.evaluate_sample)
        session.evaluate_split = self.watched("whole split", session.evaluate_split)
        session.generate = self.watched("sampling", session.generate)
        # A trial runs in a process of its own, out of reach of these points, and takes the seconds of an import of torch.
        outline.try_here = tried_before

    def watched(self, point: str, function: Any, name: str = "") -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            index = self.counts.get(point, 0)
            self.counts[point] = index + 1
            os.write(self._trace, f"{point} {index} {name}\n".encode())
            when = self.plan["when"] if self.comes(point, index, name) else ""
            if when == "before":
                die()
            if when.startswith("SIG"):
                os.kill(PROCESS(), getattr(signal, when))
            if when == "overtaken":
                self.overtaken()
            if when == "blocked":
                self.blocks = TIMES_BLOCKED
            if when == "during" and name == "write":
                storage, file, content = arguments
                function(storage, file, memoryview(content)[: len(content) // 2])
                die()
            if point == "disk":
                self.refuse(name, when)
            result = function(*arguments, **options)
            if when in ("during", "after"):
                die()
            return result

        return wrapper

    def comes(self, point: str, index: int, name: str) -> bool:
        """Whether the plan's point has come.

        How many operations came before depends on what earlier processes left, so one that is overtaken is so at the next operation
        behind which it asks: a change whose system call has begun can't be taken back.
        """
        if self.plan.get("point") != point:
            return False
        if point == "disk" and self.plan["when"] == "overtaken":
            return index >= self.plan["index"] and name in ASKED_AFTER
        return bool(index == self.plan["index"])

    def blocked(self, replace: Any) -> Any:
        """`os.replace` as Windows has it while a reader has the file open."""

        @functools.wraps(replace)
        def wrapper(old: Any, new: Any) -> None:
            if self.blocks:
                self.blocks -= 1
                error = PermissionError(errno.EACCES, "The process cannot access the file")
                error.winerror = SHARING_VIOLATION  # type: ignore[attr-defined,unused-ignore]
                raise error
            replace(old, new)

        return wrapper

    def overtaken(self) -> None:
        """A second process gives the same command, and comes to the end."""
        self.plan = {}
        process = os.fork()
        if process == 0:
            from lmlab.cli import main

            os._exit(main(self.words))
        os.waitpid(process, 0)

    def refuse(self, name: str, when: str) -> None:
        """Raise what the disk says to that operation, where the plan's point has come."""
        if when == "fails once":
            raise OSError(REFUSED[when], os.strerror(REFUSED[when]))
        self.refuses = self.refuses or when in REFUSED
        planned = self.plan.get("when", "")
        if self.refuses and name not in STILL_DONE.get(planned, ()):
            raise OSError(REFUSED[planned], os.strerror(REFUSED[planned]))

    def hashed(self, gradients: Any) -> Any:
        """Notes each batch's hash beside its step; a line is one write, so that a death tears none."""

        @functools.wraps(gradients)
        def wrapper(step: Any, state: Any) -> Any:
            inputs, targets = step.batch(state.cursor)
            digest = hashlib.sha256(inputs.tobytes() + targets.tobytes()).hexdigest()
            os.write(self._batches, f"{state.step} {digest}\n".encode())
            return gradients(step, state)

        return wrapper


def die() -> None:
    """As a power cut would: nothing of ours runs after it."""
    os.kill(PROCESS(), signal.SIGKILL)


def child(request: dict[str, Any]) -> int:
    """In the fork: the command line, with its output in a file."""
    folder = Path(request["folder"])
    printed = os.open(folder / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    Victim(folder, request["plan"], request["words"]).prepare()
    os.environ.update(request["environment"])
    for what in request["surroundings"]:
        SURROUNDINGS[what]()
    from lmlab.cli import main

    known = set(sys.modules)
    try:
        return main(request["words"])
    finally:
        (folder / "modules.txt").write_text("\n".join(sorted(set(sys.modules) - known)))


def let_the_clock_jump() -> None:
    """Every look at the calendar finds it an hour earlier or a day later; `time.time` too."""
    import lmlab.runs.lines as lines

    looks = itertools.count()

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + datetime.timedelta(hours=(-1, 24, 0)[next(looks) % 3])

    lines.datetime = types.SimpleNamespace(datetime=Jumping, UTC=datetime.UTC)  # type: ignore[assignment]
    clock = time.time
    time.time = lambda: clock() + (-3600.0, 86_400.0)[next(looks) % 2]


def keep_locks_local() -> None:
    """Every process gets a run's lock, as on a file system whose locks end at the machine."""
    import lmlab.runs.lock as lock

    lock.try_lock = lambda *arguments, **options: True


def have_equal_process_ids() -> None:
    """Every process has the number 1, as in containers."""
    os.getpid = lambda: 1


def score_the_abandoned_line_best() -> None:
    """What the evaluation of step 40 finds is better before a rewind than after it, and than whatever comes later."""
    _plan_losses({0: 5.0, 20: 4.0, 40: 1.0, 60: 3.0})


def score_an_earlier_step_best() -> None:
    """The same, and the best of all that stays is that of step 20, from before the checkpoint that a rewind goes back to."""
    _plan_losses({0: 5.0, 20: 1.5, 40: 1.0, 60: 3.0})


def _plan_losses(by_step: dict[int, float]) -> None:
    """The loss of each evaluation, one more at step 40 once the run has gone back: a function of the state alone."""
    from lmlab.experiment.session import Session

    honest = Session._evaluate

    def evaluate(self: Any, state: Any, stop: Any) -> Any:
        scores = honest(self, state, stop)
        loss = by_step[state.step] + (state.step == 40 and state.guard.rewinds > 0)
        return dataclasses.replace(scores, valid_loss=loss, metrics={**scores.metrics, "valid_loss": loss})

    Session._evaluate = evaluate  # type: ignore[method-assign]


SURROUNDINGS = {
    "an abandoned best": score_the_abandoned_line_best,
    "an earlier best": score_an_earlier_step_best,
    "a jumping clock": let_the_clock_jump,
    "local locks": keep_locks_local,
    "equal process ids": have_equal_process_ids,
}


def import_what_was_needed(listed: Path) -> None:
    """What a child had to import is imported here, so that the next finds it."""
    for name in listed.read_text().split() if listed.exists() else ():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def serve() -> None:
    """Answer requests until standard input ends."""
    for module in ("cli.train", "experiment.start", "experiment.resuming"):
        importlib.import_module(f"lmlab.{module}")
    answers = os.dup(1)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            status = 1
            try:
                status = child(request)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, waited = os.waitpid(process, 0)
        import_what_was_needed(Path(request["folder"]) / "modules.txt")
        os.write(answers, (json.dumps({"status": os.waitstatus_to_exitcode(waited)}) + "\n").encode())


if __name__ == "__main__":
    serve()
