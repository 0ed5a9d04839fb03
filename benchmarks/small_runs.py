"""The table of small runs that a loss is forecast from where nothing nearer is known: `lmlab/planning/small_runs.json`.

    python -m benchmarks.small_runs run --data DIR --runs RUNS      # short trainings on more texts: docs/small-runs.json
    python -m benchmarks.small_runs table --data DIR                # the table, from docs/ and benchmarks/results

DIR holds shakespeare.txt, wikitext-2.txt and tinystories.txt as for `benchmarks.forecasts`, and a text of each name in SERIES.
Texts that it lacks are passed over: `run` keeps what docs/small-runs.json has of them, and `table` keeps their rows. `run` goes on
where it was stopped. The losses are those of one pass of docs/forecasts.json, of the studies in docs/studies, of
benchmarks/results/loss-*.json, docs/results.json and docs/small-runs.json; what is needed of the texts is counted on the texts.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.forecast_passes import read_passes
from benchmarks.machine import context
from benchmarks.worker import ROOT
from lmlab.data.preparation import prepare
from lmlab.experiment.asked import recipe_asked
from lmlab.experiment.start import train_or_resume
from lmlab.files import read_json, write_json
from lmlab.planning.losses.small_runs import DATA, SmallRun, points_of, published_runs, small_run
from lmlab.recipe import Recipe, load_recipe, override
from lmlab.scaling.small_law import fit_small_law
from lmlab.study.grid.study_plan import plan_from
from lmlab.training.display import make_display

SMALL = "--model.layers 3 --model.heads 4 --model.width 64 --optim.lr 2e-3 --train.steps 500 --schedule.steps none"
SERIES = (
    (
        ("openwebtext", "fineweb-edu", "gsm8k", "alpaca", "c-headers"),
        (
            ("shakespeare-cpu", f"--data.corpus {{text}} {SMALL}"),
            ("{text}", "--size 300k --train.steps 250"),
            ("shakespeare-fast", "--data.corpus {text} --train.steps 120"),
        ),
    ),
    (
        (
            "russian-novels",
            "latin-library",
            "swahili-bible",
            "rust-book",
            "lodash",
            "jokes",
            "penn-treebank",
            "names",
        ),
        (
            ("{text}", "--train.steps 300"),
            ("{text}", "--size 300k --train.steps 600"),
            ("{text}", "--data.tokenizer characters --train.steps 150"),
            ("{text}", "--size 2M --train.steps 150"),
        ),
    ),
)
"""Texts, and what is trained on each of them: the target and the words after it.

