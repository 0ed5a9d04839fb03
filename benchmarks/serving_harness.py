"""A run scored by lm-evaluation-harness through `lmlab serve` and in this process: the same items, side by side.

    python -m benchmarks.serving_harness RUN --tasks FOLDER --tokenizer FOLDER [--only blimp,arc-easy] [--items 20]

The harness's `local-completions` asks a server for the log-probabilities of each option (`echo`, `logprobs` 1, `max_tokens` 1);
the other side is the model of `lmlab evaluate --harness`. It tokenises by itself: `--tokenizer` is the folder of `lmlab export RUN
--to hf`. The harness leaves one token of the context free for a token that is generated, so an item that needs the whole context
may differ. It needs lm_eval[api], transformers, starlette and uvicorn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import THEIRS, sampled_with
from benchmarks.machine import context
from lmlab import LabError
from lmlab.evaluation.tasks import TASKS
from lmlab.evaluation.tasks.files import read_task
from lmlab.evaluation.tasks.selection import select
from lmlab.experiment.harness import harness_model
from lmlab.experiment.loaded import Loaded, load
from lmlab.serve.running import HttpServer, listening_socket, new_server
from lmlab.serve.served import Limits, served_of

CONCURRENT = 8


def compared(loaded: Loaded, address: str, tasks: str, tokenizer: Path, name: str, count: int) -> dict[str, Any]:
    """One task's items by both ways."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    data = read_task(TASKS[name], tasks)
    items = [data.items[place] for place in select(data.items, count, seed=1).tolist()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(THEIRS[name].record(item))}\n" for item in items), encoding="utf-8")
        here = sampled_with(harness_model(loaded), THEIRS[name], path)
        lm = LocalCompletionsAPI(
            base_url=f"{address}/v1/completions",
            model=loaded.run.name,
            tokenizer=str(tokenizer),
            tokenizer_backend="huggingface",
            num_concurrent=CONCURRENT,
            max_length=loaded.model.context,
        )
        there = sampled_with(lm, THEIRS[name], path)
    ours, others = (
        np.array([float(option[0][0]) for one in side for option in one["resps"]]) for side in (here, there)
    )
    greedy = [[bool(option[0][1]) for one in side for option in one["resps"]] for side in (here, there)]
    return {
        "task": name,
        "items": len(items),
        "options": len(ours),
        "largest_difference_nats": float(np.abs(ours - others).max()),
        "different_greedy": sum(one != other for one, other in zip(*greedy, strict=True)),
        "different_decisions": sum(one["acc"] != other["acc"] for one, other in zip(here, there, strict=True)),
        "accuracy": float(np.mean([one["acc"] for one in there])),
    }


def main() -> int:
    """Serve, compare each task, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving_harness", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("run")
    parser.add_argument("--tasks", required=True, help="the folder of the tasks' data")
    parser.add_argument("--tokenizer", required=True, type=Path, help="the run's export for transformers")
    parser.add_argument("--only", default="blimp,hellaswag,arc-easy", help="names of tasks, separated by commas")
    parser.add_argument("--items", type=int, default=20, help="items of each task")
    flags = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    try:
        loaded = load(flags.run, os.environ.get("LMLAB_RUNS", "runs"), "cpu")
        server = new_server(served_of(loaded), Limits(), set(), None, lambda line: print(line, file=sys.stderr))
        bound = listening_socket("127.0.0.1", 0)
        server.scheduler.start()
        http_server = HttpServer(server)
        thread = threading.Thread(target=http_server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{bound.getsockname()[1]}"
            names = flags.only.split(",")
            results = [compared(loaded, address, flags.tasks, flags.tokenizer, name, flags.items) for name in names]
        finally:
            http_server.should_exit = True
            thread.join()
            server.scheduler.stop()
    except LabError as error:
        print(f"benchmarks.serving_harness: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"context": context(None), "results": results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
