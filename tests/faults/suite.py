"""Kill a training, let it go on, kill it again, and hold what is left at the end against one that was never touched."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.checkpoint.finding import find
from lmlab.checkpoint.pointers import read_pointer
from lmlab.data.dataset import open_dataset
from lmlab.runs import open_run

MOST_TRIES = 4
LASTING_EVENTS = ("spike", "skipped_update", "rewind", "forecast_missed")
VOLATILE = {"id", "segment", "time", "tokens_per_second", "mfu", "mfu_datasheet", "seconds", "joules"}
"""Fields of a line that no two runs share."""


tally: collections.Counter[str] = collections.Counter()
"""What this process of the tests has let come: kills, refusals, signals; and comparisons that came out equal."""
STOPPED = 3


@dataclass(frozen=True)
class Fault:
    """What is to come the `index`-th time that a process comes to `point`; `when` as the nursery has it."""

    point: str
    index: int
    when: str = "before"

    def plan(self) -> dict[str, Any]:
        """For the nursery."""
        return {"point": self.point, "index": self.index, "when": self.when}


class Nursery:
    """`with Nursery(environment) as nursery: nursery.run(words, folder, kill)` -> exit status, or minus the signal."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
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

    def run(
        self,
        words: list[str],
        folder: Path,
        fault: Fault | None = None,
        environment: dict[str, str] | None = None,
        surroundings: tuple[str, ...] = (),
    ) -> int:
        """One training, resume or evaluation, in a process that may die."""
        assert self._process.stdin and self._process.stdout
        folder.mkdir(parents=True, exist_ok=True)
        request = {
            "words": words,
            "folder": str(folder),
            "plan": fault.plan() if fault else None,
            "environment": environment or {},
            "surroundings": surroundings,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline())["status"])


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A recipe and all that its trials need."""

    nursery: Nursery
    words: list[str]
    """`lmlab train`, as far as all trials share it."""
    folder: Path
    untouched: dict[str, Any]
    """What a run came to that was let alone."""
    surroundings: tuple[str, ...] = ()
    """What is otherwise than usual in all of its trials."""

    def points(self) -> list[Fault]:
        """Where it can be killed."""
        return points(self.folder / "untouched")


def points(folder: Path) -> list[Fault]:
    """Every point that an untouched run passed, from its trace.

    A write has a middle too. After an operation of the disk is before the next one, or before whatever else comes.
    """
    found = []
    for line in (folder / "trace.txt").read_text().splitlines():
        point, index, name = line.rsplit(" ", 2)
        whens = ("before", "during") if name == "write" else ("before",) if point == "disk" else ("before", "after")
        found += [Fault(point, int(index), when) for when in whens]
    return found


def end_of(runs: Path, name: str, folder: Path) -> dict[str, Any]:
    """All that must be equal at the end: tensors, lines, scores, samples, and the last hash of each step's batch."""
    run, _ = open_run(name, runs)
    checkpoint, warnings = find(run.checkpoints, "latest")
    best, more = find(run.checkpoints, "best")
    assert not warnings and not more
    pointers = {which: read_pointer(run.checkpoints, which) or {} for which in ("latest", "best")}
    files = checkpoint.manifest["files"]
    batches = dict(line.split() for line in (folder / "batches.txt").read_text().splitlines())
    summary = run.summary() or {}
    return {
        "weights": files["weights.safetensors"]["sha256"],
        "optimizer": files["optimizer.safetensors"]["sha256"],
        "step": checkpoint.step,
        "best": (best.step, best.sha256_of("weights"), pointers["best"].get("loss")),
        "pointers": {which: pointer.get("step") for which, pointer in pointers.items()},
        "batches": batches,
        "metrics": [_lasting(line) for line in run.read_lines("metrics")],
        "samples": [_lasting(line) for line in run.read_lines("samples")],
        "units": run.units().tobytes(),
        "loss": summary["final"]["loss"],
        "events": [_lasting(line) for line in run.read_lines("events") if line["kind"] in LASTING_EVENTS],
        "finished": summary["finished"],
    }


def _lasting(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in VOLATILE}


def continued_to_its_end(
    ground: Ground, name: str, faults: list[Fault], environment: dict[str, str] | None = None
) -> None:
    """Start a run, and each time that it ended too early go on with the same command, until it ends by itself."""
    folder = ground.folder / name
    command = [*ground.words, "--run", name, "--or-resume"]
    around = ground.surroundings
    statuses = [ground.nursery.run(command, folder, fault, environment, around) for fault in faults]
    for fault, status in zip(faults, statuses, strict=True):
        _count(fault, status, folder, first=fault is faults[0])
    for _ in range(MOST_TRIES):
        if ground.nursery.run(command, folder, None, environment, around) == 0:
            return
    raise AssertionError(f"after {faults} it didn't come to its end: {last_lines(folder)}")