The first are web pages, school pages, arithmetic exercises, instructions and C; the second Russian, Latin, Swahili, a manual,
JavaScript, jokes, news and names, trained as by somebody who tries lmlab on a text: with the recipe of `lmlab train FILE`.
"""
FORECASTS_PASS = "2026-11-23T04:01:57+00:00"
"""The pass over trainings with forecasts whose losses the law is fitted to."""
SHORT = ROOT / "docs" / "small-runs.json"
STUDIES = ("interventions", "parameters-and-data", "width-and-rate")
EXPLANATION = "laptop-and-gpu"
CORPORA = {"shakespeare": "shakespeare", "stdlib": "stdlib", "tinystories": "tinystories"}
OWN_RECIPES = ("first", "shakespeare-cpu", "shakespeare-fast", "shakespeare-best")
"""Those of docs/results.json whose row is of a run as it ships."""
IN_NOTES = (
    ("planned-for-the-same-compute: rate 3e-3", "--optim.lr 3e-3", 1.7615),
    (
        "planned-for-the-same-compute: planned",
        "--model.layers 3 --model.heads 2 --model.width 64 --optim.lr 4.6e-3 --train.batch 24 --train.steps 4785 "
        "--schedule.steps none",
        1.6579,
    ),
    ("laptop-and-gpu: 5,000 steps", "--train.steps 5000 --schedule.steps 5000", 1.6768),
)
"""Runs of shakespeare-cpu whose losses stand in docs/notes and docs/studies in words."""


@dataclass(frozen=True)
class Found:
    """A run that was published."""

    source: str
    text: str
    recipe: Callable[[], Recipe]
    """It may need the text."""
    loss: float
    seeds: int


def main() -> int:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path)
    flags = parser.parse_args()
    if flags.what == "run":
        if flags.runs is None:
            parser.error("--runs DIR: where the trainings are kept")
        return run(flags.data, flags.runs)
    return table(flags.data)


def run(data: Path, runs: Path) -> int:
    """Train every kind on every text that is there, and publish the losses."""
    here = context(None)
    for number, (text, target, words) in _to_run(data):
        recipe = _typed(target, words, {"text": str(data / f"{text}.txt")})
        outcome = train_or_resume(
            override(recipe, {"train.checkpoint_every": recipe.train.steps, "evaluate.prompts": ()}),
            run=f"{text}-{number}",
            runs=runs,
            display=make_display(quiet=True),
            say=lambda line: None,
        )
        loss = outcome.summary["final"]["loss"]
        command = " ".join(["lmlab train", target, words]).replace("{text}", f"{text}.txt")
        case = {"text": text, "target": target, "words": words, "command": command, "loss": loss}
        made_by = {name: here["source"][name] for name in ("commit", "dirty")}
        kept = [one for one in _cases() if one["command"] != command]
        write_json(SHORT, {"context": here, "cases": [*kept, {**case, **made_by}]})
        print(text, number, loss, flush=True)
    return 0


def _to_run(data: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    for texts, kinds in SERIES:
        for text in texts:
            if (data / f"{text}.txt").is_file():
                yield from ((number, (text, *kind)) for number, kind in enumerate(kinds))


def _cases() -> list[dict[str, Any]]:
    return list(read_json(SHORT)["cases"]) if SHORT.exists() else []


def table(data: Path) -> int:
    """Count what is needed of each text, and write the table."""
    around = context(None)
    known = {(run.source, run.text, run.loss): run for run in published_runs()}
    rows: list[SmallRun] = []
    for found in published(data):
        row = known.get((found.source, found.text, found.loss))
        if row is None or (data / f"{found.text}.txt").is_file():
            recipe = found.recipe()
            row = small_run(found.source, found.text, recipe, prepare(recipe.data), found.loss, found.seeds)
        rows.append(row)
        print(found.source, found.text, f"{found.loss:.4f}", flush=True)
    law = fit_small_law(points_of(rows))
    write_json(DATA, {"format": 1, "context": around, "law": law.to_json(), "runs": [row.to_json() for row in rows]})
    return 0


def published(data: Path) -> Iterator[Found]:
    """All runs that this repository publishes, of transformers that read a text as one stream."""
    yield from _of_studies(data)
    yield from _of_forecasts(data)
    yield from _of_benchmarks(data)
    yield from _of_results(data)
    shakespeare = data / "shakespeare.txt"
    for source, words, loss in IN_NOTES:
        yield Found(source, "shakespeare", partial(_typed_on, "shakespeare-cpu", words, {}, shakespeare), loss, 1)
    yield from _of_small_runs(data)


def _of_studies(data: Path) -> Iterator[Found]:
    folder = ROOT / "docs" / "studies"
    values = [read_json(folder / name / "study.json") for name in STUDIES]
    values.append(read_json(folder / EXPLANATION / "explain.json")["study"])
    for value in values:
        plan = plan_from(value["plan"], value["plan"]["name"])
        losses = {entry["name"]: entry["loss"] for entry in value["runs"] if entry["loss"] is not None}
        for cell in plan.cells:
            of_cell = [run for run in plan.runs if run.cell == cell and run.name in losses]
            if of_cell:
                recipe = partial(_on, of_cell[0].recipe, data / "shakespeare.txt")
                mean = statistics.mean(losses[run.name] for run in of_cell)
                yield Found(f"study {plan.name}: {plan.label(cell)}", "shakespeare", recipe, mean, len(of_cell))


def forecast_cases() -> list[dict[str, Any]]:
    """The trainings of docs/forecasts.json whose losses are in the table: those of one pass.

    Later ones stay out of it, so that their forecasts rest on no law that was fitted to them.
    """
    (found,) = [one for one in read_passes(ROOT / "docs" / "forecasts.json") if one["date"] == FORECASTS_PASS]
    return list(found["cases"])


def _of_forecasts(data: Path) -> Iterator[Found]:
    for case in forecast_cases():
        _, _, target, *words = shlex.split(case["command"])
        settings = " ".join(words)
        text = next(
            (name for name in ("wikitext-2", "tinystories") if name in target or f"{{{name}}}" in settings),
            "shakespeare",
        )
        texts = {name: str(data / f"{name}.txt") for name in ("wikitext-2", "tinystories")}
        target = str(data / target) if target.endswith(".txt") else target
        on = data / "shakespeare.txt" if text == "shakespeare" else None
        recipe = partial(_typed_on, target, settings, texts, on)
        yield Found(f"forecasts: {case['name']}", text, recipe, case["score"]["final_loss"]["measured"], 1)


def _of_benchmarks(data: Path) -> Iterator[Found]:
    most: dict[tuple[str, str, int, str], tuple[str, float, int]] = {}
    for path in sorted((ROOT / "benchmarks" / "results").glob("loss-*.json")):
        value = read_json(path)
        for entry in value["measurements"]:
            if entry["quantity"] != "loss" or entry["side"] == "nanoGPT":
                continue
            details = entry["details"]
            overrides = json.dumps(details["overrides"], sort_keys=True)
            key = (value["settings"]["goals"], details["recipe"], details["steps"], overrides)
            if key not in most or len(entry["samples"]) > most[key][2]:
                most[key] = (f"{entry['case']}, {entry['side']}", entry["median"], len(entry["samples"]))
    for (text, name, steps, overrides), (case, loss, seeds) in most.items():
        settings = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(overrides).items()
        }
        recipe = override(load_recipe(name), {**settings, "train.steps": steps})
        yield Found(f"loss: {case}", text, partial(_on, recipe, data / f"{text}.txt"), loss, seeds)


def _of_results(data: Path) -> Iterator[Found]:
    known: dict[str, list[float]] = {}
    for row in read_json(ROOT / "docs" / "results.json")["runs"]:
        known.setdefault(row["recipe"], []).append(row["loss"])
    for name in OWN_RECIPES:
        recipe = load_recipe(name)
        text = recipe.data.corpus
        on = None if text == "stdlib" else data / f"{text}.txt"
        yield Found(f"results: {name}", text, partial(_on, recipe, on), statistics.mean(known[name]), 1)


def _of_small_runs(data: Path) -> Iterator[Found]:
    for case in _cases():
        texts = {"text": str(data / f"{case['text']}.txt")}
        recipe = partial(_typed_on, case["target"], case["words"], texts, None)
        yield Found(f"small runs: {case['command']}", case["text"], recipe, case["loss"], 1)


def _on(recipe: Recipe, text: Path | None) -> Recipe:
    return override(recipe, {"data.corpus": str(text)}) if text else recipe


def _typed_on(target: str, words: str, texts: Mapping[str, str], text: Path | None) -> Recipe:
    return _on(_typed(target, words, texts), text)


def _typed(target: str, words: str, texts: Mapping[str, str]) -> Recipe:
    """The recipe of `lmlab train TARGET WORDS`, with {NAME} in both standing for a text's file."""
    filled = [_filled(word, texts) for word in shlex.split(words)]
    settings: dict[str, Any] = {
        name.removeprefix("--"): value for name, value in zip(filled[::2], filled[1::2], strict=True)
    }
    size = settings.pop("size", None)
    return recipe_asked(_filled(target, texts), settings, size, lambda line: None)


def _filled(word: str, texts: Mapping[str, str]) -> str:
    for name, path in texts.items():
        word = word.replace(f"{{{name}}}", path)
    return word


if __name__ == "__main__":
    sys.exit(main())
