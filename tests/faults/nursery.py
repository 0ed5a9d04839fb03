"""Trainings that die where they are told: one process imports everything, and each training is a fork of it.

    python -m tests.faults.nursery      reads a request a line on standard input, answers each with a line

A request is {"words": [...], "folder": ..., "plan": {...} or null}: `lmlab`'s command line, the folder for what the child
writes beside its run (what it printed, the trace of its disk operations, the hashes of its batches), and where it is to be
killed. The answer is {"status": N}: the exit status, or minus the signal. Forking takes milliseconds where starting Python and
importing torch takes seconds; nothing is computed before the fork, so that no thread is lost in it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

OPERATIONS = (
    *("make_folder", "open", "write", "truncate", "flush"),
    *("flush_folder", "rename", "remove", "remove_folder"),
)
"""Of `lmlab.files.Storage`: all that durable writing is made of."""


class Victim:
    """Counts what happens in this process, writes it down, and kills the process where the plan says so.

    A plan is {"point": "disk" or a name below, "index": N, "when": "before" | "during" | "after"}: the N-th time, from 0.
    """

    def __init__(self, folder: Path, plan: dict[str, Any] | None) -> None:
        self.plan = plan or {}
        self.counts: dict[str, int] = {}
        self._trace = os.open(folder / "trace.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._batches = os.open(folder / "batches.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def prepare(self) -> None:
        """Put the points of death where they belong."""
        import lmlab.experiment.session as session
        from lmlab.files import Storage
        from lmlab.training.step import TrainingStep

        for name in OPERATIONS:
            setattr(Storage, name, self.watched("disk", getattr(Storage, name), name))
        TrainingStep.take = self.watched("step", TrainingStep.take)
        TrainingStep._batch = self.hashed(TrainingStep._batch)
        session.evaluate_sample = self.watched("evaluation", session.evaluate_sample)
        session.evaluate_split = self.watched("whole split", session.evaluate_split)
        session.generate = self.watched("sampling", session.generate)

    def watched(self, point: str, function: Any, name: str = "") -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            index = self.counts.get(point, 0)
            self.counts[point] = index + 1
            os.write(self._trace, f"{point} {index} {name}\n".encode())
            dies = self.plan.get("point") == point and self.plan.get("index") == index
            if dies and self.plan["when"] == "before":
                die()
            if dies and self.plan["when"] == "during" and name == "write":
                storage, file, content = arguments
                function(storage, file, memoryview(content)[: len(content) // 2])
                die()
            result = function(*arguments, **options)
            if dies:
                die()
            return result

        return wrapper

    def hashed(self, batch: Any) -> Any:
        """Notes each batch's hash beside its step; a line is one write, so that a death tears none."""

        @functools.wraps(batch)
        def wrapper(step: Any, state: Any) -> Any:
            inputs, targets = batch(step, state)
            digest = hashlib.sha256(inputs.tobytes() + targets.tobytes()).hexdigest()
            os.write(self._batches, f"{state.step} {digest}\n".encode())
            return inputs, targets

        return wrapper


def die() -> None:
    """As a power cut would: nothing of ours runs after it."""
    os.kill(os.getpid(), signal.SIGKILL)


def child(request: dict[str, Any]) -> int:
    """In the fork: the command line, with its output in a file."""
    folder = Path(request["folder"])
    printed = os.open(folder / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    Victim(folder, request["plan"]).prepare()
    from lmlab.cli import main

    return main(request["words"])


def serve() -> None:
    """Answer requests until standard input ends."""
    for module in ("cli.train", "experiment.start", "experiment.resuming"):
        importlib.import_module(f"lmlab.{module}")
    answers = os.dup(1)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            status = 1
            try:
                status = child(json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, waited = os.waitpid(process, 0)
        os.write(answers, (json.dumps({"status": os.waitstatus_to_exitcode(waited)}) + "\n").encode())


if __name__ == "__main__":
    serve()
