"""Kill a training, let it go on, kill it again, and hold what is left at the end against one that was never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.checkpoint import find
from lmlab.runs import open_run

MOST_TRIES = 4
VOLATILE = {"id", "segment", "time", "tokens_per_second", "mfu", "seconds"}
"""Fields of a line that no two runs share."""


@dataclass(frozen=True)
class Kill:
    """Where a process is to die: the `index`-th time that it comes to `point`, before, during or after it."""

    point: str
    index: int
    when: str = "before"

    def plan(self) -> dict[str, Any]:
        """For the nursery."""
        return {"point": self.point, "index": self.index, "when": self.when}


class Nursery:
    """`with Nursery(environment) as nursery: nursery.run(words, folder, kill)` -> exit status, or minus the signal."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def run(self, words: list[str], folder: Path, kill: Kill | None = None) -> int:
        """One training, resume or evaluation, in a process that may die."""
        assert self._process.stdin and self._process.stdout
        folder.mkdir(parents=True, exist_ok=True)
        request = {"words": words, "folder": str(folder), "plan": kill.plan() if kill else None}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline())["status"])


def points(folder: Path) -> list[Kill]:
    """Every point that an untouched run passed, from its trace; a write has a middle too."""
    found = []
    for line in (folder / "trace.txt").read_text().splitlines():
        point, index, name = line.rsplit(" ", 2)
        for when in ("before", "during", "after") if name == "write" else ("before", "after"):
            found.append(Kill(point, int(index), when))
    return found


def end_of(runs: Path, name: str, folder: Path) -> dict[str, Any]:
    """All that must be equal at the end: tensors, lines, scores, samples, and the last hash of each step's batch."""
    run, _ = open_run(name, runs)
    checkpoint, warnings = find(run.checkpoints, "latest")
    assert not warnings
    files = checkpoint.manifest["files"]
    batches = dict(line.split() for line in (folder / "batches.txt").read_text().splitlines())
    summary = run.summary() or {}
    return {
        "weights": files["weights.safetensors"]["sha256"],
        "optimizer": files["optimizer.safetensors"]["sha256"],
        "step": checkpoint.step,
        "batches": batches,
        "metrics": [_lasting(line) for line in run.read_lines("metrics")],
        "samples": [_lasting(line) for line in run.read_lines("samples")],
        "units": run.units().tobytes(),
        "loss": summary["final"]["loss"],
        "finished": summary["finished"],
    }


def _lasting(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in VOLATILE}


def killed_and_continued(nursery: Nursery, words: list[str], name: str, folder: Path, kills: list[Kill]) -> None:
    """Start the run, and each time that it is dead go on with the same command, until it ends by itself."""
    command = [*words, "--run", name, "--or-resume"]
    deaths = [nursery.run(command, folder, kill) for kill in kills]
    # The first comes to every point of the untouched run; a later one may have less left to do.
    assert deaths[0] == -signal.SIGKILL, f"{kills[0]} was never reached"
    for _ in range(MOST_TRIES):
        status = nursery.run(command, folder)
        if status == 0:
            return
    printed = (folder / "printed.txt").read_text(errors="replace").splitlines()[-5:]
    raise AssertionError(f"after {kills} it didn't come to its end: {printed}")
