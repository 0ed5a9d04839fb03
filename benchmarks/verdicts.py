"""What the verdicts of `lmlab compare` are worth, on real trainings: how often seeds of one recipe are called different, and how
often a gain of twice the smallest difference that a pair of runs can show is called one.

    python -m benchmarks.verdicts run --corpus input.txt --runs RUNS     # some ten minutes on one core
    python -m benchmarks.verdicts table --runs RUNS --out docs           # docs/verdicts.json and docs/verdicts.md
    python -m benchmarks.verdicts studies --out docs                     # simulated studies, into the same two; half an hour

The recipe is a small one on tiny Shakespeare. First so many seeds of it are trained: their deviation is the noise. Then a longer
training of the same recipe is sought whose gain is twice the smallest visible difference (a short pilot tells how the loss falls
with the length), and trained from as many other seeds. Each command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import context
from benchmarks.simulated_studies import published_halves, simulated
from benchmarks.simulated_studies import table as studies_table
from benchmarks.worker import ROOT
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.experiment.start import train_or_resume
from lmlab.files import read_json, write_json, write_text
from lmlab.recipe import Recipe, load_recipe, override
from lmlab.runs import Run, list_runs
from lmlab.stats import SeedNoise, seed_noise
from lmlab.study.compare.pairs import Side, judge
from lmlab.study.scores import scores_of
from lmlab.training.display import make_display

SEEDS = 40
"""Of the recipe: 20 pairs of which no two share a run."""
BETTER_SEEDS = 20
PILOT_SEEDS = 8
PILOT_LENGTH = 1.2
KNOWN = 8
"""Seeds from which a verdict's noise is told: the fewest of which the promise is made."""
GAIN = 2.0
"""Times the smallest visible difference."""
STEPS = 300
SETTINGS: dict[str, Any] = {
    "model.layers": "1",
    "model.heads": "2",
    "model.width": "64",
    "schedule.steps": "none",
    "train.threads": "1",
    "train.device": "cpu",
    "train.checkpoint_every": "100000",
    "evaluate.tokens": "1000000",
    "evaluate.prompts": (),
}
FIRST_OTHER_SEED = 1001
PROMISE = 0.90
OVERFITTING = "## Overfitting\n"
"""Where the part of the page begins that `python -m benchmarks.overfitting` makes."""


def main() -> int:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["run", "table", "studies"])
    parser.add_argument("--corpus", default="shakespeare", help="tiny Shakespeare, as a file or a catalogue name")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    flags = parser.parse_args()
    if flags.what == "studies":
        return studies(flags.out)
    if flags.runs is None:
        parser.error("--runs DIR: where the trainings are kept")
    return run(flags.corpus, flags.runs) if flags.what == "run" else table(flags.runs, flags.out)


def run(corpus: str, runs: Path) -> int:
    """All trainings."""
    base = [trained(recipe_of(corpus, STEPS, seed), runs) for seed in range(1, SEEDS + 1)]
    pilot_steps = round(PILOT_LENGTH * STEPS)
    pilot = [trained(recipe_of(corpus, pilot_steps, seed), runs) for seed in range(1, PILOT_SEEDS + 1)]
    steps = length_for(GAIN * noise_of(base).smallest_visible(), _losses(base), _losses(pilot))
    print(f"a gain of {GAIN:g} times the smallest visible difference: {steps} steps", flush=True)
    for seed in range(FIRST_OTHER_SEED, FIRST_OTHER_SEED + BETTER_SEEDS):
        trained(recipe_of(corpus, steps, seed), runs)
    return 0


def recipe_of(corpus: str, steps: int, seed: int) -> Recipe:
    """The recipe with that length and seed, evaluated at its beginning and its end."""
    length = {"train.steps": str(steps), "evaluate.every": str(steps), "schedule.warmup": "30"}
    given = {"name": f"verdicts-{steps}", "data.corpus": corpus, "train.seed": str(seed)}
    return override(load_recipe("shakespeare-cpu"), {**SETTINGS, **length, **given})


def trained(recipe: Recipe, runs: Path) -> Record:
    """Its run, which is made where it isn't there yet."""
    name = f"{recipe.name}-seed-{recipe.train.seed}"
    if not (runs / name / "summary.json").exists():
        quiet = make_display(quiet=True)
        train_or_resume(recipe, run=name, runs=runs, display=quiet, say=_nothing)
        print(f"{name}: {read_record(Run(runs / name)).loss:.4f}", flush=True)
    return read_record(Run(runs / name))


