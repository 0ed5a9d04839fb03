"""What reliability costs: the share of a run's time that goes to guards, hashes of batches, and checkpoints.

    python -m benchmarks.overhead --corpus input.txt [--recipe shakespeare-cpu] [--rounds 3] [--out results/overhead.json]

Whole trainings of the recipe with a checkpoint every 250 steps, each function of the three timed wherever it is called; time is
a thread's own, so that what a save does beside the training is counted apart.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmlab.experiment.session as session
import lmlab.training.loop as loop
import lmlab.training.spikes as spikes
import lmlab.training.step as step
from benchmarks.machine import BUSY, context, load_average
from lmlab import LabError
from lmlab.experiment.start import train
from lmlab.recipe import load_recipe, override
from lmlab.training.display import Quiet

EVERY = 250
WATCHED: dict[str, tuple[tuple[Any, str], ...]] = {
    "guards": (
        (spikes, "judge"),
        (spikes, "remember"),
        (spikes.SpikeGuard, "decide"),
        (spikes.SpikeGuard, "after"),
    ),
    "hashing": ((step, "batch_hash"), (loop, "chained")),
    "saving": ((session.Session, "_save"), (session.Saver, "check_save")),
}
"""What -> the functions that do it, and where they are called from."""


class Clock:
    """Seconds by what they went to; a function that another watched one calls counts to the outer."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(WATCHED, 0.0)
        self._inside = False

    def watched(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return function(*arguments, **options)
            self._inside, started = True, time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._inside = False
                self.seconds[what] += time.perf_counter() - started

        return timed


@contextmanager
def watching(clock: Clock) -> Iterator[None]:
    """Time the functions while this lasts."""
    kept = [(owner, name, getattr(owner, name)) for places in WATCHED.values() for owner, name in places]
    for what, places in WATCHED.items():
        for owner, name in places:
            setattr(owner, name, clock.watched(what, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def measure(recipe_name: str, corpus: str, steps: int | None) -> dict[str, Any]:
    """One training; seconds of each part, and as shares of all of its time."""
    settings = {"data.corpus": corpus, "train.checkpoint_every": EVERY, **({"train.steps": steps} if steps else {})}
    recipe = override(load_recipe(recipe_name), settings)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, watching(clock):
        outcome = train(recipe, runs=folder, display=Quiet(), say=lambda line: None)
        spikes_noted = sum(line["kind"] == "spike" for line in outcome.run.read_lines("events"))
    summary = outcome.summary
    total = summary["seconds"]["total"]
    shares = {what: seconds / total for what, seconds in clock.seconds.items()}
    return {
        "steps": summary["steps"],
        "total_seconds": total,
        "seconds": clock.seconds,
        "shares": shares,
        "together": sum(shares.values()),
        "spikes": spikes_noted,
        "checkpoints": summary["saving"]["checkpoints"],
        "tokens_per_second": summary["score"]["tokens_per_second"]["measured"],
    }


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", required=True, help="the recipe's text")
    parser.add_argument("--recipe", default="shakespeare-cpu")
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    around = context(None)
    load = around["machine"]["load_average_before"]
    if load and load[0] > BUSY:
        print(f"benchmarks: the machine is busy (load {load[0]:.2f}): figures will be noisy", file=sys.stderr)
    rounds = []
    try:
        for _ in range(options.rounds):
            rounds.append(measure(options.recipe, options.corpus, options.steps))
            print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    except LabError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    around["machine"]["load_average_after"] = load_average()
    together = statistics.median(entry["together"] for entry in rounds)
    result = {**around, "part": "overhead", "recipe": options.recipe, "rounds": rounds, "together": together}
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    parts = {what: statistics.median(entry["shares"][what] for entry in rounds) for what in WATCHED}
    told = ", ".join(f"{what} {share:.2%}" for what, share in parts.items())
    print(
        f"{options.recipe}, a checkpoint every {EVERY} steps: {told}, together {together:.2%} (median of {len(rounds)})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
