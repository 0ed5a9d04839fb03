"""A worker process: `python -m benchmarks.worker MODULE:FUNCTION '{"its": "arguments"}'`, started by `start`."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.turns import Worker, serve

ROOT = Path(__file__).parents[1]


def start(task: str, threads: int, **arguments: Any) -> Worker:
    """Start the function `task` ("benchmarks.ours:training"), which returns a Work, in a process with so many threads."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "benchmarks.worker", task, json.dumps({"threads": threads, **arguments})]
    return Worker(command, {**thread_settings(threads), "PYTHONPATH": path})


def thread_settings(threads: int) -> dict[str, str]:
    """Environment variables that set the threads of OpenMP and MKL before a library reads them."""
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def main() -> None:
    """Prepare and serve."""
    module, _, function = sys.argv[1].partition(":")
    arguments = json.loads(sys.argv[2])
    serve(lambda: getattr(importlib.import_module(module), function)(**arguments))


if __name__ == "__main__":
    main()