def _nothing(line: str) -> None:
    """A run's own lines say nothing that the table doesn't."""


def length_for(gain: float, losses: Sequence[float], longer: Sequence[float]) -> int:
    """The steps that lower the mean loss by `gain`, by a straight line of loss over the logarithm of the length."""
    slope = (statistics.mean(losses) - statistics.mean(longer)) / math.log(PILOT_LENGTH)
    return round(STEPS * math.exp(gain / slope))


def noise_of(records: Sequence[Record]) -> SeedNoise:
    """From all of them, seeds of one recipe."""
    return seed_noise({"": _losses(records)})


def verdicts(pairs: Sequence[tuple[Record, Record]], known: Sequence[Record], seeds: int) -> Counter[str]:
    """How often each verdict falls on single runs, with the noise told from `seeds` of the `known` runs.

    As in `lmlab compare` a pair's own runs are among them where they are seeds of that recipe. The others come from another place
    of the list for each pair.
    """
    told: Counter[str] = Counter()
    for index, (one, other) in enumerate(pairs):
        free = [record for record in known if record.id not in (one.id, other.id)]
        first, wanted = index * len(free) // len(pairs), seeds - (len(known) - len(free))
        there = [free[(first + place) % len(free)] for place in range(wanted)]
        pair = judge(_side(one), _side(other), there)
        assert pair.verdict is not None, pair.withheld
        told[pair.verdict.kind] += 1
    return told


def measured(runs: Path) -> dict[str, Any]:
    """Every figure of the page, from the runs that are there."""
    records = [read_record(found) for found in list_runs(runs) if found.summary() is not None]
    base = [record for record in records if record.step == STEPS]
    better = [record for record in records if record.seed >= FIRST_OTHER_SEED]
    noise = noise_of(base)
    gain = statistics.mean(_losses(base)) - statistics.mean(_losses(better))
    equal = [(base[index], base[index + 1]) for index in range(0, len(base) - 1, 2)]
    gained = list(zip(better, base, strict=False))
    every_equal = [(one, other) for place, one in enumerate(base) for other in base[place + 1 :]]
    every_gain = [(one, other) for one in better for other in base]
    return {
        "steps": STEPS,
        "seeds": len(base),
        "loss": statistics.mean(_losses(base)),
        "seed_sd": noise.standard_deviation,
        "smallest_visible": noise.smallest_visible(),
        "text_standard_error": statistics.median(_errors(equal)),
        "better_steps": better[0].step,
        "better_seeds": len(better),
        "better_loss": statistics.mean(_losses(better)),
        "better_seed_sd": noise_of(better).standard_deviation,
        "gain": gain,
        "gain_of_smallest": gain / noise.smallest_visible(),
        "seconds_a_run": statistics.median(record.total_seconds or math.nan for record in base),
        "parameters": base[0].parameters["total"],
        "verdicts": list(_counted(base, equal, gained, every_equal, every_gain)),
    }


def _counted(base: Sequence[Record], *sets: Sequence[tuple[Record, Record]]) -> Iterator[dict[str, Any]]:
    equal, gained, every_equal, every_gain = sets
    for seeds in (KNOWN, len(base)):
        for pairs, kind, wanted, apart in (
            (equal, "equal recipes", "indistinguishable", True),
            (gained, "true gain", "better", True),
            (every_equal, "equal recipes", "indistinguishable", False),
            (every_gain, "true gain", "better", False),
        ):
            told = verdicts(pairs, base, seeds)
            yield {
                "of": kind,
                "wanted": wanted,
                "disjoint": apart,
                "noise_from": seeds,
                "pairs": len(pairs),
                "right": told[wanted],
                "told": dict(told),
            }


def table(runs: Path, out: Path) -> int:
    """The JSON, and the page made from it."""
    before = read_json(out / "verdicts.json") if (out / "verdicts.json").exists() else {}
    value = {"context": context(None), **measured(runs), "studies": before.get("studies")}
    return _write(value, out)


def studies(out: Path) -> int:
    """Simulated studies, into the JSON and the page that are there."""
    found = {
        "context": context(None),
        "kinds": [kind.to_json() for kind in simulated()],
        "published": published_halves(ROOT / "docs" / "studies"),
    }
    return _write({**read_json(out / "verdicts.json"), "studies": found}, out)


