"""Answers of known quality, made from the references alone, that a judge has to put in order before it is trusted.

    controls    the reference; another question's reference; nothing; an echo of the question
    ladder      the reference with 25, 50, 75 and 100 % of its words replaced by words of other references
    style       the reference with half of its words replaced, as a list, with polite phrases, or with sentences that add nothing:
                as good as the text that it was made from, so a different score is the judge's bias
    again       two of these texts a second time

The replaced words of a rung are among those of the next one, so that each rung has lost more than the one before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmlab import LabError
from lmlab.judge.questions import Question

Kind = Literal["model", "control", "rung", "style", "again"]
REFERENCE, SHUFFLED, EMPTY, ECHO = "reference", "shuffled reference", "empty", "echo of the question"
BAD_CONTROLS = (SHUFFLED, EMPTY, ECHO)
REPLACED_PERCENT = (25, 50, 75, 100)
RUNGS = tuple(f"{percent} % replaced" for percent in REPLACED_PERCENT)
LADDER = (REFERENCE, *RUNGS)
"""From the best to the worst."""
STYLED = RUNGS[1]
"""The text that the style variants are made from: neither at the top of the scale nor at its bottom, so that a bias shows."""
LIST, POLITE, PADDED = "as a list", "politer", "longer"
STYLES = (LIST, POLITE, PADDED)
AGAIN = " again"
REPEATED = (REFERENCE, STYLED)
FEWEST_QUESTIONS = 5
SENTENCE = re.compile(r"(?<=[.!?])\s+")
FILLER = (
    "This is the answer to the question that was asked above.",
    "It was written as a response to that question and to nothing else.",
    "Anyone who reads the question first and this response after it has read both of them.",
    "What was asked is answered here, in the words that are written here.",
)
POLITENESS = re.compile(
    r"\b(?:certainly|of course|happy to|glad to|please|thank you|thanks|sure|hope this helps|let me know|feel free)\b",
    re.IGNORECASE,
)
LIST_LINE = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One answer to each question, from the same source."""

    name: str
    kind: Kind
    texts: tuple[str, ...]
    """[questions]"""


def known_candidates(questions: Sequence[Question], seed: int) -> list[Candidate]:
    """Return the candidates of known quality for these questions; LabError with fewer than FEWEST_QUESTIONS."""
    if len(questions) < FEWEST_QUESTIONS:
        raise LabError(
            f"a judge is examined on at least {FEWEST_QUESTIONS} questions, got {len(questions)}; add some, or --no-fit"
        )
    references = [question.reference for question in questions]
    rungs = [
        tuple(corrupted(place, references, percent / 100, seed) for place in range(len(references)))
        for percent in REPLACED_PERCENT
    ]
    styled = dict(zip(RUNGS, rungs, strict=True))[STYLED]
    made: dict[str, Callable[[str], str]] = {LIST: as_list, POLITE: polite, PADDED: padded}
    shift = 1 + int(np.random.default_rng([seed, 1]).integers(len(references) - 1))
    found = [
        Candidate(name=REFERENCE, kind="control", texts=tuple(references)),
        Candidate(name=SHUFFLED, kind="control", texts=tuple(references[shift:] + references[:shift])),
        Candidate(name=EMPTY, kind="control", texts=("",) * len(references)),
        Candidate(name=ECHO, kind="control", texts=tuple(question.text for question in questions)),
        *(Candidate(name=name, kind="rung", texts=texts) for name, texts in zip(RUNGS, rungs, strict=True)),
        *(Candidate(name=name, kind="style", texts=tuple(map(make, styled))) for name, make in made.items()),
    ]
    by_name = {one.name: one for one in found}
    return [*found, *(again(by_name[name]) for name in REPEATED)]


def again(candidate: Candidate) -> Candidate:
    """Return the same texts as a candidate of its own."""
    return Candidate(name=candidate.name + AGAIN, kind="again", texts=candidate.texts)


def corrupted(place: int, references: Sequence[str], share: float, seed: int) -> str:
    """Return the reference at `place` with a share of its words, at least one, replaced by words of the other references.

    For the same seed a larger share replaces the same words and more. Words are replaced by different ones where there are any.
    """
    words = references[place].split()
    others = sorted({word for number, text in enumerate(references) if number != place for word in text.split()})
    generator = np.random.default_rng([seed, 2, place])
    order = generator.permutation(len(words))
    count = min(len(words), max(1, math.ceil(share * len(words)))) if share > 0 else 0
    for number in order.tolist():
        drawn = others[int(generator.integers(len(others)))] if others else ""
        if count > 0:
            words[number] = drawn if drawn != words[number] else others[(others.index(drawn) + 1) % len(others)]
            count -= 1
    return " ".join(words)


def as_list(text: str) -> str:
    """Return the sentences as lines of a list."""
    return "\n".join(f"- {sentence}" for sentence in SENTENCE.split(text) if sentence) or "- "


def polite(text: str) -> str:
    """Return the text between polite phrases."""
    return f"Certainly! I'd be happy to help with that. {text} I hope this helps! Please let me know if you need anything else."


def padded(text: str) -> str:
    """Return the text with sentences after it that add nothing, at least as long again."""
    added: list[str] = []
    while not added or len(" ".join(added)) < len(text):
        added.append(FILLER[len(added) % len(FILLER)])
    return f"{text} {' '.join(added)}"


def covariates(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return what a biased judge may reward: length in doublings of its characters, lists and politeness as 0 or 1."""
    return {
        "length": [math.log2(16 + len(text)) for text in texts],
        "list": [float(bool(LIST_LINE.search(text))) for text in texts],
        "politeness": [float(bool(POLITENESS.search(text))) for text in texts],
    }
