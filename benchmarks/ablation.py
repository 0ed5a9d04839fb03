"""What each setting of a recipe is worth: `python -m benchmarks.ablation FILE.toml --corpus TEXT --out results/NAME.json`.

FILE names a recipe, what is set otherwise in every variant (`base`), and variants that each change one thing:

    recipe = "shakespeare-fast"
    base = { "train.steps" = 300 }
    [variants]
    "no QK-norm" = { "model.qk_norm" = false }

Every variant is trained with every seed on the first 90 % of the *training* split and scored on its last 10 %, so that
nothing is chosen on validation. What is quoted is the loss, and the difference to the base of the same seed: its mean and
the standard error over seeds. Variants run side by side, a thread each; nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lmlab_command import as_flag
from benchmarks.machine import context as machine_context
from lmlab import LabError
from lmlab.files import write_json

BASE = "base"
HELD_OUT = 0.1
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training."""

    variant: str
    recipe: str
    settings: Mapping[str, str]
    seed: int


def train_and_score(job: Job) -> dict[str, Any]:
    """The held-out loss (nats a token) after one training, and its last batch's loss."""
    from lmlab.data.order import windows_in
    from lmlab.data.preparation import prepare
    from lmlab.model.native import native_engine
    from lmlab.recipe import load_recipe, override
    from lmlab.training.policy import choose_policy
    from lmlab.training.setup import set_up

    recipe = override(load_recipe(job.recipe), {**job.settings, "train.seed": str(job.seed)})
    tokens = prepare(recipe.data).tokens("train")
    cut = round(len(tokens) * (1 - HELD_OUT))
    policy = choose_policy(recipe)
    training = set_up(recipe, policy, tokens[:cut], prepare(recipe.data).vocabulary_size, recipe.train.steps)
    loss = math.nan
    for _ in range(recipe.train.steps):
        loss = training.take().loss
    engine = native_engine(training.model, policy.threads)
    if engine is None:
        raise LabError("ablations are run by the native engine, which can't be had here")
    time = recipe.model.context
    held = np.asarray(tokens[cut:]).astype(np.int64)
    count = windows_in(len(held), time) * time
    nats, _ = engine.scores(held[:count].reshape(-1, time), held[1 : count + 1].reshape(-1, time))
    return {
        "variant": job.variant,
        "seed": job.seed,
        "loss": float(nats.mean(dtype=np.float64)),
        "last_batch": loss,
        "tokens": recipe.train.steps * recipe.train.batch * time,
    }


def jobs_of(plan: Mapping[str, Any], seeds: Sequence[int], corpus: Path | None) -> list[Job]:
    """The base and each variant, with each seed. LabError where the plan lacks its recipe or variants."""
    if "recipe" not in plan or not plan.get("variants"):
        raise LabError("an ablation needs a recipe and [variants]: see benchmarks/ablation.py")
    fixed: dict[str, Any] = {"train.threads": 1, "train.engine": "native", **plan.get("base", {})}
    if corpus is not None:
        fixed["data.corpus"] = str(corpus.resolve())
    variants = {BASE: {}, **plan["variants"]}
    return [
        Job(variant=name, recipe=plan["recipe"], settings=_texts({**fixed, **changes}), seed=seed)
        for name, changes in variants.items()
        for seed in seeds
    ]


def summarise(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each variant the mean loss, the mean difference to the base of the same seed, and its standard error."""
    losses: dict[str, dict[int, float]] = {}
    for result in results:
        losses.setdefault(result["variant"], {})[result["seed"]] = result["loss"]
    rows = []
    for name, by_seed in losses.items():
        differences = [loss - losses[BASE][seed] for seed, loss in by_seed.items() if seed in losses[BASE]]
        error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
        rows.append(
            {
                "variant": name,
                "seeds": len(by_seed),
                "loss": statistics.mean(by_seed.values()),
                "difference": statistics.mean(differences),
                "standard_error": error,
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, the best variant first."""
    lines = ["| variant | seeds | held-out loss | difference to the base |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row["loss"]):
        apart = "" if row["variant"] == BASE else f"{row['difference']:+.4f} ± {row['standard_error']:.4f}"
        lines.append(f"| {row['variant']} | {row['seeds']} | {row['loss']:.4f} | {apart} |")
    return "\n".join(lines)


def main() -> int:
    """Run a plan and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--corpus", type=Path, help="the text, where the recipe's isn't on this machine")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    around = machine_context(None)
    try:
        plan = tomllib.loads(flags.plan.read_text(encoding="utf-8"))
        jobs = jobs_of(plan, flags.seeds, flags.corpus)
        results = []
        with ProcessPoolExecutor(flags.processes, mp_context=get_context("spawn")) as pool:
            for result in pool.map(train_and_score, jobs):
                results.append(result)
                print(f"{result['variant']:40s} seed {result['seed']}  {result['loss']:.4f}", file=sys.stderr)
    except (LabError, OSError, tomllib.TOMLDecodeError) as error:
        print(f"benchmarks.ablation: {error}", file=sys.stderr)
        return 1
    rows = summarise(results)
    print(table(rows))
    if flags.out is not None:
        write_json(flags.out, {"format": FORMAT, "plan": plan, **around, "results": results, "rows": rows})
    return 0


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: as_flag(value) for name, value in settings.items()}


if __name__ == "__main__":
    sys.exit(main())