def _write(value: dict[str, Any], out: Path) -> int:
    write_json(out / "verdicts.json", value)
    written = out / "verdicts.md"
    before = written.read_text(encoding="utf-8") if written.exists() else ""
    rest = before[before.find(OVERFITTING) :] if OVERFITTING in before else ""
    write_text(written, page(value) + (f"\n{rest}" if rest else ""))
    print(out / "verdicts.md")
    return 0


def page(value: dict[str, Any]) -> str:
    """docs/verdicts.md."""
    machine = value["context"]["machine"]
    rows = ["| pairs of single runs | | noise told from | right | wanted verdict |", "|---|---|---|---|---|"]
    for entry in value["verdicts"]:
        which = "no run in two of them" if entry["disjoint"] else "all there are"
        share = entry["right"] / entry["pairs"]
        rows.append(
            f"| {entry['of']} | {entry['pairs']:,}, {which} | {entry['noise_from']} seeds "
            f"| {entry['right']:,} ({share:.1%}) | {entry['wanted']} |"
        )
    return "\n".join(
        [
            "# What verdicts are worth",
            "",
            f"`lmlab compare` on real trainings: {value['seeds']} seeds of one recipe (tiny Shakespeare, "
            f"{value['parameters']:,} parameters, {value['steps']} steps,",
            f"{value['seconds_a_run']:.0f} s a run) and {value['better_seeds']} other seeds of the same with "
            f"{value['better_steps']} steps, one thread of an {machine['cpu']}, {value['context']['date'][:10]}.",
            "Two runs are judged alone (`--alone`): means over seeds would make it easier. The noise is told from so many seeds",
            "of the first recipe, the pair's own among them.",
            "",
            f"- Final loss {value['loss']:.4f} nats a token over the whole validation split; standard deviation over seeds "
            f"{value['seed_sd']:.4f}.",
            f"- So the smallest difference that two single runs can show is {value['smallest_visible']:.4f}: 1.96 x sqrt 2 x SD.",
            f"- The paired standard error over the text's units is {value['text_standard_error']:.4f} (median).",
            f"- The better recipe's mean is {value['better_loss']:.4f}: a gain of {value['gain']:.4f}, which is "
            f"{value['gain_of_smallest']:.2f} times that; its own seeds' SD is {value['better_seed_sd']:.4f}.",
            "",
            f"Asked for are {PROMISE:.0%} of both.",
            "",
            *rows,
            "",
            "Pairs that share runs are not independent: their shares are steadier, but not as sure as their number suggests. Made",
            "by `python -m benchmarks.verdicts` from [verdicts.json](verdicts.json).",
            "",
            *(_studies_section(value["studies"]) if value.get("studies") else ()),
        ]
    )


def _studies_section(value: dict[str, Any]) -> list[str]:
    kinds = value["kinds"]
    return [
        "## Studies",
        "",
        f"Simulated studies, {kinds[0]['studies']:,} of each kind. A run's loss is its cell's mean, what its seed adds to all",
        "cells alike, and an error of its own. The spread is the standard deviation of the logarithm of the cells' deviations: 0",
        "where they are equal, 0.9 as in [width-and-rate](studies/width-and-rate/README.md), whose cells range from .005 to .11.",
        "Effects are paired by seed, with variances drawn towards what the effects have in common (`lmlab/stats/paired_seeds.py`).",
        "Asked for are intervals of 95% that hold the truth in 93 to 97% of the cases, and false differences in 5% of the studies",
        "at most once all effects of a study are judged together (Holm). Halves of intervals are in deviations of a run. The last",
        "two columns take seeds as independent, and pool one deviation over all cells.",
        "",
        *studies_table(kinds),
        "",
        "In the published studies the half of an interval is, against that of seeds taken as independent, in the median of a",
        "study's effects: "
        + ", ".join(f"{one['study']} {one['median_ratio']:.2f} ({one['effects']})" for one in value["published"])
        + ".",
        "",
        f"Made by `{' '.join(value['context']['command'])}`.",
        "",
    ]


def _side(record: Record) -> Side:
    scores = scores_of(record)
    assert scores is not None
    return Side(name=record.name, family=record.family, scores=(scores,))


def _errors(pairs: Sequence[tuple[Record, Record]]) -> list[float]:
    """The paired standard error of each."""
    judged = [judge(_side(one), _side(other), []) for one, other in pairs]
    return [pair.paired.standard_error for pair in judged if pair.paired is not None]


def _losses(records: Sequence[Record]) -> list[float]:
    return [record.loss for record in records if record.loss is not None]


if __name__ == "__main__":
    sys.exit(main())
