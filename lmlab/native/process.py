"""Running of compilers and self-checks, with a time limit after which they are killed together with their children.

A compiler is a driver that starts the actual compiler, and a wrapper such as ccache or distcc starts the driver. Each command has
its own process group, so that all of them are killed at the limit, or if this process is interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    command: tuple[str, ...]
    status: int | None
    """Exit status, negative for the signal that ended it; None if it was killed at the time limit."""
    output: str
    """Standard output and standard error together."""


def run_command(command: Sequence[str], seconds: float, folder: Path | None = None) -> CommandResult:
    """Run one command for at most `seconds`. OSError if it can't be started."""
    (result,) = run_commands([command], seconds, folder)
    return result


def run_commands(
    commands: Sequence[Sequence[str]], seconds: float, folder: Path | None = None, at_once: int = 1
) -> list[CommandResult]:
    """Run commands in `folder`, up to `at_once` in parallel, for at most `seconds` in total, in the C locale.

    OSError if one can't be started. None of them is left running when this returns or raises.
    """
    deadline = time.monotonic() + seconds
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        # Files and not pipes, because a pipe stays open while any child process holds it.
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        try:
            for command, output in zip(commands, outputs, strict=True):
                _wait_until_fewer(processes, at_once, deadline)
                processes.append(_start(command, folder, output))
            _wait_until_fewer(processes, 1, deadline)
            statuses = [process.poll() for process in processes]
        finally:
            for process in processes:
                _end(process)
        return [
            CommandResult(tuple(command), status, _text(output))
            for command, status, output in zip(commands, statuses, outputs, strict=True)
        ]


def _wait_until_fewer(processes: Sequence[subprocess.Popen[bytes]], count: int, deadline: float) -> None:
    """Wait until fewer than `count` of the processes run, or until the deadline."""
    while time.monotonic() < deadline:
        running = [process for process in processes if process.poll() is None]
        if len(running) < count:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            running[0].wait(POLL_SECONDS)


def _start(command: Sequence[str], folder: Path | None, output: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}
    if sys.platform == "win32":
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that still runs, and its children."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode("utf-8", errors="replace").replace("\r\n", "\n")
