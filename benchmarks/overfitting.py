"""What the verdict on overfitting is worth: false alarms and power on simulated curves, on small trainings, and on logs of
others.

    python -m benchmarks.overfitting --corpus input.txt --logs LOGS     # docs/overfitting.json, docs/verdicts.md; two minutes

Simulated: the validation loss of each evaluation is a curve plus scatter of the weights (half of it common to training), each
unit of the text has a difficulty and changes of its own, and the verdict sees what it sees of a run. Trained: a short piece of
the corpus is read many times, until validation rises, and a long one less than once. The seeds are fixed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import context
from benchmarks.verdicts import page
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.exchange import import_log
from lmlab.experiment.start import train
from lmlab.experiment.verdict import verdict_on
from lmlab.files import read_json, write_json, write_text
from lmlab.recipe import load_recipe, override
from lmlab.stats import Evaluated, Gap, UnitBits, overfitting_verdict
from lmlab.training.display import make_display

REPEATS = 200
LENGTHS = (6, 8, 12, 20, 40)
UNITS, UNIT_TOKENS = 100, 256
UNIT_SCATTER = 0.03
"""Nats a token by which a unit's loss changes by itself from one evaluation to the next."""
COMMON = 0.5
"""Share of the variance of the weights' scatter that validation and training have in common."""
PERSISTENCE = 0.7
"""Of a scatter that wanders: its correlation from one evaluation to the next."""
GAP_ERROR = 0.02
LOSS = 1.5
SCATTER = 0.005 * LOSS
"""Standard deviation of one evaluation: half a per cent of the loss."""
RISES = (0.02, 0.04, 0.08)
"""Of validation from its best, at two fifths of the curve, to its end, as a share of the loss."""
SEEDS = 5
SETTINGS = {
    "model.layers": "2",
    "model.heads": "2",
    "model.width": "96",
    "schedule.steps": "none",
    "schedule.warmup": "20",
    "train.threads": "1",
    "train.device": "cpu",
    "train.checkpoint_every": "100000",
    "evaluate.prompts": (),
    "evaluate.share": "0.5",
}
SHORT, LONG = 24_000, 400_000
"""Characters of the piece that is memorised, and of the one that is read less than once."""

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Curves of one kind, over the share of the run, 0 to 1."""

    name: str
    wanted: str
    """The verdict that would be right."""
    valid: Curve
    gap: Curve
    """What training is below validation, text apart."""
    wanders: bool = False
    harder: float = 0.0
    """Nats a token by which validation is harder to a model that has learned something."""
    passes: float = 4.0
    units: int = 0
    """How many units of the text make all of the rise, so that another text may not show it; 0 for all."""


def cases() -> list[Case]:
    """All kinds."""

    def flat(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return LOSS + 1.5 * np.exp(-25 * at)

    def falling(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return LOSS + 0.6 * np.exp(-4 * at)

    def rising(share: float) -> Curve:
        return lambda at: flat(at) + share * LOSS * np.maximum(0.0, at - 0.4) / 0.6

    def nothing(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.0 * at

    def growing(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.3 * at

    found = [
        Case(name="flat, training falls", wanted="none", valid=flat, gap=growing, passes=0.9),
        Case(name="flat, scatter wanders", wanted="none", valid=flat, gap=growing, wanders=True, passes=0.9),
        Case(name="falling", wanted="none", valid=falling, gap=nothing),
        Case(
            name="falling, validation harder, 0.3 passes",
            wanted="none",
            valid=falling,
            gap=nothing,
            harder=0.3,
            passes=0.3,
        ),
        Case(name="falling, validation harder, 4 passes", wanted="none", valid=falling, gap=nothing, harder=0.3),
        Case(name="falling, gap grows to 0.3", wanted="slight", valid=falling, gap=growing),
    ]
    found.append(
        Case(name="one unit of 100 rises", wanted="unknown", valid=rising(RISES[1]), gap=lambda at: 0.5 * at, units=1)
    )
    for share in RISES:
        found.append(
            Case(name=f"rises by {share:.0%}", wanted="overfitting", valid=rising(share), gap=lambda at: 0.5 * at)
        )
    return found


def simulated(case: Case, evaluations: int, with_units: bool, repeats: int = REPEATS) -> dict[str, Any]:
    """How often each verdict falls on curves of this kind."""
    told: Counter[str] = Counter()
    for seed in range(repeats):
        known, units = curve_of(case, evaluations, np.random.default_rng(seed))
        if not with_units:
            known = [dataclasses.replace(entry, gap=None) for entry in known]
        told[overfitting_verdict(known, units if with_units else None).kind] += 1
    return {
        "case": case.name,
        "wanted": case.wanted,
        "evaluations": evaluations,
        "units": with_units,
        "curves": repeats,
        "told": dict(told),
    }


def curve_of(case: Case, evaluations: int, generator: np.random.Generator) -> tuple[list[Evaluated], UnitBits]:
    """One curve of a kind, as a verdict sees it."""
    at = np.arange(evaluations + 1) / evaluations
    common, own, other = (_scatter(generator, len(at), case.wanders) for _ in range(3))
    mixed = [math.sqrt(COMMON) * common + math.sqrt(1 - COMMON) * one for one in (own, other)]
    # An untrained model finds all text equally hard.
    harder = case.harder * np.minimum(1.0, at * 10)
    valid = case.valid(at) + harder + SCATTER * mixed[0]
    train = case.valid(at) - case.gap(at) + SCATTER * mixed[1]
    hard = generator.normal(0, 0.3, (UNITS, 1))
    nats = valid + hard - hard.mean() + generator.normal(0, UNIT_SCATTER, (UNITS, len(at)))
    if case.units:
        rise = np.maximum(0.0, case.valid(at) - case.valid(np.minimum(at, 0.4)))
        nats += np.where(np.arange(UNITS)[:, None] < case.units, UNITS / case.units * rise, 0.0) - rise
    error = generator.normal(0, GAP_ERROR)
    known = [
        Evaluated(
            step=100 * place,
            valid=float(nats[:, place].mean()),
            train=float(train[place]),
            gap=_gap(float(valid[place] - train[place]) + (error if place else 0.0), 0.0 if not place else GAP_ERROR),
            passes=case.passes * place / evaluations,
        )
        for place in range(len(at))
    ]
    return known, UnitBits(bits=nats * UNIT_TOKENS / math.log(2.0), tokens=np.full(UNITS, UNIT_TOKENS))


def _scatter(generator: np.random.Generator, count: int, wanders: bool) -> NDArray[np.float64]:
    drawn = generator.normal(0, 1, count)
    if wanders:
        for place in range(1, count):
            drawn[place] = PERSISTENCE * drawn[place - 1] + math.sqrt(1 - PERSISTENCE**2) * drawn[place]
    return drawn


def _gap(value: float, error: float) -> Gap:
    return Gap(value=value, low=value - 1.96 * error - 1e-6, high=value + 1.96 * error + 1e-6)


def trained(corpus: Path, folder: Path) -> list[dict[str, Any]]:
    """The verdicts on small trainings, and what they are held against: how validation as a whole went from best to last."""
    text = corpus.read_text(encoding="utf-8")
    found = []
    for kind, length, steps in (("many passes over a short text", SHORT, 1000), ("less than one pass", LONG, 300)):
        for seed in range(1, SEEDS + 1):
            path = folder / f"{length}-{seed}.txt"
            first = (seed - 1) * (len(text) - length) // max(1, SEEDS - 1)
            path.write_text(text[first : first + length], encoding="utf-8")
            given = {"name": "overfitting", "data.corpus": str(path), "train.seed": str(seed), "optim.lr": "0.006"}
            given |= {"train.steps": str(steps), "evaluate.every": str(steps // 10)}
            # Both validation texts have some 15 to 40 units, those that are compared.
            given |= {"data.valid_share": "0.5" if length == SHORT else "0.1"}
            recipe = override(load_recipe("shakespeare-cpu"), {**SETTINGS, **given})
            outcome = train(recipe, runs=folder / "runs", display=make_display(quiet=True), say=_nothing)
            summary = outcome.summary
            found.append(
                {
                    "kind": kind,
                    "seed": seed,
                    "verdict": summary["verdict"]["kind"],
                    "reason": summary["verdict"]["reason"],
                    "best_step": summary["best"]["step"],
                    "steps": summary["steps"],
                    "rise": summary["final"]["loss"] - summary["best"]["loss"],
                }
            )
            print(f"{kind}, seed {seed}: {summary['verdict']['reason']}", flush=True)
    return found


def logs_of_others(logs: Path, folder: Path) -> list[dict[str, Any]]:
    """The verdicts on published logs that have two evaluations or more."""
    found = []
    for path in sorted(entry for entry in logs.iterdir() if entry.is_file()):
        with contextlib.suppress(LabError):
            for made in import_log(path, folder / "imported"):
                verdict = verdict_on(made.run)
                if "fewer than two" not in verdict["reason"]:
                    found.append({"log": path.name, "verdict": verdict["kind"], "reason": verdict["reason"]})
    return found


def _nothing(line: str) -> None:
    """A run's own lines say nothing that the table doesn't."""


def section(value: dict[str, Any]) -> list[str]:
    """The lines of docs/verdicts.md."""
    lengths = sorted({entry["evaluations"] for entry in value["simulated"]})
    rows = [f"| curve | | wanted | {' | '.join(map(str, lengths))} |", f"|---|---|---|{'---|' * len(lengths)}"]
    for name in dict.fromkeys(entry["case"] for entry in value["simulated"]):
        for units in (True, False):
            of = [entry for entry in value["simulated"] if entry["case"] == name and entry["units"] is units]
            wanted = of[0]["wanted"]
            shares = []
            for entry in of:
                wrong = sum(entry["told"].get(kind, 0) for kind in ("overfitting", "slight", "unstable"))
                share = wrong if wanted == "none" else entry["told"].get(wanted, 0)
                shares.append(f"{share / entry['curves']:.1%}")
            judged = "units" if units else "losses"
            rows.append(f"| {name} | {judged} | {wanted} | {' | '.join(shares)} |")
    lines = [
        "",
        "## Overfitting",
        "",
        f"Simulated curves, {value['simulated'][0]['curves']} of each kind and number of evaluations (the columns), whose",
        f"evaluations scatter by {value['scatter']:.2%} of the loss. Where `none` is wanted, the figure is the share of false",
        "alarms (overfitting, slight or unstable); else the share that got the wanted verdict. Judged by the bits of units and",
        "by gaps with intervals, or by losses alone, as imported logs are: these tell of no gap, and not which part of the text",
        "makes a rise.",
        "",
        *rows,
        "",
    ]
    if value["trained"]:
        lines += [
            "Small trainings on pieces of tiny Shakespeare:",
            "",
            "| training | verdicts | rise of the whole split |",
            "|---|---|---|",
        ]
        for kind in dict.fromkeys(entry["kind"] for entry in value["trained"]):
            of = [entry for entry in value["trained"] if entry["kind"] == kind]
            told = Counter(entry["verdict"] for entry in of)
            rises = sorted(entry["rise"] for entry in of)
            verdicts = ", ".join(f"{count} {name}" for name, count in told.items())
            lines.append(f"| {kind} | {verdicts} | {rises[0]:.3f} to {rises[-1]:.3f} |")
        lines.append("")
    if value["logs"]:
        told = Counter(entry["verdict"] for entry in value["logs"])
        verdicts = ", ".join(f"{count} {name}" for name, count in told.items())
        lines += [f"Published logs with validation losses, {len(value['logs'])}: {verdicts}.", ""]
    return [*lines, "Made by `python -m benchmarks.overfitting` from [overfitting.json](overfitting.json).", ""]


def main() -> int:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=Path, help="tiny Shakespeare; without it nothing is trained")
    parser.add_argument("--logs", type=Path, help="a folder of logs")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    flags = parser.parse_args()
    around = context(None)
    kinds: Sequence[Case] = cases()
    found = [
        simulated(case, length, units, flags.repeats) for case in kinds for units in (True, False) for length in LENGTHS
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        value = {
            "context": around,
            "scatter": SCATTER / LOSS,
            "simulated": found,
            "trained": [] if flags.corpus is None else trained(flags.corpus, folder),
            "logs": [] if flags.logs is None else logs_of_others(flags.logs, folder),
        }
    write_json(flags.out / "overfitting.json", value)
    compared = flags.out / "verdicts.json"
    before = [page(read_json(compared))] if compared.exists() else []
    write_text(flags.out / "verdicts.md", "\n".join([*before, *section(value)[1:]]))
    print(flags.out / "verdicts.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
