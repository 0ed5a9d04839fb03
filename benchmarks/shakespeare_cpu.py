"""The recipe shakespeare-cpu against nanoGPT itself: wall time of the whole command and loss on the whole validation split.

    python -m benchmarks.shakespeare_cpu --nanogpt PATH --text input.txt [--rounds 3] [--output result.json]

PATH is a checkout of karpathy/nanoGPT whose data/shakespeare_char/prepare.py was run. Both are started as their users start them,
in turn (A B A B ...), so that a machine that slows down slows both. nanoGPT's own figure is over 20 random batches, lmlab's over
the whole split.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.commands import run_command
from benchmarks.machine import context
from benchmarks.nanogpt_command import CONFIG, FLAGS
from lmlab import LabError


def run_nanogpt(checkout: Path, out: Path) -> dict[str, float]:
    """One training of nanoGPT; wall seconds and its last estimate of the validation loss."""
    finished = run_command([sys.executable, "train.py", CONFIG, *FLAGS, f"--out_dir={out}"], checkout)
    losses = re.findall(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)", finished.output)
    return {"seconds": finished.seconds, "valid_loss_estimate": float(losses[-1][1]), "steps": float(losses[-1][0])}


def run_lmlab(text: Path, runs: Path, name: str) -> dict[str, float]:
    """One training of the recipe; wall seconds and the loss on the whole validation split."""
    words = ["train", "shakespeare-cpu", "--data.corpus", str(text), "--run", name, "--runs", str(runs), "--json"]
    finished = run_command([sys.executable, "-m", "lmlab", *words], Path.cwd())
    summary = json.loads(finished.output)
    return {
        "seconds": finished.seconds,
        "valid_loss": summary["final"]["loss"],
        "best_valid_loss": summary["best"]["loss"],
        "tokens_per_second": summary["score"]["tokens_per_second"]["measured"],
        "train_seconds": summary["seconds"]["train"],
        "evaluate_seconds": summary["seconds"]["evaluate"],
        "save_seconds": summary["seconds"]["save"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--nanogpt", type=Path, required=True, help="a checkout of karpathy/nanoGPT with its data prepared"
    )
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    around = context(options.nanogpt)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            try:
                theirs = run_nanogpt(options.nanogpt.resolve(), Path(folder) / f"nanogpt-{number}")
                ours = run_lmlab(options.text.resolve(), Path(folder) / "runs", f"lmlab-{number}")
            except LabError as error:
                sys.exit(str(error))
            rounds.append({"nanogpt": theirs, "lmlab": ours, "wall_ratio": ours["seconds"] / theirs["seconds"]})
            print(json.dumps(rounds[-1]), flush=True)
    result = {
        **around,
        "rounds": rounds,
        "median_wall_ratio": statistics.median(entry["wall_ratio"] for entry in rounds),
        "lmlab_valid_loss": [entry["lmlab"]["valid_loss"] for entry in rounds],
    }
    print(json.dumps({key: value for key, value in result.items() if key not in ("rounds", *around)}, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
