"""How good forecasts are: varied trainings, each forecast before its first step and scored after its last.

    python -m benchmarks.forecasts ladders --data DIR --runs RUNS      # the small trainings that losses are extrapolated from
    python -m benchmarks.forecasts run --data DIR --runs RUNS          # the trainings themselves; nothing else may compute
    python -m benchmarks.forecasts table --runs RUNS --out docs        # docs/forecasts.json and docs/forecasts.md

DIR holds shakespeare.txt, wikitext-2.txt and tinystories.txt: tiny Shakespeare, the training text of WikiText-2, and some
megabytes of TinyStories. Each command goes on where it was stopped; what a command did is in RUNS.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import context
from benchmarks.worker import ROOT
from lmlab.files import read_json, write_json, write_text
from lmlab.planning.score import qualities
from lmlab.runs import open_run
from lmlab.scaling.estimate import LEVEL

MUON = ("--model.preset", "modern")
FIGURES = (
    ("total_seconds", "time", 0.10, lambda value: f"{value:,.0f} s"),
    ("peak_memory_bytes", "memory", 0.07, lambda value: f"{value / 1e6:,.0f} MB"),
    ("final_loss", "loss", 0.03, lambda value: f"{value:.3f}"),
)
"""Name in a score, in the table, the error that is asked for, and how it's written."""


@dataclass(frozen=True)
class Case:
    """One training: what is typed after `lmlab train`."""

    name: str
    target: str
    """A recipe, or one of the texts."""
    words: tuple[str, ...]

    def command(self, verb: str, data: Path, runs: Path, *more: str) -> list[str]:
        """The words of a process."""
        target = str(data / self.target) if self.target.endswith(".txt") else self.target
        return [sys.executable, "-m", "lmlab", verb, target, *self.words, "--runs", str(runs), *more]


def _case(name: str, target: str, words: str) -> Case:
    return Case(name, target, tuple(words.split()))


CHARACTERS = "--data.tokenizer characters --data.vocabulary none"
CASES = (
    _case("shakespeare-0.8M", "shakespeare-cpu", "--train.steps 4000"),
    _case("shakespeare-1M-muon", "shakespeare.txt", "--size 1M --train.steps 2400"),
    _case("shakespeare-3M-muon", "shakespeare.txt", "--size 3M --train.steps 400"),
    _case("shakespeare-10M", "shakespeare-gpu", "--train.steps 500 --train.batch 4 --evaluate.every 125"),
    _case("wikitext-300k-muon", "wikitext-2.txt", "--size 300k --train.steps 2000"),
    _case("wikitext-1M-muon", "wikitext-2.txt", "--size 1M --train.steps 1000 --train.batch 32"),
    _case(
        "wikitext-1M-adamw",
        "wikitext-2.txt",
        "--size 1M --train.steps 2000 --train.batch 8 --optim.kind adamw --optim.lr 1e-3",
    ),
    _case("stories-0.8M", "stories-0.8m", "--data.corpus {tinystories} --train.steps 1500"),
    _case("stories-1M-muon", "tinystories.txt", "--size 1M --train.steps 1400"),
    _case("stories-3M-muon", "tinystories.txt", "--size 3M --train.steps 400"),
    _case("stories-300k-muon", "tinystories.txt", "--size 300k --train.steps 500 --train.batch 64"),
    _case(
        "stories-10.8M",
        "stories-10.8m",
        "--data.corpus {tinystories} --data.tokens none --train.steps 400 --train.batch 4 --evaluate.every 100",
    ),
    _case(
        "wikitext-3M-adamw",
        "wikitext-2.txt",
        "--size 3M --train.steps 500 --train.batch 12 --optim.kind adamw --optim.lr 6e-4",
    ),
)
UNSEEN = (
    _case("shakespeare-300k-muon", "shakespeare.txt", "--size 300k --train.steps 3000 --train.batch 8"),
    _case(
        "shakespeare-1M-adamw",
        "shakespeare.txt",
        "--size 1M --train.steps 600 --train.batch 64 --optim.kind adamw --optim.lr 2e-3",
    ),
    _case("wikitext-0.8M", "shakespeare-cpu", "--data.corpus {wikitext-2} --train.steps 3000 --train.batch 24"),
    _case("stories-1M-characters", "tinystories.txt", f"--size 1M {CHARACTERS} --train.steps 1200 --train.batch 24"),
    _case(
        "stories-3M-adamw",
        "tinystories.txt",
        "--size 3M --train.steps 600 --train.batch 8 --optim.kind adamw --optim.lr 1e-3",
    ),
)
"""Trainings that nothing of the forecasts was chosen by: they were named when all of it had been settled."""


def main() -> int:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["ladders", "run", "table"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    flags = parser.parse_args()
    if flags.what == "table":
        return table(flags.runs, flags.out)
    if flags.data is None:
        parser.error("--data DIR: where the three texts are")
    for case in CASES + UNSEEN:
        if not flags.only or case.name in flags.only:
            carry_out(flags.what, _placed(case, flags.data), flags.data, flags.runs)
    return 0


def _placed(case: Case, data: Path) -> Case:
    texts = {f"{{{name}}}": str(data / f"{name}.txt") for name in ("wikitext-2", "tinystories")}
    return Case(case.name, case.target, tuple(texts.get(word, word) for word in case.words))


def carry_out(what: str, case: Case, data: Path, runs: Path) -> None:
    """A case's ladder, or its training; nothing where it's there already."""
    runs.mkdir(parents=True, exist_ok=True)
    if what == "ladders":
        done = runs / f"{case.name}.plan.json"
        if not done.exists():
            said = _run(case.command("plan", data, runs, "--ladder", "--json"))
            done.write_text(said.stdout, encoding="utf-8")
            print(f"{case.name}:\n{said.stderr}", flush=True)
        return
    if not (runs / case.name / "summary.json").exists():
        around = context(None)
        said = _run(case.command("train", data, runs, "--run", case.name, "--or-resume", "--json"))
        score = read_json(runs / case.name / "summary.json")["score"]
        print(case.name, {name: round(entry["ratio"], 3) for name, entry in score.items()}, flush=True)
        write_json(runs / f"{case.name}.context.json", around)


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    said = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False
    )
    if said.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with {said.returncode}: {said.stderr[-2000:]}")
    return said


