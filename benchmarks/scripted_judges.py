"""Judges whose faults are known: what they would reply to a prompt, for tests and for measuring what an examination finds.

A judge reads the prompt as the interface delivers it. Its idea of quality is the share of the reference's words that an answer has,
in their place. What is planted (noise, a liking for length, lists, politeness or the first place, unreadable replies, credit for an
echo) is an argument.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.judge.texts import LIST_LINE, POLITENESS

BLOCK = re.compile(r"\nBEGIN DATA ([0-9a-f]{32})\n([^\n]*)\nEND DATA \1\n")
TIED_POINTS = 5.0
"""Below this difference a pair is a tie."""
SHORTEST = 16


def data_in(prompt: str) -> dict[str, Any]:
    """The JSON between the delimiters; ValueError where it isn't one line between two equal nonces."""
    found = BLOCK.search(prompt)
    if found is None:
        raise ValueError("the prompt has no block of data")
    value: dict[str, Any] = json.loads(found[2])
    return value


def quality(answer: str, reference: str) -> float:
    """From 0 to 1: the share of the reference's words that the answer has at their places, behind what style puts before them."""
    words = re.sub(r"(?m)^- ", "", answer).split()
    begin = words.index("that.") + 1 if "happy to" in answer and "that." in words else 0
    expected = reference.split()
    return sum(one == other for one, other in zip(words[begin:], expected, strict=False)) / len(expected)


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """A judge whose reply is a function of the prompt and `seed`. Biases are in points of 100."""

    noise: float = 5.0
    """Standard deviation of each score."""
    length: float = 0.0
    """For each doubling of the answer's length."""
    lists: float = 0.0
    polite: float = 0.0
    place: float = 0.0
    """For the first place of a prompt, against the last."""
    failing: float = 0.0
    """Share of unreadable replies."""
    echo: float = 0.0
    """For a repetition of the question."""
    random: bool = False
    fence: bool = False
    """Whether replies stand in a code fence."""
    seed: int = 0

    def reply(self, prompt: str) -> str:
        """The text of the reply."""
        data = data_in(prompt)
        digest = hashlib.sha256(f"{self.seed} {prompt}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        if generator.random() < self.failing:
            return "I think that both have their merits."
        answers = data["answers"] if "answers" in data else {"": data["answer"]}
        found = {
            label: self._score(data, answer, place, len(answers), generator)
            for place, (label, answer) in enumerate(answers.items())
        }
        text = json.dumps(_value(data, prompt, found))
        return f"```json\n{text}\n```" if self.fence else text

    def _score(
        self, data: dict[str, Any], answer: str, place: int, count: int, generator: np.random.Generator
    ) -> float:
        if self.random:
            return float(generator.uniform(0, 100))
        score = 100 * quality(answer, data["reference"])
        if answer.strip() and answer.strip() == data["question"].strip():
            score = max(score, self.echo)
        score += self.length * float(np.log2((SHORTEST + len(answer)) / (SHORTEST + len(data["reference"]))))
        score += self.lists * bool(LIST_LINE.search(answer)) + self.polite * bool(POLITENESS.search(answer))
        return score + self.place * (count - 1 - place) / max(1, count - 1) + self.noise * float(generator.normal())


def _value(data: dict[str, Any], prompt: str, found: dict[str, float]) -> dict[str, Any]:
    if "answers" not in data:
        return {"score": float(np.clip(found[""], 0, 100))}
    if '"better"' in prompt:
        apart = found["A"] - found["B"]
        return {"better": "tie" if abs(apart) < TIED_POINTS else "A" if apart > 0 else "B"}
    return {"scores": {label: float(np.clip(score, 0, 100)) for label, score in found.items()}}
