"""The recipe shakespeare-cpu against nanoGPT itself: wall time of the whole command and loss on the whole validation split.

    python -m benchmarks.shakespeare_cpu --nanogpt PATH --text input.txt [--rounds 3] [--output result.json]

PATH is a checkout of karpathy/nanoGPT whose data/shakespeare_char/prepare.py was run. Both are started as their users start them,
in turn (A B A B ...), so that a machine that slows down slows both. nanoGPT's own figure is over 20 random batches, lmlab's over
the whole split.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lmlab.hardware import detect

NANOGPT_FLAGS = """
config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64
--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0
""".split()
"""As its README gives them for a CPU."""


def run_nanogpt(checkout: Path, out: Path) -> dict[str, float]:
    """One training of nanoGPT; wall seconds and its last estimate of the validation loss."""
    command = [sys.executable, "train.py", *NANOGPT_FLAGS, f"--out_dir={out}"]
    seconds, output = timed(command, checkout)
    losses = re.findall(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)", output)
    return {"seconds": seconds, "valid_loss_estimate": float(losses[-1][1]), "steps": float(losses[-1][0])}


def run_lmlab(text: Path, runs: Path, name: str) -> dict[str, float]:
    """One training of the recipe; wall seconds and the loss on the whole validation split."""
    words = ["train", "shakespeare-cpu", "--data.corpus", str(text), "--run", name, "--runs", str(runs), "--json"]
    seconds, output = timed([sys.executable, "-m", "lmlab", *words], Path.cwd())
    summary = json.loads(output)
    return {
        "seconds": seconds,
        "valid_loss": summary["final"]["loss"],
        "best_valid_loss": summary["best"]["loss"],
        "tokens_per_second": summary["score"]["tokens_per_second"]["measured"],
        "train_seconds": summary["seconds"]["train"],
        "evaluate_seconds": summary["seconds"]["evaluate"],
        "save_seconds": summary["seconds"]["save"],
    }


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall seconds of a command and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return seconds, done.stdout


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--nanogpt", type=Path, required=True, help="a checkout of karpathy/nanoGPT with its data prepared"
    )
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            theirs = run_nanogpt(options.nanogpt.resolve(), Path(folder) / f"nanogpt-{number}")
            ours = run_lmlab(options.text.resolve(), Path(folder) / "runs", f"lmlab-{number}")
            rounds.append({"nanogpt": theirs, "lmlab": ours, "wall_ratio": ours["seconds"] / theirs["seconds"]})
            print(json.dumps(rounds[-1]), flush=True)
    result = {
        "machine": detect().facts(),
        "rounds": rounds,
        "median_wall_ratio": statistics.median(entry["wall_ratio"] for entry in rounds),
        "lmlab_valid_loss": [entry["lmlab"]["valid_loss"] for entry in rounds],
    }
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
