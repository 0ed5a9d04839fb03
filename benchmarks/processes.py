"""Training by several processes on one CPU (torchrun's ranks), against one process with as many cores and with one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.options import Found, Options, rates
from benchmarks.results import compare
from benchmarks.shapes import Shape, large, recipe_for, small
from benchmarks.turns import Work, take_turns
from benchmarks.worker import ROOT, thread_settings

QUANTITY = "training"
ONE = "one process, 1 thread"
COUNT = 2


def measure(options: Options) -> Found:
    """The smallest batch, where communication weighs most, and a large one; both of PyTorch."""
    found = Found()
    for shape in options.shapes((small(64, 12), small(128, 16), large(16))):
        sides = {
            ONE: options.side("benchmarks.processes:alone", shape, threads=1),
            f"one process, {COUNT} threads": options.side("benchmarks.processes:alone", shape, threads=COUNT),
            f"{COUNT} processes, 1 thread each": options.side("benchmarks.processes:together", shape, threads=1),
        }
        turns = take_turns(sides, options.rounds, options.turn_seconds)
        found.skip_unavailable(shape.name, turns)
        measured = rates(turns, shape.name, QUANTITY)
        found.measurements += measured
        first, *others = measured
        found.comparisons += [compare(other, first) for other in others]
    return found


def alone(threads: int, shape: dict[str, Any], corpus: str) -> Work:
    """Training steps by one process."""
    from benchmarks.ours import training

    return training(threads, shape, corpus, "torch")


def together(threads: int, shape: dict[str, Any], corpus: str) -> Work:
    """Training steps by COUNT processes, of which this one is rank 0 and starts the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {
        "WORLD_SIZE": str(COUNT),
        "LOCAL_WORLD_SIZE": str(COUNT),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.update({**place, "RANK": "0"})
    words = json.dumps({"threads": threads, "shape": shape, "corpus": corpus})
    for rank in range(1, COUNT):
        environment = {**os.environ, **thread_settings(threads), "PYTHONPATH": str(ROOT), "RANK": str(rank)}
        subprocess.Popen([sys.executable, "-m", "benchmarks.processes", words], env=environment)
    from lmlab.training import parallel

    parallel.announce({})
    return _work(threads, shape, corpus)


def _work(threads: int, shape: dict[str, Any], corpus: str) -> Work:
    """Return the steps of this rank; rank 0 tells the others how many."""
    from benchmarks.shapes import parameter_counts
    from lmlab.data.preparation import prepare
    from lmlab.training import parallel
    from lmlab.training.policy import choose_policy
    from lmlab.training.setup import set_up

    recipe = recipe_for(Shape(**shape), Path(corpus), threads, "torch")
    dataset = prepare(recipe.data)
    vocabulary = dataset.vocabulary_size
    training = set_up(recipe, choose_policy(recipe), dataset.tokens("train"), vocabulary, recipe.train.steps)
    training.distribute()

    def run(steps: int) -> None:
        for _ in range(parallel.broadcast_json(steps)):
            training.take()

    facts = {
        "tokens": recipe.train.batch * recipe.model.context,
        "parameters": parameter_counts(recipe.model, vocabulary),
    }
    return Work(run=run, facts=facts)


def main() -> None:
    """Another rank: take as many steps as rank 0 says, until it has ended."""
    from lmlab.training import parallel

    parallel.await_work()
    work = _work(**json.loads(sys.argv[1]))
    while True:
        try:
            work.run(0)
        except parallel.RankLost:
            return


if __name__ == "__main__":
    main()
