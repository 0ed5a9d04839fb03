"""A base model from a local shard of web text to benchmark tasks and llama.cpp, on a CPU: one command for each step.

    python examples/base_small.py shard.parquet --tasks FOLDER [--steps 1600] [--to hf,gguf] [--out base-small]

prepare -> plan -> train -> score on held-out documents -> tasks with their controls -> export -> one table of results

`shard.parquet` has a column `text`, a document a row; 12 MB of text are enough for the recipe's 1,600 steps. The folder of tasks is
described in docs/tasks.md; without it that step is left out. Each step that is done already is left out when the script is started
again, and a training that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

RUN = "base-small"
RECIPE = "base-small"


def lmlab(*words: object) -> None:
    """Run a verb, and end with its status where it fails."""
    command = [sys.executable, "-m", "lmlab", *map(str, words)]
    print("\n$ lmlab", *words, flush=True)
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


def main() -> None:
    """Parse, and take the steps in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shard", type=Path, help="a parquet or JSONL file with a column text")
    parser.add_argument("--tasks", type=Path, help="the folder of benchmark tasks")
    parser.add_argument("--items", type=int, help="items of each task; default: all")
    parser.add_argument("--steps", type=int, default=1600, help="training steps")
    parser.add_argument("--to", default="hf,gguf", help="formats to export to, separated by commas")
    parser.add_argument("--out", type=Path, default=Path(RUN), help="the folder of everything that is made")
    given = parser.parse_args()
    if not given.shard.is_file():
        parser.error(f"there is no file {given.shard}")
    runs = given.out / "runs"
    run = runs / RUN
    data = ("--data.corpus", given.shard.resolve())
    # The recipe's warm-up, a sixteenth of its steps, for other lengths too.
    changes = (*data, "--train.steps", given.steps, "--schedule.warmup", max(1, given.steps // 16))

    lmlab("data", "prepare", RECIPE, *data)
    lmlab("plan", RECIPE, *changes)
    if not (run / "summary.json").exists():
        verb = ("resume", run) if run.exists() else ("train", RECIPE, *changes, "--run", RUN, "--runs", runs)
        lmlab(*verb)
    lmlab("evaluate", run, "--documents")
    models = (f"{run}@init", run)
    if given.tasks is not None and not (run / "tasks").exists():
        items = () if given.items is None else ("--items", given.items)
        lmlab("evaluate", *models, "--tasks", "all", "--task-data", given.tasks, *items)
    for form in filter(None, given.to.split(",")):
        folder = given.out / form
        if not folder.exists():
            lmlab("export", run, "--to", form, "--out", folder)
    lmlab("compare", "--table", *models, "--markdown", given.out / "results.md")


if __name__ == "__main__":
    main()
