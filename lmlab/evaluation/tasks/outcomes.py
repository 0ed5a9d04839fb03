"""From the log-probabilities of options to the outcome of each item: right, wrong, a tie or unscorable.

Styles, by which an option's value follows from its log-probability:

    completion, whole sentence   the log-probability itself (what precedes the answer doesn't count; all tokens of a sentence count)
    normalised per token         divided by the answer's tokens
    normalised per byte          divided by the answer's bytes, without white space around it (acc_bytes of lm-evaluation-harness,
                                 and its acc_norm where answers are ASCII)
    last word                    no comparison: right if each token of the only option was the likeliest one

An item is right only where its right option has a larger value than each other. If another has the same value it is a tie, which
counts as not right: taking the first of the largest values instead would give a scorer that returns a constant all items of a task
whose right option always comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.tasks.encoding import EncodedItems
from lmlab.evaluation.tasks.item import Item
from lmlab.evaluation.tasks.scoring import Scores
from lmlab.evaluation.tasks.task import StyleName

WRONG, RIGHT, TIE, UNSCORABLE = range(4)
LETTERS = "01=?"
"""How each outcome is written."""

Outcomes = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class OptionScores:
    """The options of a list of items, each array [items, options] with 0 where there is no such option, or [items]."""

    nats: Values
    """Minus the log-probability; 0 for unscorable items."""
    tokens: NDArray[np.int64]
    """Scored tokens."""
    bytes: NDArray[np.int64]
    """Bytes of the scored tokens' text."""
    answer_bytes: NDArray[np.int64]
    """Bytes of the answer without white space around it."""
    text_bytes: NDArray[np.int64]
    """Bytes of prompt and answer."""
    present: NDArray[np.bool_]
    """Whether the item has the option."""
    gold: NDArray[np.int64]
    """[items]: index of the right option."""
    greedy: NDArray[np.bool_]
    """[items]: whether each token of the right option was the likeliest one."""
    scorable: NDArray[np.bool_]
    """[items]."""

    def values(self, style: StyleName) -> Values:
        """Return the value of each option, [items, options]: larger is better, minus infinity where there is no option."""
        divisor = {"normalised per token": self.tokens, "normalised per byte": self.answer_bytes}.get(style)
        found = -self.nats if divisor is None else -self.nats / np.maximum(divisor, 1)
        return np.where(self.present, found, -math.inf)

    def outcomes(self, style: StyleName) -> Outcomes:
        """Return the outcome of each item."""
        if style == "last word":
            return np.where(self.scorable, np.where(self.greedy, RIGHT, WRONG), UNSCORABLE).astype(np.uint8)
        return decide(self.values(style), self.gold, self.scorable)

    def bits_per_byte(self) -> float:
        """Return the bits of all right answers per byte of their tokens' text; NaN without one."""
        rows = np.flatnonzero(self.scorable)
        size = int(self.bytes[rows, self.gold[rows]].sum())
        return float(self.nats[rows, self.gold[rows]].sum()) / math.log(2.0) / size if size else math.nan


def decide(values: Values, gold: NDArray[np.int64], scorable: NDArray[np.bool_]) -> Outcomes:
    """Return the outcome of each item from its options' values ([items, options]) and the index of its right option.

    An item with a single option is right.
    """
    rows = np.arange(len(values))
    own = values[rows, gold]
    others = values.copy()
    others[rows, gold] = -math.inf
    best = others.max(axis=1, initial=-math.inf)
    found = np.where(own > best, RIGHT, np.where(own == best, TIE, WRONG))
    return np.where(scorable, found, UNSCORABLE).astype(np.uint8)


def option_scores(items: Sequence[Item], encoded: EncodedItems, scores: Scores) -> OptionScores:
    """Return the scores of the requests that `encode_items` returned, by item and option."""
    shape = (len(items), max((len(item.options) for item in items), default=1))
    rows = np.array([request.group for request in encoded.requests], dtype=np.int64)
    gold = np.array([item.gold for item in items], dtype=np.int64)
    nats, greedy = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    tokens, size = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    place = (rows, encoded.option)
    nats[place], greedy[place], tokens[place], size[place] = scores.nats, scores.greedy, encoded.tokens, encoded.bytes
    scorable = np.ones(len(items), dtype=np.bool_)
    scorable[list(encoded.unscorable)] = False
    answer_bytes, text_bytes = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    present = np.zeros(shape, dtype=np.bool_)
    for row, item in enumerate(items):
        for column, option in enumerate(item.options):
            answer_bytes[row, column], text_bytes[row, column] = option.answer_bytes, len(option.text.encode())
            present[row, column] = True
    return OptionScores(
        nats=nats,
        tokens=tokens,
        bytes=size,
        answer_bytes=answer_bytes,
        text_bytes=text_bytes,
        present=present,
        gold=gold,
        greedy=greedy[np.arange(len(items)), gold],
        scorable=scorable,
    )


def accuracy(outcomes: Outcomes) -> float:
    """Return the share of right items among those that could be scored; NaN if there are none."""
    scored = outcomes != UNSCORABLE
    return float((outcomes[scored] == RIGHT).mean()) if scored.any() else math.nan


def spelled(outcomes: Outcomes) -> str:
    """Return outcomes as text, a character an item: 1 right, 0 wrong, = a tie, ? unscorable."""
    return np.frombuffer(LETTERS.encode(), dtype=np.uint8)[outcomes].tobytes().decode()


def read_outcomes(text: str) -> Outcomes:
    """Return the outcomes that `spelled` wrote."""
    codes = np.zeros(256, dtype=np.uint8)
    codes[list(LETTERS.encode())] = range(len(LETTERS))
    return codes[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
