"""Several worker processes on one study; they end with this process, which forwards its signals to them once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from lmlab import LabError, StorageError
from lmlab.planning.trials.child import environment
from lmlab.study.grid.worker import REFUSED, REFUSED_STATUS, Work, request_of
from lmlab.training.signals import StopRequests

COMMAND = (sys.executable, "-P", "-m", "lmlab.study.grid.worker")
POLL_SECONDS = 0.1
STOPPED = 3


def work_together(work: Work, workers: int, say: Callable[[str], object], gpus: Sequence[str] = ()) -> bool:
    """Train what is left with so many workers; False where a signal stopped them. LabError where one of them failed.

    Each worker has one of the `gpus` (`visible_gpus`), in turn, as its only one; without any, workers choose their devices
    themselves. Where the disk fails for one of them, the others save and end too, and StorageError has its message.
    """
    processes = [_started(work, [gpus[number % len(gpus)]] if gpus else []) for number in range(workers)]
    refusals: list[str] = []
    readers = [
        threading.Thread(target=_pass_on, args=(_pipe(one.stdout), say, refusals), daemon=True) for one in processes
    ]
    for reader in readers:
        reader.start()
    try:
        # Each has its own session, so that Ctrl-C reaches them only through this process: a second signal would end them unsaved.
        with StopRequests(set) as stop:
            told = False
            while any(one.poll() is None for one in processes):
                refused = any(one.poll() == REFUSED_STATUS for one in processes)
                if (stop.stopping() or refused) and not told:
                    told = True
                    for one in processes:
                        with contextlib.suppress(OSError):
                            one.send_signal(signal.SIGTERM)
                time.sleep(POLL_SECONDS)
    finally:
        for one in processes:
            with contextlib.suppress(OSError):
                _pipe(one.stdin).close()  # it saves and ends, where it hasn't yet
    for reader in readers:
        reader.join()
    if any(one.returncode == REFUSED_STATUS for one in processes):
        raise StorageError(refusals[0] if refusals else "the disk failed for a worker, which ended without a message")
    broken = [one.returncode for one in processes if one.returncode not in (0, STOPPED)]
    if broken:
        raise LabError(
            f"{len(broken)} of {workers} workers ended with status {broken[0]}: the same command continues with what they left"
        )
    return all(one.returncode == 0 for one in processes)


def _started(work: Work, gpus: Sequence[str]) -> subprocess.Popen[str]:
    own = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    try:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment() | own,
            start_new_session=os.name != "nt",
        )
    except OSError as error:
        raise LabError(f"no process can be started for a worker: {error.strerror}") from None
    with contextlib.suppress(OSError):  # it has ended already; its status says so
        _pipe(process.stdin).write(request_of(work) + "\n")
        _pipe(process.stdin).flush()
    return process


def _pass_on(lines: IO[str], say: Callable[[str], object], refusals: list[str]) -> None:
    with lines:
        for line in lines:
            if line.startswith(REFUSED):
                refusals.append(line.removeprefix(REFUSED).rstrip("\n"))
            else:
                say(line.rstrip("\n"))


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
