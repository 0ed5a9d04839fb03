"""The benchmarks on a CPU: `python -m benchmarks.cpu PART --nanogpt PATH --out results/PART.json`.

    speed       training tokens a second against nanoGPT and transformers (--compiled: with torch.compile too)
    mfu         the same as a share of the measured peak of matrix products
    loss        time to a validation loss, and the loss after 1, 3 and 10 minutes
    generation  tokens a second
    data        order and loading of batches
    processes   training by two processes (torchrun's ranks) against one
    startup     seconds to the first training step, cold and warm
    profile     where the time of a step goes
    tune        one training of nanoGPT, for loss_targets.toml

PATH is a checkout of karpathy/nanoGPT whose data/shakespeare_char/prepare.py was run. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import data_order, generation, loss, mfu, processes, speed, startup, step_profile
from benchmarks.machine import BUSY, context, load_average
from benchmarks.nanogpt_command import Training
from benchmarks.options import Found, Options
from benchmarks.results import Results, write_results
from benchmarks.tables import tables
from lmlab import LabError

PARTS: dict[str, Callable[[Options], Found]] = {
    "speed": speed.measure,
    "mfu": mfu.measure,
    "generation": generation.measure,
    "data": data_order.measure,
    "processes": processes.measure,
    "startup": startup.measure,
    "profile": step_profile.measure,
}
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.05
HELD_OUT = 0.1


def main() -> int:
    """Measure a part; print its tables and write its file."""
    flags = parser().parse_args()
    quick = flags.quick
    options = Options(
        nanogpt=flags.nanogpt,
        text=flags.corpus,
        threads=flags.threads,
        rounds=QUICK_ROUNDS if quick else flags.rounds,
        turn_seconds=QUICK_SECONDS if quick else flags.turn_seconds,
        quick=quick,
        compiled=getattr(flags, "compiled", False),
    )
    try:
        if flags.part == "tune":
            training = Training(learning_rate=flags.learning_rate, max_iters=flags.max_iters, seed=flags.seed)
            print(json.dumps(loss.tune(options, training, HELD_OUT if flags.held_out else 0.0), indent=2))
            return 0
        results = measure(flags, options)
        if flags.out:
            write_results(flags.out, results)
    except LabError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print("\n\n".join(tables([results])))
    return 0


def measure(flags: argparse.Namespace, options: Options) -> Results:
    """Run the part that the flags name."""
    around = context(options.nanogpt)
    load = around["machine"]["load_average_before"]
    if load and load[0] > BUSY:
        print(f"benchmarks: the machine is busy (load {load[0]:.2f}): figures will be noisy", file=sys.stderr)
    if flags.part == "loss":
        seeds = (1,) if options.quick else tuple(flags.seeds)
        found = loss.measure(options, flags.goals, seeds, flags.only, flags.steps)
    else:
        found = PARTS[flags.part](options)
    around["machine"]["load_average_after"] = load_average()
    settings = {"threads": options.threads, "rounds": options.rounds, "turn_seconds": options.turn_seconds}
    return Results(
        part=flags.part,
        quick=options.quick,
        context=around,
        settings={**settings, "compiled": options.compiled, **found.settings},
        measurements=tuple(found.measurements),
        comparisons=tuple(found.comparisons),
        skipped=tuple(found.skipped),
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT with its data prepared")
    common.add_argument("--corpus", type=Path, help="the text (default: tiny Shakespeare, in the checkout)")
    common.add_argument("--threads", type=int, default=2)
    common.add_argument("--rounds", type=int, default=7, help="turns of each side")
    common.add_argument("--turn-seconds", type=float, default=2.0, help="how long a turn takes, about")
    common.add_argument("--quick", action="store_true", help="a smoke run in seconds: its figures mean nothing")
    common.add_argument("--out", type=Path, help="write the results here, as JSON")
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = top.add_subparsers(dest="part", required=True, metavar="PART")
    chosen = {name: parts.add_parser(name, parents=[common]) for name in (*PARTS, "loss", "tune")}
    for name in ("speed", "startup"):
        chosen[name].add_argument("--compiled", action="store_true", help="with torch.compile too: minutes")
    chosen["loss"].add_argument("--goals", default="shakespeare", help="which table of loss_targets.toml")
    chosen["loss"].add_argument("--only", default="", help="only the goals with this in their name, such as 1.88")
    chosen["loss"].add_argument(
        "--steps", type=int, help="of lmlab, for goals in minutes: what this machine has time for"
    )
    chosen["loss"].add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chosen["tune"].add_argument("--learning-rate", type=float, required=True)
    chosen["tune"].add_argument("--max-iters", type=int, required=True)
    chosen["tune"].add_argument("--seed", type=int, default=1337)
    chosen["tune"].add_argument(
        "--held-out", action="store_true", help=f"score the last {HELD_OUT:.0%} of the training split, left out of it"
    )
    return top


if __name__ == "__main__":
    sys.exit(main())
