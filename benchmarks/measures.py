"""Figures of a model's texts beside texts of which the answer is known: `python -m benchmarks.measures RUN [--publish]`.

The run continues beginnings of its validation text, sampled and greedily. Beside it are what people wrote there, the same words in
random order, and pieces of its training text, which must be found to be copied. The run is the reference of the loss, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import context
from benchmarks.render import fill
from lmlab import LabError
from lmlab.cli.arguments import runs_folder
from lmlab.data.progress import Silent
from lmlab.evaluation.measures.figures import FIGURES
from lmlab.evaluation.measures.passages import Passage
from lmlab.evaluation.measures.real import real_passages
from lmlab.experiment.loaded import load
from lmlab.experiment.measuring import REAL, Group, Reference, measured_groups
from lmlab.files import write_json, write_text
from lmlab.generation.settings import Sampling
from lmlab.report.measure_names import NAMES, shown

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, PAGE = DOCS / "measures.json", DOCS / "measures.md"
TEXTS, TOKENS = 64, 150
TEMPERATURE = 0.8


def groups_of(name: str, runs: Path, texts: int) -> tuple[list[Group], dict[str, Any]]:
    """The texts of the run and of the controls, and what the run is."""
    loaded = load(name, runs)
    dataset = loaded.dataset()
    real = real_passages(dataset, "valid", texts, TOKENS)
    trained = real_passages(dataset, "train", texts, TOKENS)
    generator = np.random.default_rng(1)
    shuffled = [
        Passage(prompt=one.prompt, text=" ".join(["", *generator.permutation(one.text.split())]), cut=False)
        for one in real
    ]
    written = {}
    for title, temperature in ((f"sampled at {TEMPERATURE:g}", TEMPERATURE), ("greedy", 0.0)):
        done = loaded.complete([one.prompt for one in real], Sampling(temperature=temperature, tokens=TOKENS))
        written[title] = [Passage(prompt=one.prompt, text=one.text, cut=one.reason == "length") for one in done]
    every = {**written, REAL: real, "real text, words shuffled": shuffled, "training text": trained}
    facts = {"run": loaded.run.name, "step": loaded.step, "data_id": dataset.id}
    return [Group(name=title, passages=tuple(one), dataset=dataset) for title, one in every.items()], facts


def main() -> int:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a run whose training data is here; LMLAB_RUNS names the folder of runs")
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument(
        "--publish", action="store_true", help=f"write docs/{RESULTS.name}, and its table into docs/{PAGE.name}"
    )
    flags = parser.parse_args()
    around = context(None)
    try:
        runs = runs_folder("")
        groups, facts = groups_of(flags.run, runs, flags.texts)
        found = measured_groups(groups, Reference(flags.run, runs), Silent())
    except LabError as error:
        print(f"benchmarks.measures: {error}", file=sys.stderr)
        return 1
    results = [
        {
            "texts": one.name,
            "count": len(one.passages),
            "longest_copy_of_all": one.longest_copy,
            "figures": {name: figure.to_json() for name, figure in one.figures.items()},
        }
        for one in found
    ]
    print(table(results))
    if flags.publish:
        write_json(RESULTS, {"context": around, **facts, "tokens": TOKENS, "results": results})
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
    return 0


def page(before: str) -> str:
    """The page of measures with the published table."""
    return fill(before, {"measures": table(json.loads(RESULTS.read_text(encoding="utf-8"))["results"])})


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """A row a figure and a column for each kind of text, as Markdown."""
    lines = [f"| figure | {' | '.join(one['texts'] for one in results)} |", f"|---|{'---:|' * len(results)}"]
    for name in FIGURES:
        cells = [shown(name, one["figures"][name]) for one in results]
        if name == "longest_copy":
            cells = [f"{cell}, most {one['longest_copy_of_all']}" for cell, one in zip(cells, results, strict=True)]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
