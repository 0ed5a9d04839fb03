"""lmlab by its own command line: `python -m lmlab train RECIPE --setting value ...`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.commands import Finished, run_command
from benchmarks.worker import ROOT, thread_settings
from lmlab.runs.lines import read_lines

RUN = "measured"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that ran to its end."""

    finished: Finished
    summary: dict[str, Any]
    first_step_seconds: float | None
    """From the start of the process to the end of the first training step, where each step was logged."""

    @property
    def loss(self) -> float:
        """Of the last step, over the whole validation split."""
        return float(self.summary["final"]["loss"])

    @property
    def evaluate_seconds(self) -> float:
        """Spent on evaluations and samples, the last one over the whole split too."""
        return float(self.summary["score"]["evaluate_seconds"]["measured"])


def train(
    recipe: str, settings: Mapping[str, Any], threads: int, environment: Mapping[str, str] | None = None
) -> Trained:
    """One training; `settings` are dotted names."""
    flags = [word for name, value in settings.items() for word in (f"--{name}", as_flag(value))]
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["--train.threads", str(threads), "--runs", folder, "--run", RUN, "--json"]
        command = [sys.executable, "-m", "lmlab", "train", recipe, *flags, *fixed]
        finished = run_command(command, ROOT, {**thread_settings(threads), **(environment or {})})
        steps = [line for line in read_lines(Path(folder) / RUN / "metrics.jsonl") if line["kind"] == "train"]
    first = None
    if steps and steps[0]["step"] == 1:
        first = datetime.fromisoformat(steps[0]["time"]).timestamp() - finished.started
    return Trained(finished=finished, summary=json.loads(finished.output), first_step_seconds=first)


def as_flag(value: Any) -> str:
    """A setting's value as the command line takes it.

    >>> as_flag((2, 3)), as_flag(True), as_flag(0.02)
    ('2, 3', 'true', '0.02')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