def _count(fault: Fault, status: int, folder: Path, first: bool) -> None:
    """Check how the process ended, and count it.

    Not every fault comes: a later one may have less left to do, and an untouched run may have made a few operations more, for
    what it measured of a machine that was busy.
    """
    if fault.when in ("before", "during", "after"):
        assert status in (-signal.SIGKILL, 0), f"{fault} ended with {status}: {last_lines(folder)}"
        tally["kills"] += status == -signal.SIGKILL
        tally["points that were not reached"] += first and status == 0
    elif fault.when == "blocked":
        assert status == 0, f"{fault} ended with {status}: {last_lines(folder)}"
        tally["renames that a reader blocked"] += 1
    elif fault.when.startswith("SIG"):
        # What comes in the last moments may find nothing left to stop.
        assert status in (STOPPED, 0), f"{fault} ended with {status}: {last_lines(folder)}"
        tally["signals"] += status == STOPPED
    else:
        assert status in (0, 1), f"{fault} ended with {status}: {last_lines(folder)}"
        if status == 1:
            assert last_lines(folder)[-1].startswith("lmlab: "), last_lines(folder)
        tally["refusals"] += status == 1
    assert "Traceback" not in (folder / "printed.txt").read_text(errors="replace"), last_lines(folder)


def assert_same_end(ground: Ground, name: str, faults: list[Fault], environment: dict[str, str] | None = None) -> None:
    """A run that these faults come upon ends as the untouched one did, to the last bit."""
    continued_to_its_end(ground, name, faults, environment)
    end = end_of(ground.folder / "runs", name, ground.folder / name)
    for what, expected in ground.untouched.items():
        assert end[what] == expected, f"{what} after {faults}"
    tally["equal ends"] += 1
    shutil.rmtree(ground.folder / "runs" / name)


@dataclass(frozen=True, kw_only=True)
class Extending:
    """A prepared data set, the text that is added to it, and what both come to untouched."""

    nursery: Nursery
    words: list[str]
    """`lmlab data extend`."""
    folder: Path
    cache: Path
    """With the old data set; each trial has a copy."""
    untouched: dict[str, dict[str, str]]


def datasets_in(cache: Path) -> dict[str, dict[str, str]]:
    """SHA-256 by file by data set, each found whole; manifests, which have the time in them, count without it."""
    found = {}
    for folder in sorted((cache / "datasets").iterdir()):
        open_dataset(folder).verify()
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        manifest = json.loads((folder / "manifest.json").read_text())
        hashes["manifest.json"] = json.dumps({**manifest, "created": ""}, sort_keys=True)
        found[folder.name] = hashes
    return found


def _age(cache: Path) -> None:
    """What hidden files and folders a killed process left are two hours old: others may be a living process's."""
    then = time.time() - 7200
    for left in cache.rglob(".*"):
        for path in (*left.rglob("*"), left) if left.is_dir() else (left,):
            os.utime(path, (then, then), follow_symlinks=False)


def assert_same_extension(extending: Extending, name: str, faults: list[Fault]) -> None:
    """The same command again, after each fault, ends with the same data sets, and with nothing beside them."""
    folder, cache = extending.folder / name, extending.folder / f"{name}-cache"
    shutil.copytree(extending.cache, cache)
    environment = {"LMLAB_CACHE": str(cache)}
    for fault in faults:
        status = extending.nursery.run(extending.words, folder, fault, environment)
        _count(fault, status, folder, first=fault is faults[0])
        for path in (cache / "datasets").iterdir():
            if not path.name.startswith("."):
                open_dataset(path).verify()
        _age(cache)
    assert extending.nursery.run(extending.words, folder, None, environment) == 0, last_lines(folder)
    assert datasets_in(cache) == extending.untouched, f"after {faults}"
    left = [path for path in cache.rglob(".*") if path.name != ".lock"]
    assert not left, f"{left} after {faults}"
    tally["equal extensions"] += 1
    shutil.rmtree(cache)


def last_lines(folder: Path) -> list[str]:
    """What a child printed last."""
    return (folder / "printed.txt").read_text(errors="replace").splitlines()[-5:]