def table(runs: Path, out: Path) -> int:
    """The JSON of all cases that are there, and the page made from it."""
    around, cases = context(None), []
    for case in CASES + UNSEEN:
        if not (runs / case.name / "summary.json").exists():
            continue
        run, _ = open_run(case.name, runs)
        summary, forecast, policy = run.summary(), run.read("forecast.json"), run.read("policy.json")
        assert summary is not None
        cases.append(
            {
                "name": case.name,
                "command": " ".join(["lmlab train", case.target, *case.words]),
                "parameters": forecast["parameters"],
                "tokens": forecast["tokens"],
                "micro_batch": policy["micro_batch"],
                "steps": forecast["steps"],
                "score": summary["score"],
                "unseen": case in UNSEEN,
                "source_sha256": run.origin()["code"]["source_sha256"],
                "rests_on": forecast["figures"].get("final_loss", {}).get("rests_on", ""),
            }
        )
    value = {"context": around, "cases": cases}
    write_json(out / "forecasts.json", value)
    write_text(out / "forecasts.md", page(value))
    print(out / "forecasts.md")
    return 0


def _in_words(cases: list[dict[str, Any]]) -> str:
    """How many of these trainings were forecast within what is asked for, and how many intervals held."""
    parts, held, total = [], 0, 0
    for name, title, limit, _ in FIGURES:
        entries = [case["score"][name] for case in cases if name in case["score"]]
        within = sum(abs(entry["ratio"] - 1) <= limit for entry in entries)
        parts.append(f"{title} {within} of {len(entries)} within {limit:.0%}")
        inside = [entry["inside"] for entry in entries if "inside" in entry]
        held, total = held + sum(inside), total + len(inside)
    return f"{', '.join(parts)}; {held} of {total} intervals held ({held / max(1, total):.0%})"


def page(value: dict[str, Any]) -> str:
    """docs/forecasts.md."""
    cases, machine = value["cases"], value["context"]["machine"]
    rows = [
        "| run | parameters | tokens | micro-batch | "
        + " | ".join(f"{name} forecast | measured | off" for _, name, _, _ in FIGURES)
        + " |"
    ]
    rows.append("|---" * (4 + 3 * len(FIGURES)) + "|")
    for case in cases:
        cells = [
            f"{case['name']} (unseen)" if case["unseen"] else case["name"],
            f"{case['parameters'] / 1e6:.2f}M",
            f"{case['tokens'] / 1e6:.2f}M",
            str(case["micro_batch"]),
        ]
        for name, _, _, shown in FIGURES:
            entry = case["score"].get(name)
            if entry is None:
                cells += ["", "", ""]
                continue
            interval = f" ({shown(entry['low'])} to {shown(entry['high'])})" if "low" in entry else ""
            mark = "" if entry.get("inside", True) else " *"
            cells += [shown(entry["forecast"]) + interval, shown(entry["measured"]), f"{entry['ratio'] - 1:+.1%}{mark}"]
        rows.append("| " + " | ".join(cells) + " |")
    unseen = [case for case in cases if case["unseen"]]
    scores = [case["score"] for case in cases]
    known = {entry.figure: entry for entry in qualities(scores)}
    summary = [
        "| figure | runs | within | median error | four of five below | intervals that held |",
        "|---|---|---|---|---|---|",
    ]
    held = total = 0
    for name, title, limit, _ in FIGURES:
        entries = [score[name] for score in scores if name in score]
        inside = [entry["inside"] for entry in entries if "inside" in entry]
        held, total = held + sum(inside), total + len(inside)
        within = sum(abs(entry["ratio"] - 1) <= limit for entry in entries)
        quality = known[name]
        summary.append(
            f"| {title} | {len(entries)} | {within} within {limit:.0%} | {quality.median_error:.1%} | {quality.error_80:.1%} | "
            f"{sum(inside)} of {len(inside)} |"
        )
    pooled = (
        f"Of all {total} intervals {held} held what came: {held / max(1, total):.0%}; they are made for {LEVEL:.0%}."
    )
    return "\n".join(
        [
            "# Forecasts against what came",
            "",
            f"{len(cases)} trainings on {machine['physical_cores']} cores of an {machine['cpu']}, {value['context']['date'][:10]}.",
            "Each forecast was written to forecast.json before step 1: time and memory from a trial of a few seconds, the loss",
            "from a ladder of four small trainings (`lmlab plan --ladder`, a tenth of the run's arithmetic at most), all",
            "corrected by what the runs above it in the table had shown. In brackets the interval that is to hold in four of",
            "five; * marks where it did not. Made by `python -m benchmarks.forecasts` from [forecasts.json](forecasts.json).",
            "",
            *summary,
            "",
            pooled,
            "",
            "All of them were made with one version of the code, one after the other. Earlier passes over "
            f"{len(cases) - len(unseen)} of them had shaped it. The other {len(unseen)} (unseen) were named when nothing was "
            "changed any more: "
            f"{_in_words(unseen)}.",
            "",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
