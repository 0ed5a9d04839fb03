"""How good forecasts are: varied trainings, each forecast before its first step and scored after its last.

    python -m benchmarks.forecasts ladders --set unseen --data DIR --runs RUNS  # the trainings that losses are extrapolated from
    python -m benchmarks.forecasts run --set unseen --data DIR --runs RUNS      # the trainings; nothing else may compute
    python -m benchmarks.forecasts table --set unseen --runs RUNS               # one pass more in docs/forecasts.json; the page
    python -m benchmarks.forecasts page                                         # docs/forecasts.md from docs/forecasts.json

DIR holds shakespeare.txt, wikitext-2.txt, tinystories.txt, goethe.txt and python.txt: tiny Shakespeare, the training text of
WikiText-2, some megabytes of TinyStories, .75 MB of Goethe's prose and plays in German, and 2.5 MB of Python: the files of
networkx/algorithms in the repository networkx/networkx at cfc6b79, without tests, in the order of their names. `ladders` and `run`
go on where they were stopped, and begin nothing in a checkout with changes: a set is committed before it is run. What a command did
is in RUNS.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.forecast_page import SHAPING, page
from benchmarks.forecast_passes import append_pass, pass_of, read_passes
from benchmarks.machine import changed_files, context
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.files import read_json, write_json, write_text
from lmlab.hardware.machine import detect

TEXTS = ("shakespeare", "wikitext-2", "tinystories", "goethe", "python")
"""Names of the files in DIR, without their ends; {NAME} in a case stands for its path."""


@dataclass(frozen=True)
class Case:
    """One training: what is typed after `lmlab train`."""

    name: str
    target: str
    """A recipe, or one of the texts."""
    words: tuple[str, ...]

    @property
    def has_ladder(self) -> bool:
        """Whether there is a ladder for it: a model of the other family has none."""
        return "context" not in self.words

    def command(self, verb: str, data: Path, runs: Path, *more: str) -> list[str]:
        """The words of a process."""
        target = str(data / self.target) if self.target.endswith(".txt") else self.target
        return [sys.executable, "-m", "lmlab", verb, target, *self.words, "--runs", str(runs), *more]


def _case(name: str, target: str, words: str) -> Case:
    return Case(name, target, tuple(words.split()))


CHARACTERS = "--data.tokenizer characters --data.vocabulary none"
SAMPLED = "--evaluate.final sample"
"""Of a validation split that takes longer to score than the training takes."""
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
FIRST_UNSEEN = (
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
"""Trainings that nothing of the forecasts was chosen by when they were named; by now their losses are in the law of small runs."""


UNSEEN = (
    _case("shakespeare-500k-muon", "shakespeare.txt", "--size 500k --train.steps 1000 --train.batch 24"),
    _case(
        "shakespeare-10.7M-batch-16",
        "shakespeare-gpu",
        "--data.corpus {shakespeare} --train.steps 60 --schedule.steps none --schedule.warmup 6 --train.batch 16 "
        f"--evaluate.every 20 {SAMPLED}",
    ),
    _case("shakespeare-context", "shakespeare.txt", "--model.kind context --train.steps 500"),
    _case("wikitext-700k-muon", "wikitext-2.txt", "--size 700k --train.steps 900"),
    _case(
        "wikitext-2M-adamw",
        "wikitext-2.txt",
        "--size 2M --model.ngrams none --train.steps 300 --optim.kind adamw --optim.lr 1e-3",
    ),
    _case(
        "wikitext-17M-muon",
        "wikitext-2.txt",
        f"--size 17M --model.ngrams none --train.steps 60 --train.batch 8 --evaluate.every 20 {SAMPLED}",
    ),
    _case("wikitext-context", "wikitext-2.txt", "--model.kind context --train.steps 400"),
    _case("stories-400k-characters", "tinystories.txt", f"--size 400k {CHARACTERS} --train.steps 900"),
    _case("stories-5M-muon", "tinystories.txt", "--size 5M --train.steps 250"),
    _case(
        "stories-10.8M-batch-12",
        "stories-10.8m",
        f"--data.corpus {{tinystories}} --data.tokens none --train.steps 60 --train.batch 12 --evaluate.every 20 {SAMPLED}",
    ),
    _case("goethe-300k-muon", "goethe.txt", "--size 300k --train.steps 1000"),
    _case("goethe-0.8M-adamw", "shakespeare-cpu", "--data.corpus {goethe} --train.steps 1500 --schedule.steps none"),
    _case("goethe-2M-muon", "goethe.txt", "--size 2M --train.steps 400"),
    _case("goethe-context", "goethe.txt", "--model.kind context --train.steps 500"),
)
"""The second set that was named before it was run: both families, .3M to 17M parameters, three with steps above a second on two
cores, and a text, goethe.txt, that nothing here was ever fitted to. By arithmetic (110 GFLOP/s) half an hour on two cores, ladders
included."""
THIRD_UNSEEN = (
    _case("shakespeare-400k-muon", "shakespeare.txt", "--size 400k --train.steps 1200"),
    _case(
        "shakespeare-2M-adamw",
        "shakespeare.txt",
        "--size 2M --train.steps 350 --train.batch 20 --optim.kind adamw --optim.lr 1e-3",
    ),
    _case("shakespeare-context-batch-24", "shakespeare.txt", "--model.kind context --train.steps 350 --train.batch 24"),
    _case("wikitext-500k-characters", "wikitext-2.txt", f"--size 500k {CHARACTERS} --train.steps 800"),
    _case("wikitext-1.5M-muon", "wikitext-2.txt", "--size 1500k --train.steps 500 --train.batch 12"),
    _case(
        "wikitext-8M-muon",
        "wikitext-2.txt",
        f"--size 8M --model.ngrams none --train.steps 80 --train.batch 16 --evaluate.every 20 {SAMPLED}",
    ),
    _case("wikitext-context-batch-8", "wikitext-2.txt", "--model.kind context --train.steps 500 --train.batch 8"),
    _case("stories-600k-muon", "tinystories.txt", "--size 600k --train.steps 900"),
    _case(
        "stories-17M-adamw",
        "tinystories.txt",
        "--size 17M --model.ngrams none --train.steps 60 --train.batch 8 --evaluate.every 20 "
        f"--optim.kind adamw --optim.lr 6e-4 {SAMPLED}",
    ),
    _case("python-300k-muon", "python.txt", "--size 300k --train.steps 1100"),
    _case("python-0.8M-adamw", "shakespeare-cpu", "--data.corpus {python} --train.steps 1400 --schedule.steps none"),
    _case("python-3M-muon", "python.txt", "--size 3M --train.steps 300"),
    _case(
        "python-10.7M-batch-12",
        "shakespeare-gpu",
        "--data.corpus {python} --train.steps 60 --schedule.steps none --schedule.warmup 6 --train.batch 12 "
        f"--evaluate.every 20 {SAMPLED}",
    ),
    _case("python-context", "python.txt", "--model.kind context --train.steps 400"),
)
"""The third set that was named before it was run, after forecasts were changed because of the second: again both families, .3M to
17M parameters, three with steps above a second on two cores, and a text, python.txt, that nothing here was ever fitted to (the law
of small runs has another text of Python, the standard library)."""
SETS = {SHAPING: CASES, "first-unseen": FIRST_UNSEEN, "unseen": UNSEEN, "third-unseen": THIRD_UNSEEN}


def main() -> int:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["ladders", "run", "table", "page"])
    parser.add_argument("--set", choices=list(SETS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    flags = parser.parse_args()
    if flags.what == "page":
        return write_page(flags.out)
    if flags.set is None or flags.runs is None:
        parser.error(f"{flags.what} needs --set ({', '.join(SETS)}) and --runs DIR")
    if flags.what == "table":
        return table(flags.set, flags.runs, flags.out)
    if flags.data is None:
        parser.error("--data DIR: where the texts are")
    if changed_files(ROOT):
        raise SystemExit(
            "the checkout has changes: commit them first, since a pass is kept with the commit that it ran under"
        )
    for case in SETS[flags.set]:
        if not flags.only or case.name in flags.only:
            carry_out(flags.what, placed(case, flags.data), flags.data, flags.runs)
    return 0


def placed(case: Case, data: Path) -> Case:
    """The case with the path of each text in place of its {NAME}."""
    texts = {f"{{{name}}}": str(data / f"{name}.txt") for name in TEXTS}
    return Case(case.name, case.target, tuple(texts.get(word, word) for word in case.words))


def carry_out(what: str, case: Case, data: Path, runs: Path) -> None:
    """A case's ladder, or its training; nothing where it's there already."""
    runs.mkdir(parents=True, exist_ok=True)
    if what == "ladders":
        done = runs / f"{case.name}.plan.json"
        if case.has_ladder and not done.exists():
            said = _run(case.command("plan", data, runs, "--ladder", "--json"))
            done.write_text(said.stdout, encoding="utf-8")
            print(f"{case.name}:\n{said.stderr}", flush=True)
        return
    if not (runs / case.name / "summary.json").exists():
        under = context_of(case.name, runs)
        if not under.exists():
            here = context(None)
            write_json(under, {**here, "machine": {**here["machine"], **detect().facts()}})
        said = _run(case.command("train", data, runs, "--run", case.name, "--or-resume", "--json"))
        score = read_json(runs / case.name / "summary.json")["score"]
        print(case.name, {name: round(entry["ratio"], 3) for name, entry in score.items()}, flush=True)


def context_of(name: str, runs: Path) -> Path:
    """Where it stands what a case's training ran under, written before its first step."""
    return runs / f"{name}.context.json"


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    said = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False
    )
    if said.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with {said.returncode}: {said.stderr[-2000:]}")
    return said


def table(name: str, runs: Path, out: Path) -> int:
    """One pass more, of the set `name`, and the page."""
    commands = {case.name: (case.target, *case.words) for case in SETS[name]}
    contexts = {case: read_json(context_of(case, runs)) for case in commands if context_of(case, runs).exists()}
    try:
        append_pass(out / "forecasts.json", pass_of(name, commands, runs, contexts))
    except LabError as error:
        raise SystemExit(str(error)) from None
    return write_page(out)


def write_page(out: Path) -> int:
    """The page of the passes that are there."""
    write_text(out / "forecasts.md", page(read_passes(out / "forecasts.json")))
    print(out / "forecasts.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
