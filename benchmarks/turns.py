"""Sides that take turns: each computes in a process of its own, and only while it is told to.

Two processes that compute at the same time take each other's cores, and one process that holds two libraries has them
share threads and memory. So each side is a worker process. The protocol is lines over pipes:

    worker -> {"ready": true, "facts": {...}}          prepared, with what belongs beside its figures
    parent -> go 8                                     do 8 units of work
    worker -> {"seconds": 0.52}                        done
    worker -> {"unavailable": "..."}                   this side can't be measured here, and why
    (end of input)                                     the worker ends

Rounds go A B C A B C, so that what slows the machine for a while slows all sides.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

from lmlab import LabError

REST_SECONDS = 0.05
"""Between turns: idle threads of the last side spin for some milliseconds before they sleep."""
END_SECONDS = 20.0
STDERR_SHOWN = 2000


class Unavailable(Exception):
    """This side can't be measured here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker prepared: does so many units and returns how much it counted while doing them."""

    run: Callable[[int], None]
    """Does that many units."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For the results; `tokens` is how many tokens a unit has."""


def serve(prepare: Callable[[], Work]) -> None:
    """The worker's end: prepare, then do as told until the input ends. Standard output belongs to the protocol."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as replies:
        # What the libraries print must not come between.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def reply(value: dict[str, Any]) -> None:
            replies.write(json.dumps(value) + "\n")
            replies.flush()

        try:
            work = prepare()
        except (LabError, Unavailable, ImportError) as error:
            reply({"unavailable": str(error)})
            return
        reply({"ready": True, "facts": work.facts})
        for line in sys.stdin:
            order, _, count = line.strip().partition(" ")
            if order != "go":
                raise ValueError(f"unknown order {line!r}")
            started = time.perf_counter()
            work.run(int(count))
            reply({"seconds": time.perf_counter() - started})


class Worker:
    """The parent's end of a worker process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it is prepared; Unavailable where it says that it can't be measured."""
        self._errors: TextIO = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **(environment or {})},
        )
        try:
            first = self._reply()
            if "unavailable" in first:
                raise Unavailable(first["unavailable"])
        except BaseException:
            self.close()
            raise
        self.facts: dict[str, Any] = first["facts"]

    def go(self, units: int) -> float:
        """Seconds that so many units of work took in the worker."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"go {units}\n")
        self._process.stdin.flush()
        return float(self._reply()["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):  # it may have ended already
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read()[-STDERR_SHOWN:].strip()
            raise LabError(f"a worker ended with status {self._process.returncode}: {said or 'it said nothing'}")
        value: dict[str, Any] = json.loads(line)
        return value


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What the rounds gave: for each side, seconds a unit in each round."""

    seconds_a_unit: dict[str, tuple[float, ...]]
    units: dict[str, int]
    """How many units of work a turn had."""
    facts: dict[str, dict[str, Any]]
    unavailable: dict[str, str]
    """Sides that couldn't be measured, and why."""

    def rates(self, side: str, per_unit: float) -> tuple[float, ...]:
        """`per_unit` things a unit, as things a second in each round."""
        return tuple(per_unit / seconds for seconds in self.seconds_a_unit[side])


def take_turns(sides: Mapping[str, Callable[[], Worker]], rounds: int, turn_seconds: float) -> Turns:
    """Start all sides, warm each up, then measure `rounds` rounds in which each has one turn of about `turn_seconds`."""
    unavailable: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, start in sides.items():
            try:
                workers[name] = stack.enter_context(start())
            except Unavailable as error:
                unavailable[name] = str(error)
        units = {name: units_a_turn(worker, turn_seconds) for name, worker in workers.items()}
        samples: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                time.sleep(REST_SECONDS)
                samples[name].append(worker.go(units[name]) / units[name])
        return Turns(
            seconds_a_unit={name: tuple(values) for name, values in samples.items()},
            units=units,
            facts={name: worker.facts for name, worker in workers.items()},
            unavailable=unavailable,
        )


def units_a_turn(worker: Worker, turn_seconds: float) -> int:
    """Warm up (the first unit compiles and fills caches) and find how many units take about `turn_seconds`."""
    worker.go(1)
    units = 1
    while (seconds := worker.go(units)) < turn_seconds / 4:
        units *= 4
    return max(1, round(units * turn_seconds / seconds))
