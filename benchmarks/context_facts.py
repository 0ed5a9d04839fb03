"""The figures of docs/studies/context-propagation.md that no study holds, in docs/studies/context-propagation.json.

    python -m benchmarks.context_facts --runs RUNS    # RUNS/best, RUNS/gpt: wikitext2-context-best, wikitext2-gpt, finished
    python -m benchmarks.context_facts                # without them: their part stays as it is

What the source published, the sizes of its models and of the scale models, both trainings at full size, and for each cell of the
study context-size what its table leaves out: best losses, updates, gaps and gradient norms.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import context
from benchmarks.published_studies import DOCS
from benchmarks.worker import ROOT
from lmlab.experiment.reading import read_record
from lmlab.files import read_json, write_json
from lmlab.model.cost import flops_per_token, parameters
from lmlab.recipe import Recipe, load_recipe, override
from lmlab.runs import Run
from lmlab.study.grid.definition import load_study
from lmlab.study.verify.bundle import NAME, unpack

OUT = DOCS / "context-propagation.json"
STUDY = DOCS / "context-size"
RUNS = {"best": "wikitext2-context-best", "gpt": "wikitext2-gpt"}
VOCABULARY = 1000
PERPLEXITIES = {"baseline": 30.78, "advanced": 40.93, "best_of_4_layers": 20.1, "best_of_6_layers": 20.60}
SOURCE = {
    "repository": "rato-tokyo/new-llm",
    "perplexity": PERPLEXITIES,
    "accuracy_of_6_layers": 0.385,
    "epochs": {"baseline": 50, "best_of_4_layers": 135, "best_of_6_layers": 150},
    "updates_an_epoch": 25,
    "batch": 2048,
    "rates": {"baseline": 4e-4, "best": 8e-4},
}
"""As the source states them; its best models are runs of more epochs at the higher rate."""
CONSTANTS = {"clip": 1.0, "adam_eps": 1e-8}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path)
    flags = parser.parse_args()
    before = read_json(OUT) if OUT.exists() else {}
    made = before.get("runs") if flags.runs is None else trainings(flags.runs)
    write_json(
        OUT,
        {
            "context": context(None),
            "source": SOURCE
            | {"losses": {name: math.log(value) for name, value in PERPLEXITIES.items()}}
            | ({"training_flops": source_flops(made["best"]["tokens"])} if made else {}),
            "constants": CONSTANTS,
            "models": models(),
            "scale_model": scale_model(),
            "cells": cells() if (STUDY / NAME).is_file() else before.get("cells"),
            "runs": made,
        },
    )


def source_flops(tokens: int) -> dict[str, float]:
    """The arithmetic of the source's two best trainings, by lmlab's count; `tokens` are those of wikitext2-context-best."""
    of = load_recipe("wikitext2-context-baseline")
    epochs: Any = SOURCE["epochs"]
    an_epoch = tokens / (load_recipe(RUNS["best"]).train.epochs or 1)
    return {
        f"best_of_{layers}_layers": epochs[f"best_of_{layers}_layers"]
        * an_epoch
        * flops_per_token(override(of, {"model.layers": layers}).model, VOCABULARY).training
        for layers in (4, 6)
    }


def models() -> dict[str, dict[str, Any]]:
    """Sizes of the models that the page names."""
    baseline = load_recipe("wikitext2-context-baseline")
    named = {
        "baseline": baseline,
        "advanced": load_recipe("wikitext2-context-advanced"),
        "of_4_layers": override(baseline, {"model.layers": 4}),
        **{name: load_recipe(recipe) for name, recipe in RUNS.items()},
    }
    return {name: _size(recipe) for name, recipe in named.items()}


def _size(recipe: Recipe) -> dict[str, Any]:
    model: Any = recipe.model
    sizes = {name: getattr(model, name) for name in ("layers", "width", "hidden", "vector") if hasattr(model, name)}
    return {
        **sizes,
        "parameters": parameters(model, VOCABULARY)["total"],
        "batch": recipe.train.batch,
        "epochs": recipe.train.epochs,
    }


def scale_model() -> dict[str, Any]:
    """The settings of the study context-size, and how many times as small as the published ones its widths are."""
    plan = read_json(STUDY / "study.json")["plan"]
    baseline: Any = load_recipe("wikitext2-context-baseline").model
    levels = {factor["name"]: [level["settings"] for level in factor["levels"]] for factor in plan["factors"]}
    settings = {
        name: value
        for name, value in load_study("context-size").settings.items()
        if name.startswith(("model.", "optim."))
    }
    return {
        "settings": settings | {"train.batch": load_study("context-size").settings["train.batch"]},
        "factors": levels,
        "published_hidden": baseline.hidden,
        "times_smaller": baseline.hidden / settings["model.hidden"],
    }


def cells() -> dict[str, dict[str, Any]]:
    """Cell of context-size -> means over its seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        unpack(STUDY / NAME, Path(folder))
        for one in read_json(STUDY / "study.json")["runs"]:
            found.setdefault(one["cell"], []).append(_facts(Path(folder) / one["name"]))
    return {
        cell: {name: _mean([one[name] for one in several]) for name in several[0]} for cell, several in found.items()
    }


def _facts(folder: Path) -> dict[str, float]:
    summary = read_json(folder / "summary.json")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    norms = [line["gradient_norm"] for line in lines if line["kind"] == "train"]
    return {
        "updates": summary["steps"],
        "best_loss": summary["best"]["loss"],
        "gap": summary["final"]["gap"],
        "perplexity": summary["final"]["perplexity"],
        "largest_gradient_norm": max(norms),
        "median_gradient_norm": statistics.median(norms),
        "share_of_logged_steps_above_the_limit": sum(norm > CONSTANTS["clip"] for norm in norms) / len(norms),
    }


def _mean(values: list[float]) -> float:
    mean = statistics.mean(values)
    return int(mean) if mean == int(mean) else mean


def trainings(runs: Path) -> dict[str, Any]:
    """Both trainings: their figures, what they cost, the curve, and the test split; and the verdict on the two."""
    found: dict[str, Any] = {name: _training(runs, name) for name in RUNS}
    return found | {"compared": _json(["compare", *RUNS, "--runs", str(runs)])["pairs"][0]}


def _training(runs: Path, name: str) -> dict[str, Any]:
    run = Run(runs / name)
    record, summary = read_record(run), run.summary()
    recipe = run.recipe()
    test = _json(["evaluate", name, "--split", "test", "--runs", str(runs)])
    return {
        "recipe": RUNS[name],
        "commit": run.fact("code")["commit"],
        "steps": summary["steps"],
        "tokens": summary["tokens"],
        "training_flops": summary["tokens"] * flops_per_token(recipe.model, VOCABULARY).training,
        "seconds": summary["seconds"],
        "processor_share": summary["processor_share"],
        "threads": recipe.train.threads,
        "final": {
            key: summary["final"][key]
            for key in ("loss", "loss_interval", "perplexity", "accuracy", "majority_accuracy", "tokens", "gap")
        },
        "evaluations": {str(one.step): one.valid_loss for one in record.evaluations},
        "test": {key: test[key] for key in ("loss", "perplexity", "accuracy", "majority_accuracy", "tokens")},
    }


def _json(words: list[str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "lmlab", *words, "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
