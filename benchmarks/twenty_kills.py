"""A picture of what a kill does to a run: nothing.

    python -m benchmarks.twenty_kills --corpus input.txt --out docs/images/twenty-kills.png

A training is let alone; the same one is killed twenty times by SIGKILL, at random steps, and continued each time by the same
command. Both are drawn, and held against each other: every line of metrics, and the SHA-256 of weights and optimizer.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import context
from benchmarks.worker import ROOT
from lmlab.checkpoint.finding import find
from lmlab.files import write_json
from lmlab.report.style import QUIET, SETTINGS, TRAIN, VALID, quiet_ticks
from lmlab.runs import Run, open_run, read_lines

KILLS = 20
SETTINGS_OF_RUN = {"train.steps": 600, "train.checkpoint_every": 50, "evaluate.every": 50, "train.log_every": 5}
POLL_SECONDS = 0.005
VOLATILE = {"id", "segment", "time", "tokens_per_second", "mfu", "seconds", "joules"}


def command(corpus: Path, runs: Path, name: str) -> list[str]:
    """The training, begun or gone on with."""
    settings = {"data.corpus": corpus.resolve(), **SETTINGS_OF_RUN}
    flags = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    words = ["train", "shakespeare-cpu", *flags, "--runs", str(runs), "--run", name, "--or-resume", "--quiet"]
    return [sys.executable, "-m", "lmlab", *words]


def killed(corpus: Path, runs: Path, name: str, seed: int) -> list[int]:
    """Train with kills; the steps that the run had reached at each."""
    chance = random.Random(seed)
    wanted = sorted(chance.sample(range(10, SETTINGS_OF_RUN["train.steps"] - 5), KILLS))
    metrics, found = runs / name / "metrics.jsonl", []
    for step in wanted:
        process = subprocess.Popen(command(corpus, runs, name), cwd=ROOT)
        while process.poll() is None and reached(metrics) < step:
            time.sleep(POLL_SECONDS)
        time.sleep(chance.random() * 0.1)  # into a step, an evaluation or a save
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            found.append(reached(metrics))
            print(f"killed at step {found[-1]}", file=sys.stderr, flush=True)
    subprocess.run(command(corpus, runs, name), cwd=ROOT, check=True)
    return found


def reached(metrics: Path) -> int:
    """The step of the last line of training."""
    if not metrics.exists():
        return 0
    return max((line["step"] for line in read_lines(metrics) if line["kind"] == "train"), default=0)


def lines(run: Run) -> list[dict[str, Any]]:
    """The lines of metrics without what no two runs share."""
    return [{key: value for key, value in line.items() if key not in VOLATILE} for line in run.read_lines("metrics")]


def differences(one: Run, other: Run) -> dict[str, int]:
    """How many lines and files differ."""
    left, right = lines(one), lines(other)
    files = [find(run.checkpoints, "latest")[0].manifest["files"] for run in (one, other)]
    return {
        "lines": sum(a != b for a, b in zip(left, right, strict=False)) + abs(len(left) - len(right)),
        "tensor files": sum(
            files[0][name]["sha256"] != files[1][name]["sha256"]
            for name in ("weights.safetensors", "optimizer.safetensors")
        ),
    }


def draw(untouched: Run, killed_run: Run, kills: list[int], found: dict[str, int], path: Path) -> None:
    """Both curves, one above the other, and their difference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(SETTINGS):
        figure, (above, below) = pyplot.subplots(
            2, 1, figsize=(10, 6.2), sharex=True, height_ratios=(4, 1), layout="constrained"
        )
        for run, colour, width, label in (
            (untouched, VALID, 5.0, "never touched"),
            (killed_run, TRAIN, 1.6, f"killed {len(kills)} times"),
        ):
            train = [line for line in lines(run) if line["kind"] == "train"]
            above.plot(
                [line["step"] for line in train],
                [line["loss"] for line in train],
                color=colour,
                linewidth=width,
                alpha=0.45 if width > 2 else 1.0,
                label=label,
            )
        for number, kill in enumerate(kills):
            above.axvline(kill, color=QUIET, linewidth=0.8, linestyle=":", label="SIGKILL" if number == 0 else None)
        pairs = list(zip(lines(untouched), lines(killed_run), strict=True))
        trained = [(one["step"], other["loss"] - one["loss"]) for one, other in pairs if one["kind"] == "train"]
        below.plot([step for step, _ in trained], [apart for _, apart in trained], color=TRAIN, linewidth=1.6)
        below.set_ylim(-1e-6, 1e-6)
        below.set_title("difference of the two losses")
        below.set_xlabel("step")
        above.set_title("training loss, nats a token")
        above.legend(framealpha=1.0, edgecolor="white")
        figure.suptitle(
            f"{len(kills)} kills: {found['lines']} of {len(pairs)} lines and {found['tensor files']} of 2 tensor files differ"
        )
        quiet_ticks(below)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)


def main() -> int:
    """Train both, compare, draw; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="tiny Shakespeare")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("twenty-kills.png"))
    options = parser.parse_args()
    around = context(None)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        subprocess.run(command(options.corpus, runs, "untouched"), cwd=ROOT, check=True)
        kills = killed(options.corpus, runs, "killed", options.seed)
        one, other = (open_run(name, runs)[0] for name in ("untouched", "killed"))
        found = differences(one, other)
        draw(one, other, kills, found, options.out)
    write_json(options.out.with_suffix(".json"), {**around, "kills": kills, "differing": found})
    print(json.dumps({"kills": kills, "differing": found}))
    print(options.out)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
