"""Controls: what accuracy a scorer gets that doesn't know the answer, or a model that isn't given the question.

The first four are computed from the same items, and from a model's own values where they need any:

    constant   all options have one value: 0, because a tie isn't right. `first` beside it is what taking the first of the largest
               values would give, as numpy.argmax in lm-evaluation-harness 0.4.13 does: the items whose right option comes first
    shuffled   each item's values in random order among its options: chance
    swapped    of two options each has the other's value: 1 - accuracy - ties
    shortest   the shortest option has the largest value

The last one scores the items again without the question: prompts removed, or, where only prompts differ, their words shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.evaluation.tasks.item import Item, Option
from lmlab.evaluation.tasks.outcomes import OptionScores, accuracy, decide
from lmlab.evaluation.tasks.task import Corruption, StyleName

SEED = 1
CORRUPTED = {"removed": "without the prompt", "shuffled": "with the prompt's words shuffled"}
"""Names of the control with corrupted prompts."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Accuracies of the controls; None where one has no meaning for the task."""

    constant: float
    first: float | None
    shuffled: float | None
    swapped: float | None
    shortest: float | None
    corrupted: float | None = None
    """None where it wasn't scored, or items have no prompts."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return dict(vars(self))


def controls(scores: OptionScores, style: StyleName, corrupted: OptionScores | None = None) -> Controls:
    """Return the controls of a task's primary style; `corrupted` are the scores with corrupted prompts."""
    again = None if corrupted is None else accuracy(corrupted.outcomes(style))
    if scores.present.shape[1] < 2:  # a model that predicts: a constant has no likeliest token
        return Controls(constant=0.0, first=None, shuffled=None, swapped=None, shortest=None, corrupted=again)
    values = scores.values(style)
    constant = np.where(scores.present, 0.0, -math.inf)
    length = np.where(scores.present, -scores.text_bytes.astype(np.float64), -math.inf)
    pairs = bool((scores.present.sum(axis=1) == 2).all())

    def of(changed: np.ndarray) -> float:
        return accuracy(decide(changed, scores.gold, scores.scorable))

    return Controls(
        constant=of(constant),
        first=float((scores.gold[scores.scorable] == 0).mean()) if scores.scorable.any() else math.nan,
        shuffled=of(_shuffled(values, scores.present)),
        swapped=of(values[:, ::-1]) if pairs and values.shape[1] == 2 else None,
        shortest=of(length),
        corrupted=again,
    )


def corrupt(items: Sequence[Item], corruption: Corruption, seed: int = SEED) -> list[Item]:
    """Return the items with their prompts removed, or with each prompt's words in random order, by `seed` and the item's place.

    Prompts of one item that have as many words are shuffled alike. ValueError for `corruption` none.
    """
    if corruption == "none":
        raise ValueError("the task's items have no prompts to corrupt")
    return [_corrupted(item, corruption, (seed, place)) for place, item in enumerate(items)]


def _corrupted(item: Item, corruption: Corruption, key: tuple[int, int]) -> Item:
    options = tuple(
        Option("" if corruption == "removed" else _words_shuffled(option.prompt, key), option.answer)
        for option in item.options
    )
    return Item(options=options, gold=item.gold, cluster=item.cluster, groups=item.groups)


def _words_shuffled(text: str, key: tuple[int, int]) -> str:
    words = text.split()
    order = np.random.default_rng(key).permutation(len(words))
    return " ".join(words[place] for place in order)


def _shuffled(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return each row's values of its options in random order; options come before what isn't one."""
    keys = np.random.default_rng(SEED).random(values.shape)
    keys[~present] = math.inf
    found: np.ndarray = np.take_along_axis(values, np.argsort(keys, axis=1, kind="stable"), axis=1)
    return found
