"""What the examination of a judge finds: how often a judge with a planted fault is called UNFIT, and one without.

    python -m benchmarks.judges run --out docs        # docs/judging.json, and the tables of docs/judging.md; half an hour on a core

Judges are scripted (`scripted_judges.py`) and asked in this process. Questions are made up: references of 6 to 14 words. Each
examination has other questions and another judge's noise.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import context
from benchmarks.render import fill
from benchmarks.scripted_judges import Scripted
from benchmarks.worker import ROOT
from lmlab.data.instructions.template import Message
from lmlab.files import write_json, write_text
from lmlab.judge.client import Call, Judge, JudgeSettings, Result
from lmlab.judge.fitness import ITEMS, examined, fitness_of
from lmlab.judge.prompting import METHODS, Method, read_reply
from lmlab.judge.questions import Question
from lmlab.judge.rounds import ask_all, plan, replies_for
from lmlab.judge.texts import Candidate, corrupted
from lmlab.judge.verdicts import compare, decided
from lmlab.stats.proportion import wilson

EXAMINATIONS = 100
VERDICTS = 200
LOOK = 20
"""Questions between two looks."""
WORDS = tuple(
    first + middle + last
    for first in ("ba", "ce", "di", "fo", "gu", "la")
    for middle in ("m", "n", "r", "st")
    for last in ("a", "el", "is", "o")
)
EVERY: tuple[Method, ...] = METHODS
SHOWN: tuple[Method, ...] = ("listwise", "pairwise")
SCORED: tuple[Method, ...] = ("score", "listwise")
FAULTS: dict[str, tuple[tuple[Method, ...], dict[str, Any]]] = {
    "none, noise of 5 points": (EVERY, {"noise": 5.0}),
    "none, noise of 20 points": (EVERY, {"noise": 20.0}),
    "noise of 60 points": (EVERY, {"noise": 60.0}),
    "random scores": (EVERY, {"random": True}),
    "5 points a doubling of the length": (EVERY, {"length": 5.0, "noise": 10.0}),
    "10 points a doubling of the length": (EVERY, {"length": 10.0, "noise": 10.0}),
    "20 points a doubling of the length": (EVERY, {"length": 20.0, "noise": 10.0}),
    "10 points for a list": (EVERY, {"lists": 10.0, "noise": 10.0}),
    "20 points for a list": (EVERY, {"lists": 20.0, "noise": 10.0}),
    "20 points for politeness": (EVERY, {"polite": 20.0, "noise": 10.0}),
    "10 points for the first place": (SHOWN, {"place": 10.0, "noise": 10.0}),
    "20 points for the first place": (SHOWN, {"place": 20.0, "noise": 10.0}),
    "40 points for the first place": (SHOWN, {"place": 40.0, "noise": 10.0}),
    "an echo gets 20": (SCORED, {"echo": 20.0, "noise": 10.0}),
    "an echo gets 40": (SCORED, {"echo": 40.0, "noise": 10.0}),
    "an echo gets 60": (SCORED, {"echo": 60.0, "noise": 10.0}),
    "5 % unreadable": (EVERY, {"failing": 0.05, "noise": 10.0}),
    "20 % unreadable": (EVERY, {"failing": 0.2, "noise": 10.0}),
    "50 % unreadable": (EVERY, {"failing": 0.5, "noise": 10.0}),
}
"""Name -> the methods that it can be found with, and what is planted."""


@dataclass
class LocalJudge(Judge):
    """A scripted judge that is asked in this process, one prompt after the other."""

    script: Scripted = field(default_factory=Scripted)

    def ask(self, calls: Sequence[Call]) -> Iterator[Result]:
        """Yield the results in order."""
        for call in calls:
            text = self.script.reply(call.messages(self.settings.method)[-1]["content"])
            reply = read_reply(self.settings.method, text, len(call.answers))
            yield Result(reply=reply, text=text, key="", prompt_tokens=0, completion_tokens=0)


def local_judge(method: Method, script: Scripted) -> LocalJudge:
    """A judge that is asked by this method."""
    settings = JudgeSettings(address="http://127.0.0.1", model="scripted", method=method)
    return LocalJudge(settings=settings, folder=Path(), script=script)


def questions_for(count: int, seed: int) -> list[Question]:
    """Questions with made-up references."""
    generator = np.random.default_rng([seed, 7])
    found = []
    for number in range(count):
        words = generator.choice(WORDS, size=int(generator.integers(6, 15)))
        message = Message(
            role="user", content=f"What is said of {' and '.join(generator.choice(WORDS, size=4))}, number {number}?"
        )
        found.append(Question(number=number + 1, messages=(message,), reference=" ".join(words) + "."))
    return found


def examinations(method: Method, planted: dict[str, Any], count: int) -> dict[str, Any]:
    """How many of so many examinations end in UNFIT, and for which reasons."""
    unfit, reasons = 0, Counter[str]()
    for seed in range(count):
        questions = questions_for(ITEMS, seed)
        judge = local_judge(method, Scripted(**planted, seed=seed))
        found = fitness_of(examined(judge, questions, seed), questions, seed)
        unfit += not found.fit
        reasons.update(check.name for check in found.failed)
    low, high = wilson(unfit / count, count)
    return {"unfit": unfit, "examinations": count, "low": low, "high": high, "reasons": dict(reasons.most_common())}


def false_verdicts(method: Method, noise: float, count: int, questions: int = 200) -> dict[str, Any]:
    """How often two equally good models are called different, by the test at the end and by looks all along; and how often models
    that are 10 points apart are, and after how many questions.
    """
    tally = Counter[str]()
    asked: list[int] = []
    for seed in range(count):
        on = questions_for(questions, seed)
        references = [one.reference for one in on]
        generator = np.random.default_rng([seed, 8])
        for name, gap in (("equal", 0.0), ("apart", 0.1)):
            shares = [np.clip(generator.uniform(0.2, 0.7, size=questions) + gap * side, 0, 1) for side in (0, 1)]
            models = [
                Candidate(
                    name=str(side),
                    kind="model",
                    texts=tuple(
                        corrupted(place, references, float(share), seed + 1000 * side)
                        for place, share in enumerate(row)
                    ),
                )
                for side, row in enumerate(shares)
            ]
            judge = local_judge(method, Scripted(noise=noise, seed=seed))
            replies = replies_for(method, models, questions)
            ask_all(judge, plan(method, models, range(questions), seed), models, on, replies)
            tally[f"{name}, at the end"] += compare(replies, [(0, 1)])[0].kind != "indistinguishable"
            looks = [decided(replies, [(0, 1)], range(some))[0].kind for some in range(LOOK, questions + 1, LOOK)]
            first = next((place for place, kind in enumerate(looks) if kind != "indistinguishable"), None)
            tally[f"{name}, at any look"] += first is not None
            asked += [LOOK * (first + 1)] if first is not None and name == "apart" else []
    return {
        "comparisons": count,
        "questions": questions,
        "noise": noise,
        **tally,
        "mean_questions_where_decided": _mean(asked),
    }


def _mean(values: Sequence[int]) -> float | None:
    return float(np.mean(values)) if values else None


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--examinations", type=int, default=EXAMINATIONS)
    parser.add_argument("--verdicts", type=int, default=VERDICTS)
    flags = parser.parse_args()
    path = flags.out / "judging.json"
    if flags.what == "run":
        value: dict[str, Any] = {"context": context(None), "questions": ITEMS, "faults": {}, "verdicts": {}}
        for name, (methods, planted) in FAULTS.items():
            value["faults"][name] = {method: examinations(method, planted, flags.examinations) for method in methods}
            print(name, {method: found["unfit"] for method, found in value["faults"][name].items()}, flush=True)
        for method in METHODS:
            value["verdicts"][method] = false_verdicts(method, 10.0, flags.verdicts)
            print(method, value["verdicts"][method], flush=True)
        write_json(path, value)
    page = flags.out / "judging.md"
    write_text(page, fill(page.read_text(encoding="utf-8"), tables_of(path)))
    return 0


def tables_of(path: Path) -> dict[str, str]:
    """The tables of the page."""
    from lmlab.files import read_json

    value = read_json(path)
    lines = [f"| planted | {' | '.join(METHODS)} | found by |", "|---|" + "---:|" * len(METHODS) + "---|"]
    for name, found in value["faults"].items():
        cells = [
            f"{found[method]['unfit']} of {found[method]['examinations']}" if method in found else ""
            for method in METHODS
        ]
        reasons = Counter[str]()
        for one in found.values():
            reasons.update(one["reasons"])
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(reason for reason, _ in reasons.most_common(2))} |")
    rows = [
        "| method | equal models called different, at the end | at any look | 10 points apart found, at the end | at any look |"
    ]
    rows.append("|---|---:|---:|---:|---:|")
    for method, one in value["verdicts"].items():
        total = one["comparisons"]
        names = ("equal, at the end", "equal, at any look", "apart, at the end", "apart, at any look")
        cells = [f"{one.get(name, 0) / total:.1%}" for name in names]
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return {"judge-faults": "\n".join(lines), "judge-verdicts": "\n".join(rows)}


if __name__ == "__main__":
    raise SystemExit(main())
