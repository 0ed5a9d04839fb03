"""Whole commands, started as their users start them: wall time, processor time and what they printed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError

STDERR_SHOWN = 2000


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A command that ended well."""

    seconds: float
    """Wall time from before the process was started until it had ended."""
    cpu_seconds: float | None
    """Processor time of the process and those that it started; None on Windows, which doesn't tell."""
    output: str
    started: float
    """When it was started, by `time.time`."""
    noticed_seconds: float | None = None
    """Wall time until it printed the line that was looked for."""


def run_command(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    notice: Callable[[str], bool] | None = None,
) -> Finished:
    """Run it to its end; LabError with the end of its error output where it fails. `notice` tells the line looked for."""
    noticed: float | None = None
    lines: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        cpu_before, started_at, started = _children_seconds(), time.time(), time.perf_counter()
        with subprocess.Popen(
            list(command),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if noticed is None and notice is not None and notice(line):
                    noticed = time.perf_counter() - started
                lines.append(line)
        seconds = time.perf_counter() - started
        cpu_after = _children_seconds()
        if process.returncode:
            errors.seek(0)
            raise LabError(f"{' '.join(command)} failed:\n{errors.read()[-STDERR_SHOWN:]}")
    cpu = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return Finished(
        seconds=seconds, cpu_seconds=cpu, output="".join(lines), started=started_at, noticed_seconds=noticed
    )


def _children_seconds() -> float | None:
    """Processor seconds of all processes that this one started and that have ended."""
    if sys.platform == "win32":
        return None
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
